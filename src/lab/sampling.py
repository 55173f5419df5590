"""Text from a network: a prompt warms up the hidden state, then characters come one at a time.

    p = softmax(logits / temperature)

A low temperature sharpens the distribution, a high one flattens it; 0 is its limit, the likeliest
character every time.
"""

from collections.abc import Iterator

import numpy as np

from src.lab.weights import Model
from src.rnn.network import ForwardBuffers, Ids, forward
from src.rnn.parameters import Array, unflatten


def sample(
    model: Model, prompt: str, temperature: float, length: int, rng: np.random.Generator
) -> Iterator[str]:
    """`length` new characters, one by one; the prompt is not repeated.

    The prompt goes through the corpus' own normalisation. An empty one leaves the state zero and the
    first character to chance. Raises InputError for a character that the vocabulary lacks, before the
    first character comes.
    """
    prompt_ids = model.vocabulary.encode(model.normalisation.apply(prompt)).astype(np.intp)
    return characters(model, prompt_ids, temperature, rng.random(length))


def characters(model: Model, prompt_ids: Ids, temperature: float, uniforms: Array) -> Iterator[str]:
    """One character for each uniform number, after the prompt."""
    p = unflatten(model.architecture, model.flat)
    h = np.zeros(model.architecture.hidden, p.wh.dtype)
    if prompt_ids.size:
        buffers = ForwardBuffers.allocate(model.architecture, prompt_ids.size, 1, p.wh.dtype)
        forward(p, prompt_ids[:, None], buffers)
        h = buffers.h[-1, 0]
    table = p.wx + p.b
    for k, uniform in enumerate(uniforms.tolist()):
        if k == 0 and not prompt_ids.size:
            chosen = int(uniform * model.architecture.vocab)
        else:
            chosen = choose(h @ p.wy + p.by, temperature, uniform)
        yield model.vocabulary.characters[chosen]
        h = np.tanh(table[chosen] + h @ p.wh)


def choose(logits: Array, temperature: float, uniform: float) -> int:
    """An id drawn from softmax(logits / temperature) by one uniform number in [0, 1).

    logits (V,). Inverse transform sampling, in double precision; temperature 0 is the argmax.
    """
    if temperature == 0:
        return int(np.argmax(logits))
    shifted = logits.astype(np.float64)
    shifted -= shifted.max()
    with np.errstate(over="ignore"):  # next to temperature 0 the quotient is -inf, and its exponential 0
        cumulative = np.cumsum(np.exp(shifted / temperature))
    return min(int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right")), logits.size - 1)
