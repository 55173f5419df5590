"""Text from a network: a prompt warms up the hidden state, then characters come one at a time.

    p = softmax(logits / temperature)

A low temperature sharpens the distribution, a high one flattens it; 0 is its limit, the likeliest
character every time.
"""

from collections.abc import Iterator

import numpy as np

from src.lab.weights import Model
from src.rnn.network import Ids
from src.rnn.parameters import Array
from src.rnn.stepping import Stepper

OVERFLOWS = 1e-250  # below it the quotient of a float32 logit and the temperature may be no double


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
    stepper = Stepper(model.architecture, model.flat, batch=1)
    logits: Array | None = None
    for prompt_id in prompt_ids[:, None]:
        logits = stepper.step(prompt_id)
    if logits is None and uniforms.size:  # no prompt: the first character is anybody's guess
        first = np.array([int(uniforms[0] * model.architecture.vocab)])
        yield model.vocabulary.characters[first[0]]
        logits, uniforms = stepper.step(first), uniforms[1:]
    if logits is not None:
        for ids in continue_streams(stepper, logits, temperature, uniforms[:, None]):
            yield model.vocabulary.characters[ids[0]]


def continue_streams(stepper: Stepper, logits: Array, temperature: float, uniforms: Array) -> Iterator[Ids]:
    """Ids (B,) of the next character of each of B streams, one for each row of uniforms (N, B).

    logits (B, V): what the stepper said last.
    """
    for row in uniforms:
        ids = choose(logits, temperature, row)
        yield ids
        logits = stepper.step(ids)


def choose(logits: Array, temperature: float, uniform: Array | float) -> Ids:
    """Ids drawn from softmax(logits / temperature), by a uniform number in [0, 1) each.

    logits (..., V), uniform (...). Inverse transform sampling, in double precision; temperature 0 is the
    argmax.
    """
    if temperature == 0:
        return np.asarray(np.argmax(logits, axis=-1))
    p = logits.T.astype(np.float64)  # the vocabulary first: reductions of few numbers each are quicker so
    p -= np.maximum.reduce(p)
    if temperature < OVERFLOWS:
        with np.errstate(over="ignore"):  # the quotient may be -inf, and its exponential 0
            p /= temperature
    else:
        p /= temperature
    np.exp(p, out=p)
    cumulative = np.add.accumulate(p)
    return np.asarray((cumulative > uniform * cumulative[-1]).argmax(axis=0))
