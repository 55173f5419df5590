"""Text from a network: a prompt warms up the hidden state, then characters come one at a time.

    p = softmax(logits / temperature)

A low temperature sharpens the distribution, a high one flattens it; 0 is its limit, the likeliest
character every time.
"""

from collections.abc import Iterator

import numpy as np

from src.rnn.network import ForwardBuffers, forward
from src.rnn.parameters import Architecture, Array, Parameters, unflatten
from src.text.normalisation import Normalisation
from src.text.vocabulary import Vocabulary


def sample(
    architecture: Architecture,
    flat: Array,
    vocabulary: Vocabulary,
    normalisation: Normalisation,
    prompt: str,
    temperature: float,
    length: int,
    rng: np.random.Generator,
) -> Iterator[str]:
    """`length` new characters, one by one; the prompt is not repeated.

    The prompt goes through the corpus' own normalisation. An empty one leaves the state zero and the
    first character to chance. Raises InputError for a character that the vocabulary lacks, before the
    first character comes.
    """
    prompt_ids = vocabulary.encode(normalisation.apply(prompt)).astype(np.intp)
    p = unflatten(architecture, flat)
    return _characters(architecture, p, vocabulary, prompt_ids, temperature, length, rng)


def _characters(
    architecture: Architecture,
    p: Parameters,
    vocabulary: Vocabulary,
    prompt_ids: Array,
    temperature: float,
    length: int,
    rng: np.random.Generator,
) -> Iterator[str]:
    h = np.zeros(architecture.hidden, p.wh.dtype)
    if prompt_ids.size:
        buffers = ForwardBuffers.allocate(architecture, prompt_ids.size, 1, p.wh.dtype)
        forward(p, prompt_ids[:, None], buffers)
        h = buffers.h[-1, 0]
    table = p.wx + p.b
    uniforms = rng.random(length)
    for k in range(length):
        if k == 0 and not prompt_ids.size:
            chosen = int(uniforms[0] * architecture.vocab)
        else:
            chosen = choose(h @ p.wy + p.by, temperature, float(uniforms[k]))
        yield vocabulary.characters[chosen]
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
