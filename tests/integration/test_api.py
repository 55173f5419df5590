"""`CharRNN` is made of the pipeline's objects, and every mistake is a UserError of one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.build import DOCS
from src.api import CharRNN
from src.common.errors import UserError
from src.models import serialization
from tests.conftest import Trained, ignore_mlflow_warnings

TINY = {"hidden": 4, "seq_len": 5, "batch_size": 8, "max_epochs": 0.1, "length": 7, "data__lowercase": True}
VERSE = 4 * "So long lives this, and this gives life to thee.\r\n"


@pytest.fixture(scope="module")
def net() -> CharRNN:
    return CharRNN(**TINY).fit(VERSE)


@pytest.mark.slow
@ignore_mlflow_warnings
def test_same_weights_as_the_command(trained: Trained) -> None:
    (file,) = (trained.root / "data").glob("smallshake-*/text.txt")
    keys = {"data__split": [0.8, 0.1, 0.1], "workers": 2}
    found = CharRNN(hidden=32, max_epochs=0.5, eval_every=100, **keys).fit(file.read_text("utf-8"))
    run = CharRNN.load(trained.folder / "model")
    assert found.model.params.tobytes() == run.model.params.tobytes()
    assert found.model.vocabulary == run.model.vocabulary
    text = (trained.folder / "samples" / "temperature_0.7.txt").read_text("utf-8")
    assert text == f"{run.model.prompt}{found.sample(length=120)}\n", "the sample of the run"


def test_saved_network_is_the_same(net: CharRNN, tmp_path: Path) -> None:
    net.save(tmp_path / "verse")
    loaded = CharRNN.load(str(tmp_path / "verse"))
    assert loaded.model.params.tobytes() == net.model.params.tobytes()
    assert loaded.config.hidden == 4
    assert loaded.score("this and") == net.score("this and")
    assert loaded.sample("so", 20, 0.5) == net.sample("so", 20, 0.5)
    assert serialization.load(tmp_path / "verse").normalization.lowercase


def test_keys_and_generator(net: CharRNN) -> None:
    assert len(net.sample("so")) == 7, "the key length"
    assert net.sample() == net.sample(net.model.prompt) != net.sample("")
    assert net.model.prompt
    assert net.sample("so", 20, rng=np.random.default_rng(net.config.seed)) == net.sample("so", 20)
    assert net.sample("so", 20, rng=np.random.default_rng(2)) != net.sample("so", 20)
    assert "\r" not in net.model.vocabulary.characters
    assert net.score("SO LONG").characters == 6
    assert net.result is not None
    assert net.result.stop_reason == "max_epochs"
    deep = CharRNN(model="lstm", model__layers=2, clip=None, temperatures=[1, 2], lr=1e-5).config
    assert (deep.model.name, deep.model.layers, deep.clip, deep.temperatures) == ("lstm", 2, None, [1, 2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: CharRNN(hiden=3), "hiden: expected a known key, got hiden: did you mean hidden?"),
        (lambda net: CharRNN(hidden=0), "hidden: expected an integer >= 1, got 0"),
        (lambda net: CharRNN(model="cnn"), "model: expected one of gru, lstm, rnn, got cnn"),
        (lambda net: CharRNN(model__dropout=0.5), "model.dropout: expected 0 with model.layers=1"),
        (lambda net: CharRNN(output_dir="x"), "output_dir: expected a key of the network or of its training"),
        (lambda net: CharRNN(data__path="x"), "data.path: expected a key of the network or of its training"),
        (lambda net: CharRNN().score(VERSE), "model: expected a trained network, got an untrained one"),
        (lambda net: CharRNN().fit("so long"), "data: expected at least 205 characters"),
        (lambda net: CharRNN().fit(1000 * "a"), "data: expected at least 2 distinct characters, got 1"),
        (lambda net: net.score("s"), "text: expected at least 2 characters, got 1"),
        (lambda net: net.score("so 2"), "text: expected only the "),
        (lambda net: net.sample("so 2"), "prompt: expected only the "),
        (lambda net: net.sample("so", length=-1), "length: expected an integer >= 0, got -1"),
        (lambda net: net.sample("so", temperature=-1), "temperature: expected a number >= 0, got -1"),
    ],
)
def test_mistakes_are_reported(net: CharRNN, call: Callable[[CharRNN], Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        call(net)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_page_has_ten_lines() -> None:
    first = (DOCS / "python.md").read_text("utf-8").split("```python\n")[1].partition("```")[0]
    assert len(first.splitlines()) <= 10
    assert "Buffers" not in first
