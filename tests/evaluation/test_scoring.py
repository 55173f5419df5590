"""Scores compared with a loop that reads one character at a time."""

import tracemalloc
from itertools import pairwise
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray

from src.evaluation.scoring import Score, Tokens, predict_stateful, predict_stateless, validation_loss
from src.rnn.cells import CELLS
from src.rnn.network import Ids
from src.rnn.parameters import Array, RNNConfig, initialize, named_views, unflatten
from src.rnn.step import Stepper
from tests.network_error import Bounds
from tests.rounding import DOUBLE, FUNCTION, UNIT, contractive, gamma, loss_error

ARCHITECTURE = RNNConfig(vocab=6, hidden=8)


def network(recurrence: float, dtype: type[np.floating] = np.float64) -> Array:
    """Return confident weights, so that the context matters; the state shrinks by `recurrence` per step."""
    rng = np.random.default_rng(1)
    flat = initialize(ARCHITECTURE, "orthogonal", rng, np.float64)
    p = named_views(ARCHITECTURE, flat)
    p["wh"] *= recurrence
    p["wx"] *= 5
    p["wy"] *= 5
    p["b"][:] = rng.standard_normal(p["b"].shape)
    p["by"][:] = rng.standard_normal(p["by"].shape)
    return flat.astype(dtype)


def text(count: int, seed: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(6, size=count).astype(np.uint8)


def stepper_scores(
    flat: Array, tokens: Tokens, architecture: RNNConfig = ARCHITECTURE
) -> tuple[Array, Array]:
    """Return nats and hits of each prediction from a zero state."""
    stepper, nats, hits = Stepper(architecture, flat, 1), [], []
    for token, target in pairwise(tokens):
        logits = stepper.step(np.array([token]))[0]
        nats.append(np.log(np.exp(logits).sum()) - logits[target])
        hits.append(logits.argmax() == target)
    return np.array(nats), np.array(hits)


def max_difference(error: float, nats: float, count: int) -> float:
    """Bound the difference of two mean nats over `count` predictions, each with an error of `error`."""
    return 2 * (error + gamma(count, DOUBLE) * nats)


@pytest.mark.parametrize("count", [5003, 5025, 2050, 2049])
def test_validation_loss_of_forgetful_network(count: int) -> None:
    """After 64 characters of warm-up 1e-19 of the state remains."""
    flat, tokens = network(0.5), text(count)
    exact = predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    output_norm = float(np.linalg.norm(named_views(ARCHITECTURE, flat)["wy"], 2))
    remaining = 0.5**64 * 2 * ARCHITECTURE.hidden**0.5 * output_norm
    bound = max_difference(loss_error(ARCHITECTURE, flat, DOUBLE) + 2 * remaining, exact, count)
    assert validation_loss(ARCHITECTURE, flat, tokens) == pytest.approx(exact, rel=0, abs=bound)


def test_validation_loss_of_long_memory_network() -> None:
    flat, tokens = network(1.0, np.float32), text(5000)
    exact = predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    # documented accuracy of validation_loss
    assert validation_loss(ARCHITECTURE, flat, tokens) == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize("count", [2, 2000])
def test_validation_loss_of_short_text(count: int) -> None:
    flat, tokens = network(1.0), text(count)
    exact = predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    assert validation_loss(ARCHITECTURE, flat, tokens) == exact


def test_zero_network_scores_log2_v_bits() -> None:
    flat, tokens = np.zeros(ARCHITECTURE.size(), np.float32), text(3000)
    bound = 2 * FUNCTION * UNIT + gamma(3000, DOUBLE)  # log(6) in float32, its mean in float64
    for score in (
        predict_stateful(ARCHITECTURE, flat, tokens).score,
        predict_stateless(ARCHITECTURE, flat, tokens, 20).score,
    ):
        assert score.bpc == pytest.approx(np.log2(6), rel=bound)
        assert score.perplexity == pytest.approx(6, rel=log(6) * bound)
    assert validation_loss(ARCHITECTURE, flat, tokens) == pytest.approx(log(6), rel=bound)


def test_scoring_is_repeatable_and_keeps_weights() -> None:
    flat, tokens = network(0.9, np.float32), text(3000)
    before = flat.tobytes()

    def scores() -> tuple[Score, Score, float]:
        return (
            predict_stateful(ARCHITECTURE, flat, tokens).score,
            predict_stateless(ARCHITECTURE, flat, tokens, 20).score,
            validation_loss(ARCHITECTURE, flat, tokens),
        )

    first = scores()
    assert flat.tobytes() == before
    assert scores() == first


def random_network(kind: tuple[str, str], layers: int, scale: float) -> tuple[RNNConfig, Array]:
    """Return a random, non-chaotic network of any cell; a smaller scale forgets sooner."""
    architecture = RNNConfig(6, 8, kind[0], layers, kind[1])
    flat = scale * np.random.default_rng(3).standard_normal(architecture.size())
    return architecture, contractive(architecture, flat, 0.3)


EVERY_CELL = [(kind, layers, 150, 20) for kind in CELLS for layers in (1, 2)]
LENGTHS = [(2, 20), (42, 20), (54, 20), (129, 20), (130, 20), (300, 1), (300, 170)]


@pytest.mark.parametrize(
    ("kind", "layers", "count", "seq_len"), [*EVERY_CELL, *((("rnn", "tanh"), 1, *each) for each in LENGTHS)]
)
def test_scores_match_stepper(kind: tuple[str, str], layers: int, count: int, seq_len: int) -> None:
    """128 characters are read at once, and the state of every layer is carried."""
    architecture, flat = random_network(kind, layers, 0.35)
    tokens, n = text(count), count - 1
    nats, hits = stepper_scores(flat, tokens, architecture)
    stateful = predict_stateful(architecture, flat, tokens).score
    whole = Bounds.of(architecture, flat, tokens[:-1, None].astype(np.intp)).nats.max()
    assert stateful.loss == pytest.approx(nats.mean(), rel=0, abs=max_difference(whole, nats.mean(), n))
    assert (stateful.context, stateful.characters, stateful.accuracy) == ("stateful", n, hits.mean())
    pieces = [
        stepper_scores(flat, tokens[s : s + seq_len + 1], architecture) for s in range(0, count - 1, seq_len)
    ]
    expected, hits = (np.concatenate(kind) for kind in zip(*pieces, strict=True))
    stateless = predict_stateless(architecture, flat, tokens, seq_len).score
    windows = np.resize(tokens[:-1], (-(-n // seq_len), seq_len)).T.astype(np.intp)  # the last one is filled
    bound = max_difference(Bounds.of(architecture, flat, windows).nats.max(), expected.mean(), n)
    assert stateless.loss == pytest.approx(expected.mean(), rel=0, abs=bound)
    assert (stateless.context, stateless.characters, stateless.accuracy) == ("stateless", n, hits.mean())
    if seq_len < n:
        assert stateless.loss != pytest.approx(stateful.loss, rel=1e-6)


def states_of_streams(architecture: RNNConfig, flat: Array, ids: Ids) -> tuple[Array, float]:
    """Return the exact initial states (L, S, 32, H) of 32 equal parts, and the error of a warm-up of 64
    characters."""
    reference_stepper, warmed_up = Stepper(architecture, flat, 1), Stepper(architecture, flat, 32)
    starts_at, entry_states = np.arange(32) * (ids.size // 32), []
    for k, character in enumerate(ids):
        if k in starts_at:
            entry_states.append(reference_stepper.state.copy())
        reference_stepper.step(np.array([character]))
    for k in range(-64, 0):
        warmed_up.step(ids[np.maximum(starts_at + k, 0)])
    warmed_up.state[:, :, 0] = 0  # the first part has no context
    starts = np.concatenate(entry_states, axis=2)
    return starts, float(np.linalg.norm(warmed_up.state - starts))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_validation_loss_of_every_cell(kind: tuple[str, str], layers: int) -> None:
    """The first stream starts from a zero state after the warm-up."""
    architecture, flat = random_network(kind, layers, 0.2)
    for layer in unflatten(architecture, flat).layers if kind[0] != "rnn" else ():
        # forget and update gates keep little of 64 characters
        layer.b[{"lstm": 2, "gru": 1}[kind[0]]] -= 1
    tokens = text(4001)
    exact = predict_stateful(architecture, flat, tokens).score.loss
    ids = tokens[:-1].astype(np.intp)
    starts, remaining = states_of_streams(architecture, flat, ids)
    # Both read the 32 parts. The error of a part must not grow from start to end.
    start_error = remaining + 1e-12
    bound = Bounds.of(architecture, flat, ids.reshape(32, 125).T, state=starts, state_error=start_error)
    assert bound.state <= start_error
    difference = max_difference(bound.nats.max(), exact, 4000)
    assert validation_loss(architecture, flat, tokens) == pytest.approx(exact, rel=0, abs=difference)
    assert difference < 1e-10, "the bound is too large for a comparison"


def test_bounded_validation_loss_uses_start_of_32_parts() -> None:
    flat, tokens = network(0.5), text(64_001)  # parts of 2,000 characters
    bounded = validation_loss(ARCHITECTURE, flat, tokens, most=3200)
    starts = range(0, 64_000, 2000)
    pieces = [stepper_scores(flat, tokens[max(0, k - 64) : k + 101], ARCHITECTURE)[0][-100:] for k in starts]
    exact = np.concatenate(pieces).mean()
    bound = max_difference(loss_error(ARCHITECTURE, flat, DOUBLE), exact, 3200)
    assert bounded == pytest.approx(exact, rel=0, abs=bound)
    whole = validation_loss(ARCHITECTURE, flat, tokens)
    assert bounded != pytest.approx(whole, rel=1e-6)
    assert validation_loss(ARCHITECTURE, flat, tokens, most=64_000) == whole


def test_scoring_memory_is_bounded() -> None:
    flat = network(0.9, np.float32)

    def peak(tokens: Tokens) -> int:
        tracemalloc.start()
        validation_loss(ARCHITECTURE, flat, tokens, most=10_000)
        predict_stateless(ARCHITECTURE, flat, tokens[:100_000], 100)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    tokens = text(500_000)
    assert peak(tokens) < 1.05 * peak(tokens[:100_000]) + 100_000
