"""Text generation: prompt, length, seed, and several samples at once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.generation.sampling import generate_batch, sample, sample_many
from src.models.serialization import TrainedModel
from src.rnn.cells import CELLS
from src.rnn.network import Buffers, forward
from src.rnn.parameters import RNNConfig, unflatten
from tests.generation.test_sample_token import FINEST

LETTERS = " abcdefg"


@pytest.fixture(
    params=[(*kind, layers) for kind in CELLS for layers in (1, 2)], ids=lambda p: "-".join(map(str, p))
)
def model(request: pytest.FixtureRequest) -> TrainedModel:
    """A random network with a long memory, in double precision."""
    cell, activation, layers = request.param
    architecture = RNNConfig(8, 16, cell, layers, activation)
    flat = np.random.default_rng(0).standard_normal(architecture.size())
    if activation == "relu":  # keeps the state bounded
        flat *= 0.5
    normalization = Normalization(lowercase=True, letters_only=True, collapse_spaces=True)
    return TrainedModel(architecture, flat, Vocabulary(LETTERS), normalization)


def text(model: TrainedModel, prompt: str, temperature: float = 1.0, length: int = 60, seed: int = 0) -> str:
    return "".join(sample(model, prompt, temperature, length, np.random.default_rng(seed)))


def test_text_depends_on_seed(model: TrainedModel) -> None:
    assert text(model, "bad", seed=4) == text(model, "bad", seed=4)
    assert text(model, "bad", seed=4) != text(model, "bad", seed=5)


def test_temperature_zero_is_argmax(model: TrainedModel) -> None:
    p = unflatten(model.architecture, model.params)
    expected, num_read = "", "bad cafe"
    for _ in range(40):
        ids = np.array([[LETTERS.index(character)] for character in num_read + expected])
        logits = forward(p, ids, Buffers.allocate(model.architecture, len(ids), 1, np.float64))
        expected += LETTERS[np.argmax(logits[:, -1])]
    assert text(model, num_read, temperature=0, length=40) == expected
    assert text(model, num_read, temperature=0, length=40, seed=9) == expected


@pytest.mark.parametrize(
    ("prompt", "normalized"), [("BAD", "bad"), ("bad...  Cab", "bad cab"), ("\nbad", " bad")]
)
def test_prompt_is_normalized(model: TrainedModel, prompt: str, normalized: str) -> None:
    assert text(model, prompt) == text(model, normalized)


def test_unknown_character_is_rejected_before_sampling(model: TrainedModel) -> None:
    """The call itself raises, before the iterator is used."""
    with pytest.raises(UserError, match="got 'z'"):
        sample(model, "baz", 1.0, 10, np.random.default_rng(0))


@pytest.mark.parametrize("prompt", ["", "bad"])
@pytest.mark.parametrize("length", [0, 1, 37])
def test_length_excludes_prompt(model: TrainedModel, prompt: str, length: int) -> None:
    assert len(text(model, prompt, length=length)) == length


def test_shorter_text_is_prefix_of_longer(model: TrainedModel) -> None:
    assert text(model, "bad", length=60).startswith(text(model, "bad", length=25))


def test_text_depends_on_whole_prompt(model: TrainedModel) -> None:
    assert len({text(model, prompt) for prompt in ("a", "ba", "bba", "fade a", "gggga")}) == 5


def characters(model: TrainedModel, prompt_ids: Any, uniforms: Any) -> Iterator[str]:
    """Yield one character per uniform number, after the prompt."""
    for (one,) in generate_batch(model, prompt_ids, 1.0, uniforms[:, None]):
        yield model.vocabulary.characters[one]


@pytest.mark.parametrize("num_read", [0, 1, 30])
def test_reading_generated_text_continues_it(model: TrainedModel, num_read: int) -> None:
    """Warm-up and generation leave the same state."""
    uniforms = np.random.default_rng(0).random(60)
    ids = model.vocabulary.encode("bad").astype(np.intp)
    whole = "".join(characters(model, ids, uniforms))
    ids = model.vocabulary.encode("bad" + whole[:num_read]).astype(np.intp)
    assert "".join(characters(model, ids, uniforms[num_read:])) == whole[num_read:]


def test_empty_prompt_gives_uniform_first_character(model: TrainedModel) -> None:
    nothing = np.zeros(0, np.intp)
    firsts = [next(characters(model, nothing, np.array([(k + 0.5) / 80]))) for k in range(80)]
    assert [firsts.count(letter) for letter in LETTERS] == [10] * 8
    assert next(characters(model, nothing, np.array([FINEST]))) == LETTERS[-1]


def test_prompt_of_replaced_characters_is_read(model: TrainedModel) -> None:
    """ "?" becomes a space and is read."""
    assert text(model, "?") == text(model, " ") != text(model, "")


def test_sampling_keeps_weights(model: TrainedModel) -> None:
    before = model.params.tobytes()
    text(model, "bad")
    assert model.params.tobytes() == before


def test_single_precision_gives_same_text(model: TrainedModel) -> None:
    single = replace(model, params=model.params.astype(np.float32))
    assert text(single, "bad", 0, length=30) == text(model, "bad", 0, length=30)


def texts(
    model: TrainedModel,
    prompt: str,
    count: int,
    temperature: float = 1.0,
    length: int = 60,
    seed: int = 0,
    **restrictions: Any,
) -> list[str]:
    rng = np.random.default_rng(seed)
    rows = list(sample_many(model, prompt, temperature, length, rng, count, **restrictions))
    assert all(len(row) == count for row in rows)
    return ["".join(row[k] for row in rows) for k in range(count)]


@pytest.mark.parametrize("prompt", ["", "bad"])
@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_of_many_samples_equals_single_sample(
    model: TrainedModel, prompt: str, count: int, dtype: type[np.floating]
) -> None:
    kind = replace(model, params=model.params.astype(dtype))
    batch = texts(kind, prompt, count, length=80, top_k=6, top_p=0.95)
    rng = np.random.default_rng(0)
    assert batch[0] == "".join(sample(kind, prompt, 1.0, 80, rng, top_k=6, top_p=0.95))


def test_sample_does_not_depend_on_count(model: TrainedModel) -> None:
    assert texts(model, "bad", 8)[:3] == texts(model, "bad", 3)


def test_samples_differ_except_at_temperature_zero(model: TrainedModel) -> None:
    assert len(set(texts(model, "bad", 8))) == 8
    assert len(set(texts(model, "bad", 4, temperature=0))) == 1
    assert len(set(texts(model, "", 8, length=1))) > 1


def test_samples_have_requested_length(model: TrainedModel) -> None:
    assert texts(model, "bad", 3, length=0) == ["", "", ""]
    assert [len(text) for text in texts(model, "", 3, length=7)] == [7, 7, 7]


def test_sample_many_rejects_unknown_character(model: TrainedModel) -> None:
    with pytest.raises(UserError, match="got 'z'"):
        sample_many(model, "baz", 1.0, 10, np.random.default_rng(0), 3)


def test_top_k_one_is_argmax_text(model: TrainedModel) -> None:
    assert text(model, "bad", temperature=0) == "".join(
        sample(model, "bad", 1.0, 60, np.random.default_rng(3), top_k=1)
    )
