"""Text from a network: a prompt warms up the hidden state, then characters come one at a time.

    p = softmax(logits / temperature)

A low temperature sharpens the distribution, a high one flattens it; 0 is its limit, the likeliest
character every time. Of p, top_k leaves the k likeliest characters, and top_p the nucleus (Holtzman et al.
2020, "The curious case of neural text degeneration"): the likeliest ones, as few as have a share of at least
top_p of what is left. Both keep the likeliest, so temperature 0 is the same with and without them.
"""

from collections.abc import Iterator
from itertools import repeat

import numpy as np

from src.common.process import single_blas_thread
from src.models.serialization import TrainedModel
from src.rnn.network import Ids
from src.rnn.parameters import Array
from src.rnn.step import Stepper

MIN_TEMPERATURE = 1e-250  # below it the quotient of a float32 logit and the temperature may be no double


def sample(
    model: TrainedModel,
    prompt: str,
    temperature: float,
    length: int,
    rng: np.random.Generator,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[str]:
    """Generate `length` new characters, one by one; the prompt is not repeated.

    The prompt goes through the corpus' own normalization. An empty one leaves the state zero and the
    first character to chance. Raises UserError for a character that the vocabulary lacks, before the
    first character comes.
    """
    texts = sample_many(model, prompt, temperature, length, rng, 1, top_k, top_p)
    return (character for (character,) in texts)


def sample_many(
    model: TrainedModel,
    prompt: str,
    temperature: float,
    length: int,
    rng: np.random.Generator,
    count: int,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[tuple[str, ...]]:
    """Generate `count` texts from one prompt together: the next character of each, `length` times.

    The first is what `sample` generates with the same generator, to the last bit: it is a stream of its own,
    apart from the batch of the others, since a product of several rows is rounded differently from that of
    one. The random numbers of a text do not depend on `count`.
    """
    prompt_ids = model.vocabulary.encode(model.normalization.apply(prompt)).astype(np.intp)
    others = [child.random(length) for child in rng.spawn(count - 1)]
    first = generate_batch(model, prompt_ids, temperature, rng.random(length)[:, None], top_k, top_p)
    rest: Iterator[Ids] = repeat(np.zeros(0, np.intp), length)
    if others:
        rest = generate_batch(model, prompt_ids, temperature, np.stack(others, axis=1), top_k, top_p)
    known = model.vocabulary.characters
    return (tuple(known[k] for k in (*one, *many)) for one, many in zip(first, rest, strict=True))


def generate_batch(
    model: TrainedModel,
    prompt_ids: Ids,
    temperature: float,
    uniforms: Array,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Ids]:
    """Ids (B,) of the next character of each of B texts with one prompt, for each row of uniforms (N, B)."""
    batch = uniforms.shape[1]
    with single_blas_thread():
        stepper = Stepper(model.architecture, model.params, batch)
        logits: Array | None = None
        for prompt_id in prompt_ids:
            logits = stepper.step(np.full(batch, prompt_id))
        if logits is None and len(uniforms):  # no prompt: the first character is drawn uniformly
            first = (uniforms[0] * model.architecture.vocab).astype(np.intp)
            yield first
            logits, uniforms = stepper.step(first), uniforms[1:]
        if logits is not None:
            yield from continue_batch(stepper, logits, temperature, uniforms, top_k, top_p)


def continue_batch(
    stepper: Stepper,
    logits: Array,
    temperature: float,
    uniforms: Array,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Ids]:
    """Ids (B,) of the next character of each of B streams, one for each row of uniforms (N, B).

    logits (B, V): of the last step.
    """
    for row in uniforms:
        ids = sample_token(logits, temperature, row, top_k, top_p)
        yield ids
        logits = stepper.step(ids)


def sample_token(
    logits: Array,
    temperature: float,
    uniform: Array | float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Ids:
    """Ids drawn from softmax(logits / temperature), by a uniform number in [0, 1) each.

    logits (..., V), uniform (...). Inverse transform sampling, in double precision; temperature 0 is the
    argmax. top_k (at least 1) and top_p (above 0, at most 1) restrict the choice, in this order; None: not.

    >>> logits = np.log([0.5, 0.3, 0.2])
    >>> [int(sample_token(logits, 1.0, uniform)) for uniform in (0.1, 0.6, 0.9)]
    [0, 1, 2]
    >>> [int(sample_token(logits, 0.25, uniform)) for uniform in (0.1, 0.6, 0.9)]  # 0.87, 0.11, 0.02
    [0, 0, 1]
    >>> [int(sample_token(logits, 0, uniform)) for uniform in (0.1, 0.6, 0.9)]
    [0, 0, 0]
    >>> [int(sample_token(logits, 1.0, uniform, top_k=2)) for uniform in (0.1, 0.6, 0.9)]
    [0, 0, 1]
    """
    if temperature == 0:
        return np.asarray(np.argmax(logits, axis=-1))
    p = logits.T.astype(np.float64)  # the vocabulary first: reductions of few numbers each are quicker so
    p -= np.maximum.reduce(p)
    p /= max(temperature, MIN_TEMPERATURE)
    np.exp(p, out=p)
    if top_k is not None or top_p is not None:
        filter_top_k_top_p(p, logits.T, top_k, top_p)
    cumulative = np.add.accumulate(p)
    return np.asarray((cumulative > uniform * cumulative[-1]).argmax(axis=0))


def filter_top_k_top_p(p: Array, logits: Array, top_k: int | None, top_p: float | None) -> None:
    """Set what lies outside of top_k and top_p to 0, in place; p and logits (V, ...).

    The order is that of the logits, which the exponential may have rounded to one number; of equal ones
    that with the lower id comes first, as argmax has it. The others keep their values: with the same
    uniform numbers a restriction that drops nothing chooses what none does.

    >>> p = np.array([0.2, 0.5, 0.3])
    >>> filter_top_k_top_p(p, np.log(p), top_k=None, top_p=0.7); p.tolist()  # 0.5 is not enough, 0.5 + 0.3 is
    [0.0, 0.5, 0.3]
    >>> filter_top_k_top_p(p, np.log([0.2, 0.5, 0.3]), top_k=1, top_p=None); p.tolist()
    [0.0, 0.5, 0.0]
    """
    order = np.argsort(-logits, axis=0, kind="stable")
    ranked = np.take_along_axis(p, order, axis=0)
    if top_k is not None:
        ranked[top_k:] = 0
    if top_p is not None and top_p < 1:
        mass = np.add.accumulate(ranked)
        ranked[1:][mass[:-1] >= top_p * mass[-1]] = 0  # those before it suffice
    np.put_along_axis(p, order, ranked, axis=0)
