"""What the page of `python -m src.play` is made of, and what cannot be served."""

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.common.errors import InputError
from src.config.schema import PlacesConfig, TrackingConfig
from src.data.normalization import Normalisation
from src.data.vocabulary import Vocabulary
from src.models.serialization import Model
from src.playground import generation
from src.playground.generation import Stream, Wish, complaint, wish_of
from src.rnn.init import initialise
from src.rnn.parameters import Architecture
from src.tracking.mlflow_server import answers, check_free
from src.tracking.run_store import Listed, RunList, told
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
        ("top_k", 0, "expected an integer >= 1, or nothing for all of them, got 0"),
        ("top_k", 2.5, "expected an integer >= 1, or nothing for all of them, got 2.5"),
        ("top_p", 1.0, None),
        ("top_p", 1.5, "expected a number > 0 and <= 1, or nothing for all of them, got 1.5"),
        ("length", 1e9, "expected an integer >= 0 and <= 100000, got 1e+09"),
        ("seed", float("inf"), "expected an integer >= 0, got inf"),
    ],
)
def test_a_value_that_cannot_be_is_told(key: str, value: float | None, said: str | None) -> None:
    assert complaint(key, value) == said


def test_a_wish_has_the_types_of_the_config() -> None:
    typed = {"prompt": "a", "temperature": 1, "top_k": 3.0, "top_p": None, "length": 10.0, "seed": 2.0}
    wish = wish_of(typed)
    assert wish == Wish("a", 1, 3, None, 10, 2)
    assert [type(wish.top_k), type(wish.length), type(wish.seed)] == [int, int, int]


# --- the text ---


@pytest.fixture
def model() -> Model:
    vocabulary = Vocabulary(" abc")
    architecture = Architecture(len(vocabulary), 8)
    rng = np.random.default_rng(1)
    flat = initialise(architecture, "uniform", rng)
    return Model(architecture, flat, vocabulary, Normalisation(False, False, False))


def test_pieces_are_the_text_that_sample_writes(model: Model) -> None:
    from src.generation.sampling import sample

    stream = Stream(model, Wish("ab", 0.8, 3, 0.9, 50, 7))
    pieces = []
    while not stream.ended:
        pieces.append(stream.take(8))
        assert len(pieces[-1]) <= 8
    whole = sample(model, "ab", 0.8, 50, np.random.default_rng(7), top_k=3, top_p=0.9)
    assert "".join(pieces) == "".join(whole)
    assert stream.written == 50
    assert re.fullmatch(r"50 characters, computed at [\d,]+ a second", stream.rate)


def test_a_piece_ends_with_its_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(model, Wish("ab", 1.0, None, None, 100_000, 1))
    piece = stream.take(None)
    assert 0 < len(piece) < 100_000
    assert not stream.ended
    monkeypatch.setattr(generation, "SLICE", 0.0)
    assert stream.take(None) == ""


def test_an_empty_text_ends_at_once(model: Model) -> None:
    stream = Stream(model, Wish("ab", 1.0, None, None, 0, 1))
    assert stream.take(10) == ""
    assert stream.ended
    assert stream.rate == "0 characters"


def test_a_character_that_the_model_does_not_know_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match=r"prompt: expected only the 4 characters .* got 'x'"):
        Stream(model, Wish("x", 1.0, None, None, 10, 1))


# --- the runs to choose from ---


def test_what_differs_between_two_runs_is_told_behind_what_comes_first() -> None:
    one = Listed(
        "1", "one", 2.0, {"lr": "0.1", "seed": "1", "hidden": "8", "prompt": "a", "clip_mode": "norm"}
    )
    other = Listed(
        "2", "other", None, {"lr": "0.1", "seed": "2", "hidden": "9", "prompt": "b", "clip_mode": "norm"}
    )
    assert told(one, other) == [("hidden=8", True), ("lr=0.1", False), ("seed=1", True)]
    assert told(one, Listed("3", "old", 1.0, {})) == [
        ("hidden=8", True),
        ("lr=0.1", True),
        ("seed=1", True),
        ("clip_mode=norm", True),
    ]
    assert told(one, one) == [("hidden=8", False), ("lr=0.1", False)]
    assert one.line == "one · val/loss 2.0000 · 1"
    assert other.score == "no val/loss"


def test_directories_of_untracked_runs_are_listed_the_last_that_finished_first(tmp_path: Path) -> None:
    runs = RunList(PlacesConfig(str(tmp_path), str(tmp_path), TrackingConfig("none", None, "e", None)))
    assert runs.all() == []
    for k, name in enumerate(["early", "late"]):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps({"val/loss": 1.5}))
        start = {"kind": "start", "name": f"rnn {name}", "params": {"hidden": k}}
        (folder / "journal.jsonl").write_text(json.dumps(start) + "\n")
        time.sleep(0.02)
    (tmp_path / "runs" / "under way").mkdir()
    assert runs.all() == [
        Listed("late", "rnn late", 1.5, {"hidden": "1"}),
        Listed("early", "rnn early", 1.5, {"hidden": "0"}),
    ]
    (tmp_path / "runs" / "late" / "journal.jsonl").unlink()  # a damaged one hides none of the others
    assert [run.name for run in runs.all()] == ["late", "rnn early"]
    assert runs.find("left", "latest").run_id == "late"
    with pytest.raises(InputError, match=r"^right: expected latest, best or the name of a run .* got nobody"):
        runs.find("right", "nobody")
    with pytest.raises(InputError, match=r"^run: expected a whole run, got a damaged one in .*early \("):
        runs.model("early")


# --- what cannot be served ---


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("port=99999", "port: expected an integer >= 1 and <= 65535, got 99999"),
        ("length=100001", "length: expected an integer >= 0 and <= 100000, got 100001"),
        ("top_k=0", "top_k: expected an integer >= 1, or null for all of them, got 0"),
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
    ended = typed("play", "tracking=none", f"output_dir={tmp_path}", f"port={free_port()}", "right=two")
    expected = f"expected latest, best or the name of a run under {tmp_path / 'runs'}, got two"
    assert (ended.rc, ended.complaint) == (2, f"play: right: {expected}")


def test_no_runs_are_one_line(typed: Command, tmp_path: Path) -> None:
    ended = typed("play", "tracking=none", f"output_dir={tmp_path}", f"port={free_port()}")
    said = f"play: run: expected a finished run under {tmp_path / 'runs'}, got none: train one first"
    assert (ended.rc, ended.complaint) == (2, said)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own warnings are not ours to mend
def test_no_runs_in_mlflow_are_one_line(typed: Command, tmp_path: Path) -> None:
    ended = typed("play", f"output_dir={tmp_path}", f"port={free_port()}")
    said = "play: run: expected a finished run in experiment char-rnn, got none: train one first"
    assert (ended.rc, ended.complaint) == (2, said)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_busy_port_is_one_line(typed: Command, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert answers("127.0.0.1", port)
        ended = typed("play", f"output_dir={tmp_path}", f"port={port}")
    assert ended.rc == 2
    assert ended.complaint == f"play: port: expected a free port, got {port}, where something answers already"
    assert not answers("127.0.0.1", port)


def test_a_host_that_is_not_this_machine_is_one_line(typed: Command, tmp_path: Path) -> None:
    ended = typed("play", f"output_dir={tmp_path}", "host=no.such.host.invalid")
    assert ended.rc == 2
    assert ended.complaint.startswith(
        "play: host: expected an address of this machine, got no.such.host.invalid"
    )
    check_free("127.0.0.1", free_port())
