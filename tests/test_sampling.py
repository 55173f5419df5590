from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import InputError
from src.lab.model.sampling import characters, choose, restrict, sample, sample_many
from src.lab.model.weights import Model
from src.rnn.cells import CELLS
from src.rnn.network import Buffers, forward
from src.rnn.parameters import Architecture, Array, unflatten
from src.text.normalisation import Normalisation
from src.text.vocabulary import Vocabulary

LETTERS = " abcdefg"
COARSEST, FINEST = 0.0, 1 - 2**-53  # the ends of what Generator.random gives


@pytest.fixture(
    params=[(*kind, layers) for kind in CELLS for layers in (1, 2)], ids=lambda p: "-".join(map(str, p))
)
def model(request: pytest.FixtureRequest) -> Model:
    """A random network with a long memory, in double precision."""
    cell, activation, layers = request.param
    architecture = Architecture(8, 16, cell, layers, activation)
    flat = np.random.default_rng(0).standard_normal(architecture.size())
    if activation == "relu":  # or it would grow without bounds
        flat *= 0.5
    normalisation = Normalisation(lowercase=True, letters_only=True, collapse_spaces=True)
    return Model(architecture, flat, Vocabulary(LETTERS), normalisation)


def text(model: Model, prompt: str, temperature: float = 1.0, length: int = 60, seed: int = 0) -> str:
    return "".join(sample(model, prompt, temperature, length, np.random.default_rng(seed)))


def test_same_seed_same_text_another_seed_another(model: Model) -> None:
    assert text(model, "bad", seed=4) == text(model, "bad", seed=4)
    assert text(model, "bad", seed=4) != text(model, "bad", seed=5)


def test_temperature_zero_takes_the_argmax_at_every_step(model: Model) -> None:
    p = unflatten(model.architecture, model.flat)
    expected, read = "", "bad cafe"
    for _ in range(40):
        ids = np.array([[LETTERS.index(character)] for character in read + expected])
        logits = forward(p, ids, Buffers.allocate(model.architecture, len(ids), 1, np.float64))
        expected += LETTERS[np.argmax(logits[:, -1])]
    assert text(model, read, temperature=0, length=40) == expected
    assert text(model, read, temperature=0, length=40, seed=9) == expected


@pytest.mark.parametrize(("typed", "meant"), [("BAD", "bad"), ("bad...  Cab", "bad cab"), ("\nbad", " bad")])
def test_prompt_goes_through_the_normalisation_of_the_corpus(model: Model, typed: str, meant: str) -> None:
    assert text(model, typed) == text(model, meant)


def test_unknown_character_is_refused_before_the_first_character(model: Model) -> None:
    """By the call itself: nothing has been asked of the iterator."""
    with pytest.raises(InputError, match="got 'z'"):
        sample(model, "baz", 1.0, 10, np.random.default_rng(0))


@pytest.mark.parametrize("prompt", ["", "bad"])
@pytest.mark.parametrize("length", [0, 1, 37])
def test_length_counts_the_new_characters_alone(model: Model, prompt: str, length: int) -> None:
    assert len(text(model, prompt, length=length)) == length


def test_shorter_text_is_the_beginning_of_the_longer(model: Model) -> None:
    assert text(model, "bad", length=60).startswith(text(model, "bad", length=25))


def test_other_prompts_with_the_same_last_character_continue_differently(model: Model) -> None:
    assert len({text(model, prompt) for prompt in ("a", "ba", "bba", "fade a", "gggga")}) == 5


@pytest.mark.parametrize("read", [0, 1, 30])
def test_reading_what_was_written_continues_it(model: Model, read: int) -> None:
    """The warm-up and the writing loop leave the same state behind the same characters."""
    uniforms = np.random.default_rng(0).random(60)
    ids = model.vocabulary.encode("bad").astype(np.intp)
    whole = "".join(characters(model, ids, 1.0, uniforms))
    ids = model.vocabulary.encode("bad" + whole[:read]).astype(np.intp)
    assert "".join(characters(model, ids, 1.0, uniforms[read:])) == whole[read:]


def test_without_a_prompt_every_first_character_is_equally_likely(model: Model) -> None:
    nothing = np.zeros(0, np.intp)
    firsts = [next(characters(model, nothing, 1.0, np.array([(k + 0.5) / 80]))) for k in range(80)]
    assert [firsts.count(letter) for letter in LETTERS] == [10] * 8
    assert next(characters(model, nothing, 1.0, np.array([FINEST]))) == LETTERS[-1]


def test_prompt_of_nothing_but_what_normalisation_removes_still_warms_up(model: Model) -> None:
    """ "?" becomes a space, so it is read: another text than without a prompt."""
    assert text(model, "?") == text(model, " ") != text(model, "")


def test_sampling_leaves_the_weights(model: Model) -> None:
    before = model.flat.tobytes()
    text(model, "bad")
    assert model.flat.tobytes() == before


def test_single_precision_weights_write_text_too(model: Model) -> None:
    single = replace(model, flat=model.flat.astype(np.float32))
    assert text(single, "bad", 0, length=30) == text(model, "bad", 0, length=30)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_choice_follows_softmax_of_logits_over_temperature(temperature: float) -> None:
    logits = np.array([0.5, -1.0, 2.0, 0.0])
    share = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    uniforms = (np.arange(10_000) + 0.5) / 10_000
    chosen = np.bincount([choose(logits, temperature, u) for u in uniforms], minlength=4)
    np.testing.assert_allclose(chosen / 10_000, share, atol=1e-4)


@pytest.mark.parametrize("uniform", [COARSEST, 0.5, FINEST])
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-3, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_next_to_temperature_zero_the_likeliest_is_chosen_without_a_warning(
    uniform: float, temperature: float, dtype: type[np.floating]
) -> None:
    assert choose(np.array([-80.0, 3.0, 2.0, -90.0], dtype), temperature, uniform) == 1


@pytest.mark.parametrize("uniform", [COARSEST, FINEST])
def test_impossible_characters_are_never_chosen(uniform: float) -> None:
    assert choose(np.array([-1e5, 0.0, -1e5, 0.0, -1e5]), 1.0, uniform) in (1, 3)


@pytest.mark.parametrize("uniform", [COARSEST, FINEST])
def test_huge_logits_and_temperatures_do_not_overflow(uniform: float) -> None:
    logits = np.array([1e4, -1e4, 1e4])
    assert choose(logits, 1.0, uniform) == (0 if uniform == COARSEST else 2)
    assert choose(logits, 1e300, 0.5) == 1


def test_choosing_leaves_the_logits() -> None:
    logits = np.array([1.0, 2.0])
    choose(logits, 0.7, 0.5)
    assert logits.tolist() == [1, 2]


# --- top_k and top_p ---

GRID = (np.arange(10_000) + 0.5) / 10_000  # uniform numbers that meet every choice in its share


def shares(logits: Sequence[float] | Array, temperature: float = 1.0, **restrictions: Any) -> Array:
    """How often each id is chosen."""
    many = np.broadcast_to(np.asarray(logits, dtype=float), (GRID.size, len(logits)))
    return np.bincount(choose(many, temperature, GRID, **restrictions), minlength=len(logits)) / GRID.size


def softmax(logits: Sequence[float] | Array, temperature: float = 1.0) -> Array:
    p: Array = np.exp((np.asarray(logits) - np.max(logits)) / temperature)
    p /= p.sum()
    return p


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 99])
def test_top_k_leaves_the_k_likeliest_in_their_proportion(temperature: float, top_k: int) -> None:
    logits = np.array([0.5, -1.0, 2.0, 0.0, 1.0])
    expected = softmax(logits, temperature)
    expected[np.argsort(-logits)[top_k:]] = 0
    np.testing.assert_allclose(shares(logits, temperature, top_k=top_k), expected / expected.sum(), atol=2e-4)


@pytest.mark.parametrize(
    ("top_p", "left"), [(1e-9, 1), (0.39, 1), (0.41, 2), (0.69, 2), (0.71, 3), (0.95, 4)]
)
def test_top_p_leaves_the_smallest_set_with_that_share(top_p: float, left: int) -> None:
    p = np.array([0.1, 0.4, 0.2, 0.3])
    expected = np.where(np.isin(np.arange(4), [1, 3, 2, 0][:left]), p, 0)
    np.testing.assert_allclose(shares(np.log(p), top_p=top_p), expected / expected.sum(), atol=2e-4)


def test_temperature_comes_before_top_p() -> None:
    """What is flattened first has a wider nucleus."""
    p = np.log([0.7, 0.1, 0.1, 0.1])
    assert np.count_nonzero(shares(p, 1.0, top_p=0.6)) == 1
    assert np.count_nonzero(shares(p, 5.0, top_p=0.6)) == 3


def test_top_p_is_a_share_of_what_top_k_leaves() -> None:
    p = np.log([0.4, 0.3, 0.2, 0.1])
    assert np.count_nonzero(shares(p, top_p=0.57)) == 2
    assert np.count_nonzero(shares(p, top_k=2, top_p=0.57)) == 1  # 0.4 of 0.7


def test_of_equals_the_first_count() -> None:
    assert np.flatnonzero(shares([1.0, 2.0, 2.0, 2.0], top_k=2)).tolist() == [1, 2]
    assert np.flatnonzero(shares([0.0] * 10, top_p=0.25)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 0.7, 1e300])
def test_the_likeliest_alone_is_the_argmax_at_every_temperature(temperature: float) -> None:
    """At 1e300 the exponential rounds all to one number: the order is that of the logits."""
    logits = np.array([0.0, 3.0, 3.0 + 1e-9, 1.0])
    for restrictions in ({"top_k": 1}, {"top_p": 1e-12}, {"top_k": 1, "top_p": 1.0}):
        for uniform in (COARSEST, 0.5, FINEST):
            assert choose(logits, temperature, uniform, **restrictions) == 2


@pytest.mark.parametrize("restrictions", [{"top_k": 27}, {"top_p": 1.0}, {"top_k": 99, "top_p": 1.0}])
def test_a_restriction_that_drops_nothing_changes_nothing(restrictions: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    logits, uniforms = 5 * rng.standard_normal((2000, 27)), rng.random(2000)
    chosen = choose(logits, 0.7, uniforms, **restrictions)
    assert chosen.tolist() == choose(logits, 0.7, uniforms).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streams_are_restricted_each_by_its_own_logits(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    logits, uniforms = rng.standard_normal((50, 27)).astype(dtype), rng.random(50)
    together = choose(logits, 0.7, uniforms, 5, 0.8)
    alone = [int(choose(logits[k], 0.7, uniforms[k], 5, 0.8)) for k in range(50)]
    assert together.tolist() == alone


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    st.floats(0.05, 10),
    st.integers(1, 40),
    st.floats(1e-6, 1),
)
def test_what_is_left_is_the_smallest_sufficient_set(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    p = softmax(logits, temperature)
    left = p.copy()
    restrict(left, np.array(logits), top_k, top_p)
    kept = np.flatnonzero(left)
    assert 1 <= kept.size <= top_k
    assert (left[kept] == p[kept]).all()
    ranked = sorted(range(p.size), key=lambda k: (-logits[k], k))
    assert set(kept) == set(ranked[: kept.size])  # the likeliest, the first of equals
    total = p[ranked[:top_k]].sum()
    assert p[ranked[: kept.size]].sum() >= top_p * total * (1 - 1e-12) or kept.size == np.count_nonzero(p)
    assert p[ranked[: kept.size - 1]].sum() <= top_p * total * (1 + 1e-12)


@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (4, None), (None, 0.8), (6, 0.9)])
def test_drawn_characters_follow_the_restricted_distribution(top_k: int | None, top_p: float | None) -> None:
    """A chi-square test of 50,000 draws; its threshold is passed by one right sampler in 10,000."""
    rng = np.random.default_rng(1)
    logits = 2 * rng.standard_normal(12)
    p = softmax(logits, 0.8)
    order = np.argsort(-p)
    kept = order[:top_k]
    if top_p is not None:
        enough = np.searchsorted(np.cumsum(p[kept]) / p[kept].sum(), top_p) + 1
        kept = kept[:enough]
    drawn = choose(np.broadcast_to(logits, (50_000, 12)), 0.8, rng.random(50_000), top_k, top_p)
    counts = np.bincount(drawn, minlength=12)
    assert counts.sum() == counts[kept].sum()
    expected = 50_000 * p[kept] / p[kept].sum()
    degrees = kept.size - 1
    quantile = degrees * (1 - 2 / (9 * degrees) + 3.72 * np.sqrt(2 / (9 * degrees))) ** 3  # Wilson-Hilferty
    assert ((counts[kept] - expected) ** 2 / expected).sum() < quantile


# --- many samples at once ---


def texts(
    model: Model,
    prompt: str,
    count: int,
    temperature: float = 1.0,
    length: int = 60,
    seed: int = 0,
    **restrictions: Any,
) -> list[str]:
    rng = np.random.default_rng(seed)
    grown = list(sample_many(model, prompt, temperature, length, rng, count, **restrictions))
    assert all(len(row) == count for row in grown)
    return ["".join(row[k] for row in grown) for k in range(count)]


@pytest.mark.parametrize("prompt", ["", "bad"])
@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_of_many_is_the_only_one_of_one(
    model: Model, prompt: str, count: int, dtype: type[np.floating]
) -> None:
    kind = replace(model, flat=model.flat.astype(dtype))
    written = texts(kind, prompt, count, length=80, top_k=6, top_p=0.95)
    rng = np.random.default_rng(0)
    assert written[0] == "".join(sample(kind, prompt, 1.0, 80, rng, top_k=6, top_p=0.95))


def test_a_text_does_not_depend_on_how_many_are_asked_for(model: Model) -> None:
    assert texts(model, "bad", 8)[:3] == texts(model, "bad", 3)


def test_many_texts_differ_but_at_temperature_zero(model: Model) -> None:
    assert len(set(texts(model, "bad", 8))) == 8
    assert len(set(texts(model, "bad", 4, temperature=0))) == 1
    assert len(set(texts(model, "", 8, length=1))) > 1


def test_many_texts_are_as_long_as_asked(model: Model) -> None:
    assert texts(model, "bad", 3, length=0) == ["", "", ""]
    assert [len(text) for text in texts(model, "", 3, length=7)] == [7, 7, 7]


def test_many_refuse_an_unknown_character_before_the_first(model: Model) -> None:
    with pytest.raises(InputError, match="got 'z'"):
        sample_many(model, "baz", 1.0, 10, np.random.default_rng(0), 3)


def test_restricted_texts_hold_only_what_the_restriction_leaves(model: Model) -> None:
    assert text(model, "bad", temperature=0) == "".join(
        sample(model, "bad", 1.0, 60, np.random.default_rng(3), top_k=1)
    )
