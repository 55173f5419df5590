"""Text generation: a prompt warms up the hidden state, then the characters are drawn one at a time.

    p = softmax(logits / temperature)

A low temperature sharpens the distribution, a high one flattens it. Temperature 0 is the limit: it always
takes the most likely character. `top_k` keeps the k most likely characters of p. `top_p` keeps the nucleus
(Holtzman et al. 2020, "The curious case of neural text degeneration"): as few of the most likely characters
as together have at least the share top_p of the probability that is left. Both keep the most likely
character, so that temperature 0 gives the same text with and without them.
"""

from collections.abc import Iterator
from itertools import repeat

import numpy as np

from src.common.process import single_blas_thread
from src.models.serialization import TrainedModel
from src.rnn.network import Ids
from src.rnn.parameters import Array
from src.rnn.step import Stepper

MIN_TEMPERATURE = 1e-250  # below it, a float32 logit divided by the temperature can overflow float64


def sample(
    model: TrainedModel,
    prompt: str,
    temperature: float,
    length: int,
    rng: np.random.Generator,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[str]:
    """Generate new characters after a prompt, one by one.

    The prompt is normalized in the same way as the corpus of the model. The result does not repeat it.

    Args:
        model: Trained network with its vocabulary and normalization.
        prompt: Text that the network reads first. With an empty prompt the hidden state is zero and the first
            character is drawn uniformly from the vocabulary.
        temperature: Divisor of the logits, >= 0; 0 always takes the most likely character.
        length: Number of characters to generate, >= 0.
        rng: Generator of the random numbers; one uniform number is drawn per character.
        top_k: Number of the most likely characters to choose from, >= 1; None (the default): all.
        top_p: Share of the probability to choose from (the nucleus), > 0 and <= 1; None (the default): all.

    Returns:
        Iterator over the `length` new characters.

    Raises:
        UserError: The prompt has a character that is not in the vocabulary. The call raises it, before the
            first character is generated.
    """
    # Not by `sample_many`: its tuples would add 15% to the time of a character.
    prompt_ids, known = _encode(model, prompt), model.vocabulary.characters
    ids = generate_batch(model, prompt_ids, temperature, rng.random(length)[:, None], top_k, top_p)
    return (known[token[0]] for token in ids)


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
    """Generate several texts after one prompt together, in each step one character per text.

    The first text is the one that `sample` generates with the same generator, bit for bit. It is computed
    apart from the batch of the other texts, because a matrix product of several rows is rounded differently
    from the product of one row. The random numbers of a text do not depend on `count`.

    Args:
        model: Trained network with its vocabulary and normalization.
        prompt: Text that the network reads first; see `sample`.
        temperature: Divisor of the logits, >= 0; 0 always takes the most likely character.
        length: Number of characters of each text, >= 0.
        rng: Generator of the random numbers of the first text. Each other text has a generator of its own
            that is spawned from it.
        count: Number of texts, >= 1.
        top_k: Number of the most likely characters to choose from, >= 1; None (the default): all.
        top_p: Share of the probability to choose from (the nucleus), > 0 and <= 1; None (the default): all.

    Returns:
        Iterator over `length` tuples; a tuple has the next character of each of the `count` texts.

    Raises:
        UserError: The prompt has a character that is not in the vocabulary. The call raises it, before the
            first character is generated.
    """
    prompt_ids = _encode(model, prompt)
    others = [child.random(length) for child in rng.spawn(count - 1)]
    first = generate_batch(model, prompt_ids, temperature, rng.random(length)[:, None], top_k, top_p)
    rest: Iterator[Ids] = repeat(np.zeros(0, np.intp), length)
    if others:
        rest = generate_batch(model, prompt_ids, temperature, np.stack(others, axis=1), top_k, top_p)
    known = model.vocabulary.characters
    return (tuple(known[k] for k in (*one, *many)) for one, many in zip(first, rest, strict=True))


def _encode(model: TrainedModel, prompt: str) -> Ids:
    """Return the token ids of a prompt, normalized, intp, shape (P,)."""
    return model.vocabulary.encode(model.normalization.apply(prompt)).astype(np.intp)


def generate_batch(
    model: TrainedModel,
    prompt_ids: Ids,
    temperature: float,
    uniforms: Array,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Ids]:
    """Generate the token ids of B texts after one prompt, in each step one id per text.

    Args:
        model: Trained network with its vocabulary.
        prompt_ids: Token ids of the prompt, intp, shape (P,). If P = 0, the first character is drawn
            uniformly from the vocabulary.
        temperature: Divisor of the logits, >= 0; 0 always takes the most likely character.
        uniforms: Random numbers in [0, 1), float64, shape (N, B): one per new character of each text.
        top_k: Number of the most likely characters to choose from, >= 1; None (the default): all.
        top_p: Share of the probability to choose from (the nucleus), > 0 and <= 1; None (the default): all.

    Yields:
        Ids of the next character of each text, intp, shape (B,), N times.
    """
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
    """Draw the next token ids of B streams again and again, and feed them back to the network.

    Args:
        stepper: Network with the states of B streams.
        logits: Logits of the last step, shape (B, V).
        temperature: Divisor of the logits, >= 0; 0 always takes the most likely character.
        uniforms: Random numbers in [0, 1), float64, shape (N, B): one per new character of each stream.
        top_k: Number of the most likely characters to choose from, >= 1; None (the default): all.
        top_p: Share of the probability to choose from (the nucleus), > 0 and <= 1; None (the default): all.

    Yields:
        Ids of the next character of each stream, intp, shape (B,), N times.
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
    """Draw token ids from softmax(logits / temperature), each with one uniform random number.

    This is inverse transform sampling, computed in float64. `top_k` is applied before `top_p`.

    Args:
        logits: Logits, shape (V,) or (B, V).
        temperature: Divisor of the logits, >= 0; 0 gives the argmax.
        uniform: Random numbers in [0, 1), a number for logits (V,), shape (B,) for logits (B, V).
        top_k: Number of the most likely characters to choose from, >= 1; None (the default): all.
        top_p: Share of the probability to choose from (the nucleus), > 0 and <= 1; None (the default): all.

    Returns:
        Ids, intp, of the shape of `uniform`.

    Examples:
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
    cumulative = np.add.accumulate(scaled_probabilities(logits, temperature, top_k, top_p))
    return np.asarray((cumulative > uniform * cumulative[-1]).argmax(axis=0))


def scaled_probabilities(
    logits: Array, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Compute the probabilities from which a token is drawn, up to a common factor.

    Args:
        logits: Logits, shape (V,) or (B, V).
        temperature: Divisor of the logits, >= 0.
        top_k: Number of the most likely characters to choose from, >= 1; None (the default): all.
        top_p: Share of the probability to choose from (the nucleus), > 0 and <= 1; None (the default): all.

    Returns:
        Probabilities relative to that of the most likely character, float64, shape (V,) or (V, B).
    """
    p = logits.T.astype(np.float64)  # the vocabulary is the first axis: reductions over it are faster
    p -= np.maximum.reduce(p)
    p /= max(temperature, MIN_TEMPERATURE)
    np.exp(p, out=p)
    if top_k is not None or top_p is not None:
        filter_top_k_top_p(p, logits.T, top_k, top_p)
    return p


def filter_top_k_top_p(p: Array, logits: Array, top_k: int | None, top_p: float | None) -> None:
    """Set the probabilities that `top_k` and `top_p` exclude to 0, in place.

    The characters are ranked by their logits, because the exponential may round different logits to the same
    probability. Of equal logits, the one with the lower id comes first, as in argmax. The other probabilities
    keep their values. With the same uniform numbers, a restriction that excludes nothing therefore gives the
    same ids as no restriction.

    Args:
        p: Probabilities, up to a common factor, shape (V, ...). They are overwritten.
        logits: Logits of the same shape, for the order.
        top_k: Number of the most likely characters that are kept, >= 1; None: all.
        top_p: Share of the probability that is kept, > 0 and <= 1; None: all of it.

    Examples:
        >>> p = np.array([0.2, 0.5, 0.3])
        >>> filter_top_k_top_p(p, np.log(p), top_k=None, top_p=0.7)  # 0.5 is not enough, 0.5 + 0.3 is
        >>> p.tolist()
        [0.0, 0.5, 0.3]
        >>> filter_top_k_top_p(p, np.log([0.2, 0.5, 0.3]), top_k=1, top_p=None)
        >>> p.tolist()
        [0.0, 0.5, 0.0]
    """
    order = np.argsort(-logits, axis=0, kind="stable")
    ranked = np.take_along_axis(p, order, axis=0)
    if top_k is not None:
        ranked[top_k:] = 0
    if top_p is not None and top_p < 1:
        mass = np.add.accumulate(ranked)
        ranked[1:][mass[:-1] >= top_p * mass[-1]] = 0  # the characters before it have the share top_p
    np.put_along_axis(p, order, ranked, axis=0)
