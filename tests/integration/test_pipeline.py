"""All stages on the command line, end to end."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.models import serialization
from src.tracking.run_record import RunRecord
from tests.commands import SUMMARY, RunCli
from tests.processes import start

pytestmark = pytest.mark.slow


LINE = "the rain in spain stays mainly in the plain; a hand, a stand: sand? land! 42 Winds of Grand Élan"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 kB of text with capitals, punctuation, digits, line ends and an accent."""
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(LINE.split(), 8)) for _ in range(450)]
    file = tmp_path_factory.mktemp("own") / "my text, 1.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def path_overrides(tmp_path: Path) -> list[str]:
    return [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]


def test_all_stages_on_custom_text(
    text: Path, command: RunCli, run_cli: RunCli, tmp_path: Path, path_overrides: list[str]
) -> None:
    data = ["data=file", f"data.path={text}"]

    prepared = command("src.preprocess", *data, *path_overrides).check()
    assert "already prepared" not in prepared.err
    assert re.search(r"^train +[\d,]+ characters$", prepared.out, re.MULTILINE)
    assert (tmp_path / "d" / "file.txt").read_text(encoding="utf-8") == text.read_text(encoding="utf-8")
    (manifest,) = (tmp_path / "d").glob("my_text_1-*/manifest.json")
    assert json.loads(manifest.read_text())["source"]["files"] == ["my text, 1.txt"]
    modified = manifest.stat().st_mtime_ns
    again = run_cli("preprocess", *data, *path_overrides)
    assert "already prepared" in again.err
    assert again.out == prepared.out
    assert manifest.stat().st_mtime_ns == modified
    assert not (tmp_path / "o").exists()

    settings = ["hidden=16", "max_epochs=0.5", "eval_every=50", "length=40"]
    trained = command("src.train", *settings, *data, *path_overrides).check()
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    run = RunRecord.load(folder)
    assert run.name == "rnn hidden=16 max_epochs=0.5 eval_every=50 length=40 my_text_1"
    assert run.params["data"] == "my_text_1"
    assert "my_text_1" in (folder / "neurons.html").read_text()
    prompt = serialization.load(folder / "model").prompt
    assert 20 <= len(prompt) <= 30
    assert prompt in text.read_text()
    assert {row["prompt"] for row in run.samples} == {prompt}
    assert f"\n  {prompt}{run.samples[0]['text']}\n" in trained.err
    (line,) = trained.out.splitlines()
    assert re.fullmatch(SUMMARY, line)
    assert line.endswith(f" run={folder.name}")
    assert re.findall(r"^\[(\d)/4\]", trained.err, re.MULTILINE) == ["1", "2", "3", "4"]
    assert "already prepared" in trained.err

    evaluated = run_cli("evaluate", *path_overrides).check()
    bpc = re.match(r"test/bpc=([\d.]+) ", line)
    assert bpc is not None
    assert re.search(rf"^network, stateful .* {bpc[1]} ", evaluated.out, re.MULTILINE)
    assert "characters of the test split" in evaluated.out
    for name in ("network, stateless", "uniform", "unigram", "8-gram", "xz", "test split"):
        assert re.search(rf"^{name}\b", evaluated.out, re.MULTILINE)

    sampled = run_cli("sample", "length=50", *path_overrides).check()
    assert sampled.out.startswith(prompt)
    assert sampled.out == run_cli("sample", f"prompt={prompt}", "length=50", *path_overrides).out
    sampled = run_cli("sample", "prompt=Winds, 42\nof ", "length=50", *path_overrides).check()
    assert sampled.out.startswith("Winds, 42\nof ")
    assert len(sampled.out) == len("Winds, 42\nof ") + 50 + 1
    assert set(sampled.out) <= set(text.read_text(encoding="utf-8"))


def test_scores_without_test_split(
    text: Path, run_cli: RunCli, tmp_path: Path, path_overrides: list[str]
) -> None:
    data = ["data=file", f"data.path={text}", "data.split=[0.9,0.1,0.0]", "prompt=the "]
    result = run_cli(
        "train", "hidden=8", "max_epochs=0.1", "workers=1", "figures=false", *data, *path_overrides
    ).check()
    (line,) = result.out.splitlines()
    assert re.fullmatch(SUMMARY.replace("test/", "final_val/"), line)
    assert "[3/4] evaluate: on the validation split" in result.err
    (file,) = (tmp_path / "o").glob("runs/*/scores.json")
    scores = json.loads(file.read_text())
    assert not [name for name in scores if name.startswith("test")]
    # the two scores differ in the initial state of the streams
    assert scores["final_val/loss"] == pytest.approx(scores["val/loss"], rel=0.02)
    evaluated = run_cli("evaluate", *path_overrides)
    assert "validation split (this corpus has no test split)" in evaluated.out


def test_summary_and_scores(trained: Any) -> None:
    (line,) = trained.result.out.splitlines()
    assert re.match(SUMMARY, line)
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert f"test/bpc={scores['test/bpc']:.4f} val/loss={scores['val/loss']:.4f} " in line
    assert "steps=598 " in line
    baselines = [scores[f"test/{name}_bpc"] for name in ("ngram2", "unigram", "uniform")]
    assert scores["test/bpc"] < baselines[0] < baselines[1] < baselines[2]
    ((_, seconds, _),) = trained.curve("train/seconds")
    assert seconds > 0


def test_progress_without_terminal(trained: Any) -> None:
    err = trained.result.err
    assert not re.search(r"\x1b|\r|Warning", err)
    shape = r"step (\d+)/598  epoch \d\.\d\d  train \d\.\d{3}  val \d\.\d{3} nats  [\d,]+ chars/s  \d+ s left"
    lines = [re.fullmatch(shape, line) for line in err.splitlines() if line.startswith("step ")]
    assert [line and line[1] for line in lines] == ["100", "200", "300", "400", "500", "598"], err


def test_tracking_does_not_change_result(
    command: RunCli, trained: Any, small: tuple[str, ...], tmp_path: Path, path_overrides: list[str]
) -> None:
    command("src.train", *small, *path_overrides).check()
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    files = [folder / "model" / "weights.safetensors", *(folder / "samples").iterdir()]
    assert len(files) > 4
    for file in files:
        assert file.read_bytes() == (trained.folder / file.relative_to(folder)).read_bytes(), file.name
    untracked, tracked = (json.loads((f / "scores.json").read_text()) for f in (folder, trained.folder))
    assert untracked == tracked


def test_pipeline_reports_unchecked_claims(
    run_cli: RunCli, tmp_path: Path, path_overrides: list[str]
) -> None:
    settings = ("hidden=8", "max_epochs=0.05", "workers=1", "length=30", "figures=false")
    result = run_cli("pipeline", *settings, *path_overrides).check()
    assert "claims not checked" in result.out
    assert "hidden=8 max_epochs=0.05" in result.out
    assert "network, stateful" in result.out
    assert re.findall(r"^temperature ([\d.]+), ", result.out, re.MULTILINE) == ["0.4", "0.7", "1"]
    assert re.match(SUMMARY, result.out.splitlines()[-1])
    assert not (tmp_path / "o" / "pipeline").exists()


@pytest.mark.usefixtures("started_syncs")
def test_evaluate_reproduces_scores_of_run(run_cli: RunCli, trained: Any) -> None:
    result = run_cli("evaluate", f"run={trained.run_id}", *trained.path_overrides).check()
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert f"{scores['test/loss']:.4f}" in result.out
    scores_path = trained.folder / "evaluation" / "scores.json"
    # The same computation with one BLAS thread.
    expected = {key: scores[key] for key in scores if key.startswith(("test/", "test_stateless/"))}
    assert json.loads(scores_path.read_text()) == expected
    report = json.loads(scores_path.with_name("evaluation.json").read_text())
    assert [text["temperature"] for text in report["texts"]] == [0.1, 0.4, 0.7, 1, 1.5, 2, None]
    known = [text["known_words"] for text in report["texts"][:-1]]
    assert known[2] > known[3] > known[-1]  # higher temperatures give fewer known words
    assert scores_path.with_name("temperature.png").stat().st_size > 5000


def test_sample_is_streamed(trained: Any) -> None:
    overrides = [f"run={trained.folder.name}", "prompt=the ", "length=5000000", "tracking=none"]
    process = start("src.sample", *overrides, *trained.path_overrides)
    try:
        assert process.stdout is not None
        assert process.stdout.read(300).startswith("the ")
        assert process.poll() is None, "the text was not streamed"
    finally:
        process.kill()
        process.communicate()
