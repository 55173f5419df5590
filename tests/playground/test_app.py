"""The parts of the page of `python -m src.play`, and its errors."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.common.errors import UserError
from src.config.schema import PlayConfig
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.diagnostics.unit_analysis import collect_activations
from src.generation.sampling import sample
from src.models import serialization
from src.models.serialization import TrainedModel
from src.playground import generation
from src.playground.generation import (
    KEYS,
    ModelCache,
    NextCharacter,
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
from tests.commands import RunCli, free_port
from tests.compose import composed
from tests.conftest import ignore_mlflow_warnings


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("temperature", 0.0, None),
        ("temperature", -0.5, "expected a number >= 0, got -0.5"),
        ("temperature", None, "expected a number >= 0, got nothing"),
        ("top_k", None, None),
        ("top_k", 5.0, None),  # browsers send floats
        ("top_k", 0, "expected an integer >= 1, or nothing for all, got 0"),
        ("top_k", 2.5, "expected an integer >= 1, or nothing for all, got 2.5"),
        ("top_p", 1.0, None),
        ("top_p", 1.5, "expected a number > 0 and <= 1, or nothing for all, got 1.5"),
        ("length", 1e9, "expected an integer >= 0 and <= 100000, got 1e+09"),
        ("seed", float("inf"), "expected an integer >= 0, got inf"),
    ],
)
def test_validation_error_messages(key: str, value: float | None, expected: str | None) -> None:
    assert validation_error(key, value) == expected


def test_parse_request_converts_types() -> None:
    values = {"prompt": "a", "temperature": 1, "top_k": 3.0, "top_p": None, "length": 10.0, "seed": 2.0}
    request = parse_request(composed("play"), values)
    assert [getattr(request, key) for key in KEYS] == ["a", 1, 3, None, 10, 2]
    assert [type(request.top_k), type(request.length), type(request.seed)] == [int, int, int]


def settings(*values: Any) -> PlayConfig:
    """Return a config with these values of KEYS."""
    return parse_request(composed("play"), dict(zip(KEYS, values, strict=True)))


@pytest.fixture
def model() -> TrainedModel:
    vocabulary = Vocabulary(" abc")
    architecture = RNNConfig(len(vocabulary), 8)
    flat = initialize(architecture, "uniform", np.random.default_rng(1))
    return TrainedModel(architecture, flat, vocabulary, Normalization(False, False, False))


def test_chunks_are_text_of_sample(model: TrainedModel) -> None:
    stream = TextStream(model, settings("ab", 0.8, 3, 0.9, 50, 7))
    chunks = []
    while not stream.ended:
        chunks.append(stream.next_chunk(8))
        assert len(chunks[-1]) <= 8
    whole = sample(model, "ab", 0.8, 50, np.random.default_rng(7), top_k=3, top_p=0.9)
    assert "".join(chunks) == "".join(whole)
    assert stream.written == 50
    assert re.fullmatch(r"50 characters, computed at [\d,]+ a second", stream.rate)


def test_text_without_prompt_begins_with_that_of_model(model: TrainedModel) -> None:
    own = replace(model, prompt="cab ")
    stream = TextStream(own, settings("", 0.8, 3, 0.9, 50, 7))
    whole = sample(model, "cab ", 0.8, 50, np.random.default_rng(7), top_k=3, top_p=0.9)
    written = ""
    while not stream.ended:
        written += stream.next_chunk(None)
    assert (stream.prompt, written) == ("cab ", "".join(whole))
    likeliest = [
        NextCharacter(own, settings(prompt, 0.8, 3, 0.9, 50, 7)).likeliest("cab a", 4)
        for prompt in ("", "cab ")
    ]
    assert likeliest[0] == likeliest[1]


def test_chunk_ends_after_time_slice(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TextStream(model, settings("ab", 1.0, None, None, 100_000, 1))
    assert 0 < len(stream.next_chunk(None)) < 100_000
    assert not stream.ended
    monkeypatch.setattr(generation, "TIME_SLICE", 0.0)
    assert stream.next_chunk(None) == ""


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.5, 3, None), (0.5, None, 0.6), (0.0, None, None)],
)
def test_next_character_has_probabilities_of_sampling(
    model: TrainedModel, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    request = settings("ab", temperature, top_k, top_p, 1200, 7)
    stream = TextStream(model, request)
    chunks = [stream.prompt]
    while not stream.ended:
        chunks.append(stream.next_chunk(None))
    text, reader = "".join(chunks), NextCharacter(model, request)
    ids = model.vocabulary.encode(text)
    logs = np.log(collect_activations(model.architecture, model.params, ids)[1])
    # In any order: a text is read again from a kept state.
    for place in (1201, 0, 499, 500, 501, 1000, 1):
        order = np.argsort(-logs[place])
        log = logs[place][order].astype(np.float64)
        p = np.exp((log - log[0]) / max(temperature, 1e-9))
        p[top_k or p.size :] = 0
        p[1 + np.count_nonzero(np.cumsum(p) < (top_p or 1) * p.sum() * (1 - 1e-9)) :] = 0
        found = reader.likeliest(text, place)
        assert [character for character, _ in found] == [" abc"[k] for k in order]
        assert [share for _, share in found] == pytest.approx((p / p.sum()).tolist(), rel=1e-4)
    assert set(reader.states) == {0, 500, 1000}


def test_unlikely_next_character_is_shown(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "NUM_LIKELIEST", 1)
    reader = NextCharacter(model, settings("ab", 1.0, None, None, 5, 7))
    (first, share), *rest = reader.likeliest("ab", 1)
    assert rest == []
    other = "c" if first != "c" else "a"
    (again, other_pair) = reader.likeliest(f"ab{other}", 1)
    assert again == (first, share)
    assert other_pair[0] == other
    assert other_pair[1] < share


def test_empty_text_ends_immediately(model: TrainedModel) -> None:
    stream = TextStream(model, settings("ab", 1.0, None, None, 0, 1))
    assert (stream.next_chunk(10), stream.ended, stream.rate) == ("", True, "0 characters")


def test_unknown_character_is_rejected(model: TrainedModel) -> None:
    with pytest.raises(UserError, match=r"prompt: expected only the 4 characters .* got 'x'"):
        TextStream(model, settings("x", 1.0, None, None, 10, 1))


def test_settings_diff_lists_leading_settings_first() -> None:
    params = {"lr": "0.1", "seed": "1", "hidden": "8", "prompt": "a", "clip_mode": "norm"}
    one = RunRecord("1", "one", metrics={"val/loss": 2.0}, params=params)
    other = RunRecord("2", "other", params=params | {"seed": "2", "hidden": "9", "prompt": "b"})
    assert settings_diff(one, other) == [("hidden=8", True), ("lr=0.1", False), ("seed=1", True)]
    all_settings = ("hidden=8", "lr=0.1", "seed=1", "clip_mode=norm")
    assert settings_diff(one, RunRecord("3")) == [(setting, True) for setting in all_settings]
    assert settings_diff(one, one) == [("hidden=8", False), ("lr=0.1", False)]
    assert option_label(one) == "one · val/loss 2.0000 · 1"
    assert score(other) == "no val/loss"


@pytest.mark.slow
@ignore_mlflow_warnings
def test_page_lists_and_loads_runs_of_mlflow_in_threads(client: Any, trained: Any) -> None:
    from src.tracking.mlflow_store import MlflowStore

    store = MlflowStore(trained.uri, "char-rnn", trained.outputs)
    client.create_registered_model("writer")
    source = f"runs:/{trained.run_id}/model"
    version = client.create_model_version("writer", source, trained.run_id)
    client.set_registered_model_alias("writer", "hero", version.version)
    with ThreadPoolExecutor(1) as pool:
        listed = {run.run_id: run for run in pool.submit(store.finished).result()}
        run = listed.pop(trained.run_id)
        model = pool.submit(ModelCache(store).load, run).result()
    assert "writer@hero" in run.aliases
    assert option_label(run).endswith(f" · {run.aliases[-1]} · {trained.run_id}")
    assert not any(other.aliases for other in listed.values())
    assert model.params.tobytes() == serialization.load(trained.folder / "model").params.tobytes()


def test_unknown_run_is_rejected_with_side(run_cli: RunCli, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({"val/loss": 1.5}))
    event_log = EventLog(folder)
    event_log.start("e", "one", {}, {}, None)
    event_log.end("FINISHED")
    play = ("play", "tracking=none", f"output_dir={tmp_path}", f"port={free_port()}", "right=two")
    expected = f"expected latest, best or the name of a run under {folder.parent}, got two"
    assert run_cli(*play).error_line == f"play: right: {expected}"


@pytest.mark.slow
@ignore_mlflow_warnings
def test_missing_runs_in_mlflow_are_reported(run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli("play", f"output_dir={tmp_path}", f"port={free_port()}")
    expected = "play: left: expected a finished run in experiment char-rnn, got none: train one first"
    assert result.error_line == expected
    assert not (tmp_path / "mlflow.db").exists()


def test_address_in_use_or_of_another_machine_is_rejected(run_cli: RunCli, tmp_path: Path) -> None:
    play = ("play", f"output_dir={tmp_path}")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert is_listening("127.0.0.1", port)
        error = run_cli(*play, f"port={port}").error_line
    assert error == f"play: port: expected a free port, got {port}, which is already in use"
    assert not is_listening("127.0.0.1", port)
    check_free("127.0.0.1", port)
    error = run_cli(*play, "host=no.such.host.invalid").error_line
    assert error.startswith("play: host: expected an address of this machine, got no.such.host.invalid")
