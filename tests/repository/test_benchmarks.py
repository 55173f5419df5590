"""The benchmark programs run."""

import sys
from pathlib import Path

import pytest

from tests.commands import environ, run_process

pytestmark = pytest.mark.slow


PROGRAMS = [  # PyTorch is not installed
    *((program, cell) for program in ("numpy", "numpy-sample") for cell in ("rnn", "gru", "lstm")),
    *(("naive", "rnn"), ("sgemm", "rnn"), ("untiled", "gru")),
    *(("reference", "rnn"), ("reference-float64", "lstm")),
]


@pytest.mark.parametrize(("program", "cell"), PROGRAMS)
def test_baseline_program_runs_requested_steps(program: str, cell: str) -> None:
    layers, threads = "2" if program == "numpy" else "1", "1"
    sizes = ("8", "5", "4", layers, threads)  # hidden, seq_len, batch, layers, threads
    process = run_process(
        [sys.executable, "-m", "benchmarks.baselines", program, cell, *sizes], input="2\n3\n"
    )
    assert (process.rc, process.err) == (0, "")
    assert [float(line) > 0 for line in process.out.split()] == [True, True]


def test_call_depth_at_first_gradient() -> None:
    """Frames from the command line to the backward pass of a cell."""
    process = run_process(
        [sys.executable, "-m", "benchmarks.call_depth", "hidden=8", "workers=1"], env=environ()
    )
    *frames, summary, modules = process.out.splitlines()
    assert frames[0].startswith("src/train.py"), process.err
    assert frames[-1].startswith("src/rnn/vanilla.py")
    assert len(frames) <= 9
    assert summary.startswith(f"{len(frames)} frames of the project")
    assert int(modules.split()[0]) <= 60


def test_cost_of_diagnostics_is_measured(tmp_path: Path) -> None:
    paths = (f"output_dir={tmp_path}", f"data_dir={tmp_path / 'data'}")
    small = ("hidden=8", "max_epochs=0.02", "eval_every=10", "workers=1", "length=20", "figures=false")
    process = run_process(
        [sys.executable, "-m", "benchmarks.probing_cost", "--one", *small, *paths], env=environ()
    )
    training, measuring, count = map(float, process.out.splitlines()[-1].split())
    assert 0 < measuring < training, process.err
    assert count >= 2
