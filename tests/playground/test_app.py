"""What the page of `python -m src.play` is made of, and what cannot be served."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.models.serialization import TrainedModel
from src.playground import generation
from src.playground.generation import (
    GenerationRequest,
    TextStream,
    option_label,
    parse_request,
    score,
    settings_diff,
    validation_error,
)
from src.rnn.parameters import RNNConfig, initialize
from src.tracking.event_log import EventLog
from src.tracking.mlflow_server import check_free, is_listening
from src.tracking.run_record import RunRecord
from tests.conftest import Ended

Command = Callable[..., Ended]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- what is typed ---


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("temperature", 0.0, None),
        ("temperature", -0.5, "expected a number >= 0, got -0.5"),
        ("temperature", None, "expected a number >= 0, got nothing"),
        ("top_k", None, None),
        ("top_k", 5.0, None),  # a browser knows no integers
        ("top_k", 0, "expected an integer >= 1, or nothing for all, got 0"),
        ("top_k", 2.5, "expected an integer >= 1, or nothing for all, got 2.5"),
        ("top_p", 1.0, None),
        ("top_p", 1.5, "expected a number > 0 and <= 1, or nothing for all, got 1.5"),
        ("length", 1e9, "expected an integer >= 0 and <= 100000, got 1e+09"),
        ("seed", float("inf"), "expected an integer >= 0, got inf"),
    ],
)
def test_a_value_that_cannot_be_is_told(key: str, value: float | None, said: str | None) -> None:
    assert validation_error(key, value) == said


def test_a_wish_has_the_types_of_the_config() -> None:
    typed = {"prompt": "a", "temperature": 1, "top_k": 3.0, "top_p": None, "length": 10.0, "seed": 2.0}
    wish = parse_request(typed)
    assert wish == GenerationRequest("a", 1, 3, None, 10, 2)
    assert [type(wish.top_k), type(wish.length), type(wish.seed)] == [int, int, int]


# --- the text ---


@pytest.fixture
def model() -> TrainedModel:
    vocabulary = Vocabulary(" abc")
    architecture = RNNConfig(len(vocabulary), 8)
    rng = np.random.default_rng(1)
    flat = initialize(architecture, "uniform", rng)
    return TrainedModel(architecture, flat, vocabulary, Normalization(False, False, False))


def test_pieces_are_the_text_that_sample_writes(model: TrainedModel) -> None:
    from src.generation.sampling import sample

    stream = TextStream(model, GenerationRequest("ab", 0.8, 3, 0.9, 50, 7))
    pieces = []
    while not stream.ended:
        pieces.append(stream.next_chunk(8))
        assert len(pieces[-1]) <= 8
    whole = sample(model, "ab", 0.8, 50, np.random.default_rng(7), top_k=3, top_p=0.9)
    assert "".join(pieces) == "".join(whole)
    assert stream.written == 50
    assert re.fullmatch(r"50 characters, computed at [\d,]+ a second", stream.rate)


def test_a_piece_ends_with_its_time(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TextStream(model, GenerationRequest("ab", 1.0, None, None, 100_000, 1))
    piece = stream.next_chunk(None)
    assert 0 < len(piece) < 100_000
    assert not stream.ended
    monkeypatch.setattr(generation, "TIME_SLICE", 0.0)
    assert stream.next_chunk(None) == ""


def test_an_empty_text_ends_at_once(model: TrainedModel) -> None:
    stream = TextStream(model, GenerationRequest("ab", 1.0, None, None, 0, 1))
    assert stream.next_chunk(10) == ""
    assert stream.ended
    assert stream.rate == "0 characters"


def test_a_character_that_the_model_does_not_know_is_refused(model: TrainedModel) -> None:
    with pytest.raises(UserError, match=r"prompt: expected only the 4 characters .* got 'x'"):
        TextStream(model, GenerationRequest("x", 1.0, None, None, 10, 1))


# --- the runs to choose from ---


def test_settings_that_differ_are_listed_after_the_leading_ones() -> None:
    params = {"lr": "0.1", "seed": "1", "hidden": "8", "prompt": "a", "clip_mode": "norm"}
    one = RunRecord("1", "one", metrics={"val/loss": 2.0}, params=params)
    other = RunRecord("2", "other", params=params | {"seed": "2", "hidden": "9", "prompt": "b"})
    assert settings_diff(one, other) == [("hidden=8", True), ("lr=0.1", False), ("seed=1", True)]
    assert settings_diff(one, RunRecord("3")) == [
        ("hidden=8", True),
        ("lr=0.1", True),
        ("seed=1", True),
        ("clip_mode=norm", True),
    ]
    assert settings_diff(one, one) == [("hidden=8", False), ("lr=0.1", False)]
    assert option_label(one) == "one · val/loss 2.0000 · 1"
    assert score(other) == "no val/loss"


# --- what cannot be served ---


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("port=99999", "port: expected an integer >= 1 and <= 65535, got 99999"),
        ("length=100001", "length: expected an integer >= 0 and <= 100000, got 100001"),
        ("top_k=0", "top_k: expected an integer >= 1, or null for all, got 0"),
        ("lefft=best", "lefft: expected a known key, got lefft: did you mean left?"),
        ("left=null", "left: expected a text, got null"),
    ],
)
def test_a_key_that_cannot_be_is_one_line(argument: str, said: str, typed: Command) -> None:
    ended = typed("play", argument, body=lambda config: print("the command ran"))
    assert (ended.rc, ended.out, ended.complaint) == (2, "", f"play: {said}")


def test_an_unknown_run_is_one_line_that_names_its_side(typed: Command, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({"val/loss": 1.5}))
    journal = EventLog(folder)
    journal.start("e", "one", {}, {}, None)
    journal.end("FINISHED")
    ended = typed("play", "tracking=none", f"output_dir={tmp_path}", f"port={free_port()}", "right=two")
    expected = f"expected latest, best or the name of a run under {tmp_path / 'runs'}, got two"
    assert (ended.rc, ended.complaint) == (2, f"play: right: {expected}")


def test_no_runs_are_one_line(typed: Command, tmp_path: Path) -> None:
    ended = typed("play", "tracking=none", f"output_dir={tmp_path}", f"port={free_port()}")
    said = f"play: left: expected a finished run under {tmp_path / 'runs'}, got none: train one first"
    assert (ended.rc, ended.complaint) == (2, said)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own warnings are not ours to mend
def test_no_runs_in_mlflow_are_one_line(typed: Command, tmp_path: Path) -> None:
    ended = typed("play", f"output_dir={tmp_path}", f"port={free_port()}")
    said = "play: left: expected a finished run in experiment char-rnn, got none: train one first"
    assert (ended.rc, ended.complaint) == (2, said)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_busy_port_is_one_line(typed: Command, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert is_listening("127.0.0.1", port)
        ended = typed("play", f"output_dir={tmp_path}", f"port={port}")
    assert ended.rc == 2
    assert ended.complaint == f"play: port: expected a free port, got {port}, which is already in use"
    assert not is_listening("127.0.0.1", port)


def test_a_host_that_is_not_this_machine_is_one_line(typed: Command, tmp_path: Path) -> None:
    ended = typed("play", f"output_dir={tmp_path}", "host=no.such.host.invalid")
    assert ended.rc == 2
    assert ended.complaint.startswith(
        "play: host: expected an address of this machine, got no.such.host.invalid"
    )
    check_free("127.0.0.1", free_port())
