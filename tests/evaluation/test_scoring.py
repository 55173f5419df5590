"""Scores against a loop that reads one character at a time."""

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
    """Confident weights, so that what was read matters; every length of h shrinks to `recurrence` a step."""
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


def read(flat: Array, tokens: Tokens) -> tuple[Array, Array]:
    """Nats and hits of each prediction in a piece of text, from a zero state, by the equations."""
    p = named_views(ARCHITECTURE, flat.astype(np.float64))
    h, nats, hits = np.zeros(ARCHITECTURE.hidden), [], []
    for token, target in pairwise(tokens):
        h = np.tanh(p["wx"][token] + h @ p["wh"] + p["b"])
        logits = h @ p["wy"] + p["by"]
        nats.append(np.log(np.exp(logits).sum()) - logits[target])
        hits.append(logits.argmax() == target)
    return np.array(nats), np.array(hits)


def apart(error: float, nats: float, count: int) -> float:
    """How far two ways to the mean nats of `count` predictions are apart, each off by `error` and its sum."""
    return 2 * (error + gamma(count, DOUBLE) * nats)


def rounding(flat: Array, nats: Array) -> float:
    """The same of a network with ||wh|| < 1 of ARCHITECTURE."""
    return apart(loss_error(ARCHITECTURE, flat, DOUBLE), nats.mean(), nats.size)


@pytest.mark.parametrize("count", [2, 128, 129, 130, 300])
def test_carried_score_is_that_of_reading_step_by_step(count: int) -> None:
    flat, tokens = network(0.9), text(count)
    nats, hits = read(flat, tokens)
    score = predict_stateful(ARCHITECTURE, flat, tokens).score
    assert score.context == "stateful"
    assert score.characters == count - 1
    assert score.loss == pytest.approx(nats.mean(), rel=0, abs=rounding(flat, nats))
    assert score.accuracy == hits.mean()


@pytest.mark.parametrize(
    ("count", "seq_len"), [(61, 20), (54, 20), (42, 20), (41, 20), (2, 20), (300, 1), (300, 170)]
)
def test_reset_score_is_that_of_each_window_by_itself_the_ragged_last_included(
    count: int, seq_len: int
) -> None:
    flat, tokens = network(0.9), text(count)
    pieces = [read(flat, tokens[s : s + seq_len + 1]) for s in range(0, count - 1, seq_len)]
    nats, hits = (np.concatenate(kind) for kind in zip(*pieces, strict=True))
    score = predict_stateless(ARCHITECTURE, flat, tokens, seq_len).score
    assert score.context == "stateless"
    assert score.characters == nats.size == count - 1
    assert score.loss == pytest.approx(nats.mean(), rel=0, abs=rounding(flat, nats))
    assert score.accuracy == hits.mean()


def test_context_makes_a_difference_to_this_network() -> None:
    """Or the two tests above would pass with the state handled in any way."""
    flat, tokens = network(0.9), text(300)
    carried = predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    assert abs(predict_stateless(ARCHITECTURE, flat, tokens, 5).score.loss / carried - 1) > 0.01


@pytest.mark.parametrize("count", [5000, 5003, 5025, 2050, 2049])
def test_validation_loss_of_a_forgetful_network_is_the_carried_score(count: int) -> None:
    """At half a state a step, 64 characters of warm-up leave 1e-19 of it: what differs is rounding."""
    flat, tokens = network(0.5), text(count)
    exact = predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    left = 0.5**64 * 2 * ARCHITECTURE.hidden**0.5 * np.linalg.norm(named_views(ARCHITECTURE, flat)["wy"], 2)
    off = apart(loss_error(ARCHITECTURE, flat, DOUBLE) + 2 * float(left), exact, count)
    assert validation_loss(ARCHITECTURE, flat, tokens) == pytest.approx(exact, rel=0, abs=off)


def test_validation_loss_of_a_network_that_remembers_is_close() -> None:
    flat, tokens = network(1.0, np.float32), text(5000)
    exact = predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    # no rounding: what src/evaluation/scoring.py promises
    assert validation_loss(ARCHITECTURE, flat, tokens) == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize("count", [2, 50, 2000])
def test_validation_loss_of_a_short_text_is_the_carried_score(count: int) -> None:
    flat, tokens = network(1.0), text(count)
    assert (
        validation_loss(ARCHITECTURE, flat, tokens) == predict_stateful(ARCHITECTURE, flat, tokens).score.loss
    )


def test_network_that_knows_nothing_needs_log2_v_bits() -> None:
    flat, tokens = np.zeros(ARCHITECTURE.size(), np.float32), text(3000)
    off = 2 * FUNCTION * UNIT + gamma(3000, DOUBLE)  # log(6) in float32, its mean in float64
    for score in (
        predict_stateful(ARCHITECTURE, flat, tokens).score,
        predict_stateless(ARCHITECTURE, flat, tokens, 20).score,
    ):
        assert score.bpc == pytest.approx(np.log2(6), rel=off)
        assert score.perplexity == pytest.approx(6, rel=log(6) * off)
    assert validation_loss(ARCHITECTURE, flat, tokens) == pytest.approx(log(6), rel=off)


def test_bits_and_perplexity_by_hand() -> None:
    score = Score("stateful", loss=log(8), accuracy=0.5, characters=10)
    # log and exp of the C library, off by at most 2 u each, log(8) times as much where exp takes it up
    assert score.bpc == pytest.approx(3, rel=gamma(6, DOUBLE))
    assert score.perplexity == pytest.approx(8, rel=gamma(8, DOUBLE))


def test_scoring_leaves_the_weights_and_repeats_to_the_bit() -> None:
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


def any_network(kind: tuple[str, str], layers: int, scale: float) -> tuple[RNNConfig, Array]:
    """A random network of any cell that is not chaotic; the smaller the scale, the sooner it forgets."""
    architecture = RNNConfig(6, 8, kind[0], layers, kind[1])
    flat = scale * np.random.default_rng(3).standard_normal(architecture.size())
    return architecture, contractive(architecture, flat, 0.3)


def step_by_step(architecture: RNNConfig, flat: Array, tokens: Tokens) -> tuple[Array, Array]:
    """Nats and hits of each prediction from a zero state."""
    stepper, nats, hits = Stepper(architecture, flat, 1), [], []
    for token, target in pairwise(tokens):
        logits = stepper.step(np.array([token]))[0]
        nats.append(np.log(np.exp(logits).sum()) - logits[target])
        hits.append(logits.argmax() == target)
    return np.array(nats), np.array(hits)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_scores_of_every_cell_are_those_of_reading_step_by_step(kind: tuple[str, str], layers: int) -> None:
    """300 characters: three pieces, so the whole state of every layer is carried between them."""
    architecture, flat = any_network(kind, layers, 0.35)
    tokens = text(300)
    nats, hits = step_by_step(architecture, flat, tokens)
    carried = predict_stateful(architecture, flat, tokens).score
    whole = Bounds.of(architecture, flat, tokens[:-1, None].astype(np.intp)).nats.max()
    assert carried.loss == pytest.approx(nats.mean(), rel=0, abs=apart(whole, nats.mean(), 299))
    assert carried.accuracy == hits.mean()
    pieces = [step_by_step(architecture, flat, tokens[s : s + 21])[0] for s in range(0, 299, 20)]
    reset = predict_stateless(architecture, flat, tokens, 20).score
    windows = np.resize(tokens[:-1], (15, 20)).T.astype(np.intp)  # of the last one, one character too many
    each = Bounds.of(architecture, flat, windows).nats.max()
    expected = np.concatenate(pieces).mean()
    assert reset.loss == pytest.approx(expected, rel=0, abs=apart(each, expected, 299))
    assert reset.loss != pytest.approx(carried.loss, rel=1e-6)


def states_of_streams(architecture: RNNConfig, flat: Array, ids: Ids) -> tuple[Array, float]:
    """The states (L, S, 32, H) in which a reader of all enters each of 32 equal parts, and how far from them
    is a reader who began from zero 64 characters before."""
    every, warm = Stepper(architecture, flat, 1), Stepper(architecture, flat, 32)
    begins, entered = np.arange(32) * (ids.size // 32), []
    for k, character in enumerate(ids):
        if k in begins:
            entered.append(every.state.copy())
        every.step(np.array([character]))
    for k in range(-64, 0):
        warm.step(ids[np.maximum(begins + k, 0)])
    warm.state[:, :, 0] = 0  # there is nothing in front of the first
    starts = np.concatenate(entered, axis=2)
    return starts, float(np.linalg.norm(warm.state - starts))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_validation_loss_of_every_cell_is_the_carried_score(kind: tuple[str, str], layers: int) -> None:
    """Also the first stream's: it begins behind the warm-up from a state that is zero in every part."""
    architecture, flat = any_network(kind, layers, 0.2)
    for layer in unflatten(architecture, flat).layers if kind[0] != "rnn" else ():
        # what forget and update gates keep of 64 characters: little
        layer.b[{"lstm": 2, "gru": 1}[kind[0]]] -= 1
    tokens = text(4001)
    exact = predict_stateful(architecture, flat, tokens).score.loss
    ids = tokens[:-1].astype(np.intp)
    starts, left = states_of_streams(architecture, flat, ids)
    # Each of the two reads the 32 parts. If a part that begins no further off ends no further off, none is.
    begin = left + 1e-12
    off = Bounds.of(architecture, flat, ids.reshape(32, 125).T, state=starts, state_off=begin)
    assert off.state <= begin
    apart_by = apart(off.nats.max(), exact, 4000)
    assert validation_loss(architecture, flat, tokens) == pytest.approx(exact, rel=0, abs=apart_by)
    assert apart_by < 1e-10, "else nothing is compared"


def test_bounded_validation_loss_is_that_of_the_beginnings_of_32_parts() -> None:
    flat, tokens = network(0.5), text(64_001)  # parts of 2,000 characters
    bounded = validation_loss(ARCHITECTURE, flat, tokens, most=3200)
    pieces = [read(flat, tokens[max(0, k - 64) : k + 101])[0][-100:] for k in range(0, 64_000, 2000)]
    nats = np.concatenate(pieces)
    assert bounded == pytest.approx(nats.mean(), rel=0, abs=rounding(flat, nats))
    whole = validation_loss(ARCHITECTURE, flat, tokens)
    assert bounded != pytest.approx(whole, rel=1e-6)
    assert validation_loss(ARCHITECTURE, flat, tokens, most=64_000) == whole


def test_windows_scored_in_groups_are_those_scored_together(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, tokens = network(0.9), text(3003)
    together = predict_stateless(ARCHITECTURE, flat, tokens, 20).score
    monkeypatch.setattr("src.evaluation.scoring.MAX_BUFFER_ELEMENTS", 8 * 20 * 7)  # seven windows at once
    groups = predict_stateless(ARCHITECTURE, flat, tokens, 20).score
    off = apart(loss_error(ARCHITECTURE, flat, DOUBLE), together.loss, together.characters)
    assert groups.loss == pytest.approx(together.loss, rel=0, abs=off)
    assert (groups.accuracy, groups.characters) == (together.accuracy, together.characters)


def test_scoring_takes_no_more_memory_for_more_text() -> None:
    flat = network(0.9, np.float32)

    def peak(tokens: Tokens) -> int:
        tracemalloc.start()
        validation_loss(ARCHITECTURE, flat, tokens, most=10_000)
        predict_stateless(ARCHITECTURE, flat, tokens[:200_000], 100)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    tokens = text(2_000_000)
    assert peak(tokens) < 1.05 * peak(tokens[:200_000]) + 100_000
