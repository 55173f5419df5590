"""`python -m src.sample`: samples, restrictions, and the saved files."""

import hashlib
import shutil
import sys
import time
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest

from src.tracking.sync_state import SyncState
from tests.commands import TIME_LIMIT, RunCli, environ, free_port, run_process
from tests.conftest import ignore_mlflow_warnings

pytestmark = ignore_mlflow_warnings


def saved_file(trained: Any, suffix: str) -> Path:
    digest = hashlib.sha256(b"when ").hexdigest()[:6]
    name = f"written_{digest}_temperature_1_seed_5_length_30{suffix}.txt"
    return Path(trained.folder / "samples" / name)


@pytest.fixture
def sample_run(run_cli: RunCli, trained: Any, started_syncs: list[list[Path]]) -> RunCli:
    overrides = [f"run={trained.run_id}", "prompt=when ", "temperature=1", "seed=5", "length=30",
                 *trained.path_overrides]  # fmt: skip
    return lambda *more: run_cli("sample", *overrides, *more)


@pytest.mark.slow
def test_num_samples_are_printed_and_saved(sample_run: RunCli, trained: Any) -> None:
    result = sample_run("num_samples=3", "top_k=9").check()
    texts = result.out.splitlines()[1::3]
    assert result.out == "\n".join(f"--- {k} of 3\n{text}\n" for k, text in enumerate(texts, 1))
    assert [(text[:5], len(text)) for text in texts] == [("when ", 35)] * 3
    assert len(set(texts)) == 3
    assert saved_file(trained, "_top_k_9_samples_3").read_text() == result.out
    assert sample_run("top_k=9").out == texts[0] + "\n"
    assert saved_file(trained, "_top_k_9").read_text() == texts[0] + "\n"


@pytest.mark.slow
def test_top_k_and_top_p_are_off_by_default(sample_run: RunCli, trained: Any) -> None:
    unrestricted = sample_run()
    loss = trained.curve("val/loss")[-1][1]
    name = "rnn hidden=32 max_epochs=0.5 eval_every=100 length=120 smallshake"
    assert unrestricted.err == f"run {trained.run_id}, {name}, val/loss {loss:.4f}\n"
    assert unrestricted.out == sample_run("top_k=null", "top_p=null", "num_samples=1").out
    assert unrestricted.out == sample_run("top_k=27", "top_p=1").out
    assert unrestricted.out != sample_run("top_p=0.3").out
    assert saved_file(trained, "_top_p_0.3").exists()
    assert sample_run("top_k=1").out == sample_run("temperature=0").out


@pytest.mark.slow
def test_sample_needs_only_model_files(run_cli: RunCli, trained: Any, tmp_path: Path) -> None:
    """Sampling needs the model files, evaluation also the config."""
    folder = tmp_path / "runs" / "copy"
    shutil.copytree(trained.folder, folder)
    (folder / "config.json").unlink()
    path_overrides = ("run=copy", "tracking=none", f"output_dir={tmp_path}",
                      f"data_dir={trained.root / 'data'}")  # fmt: skip
    result = run_cli("sample", *path_overrides, "prompt=when ", "length=9").check()
    assert len(result.out) == len("when ") + 9 + 1
    damaged = "run: expected a whole {}, got a damaged one in "
    result = run_cli("evaluate", *path_overrides)
    assert result.error_line.startswith("evaluate: " + damaged.format("config.json"))
    shutil.rmtree(folder / "model")
    result = run_cli("sample", *path_overrides)
    assert result.error_line.startswith("sample: " + damaged.format("model"))


# Runs the commands that read a run of this machine in one process; the uploads start at its end, as one.
READERS = """
import runpy, sys, types
from src.tracking import sync_state

def serve(config, store, left, right):
    print("page", left.run_id, right.run_id, *(run.run_id for run in store.finished()))

sys.modules["src.playground.app"] = types.SimpleNamespace(serve=serve)
start, started = sync_state.start_background_sync, []
sync_state.start_background_sync = started.append
paths = sys.argv[1:]
for command, *arguments in (
    ("sample", "run=latest", "length=30", "seed=9"), ("evaluate", "run=best", "length=0"),
    ("export", "run=RUN_ID"), ("play", "port=PORT"),
):
    sys.argv = [f"{command}.py", *arguments, *paths]
    runpy.run_module(f"src.{command}", run_name="__main__")
print("imported", *({"mlflow", "sqlalchemy", "matplotlib"} & sys.modules.keys()))
start([folder for folders in started for folder in folders])
"""


@pytest.mark.slow
def test_local_run_is_read_without_mlflow_and_uploaded_later(trained: Any) -> None:
    program = READERS.replace("RUN_ID", trained.run_id).replace("PORT", str(free_port()))
    result = run_process([sys.executable, "-c", program, *trained.path_overrides], env=environ()).check()
    lines = result.out.splitlines()
    assert lines[-1] == "imported"
    run_id = trained.run_id
    assert f"page {run_id} {run_id} {run_id}" in lines
    assert str(trained.outputs / "exports" / f"{run_id}.safetensors") in lines
    described = [line for line in result.err.splitlines() if line.startswith("run")]
    assert [line.partition(",")[0] for line in described] == [
        f"run=latest: {run_id}", f"run=best: {run_id}", f"run {run_id}"
    ]  # fmt: skip
    deadline = time.monotonic() + TIME_LIMIT
    while not SyncState.load(trained.folder).is_complete(trained.folder):
        assert time.monotonic() < deadline, "the files are not uploaded"
        time.sleep(0.1)
    (sample,) = (trained.folder / "samples").glob("*_seed_9_length_30.txt")
    scores = trained.folder / "evaluation" / "scores.json"
    assert sample.read_text() == lines[0] + "\n"
    uploaded = trained.outputs / "artifacts" / run_id / "artifacts"
    for file in (sample, scores):
        assert (uploaded / file.relative_to(trained.folder)).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_run_deleted_in_mlflow_is_not_found(client: Any, trained: Any, run_cli: RunCli) -> None:
    client.delete_run(trained.run_id)
    try:
        result = run_cli("sample", "run=latest", *trained.path_overrides)
    finally:
        client.restore_run(trained.run_id)
    expected = "sample: run: expected a finished run in experiment char-rnn, got none: train one first"
    assert result.error_line == expected


def test_first_sample_is_streamed() -> None:
    from src.sample import interleave

    endless = repeat(("a", "b"))
    assert list(islice(interleave("prompt ", 2, endless), 4)) == ["--- 1 of 2\nprompt ", "a", "a", "a"]
    finite = iter([("a", "b"), ("c", "d")])
    assert "".join(interleave("p ", 2, finite)) == "--- 1 of 2\np ac\n\n--- 2 of 2\np bd\n"
    assert "".join(interleave("p ", 1, iter([("a",)]))) == "p a\n"


@pytest.mark.slow
def test_sample_depends_on_seed_and_temperature(sample_run: RunCli) -> None:
    greedy = sample_run("temperature=0", "seed=1").out
    assert greedy == sample_run("temperature=0", "seed=2").out
    assert greedy == sample_run("temperature=1e-9").out
    assert sample_run("seed=1").out == sample_run("seed=1").out != sample_run("seed=2").out
