"""What a training and a sweep show on a terminal, read back from a pseudo-terminal."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from src.common.console import ExperimentProgress
from tests.terminal import Terminal, run_in_terminal

pytestmark = pytest.mark.slow

JOB = ("hidden=8", "max_epochs=0.3", "eval_every=20", "log_every=5", "length=20", "workers=1",
       "batch_size=16", "diagnostics=false", "figures=false", "tracking=none")  # fmt: skip
STEP = r"step (\d+)/(\d+)  train \d\.\d{3}  val \d\.\d{3} nats"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A text of wide characters, line ends and escape sequences, from which samples are made."""
    root = tmp_path_factory.mktemp("text")
    characters = list("天地玄黄宇宙洪荒\n\t\x1b\u0301")
    text = "".join(np.random.default_rng(1).choice(characters, 6000))
    (root / "text.txt").write_text(text, encoding="utf-8", newline="")
    return ("data=file", f"data.path={root / 'text.txt'}", f"data_dir={root}", f"output_dir={root}",
            "prompt=天地", "data.lowercase=false", "data.letters_only=false",
            "data.collapse_spaces=false")  # fmt: skip


def bars(terminal: Terminal, start: str) -> list[str]:
    """Return the rows of the bar that were seen after the first step."""
    rows = [row for frame in terminal.frames for row in frame if re.match(start, row) and "\u2501" in row]
    return [row for row in rows if " step 0/" not in f" {row}"]


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_losses_and_sample_fit_the_width(command: Any, text: tuple[str, ...], columns: int) -> None:
    """Also without color, at 120 columns."""
    extra = {"NO_COLOR": "1"} if columns == 120 else {}
    terminal = run_in_terminal(command, "src.train", *JOB, *text, columns=columns, environment=extra)
    assert terminal.rc == 0, terminal.rows
    first = next(k for k, row in enumerate(terminal.rows) if row.startswith("step "))
    last = next(k for k, row in enumerate(terminal.rows) if row.startswith("trained "))
    rows = terminal.rows[first:last]
    losses, samples = rows[::2], rows[1::2]
    assert len(losses) == len(samples) > 2
    assert [row for row in losses if not re.fullmatch(STEP, row)] == []
    for sample in samples:
        assert sample.startswith("    ")
        assert cell_len(sample) <= columns
        assert sample.endswith("\u2026") is (columns < 200), sample
    shown = bars(terminal, "step ")
    assert shown
    assert [row for row in shown if not re.search(r"[\d,]+ chars/s  \d+ s left$", row)] == []
    if extra:
        assert set(re.findall(r"\x1b\[([\d;]+)m", terminal.raw)) <= {"0", "1", "2"}


def test_piped_lines_are_plain(command: Any, text: tuple[str, ...]) -> None:
    lines = command("src.train", *JOB, *text).check().err.split("\n")
    steps = [k for k, line in enumerate(lines) if line.startswith("step ")]
    assert len(steps) > 2
    for k in steps:
        assert re.search(r"  [\d,]+ chars/s  \d+ s left$", lines[k])
        assert lines[k + 1].startswith("    ")
        assert len(lines[k + 1]) == 84, "not cut"
        assert lines[k + 2].startswith(("step ", "trained "))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", "\n".join(lines))


@pytest.fixture(scope="module")
def swept(command: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Terminal, Path]:
    """A sweep whose threshold no gradient reaches."""
    root = tmp_path_factory.mktemp("swept")
    arguments = ("--multirun", *JOB[1:], "max_epochs=0.02", "hidden=8,12", "clip=100,200", f"data_dir={data}")
    terminal = run_in_terminal(command, "src.train", *arguments, f"output_dir={root}")
    assert terminal.rc == 0, terminal.rows
    (page,) = root.glob("sweeps/*/comparison.html")
    return terminal, page


def test_every_line_of_a_sweep_names_its_job(swept: tuple[Terminal, Path]) -> None:
    terminal, _ = swept
    end = next(k for k, row in enumerate(terminal.rows) if row.startswith("sweep "))
    names = ["hidden=8 clip=100", "hidden=8 clip=200", "hidden=12 clip=100", "hidden=12 clip=200"]
    jobs = [re.match(r"job (\d)/4 (.*?) \| |    |\S+$", row) for row in terminal.rows[:end]]
    assert all(jobs), terminal.rows[:end]
    found = dict.fromkeys((job[1], job[2]) for job in jobs if job and job[1])
    assert list(found) == [(str(k), name) for k, name in enumerate(names, 1)]
    steps = [row for row in terminal.rows[:end] if re.match(rf"job \d/4 \S+ \S+ \| {STEP}$", row)]
    assert len(steps) >= 8
    shown = bars(terminal, r"job \d/4  step ")
    assert [row for row in shown if not re.search(r"\d+ s left, sweep \d+ (s|min) left$", row)] == []
    assert {row[:7] for row in shown} == {f"job {k}/4" for k in range(1, 5)}


def test_equal_jobs_are_marked(swept: tuple[Terminal, Path]) -> None:
    terminal, page = swept
    below = "\n".join(terminal.rows)
    assert "equal losses at every step: hidden=8 clip=100, hidden=8 clip=200" in below
    reason = "clip=100, clip=200: no gradient reached the threshold (grad/clip_fraction 0)"
    assert below.count(reason) == 2
    html = page.read_text(encoding="utf-8")
    assert html.count("FINISHED, equal") + html.count("FINISHED, best, equal") == 8  # shown, and for sorting
    assert html.count(reason) == 2


def test_reproduce_names_experiment_and_job(command: Any, data: Path, tmp_path: Path) -> None:
    experiment = ExperimentProgress("2/4 clipping", time.time(), 60.0, 600.0)
    arguments = (
        "--multirun",
        *JOB,
        "max_epochs=0.02",
        "seed=1,2",
        f"data_dir={data}",
        f"output_dir={tmp_path}",
    )
    terminal = run_in_terminal(command, "src.train", *arguments, environment=experiment.environ())
    assert terminal.rc == 0, terminal.rows
    assert terminal.starting("2/4 clipping, job 2/2 seed=2 | step ")
    shown = bars(terminal, r"2/4 clipping, job \d/2  step ")
    assert shown
    assert [row for row in shown if not re.search(r"\d+ s left, total \d+ min left$", row)] == []
    assert json.loads(next(tmp_path.glob("sweeps/*/jobs.json")).read_text())
