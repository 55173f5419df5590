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
    return model_of(*request.param)


@pytest.fixture
def lstm() -> TrainedModel:
    """One network for what does not depend on the cell."""
    return model_of("lstm", "tanh", 2)


def model_of(cell: str, activation: str, layers: int) -> TrainedModel:
    architecture = RNNConfig(8, 16, cell, layers, activation)
    flat = np.random.default_rng(0).standard_normal(architecture.size())
    if activation == "relu":  # keeps the state bounded
        flat *= 0.5
    normalization = Normalization(lowercase=True, letters_only=True, collapse_spaces=True)
    return TrainedModel(architecture, flat, Vocabulary(LETTERS), normalization)


def text(model: TrainedModel, prompt: str, temperature: float = 1.0, length: int = 60, seed: int = 0) -> str:
    return "".join(sample(model, prompt, temperature, length, np.random.default_rng(seed)))


def texts(
    model: TrainedModel, prompt: str, count: int, temperature: float = 1.0, length: int = 60, **filters: Any
) -> list[str]:
    rows = sample_many(model, prompt, temperature, length, np.random.default_rng(0), count, **filters)
    return ["".join(column) for column in zip(*rows, strict=True)]


def test_text_depends_on_seed_and_whole_prompt(model: TrainedModel) -> None:
    before = model.params.tobytes()
    assert text(model, "bad", seed=4) == text(model, "bad", seed=4)
    assert text(model, "bad", seed=4) != text(model, "bad", seed=5)
    assert len({text(model, prompt) for prompt in ("a", "ba", "bba", "fade a", "gggga")}) == 5
    assert model.params.tobytes() == before


def test_temperature_zero_is_argmax(model: TrainedModel) -> None:
    p = unflatten(model.architecture, model.params)
    expected, prompt = "", "bad cafe"
    for _ in range(40):
        ids = np.array([[LETTERS.index(character)] for character in prompt + expected])
        logits = forward(p, ids, Buffers.allocate(model.architecture, len(ids), 1, np.float64))
        expected += LETTERS[np.argmax(logits[:, -1])]
    assert text(model, prompt, temperature=0, length=40) == expected
    assert text(model, prompt, temperature=0, length=40, seed=9) == expected
    single = replace(model, params=model.params.astype(np.float32))
    assert text(single, prompt, temperature=0, length=30) == expected[:30]
    assert texts(model, prompt, 4, temperature=0, length=40) == [expected] * 4
    assert texts(model, prompt, 1, length=40, top_k=1) == [expected]


@pytest.mark.parametrize(
    ("prompt", "normalized"), [("BAD", "bad"), ("bad...  Cab", "bad cab"), ("\nbad", " bad"), ("?", " ")]
)
def test_prompt_is_normalized(lstm: TrainedModel, prompt: str, normalized: str) -> None:
    assert text(lstm, prompt) == text(lstm, normalized) != text(lstm, "")


def test_unknown_character_is_rejected_before_sampling(lstm: TrainedModel) -> None:
    """The call itself raises, before the iterator is used."""
    with pytest.raises(UserError, match="got 'z'"):
        sample(lstm, "baz", 1.0, 10, np.random.default_rng(0))
    with pytest.raises(UserError, match="got 'z'"):
        sample_many(lstm, "baz", 1.0, 10, np.random.default_rng(0), 3)


@pytest.mark.parametrize("prompt", ["", "bad"])
def test_length_excludes_prompt(lstm: TrainedModel, prompt: str) -> None:
    whole = text(lstm, prompt, length=60)
    for length in (0, 1, 25, 60):
        assert text(lstm, prompt, length=length) == whole[:length]
        rows = list(sample_many(lstm, prompt, 1.0, length, np.random.default_rng(0), 3))
        assert [len(row) for row in rows] == [3] * length


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


def test_empty_prompt_gives_uniform_first_character(lstm: TrainedModel) -> None:
    nothing = np.zeros(0, np.intp)
    firsts = [next(characters(lstm, nothing, np.array([(k + 0.5) / 80]))) for k in range(80)]
    assert [firsts.count(letter) for letter in LETTERS] == [10] * 8
    assert next(characters(lstm, nothing, np.array([FINEST]))) == LETTERS[-1]


@pytest.mark.parametrize("prompt", ["", "bad"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_do_not_depend_on_count(model: TrainedModel, prompt: str, dtype: type[np.floating]) -> None:
    kind = replace(model, params=model.params.astype(dtype))
    filters: dict[str, Any] = {"top_k": 6, "top_p": 0.95}
    many = texts(kind, prompt, 8, **filters)
    assert len(set(many)) == 8
    for count in (3, 2):
        fewer = texts(kind, prompt, count, **filters)
        assert fewer[0] == many[0]
        if dtype is np.float64:  # in single precision the rounding of a product depends on its number of rows
            assert fewer == many[:count]
    assert "".join(sample(kind, prompt, 1.0, 60, np.random.default_rng(0), **filters)) == many[0]
