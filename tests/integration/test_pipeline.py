"""The stages through the command line, end to end."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import SUMMARY
from tests.conftest import PROJECT

Typed = Callable[..., Any]


def weights_of(outputs: Path) -> bytes:
    """The kept weights of the one run under a directory."""
    (file,) = outputs.glob("runs/*/model/weights.safetensors")
    return file.read_bytes()


# --- one's own text, stage by stage ---

LINE = "the rain in spain stays mainly in the plain; a hand, a stand: sand? land! 42 Winds of Grand Élan"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 kB of a person's own text, with capitals, punctuation, digits, line ends and an accent."""
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(LINE.split(), 8)) for _ in range(450)]
    file = tmp_path_factory.mktemp("own") / "my text, 1.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_the_stages_one_after_another_on_a_text_of_ones_own(
    text: Path, command: Callable[..., Any], typed: Typed, tmp_path: Path
) -> None:
    places = [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    data = ["data=file", f"data.path={text}"]

    first = command("src.preprocess", *data, *places)
    assert first.rc == 0, first.err
    assert "already prepared" not in first.err
    assert re.search(r"^train +[\d,]+ characters$", first.out, re.MULTILINE)
    assert (tmp_path / "d" / "file.txt").read_text(encoding="utf-8") == text.read_text(encoding="utf-8")
    (manifest,) = (tmp_path / "d").glob("file-*/manifest.json")
    made = manifest.stat().st_mtime_ns
    again = typed("preprocess", *data, *places)
    assert "already prepared" in again.err
    assert again.out == first.out
    assert manifest.stat().st_mtime_ns == made
    assert not (tmp_path / "o").exists()

    settings = ["hidden=16", "max_epochs=0.5", "eval_every=50", "length=40", "prompt=the rain, Élan: 42"]
    trained = command("src.train", *settings, *data, *places)
    assert trained.rc == 0, trained.err
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    (line,) = trained.out.splitlines()
    assert re.fullmatch(SUMMARY.replace(r"\w+$", re.escape(folder.name)), line)
    assert re.findall(r"^\[(\d)/4\]", trained.err, re.MULTILINE) == ["1", "2", "3", "4"]
    assert "already prepared" in trained.err

    evaluated = typed("evaluate", *places)
    assert evaluated.rc == 0, evaluated.err
    bpc = re.match(r"test/bpc=([\d.]+) ", line)
    assert bpc is not None
    assert re.search(rf"^network, stateful .* {bpc[1]} ", evaluated.out, re.MULTILINE)
    assert "characters of the test split" in evaluated.out
    for name in ("network, stateless", "uniform", "unigram", "8-gram", "xz", "test split"):
        assert re.search(rf"^{name}\b", evaluated.out, re.MULTILINE)

    sampled = typed("sample", "prompt=Winds, 42\nof ", "length=50", *places)
    assert sampled.rc == 0, sampled.err
    assert sampled.out.startswith("Winds, 42\nof ")
    assert len(sampled.out) == len("Winds, 42\nof ") + 50 + 1
    assert set(sampled.out) <= set(text.read_text(encoding="utf-8"))

    text_before = text.read_text(encoding="utf-8")
    try:
        text.write_text(text_before + "ß", encoding="utf-8")
        changed = typed("evaluate", *places)
        assert changed.rc != 0
        assert "has the text changed?" in changed.complaint
    finally:
        text.write_text(text_before, encoding="utf-8")


@pytest.mark.slow
def test_without_a_test_split_the_scores_are_the_validation_splits(
    text: Path, typed: Typed, tmp_path: Path
) -> None:
    places = [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    data = ["data=file", f"data.path={text}", "data.split=[0.9,0.1,0.0]", "prompt=the "]
    ended = typed("train", "hidden=8", "max_epochs=0.1", "workers=1", *data, *places)
    assert ended.rc == 0, ended.err
    (line,) = ended.out.splitlines()
    assert re.fullmatch(SUMMARY.replace("test/", "final_val/").replace(r"\w+", r"[\w-]+"), line)
    assert "[3/4] evaluate: on the validation split" in ended.err
    (file,) = (tmp_path / "o").glob("runs/*/scores.json")
    scores = json.loads(file.read_text())
    assert not [name for name in scores if name.startswith("test")]
    # no rounding: two ways to score a split, which differ by what the state holds where a stream begins
    assert scores["final_val/loss"] == pytest.approx(scores["val/loss"], rel=0.02)
    evaluated = typed("evaluate", *places)
    assert "validation split (this corpus has no test split)" in evaluated.out


# --- one run, from the outside ---


@pytest.mark.slow
def test_the_last_line_is_for_scripts(trained: Any) -> None:
    (line,) = trained.ended.out.splitlines()
    assert re.match(SUMMARY, line)
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert f"test/bpc={scores['test/bpc']:.4f} val/loss={scores['val/loss']:.4f} " in line
    assert "steps=598 " in line


@pytest.mark.slow
def test_without_a_terminal_progress_is_plain_lines(trained: Any) -> None:
    err = trained.ended.err
    assert "\x1b" not in err
    assert "\r" not in err
    lines = [line for line in err.splitlines() if line.startswith("step ")]
    assert [int(line.split("/")[0].removeprefix("step ")) for line in lines] == [100, 200, 300, 400, 500, 598]
    shape = r"step \d+/598  epoch \d\.\d\d  train \d\.\d{3}  val \d\.\d{3} nats  [\d,]+ chars/s  \d+ s left"
    assert all(re.fullmatch(shape, line) for line in lines), lines
    assert "Warning" not in err


@pytest.mark.slow
def test_the_shared_run_beats_the_bigram(trained: Any) -> None:
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert (
        scores["test/bpc"]
        < scores["test/ngram2_bpc"]
        < scores["test/unigram_bpc"]
        < scores["test/uniform_bpc"]
    )
    ((_, seconds, _),) = trained.curve("train/seconds")
    assert seconds > 0


@pytest.mark.slow
def test_the_same_command_gives_the_same_bits_tracked_or_not(
    command: Callable[..., Any], trained: Any, small: tuple[str, ...], tmp_path: Path
) -> None:
    places = [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    ended = command("src.train", *small, *places)
    assert ended.rc == 0, ended.err
    assert weights_of(tmp_path / "o") == (trained.folder / "model" / "weights.safetensors").read_bytes()
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    for file in sorted((trained.folder / "samples").glob("*.txt")):
        if not file.name.startswith("written_"):
            assert (folder / "samples" / file.name).read_text() == file.read_text(), file.name
    own, shared = (json.loads((f / "scores.json").read_text()) for f in (folder, trained.folder))
    assert own == shared


@pytest.mark.slow
def test_a_time_budget_on_the_command_line(typed: Typed, tmp_path: Path) -> None:
    places = [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    ended = typed("train", "max_seconds=1", "max_epochs=1000", "hidden=16", "workers=1", "length=10", *places)
    assert ended.rc == 0, ended.err
    said = re.search(
        r"^trained [\d,]+ steps .* in ([\d.]+) s, stop reason: max_seconds;", ended.err, re.MULTILINE
    )
    assert said is not None, ended.err
    assert float(said[1]) >= 1


@pytest.mark.slow
def test_the_pipeline_says_when_claims_are_not_checked(typed: Typed, tmp_path: Path) -> None:
    places = [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    ended = typed("pipeline", "hidden=8", "max_epochs=0.05", "workers=1", "length=30", *places)
    assert ended.rc == 0, ended.err
    assert "claims not checked" in ended.out
    assert "hidden=8 max_epochs=0.05" in ended.out
    assert "network, stateful" in ended.out
    assert re.findall(r"^temperature ([\d.]+), ", ended.out, re.MULTILINE) == ["0.4", "0.7", "1"]
    assert re.match(SUMMARY.replace(r"\w+", r"[\w-]+"), ended.out.splitlines()[-1])
    assert not (tmp_path / "o" / "reproduction.json").exists()


# --- sampling and evaluating ---


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own warnings are not ours to mend
def test_evaluating_gives_the_scores_of_the_run(typed: Typed, trained: Any) -> None:
    ended = typed("evaluate", f"run={trained.run_id}", *trained.places)
    assert ended.rc == 0, ended.err
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert f"{scores['test/loss']:.4f}" in ended.out
    kept = trained.outputs / "artifacts" / trained.run_id / "artifacts" / "evaluation" / "scores.json"
    told = json.loads(kept.read_text())
    assert told.keys() == {key for key in scores if key.startswith(("test/", "test_stateless/"))}
    assert told == {key: scores[key] for key in told}  # the same computation, by one thread of BLAS
    report = json.loads(kept.with_name("evaluation.json").read_text())
    assert [text["temperature"] for text in report["texts"]] == [0.1, 0.4, 0.7, 1, 1.5, 2, None]
    known = [text["known_words"] for text in report["texts"][:-1]]
    assert known[2] > known[3] > known[-1]  # the hotter, the more words it makes up
    assert kept.with_name("temperature.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_sample_appears_while_it_is_written(typed: Typed, text: Path, tmp_path: Path) -> None:
    places = [f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    data = ["data=file", f"data.path={text}", "prompt=the "]
    assert typed("train", "hidden=8", "max_epochs=0.02", "workers=1", "length=5", *data, *places).rc == 0
    endless = ["prompt=the ", "length=5000000", *places]
    process = subprocess.Popen(
        [sys.executable, "-m", "src.sample", *endless],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.read(300).startswith(b"the ")
        assert process.poll() is None, "the text was there only when all of it was written"
    finally:
        process.kill()
        process.communicate()
