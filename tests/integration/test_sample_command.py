"""`python -m src.sample`: samples, restrictions, and the saved files."""

import hashlib
import shutil
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest

from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = ignore_mlflow_warnings


def saved_file(trained: Any, suffix: str) -> Path:
    digest = hashlib.sha256(b"when ").hexdigest()[:6]
    folder = trained.outputs / "artifacts" / trained.run_id / "artifacts" / "samples"
    return Path(folder / f"written_{digest}_temperature_1_seed_5_length_30{suffix}.txt")


@pytest.fixture
def sample_run(run_cli: RunCli, trained: Any) -> RunCli:
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
    assert unrestricted.err == f"run {trained.run_id}, rnn hidden=32 smallshake, val/loss {loss:.4f}\n"
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
