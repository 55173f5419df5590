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
    overrides = [
        f"run={trained.run_id}",
        "prompt=when ",
        "temperature=1",
        "seed=5",
        "length=30",
        *trained.path_overrides,
    ]
    return lambda *more: run_cli("sample", *overrides, *more)


@pytest.mark.slow
def test_num_samples_are_printed_and_saved(sample_run: RunCli, trained: Any) -> None:
    result = sample_run("num_samples=3", "top_k=9").check()
    lines = result.out.splitlines()
    assert lines[0::3] == ["--- 1 of 3", "--- 2 of 3", "--- 3 of 3"]
    assert lines[2::3] == ["", ""]
    texts = lines[1::3]
    assert [len(text) for text in texts] == [len("when ") + 30] * 3
    assert all(text.startswith("when ") for text in texts)
    assert len(set(texts)) == 3
    assert saved_file(trained, "_top_k_9_samples_3").read_text() == result.out
    assert sample_run("top_k=9").out == texts[0] + "\n"
    assert saved_file(trained, "_top_k_9").read_text() == texts[0] + "\n"


@pytest.mark.slow
def test_top_k_and_top_p_are_off_by_default(sample_run: RunCli, trained: Any) -> None:
    unrestricted = sample_run()
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
    path_overrides = [
        "run=copy",
        "tracking=none",
        f"output_dir={tmp_path}",
        f"data_dir={trained.root / 'data'}",
    ]
    result = run_cli("sample", *path_overrides, "prompt=when ", "length=9")
    assert (result.rc, len(result.out)) == (0, len("when ") + 9 + 1), result.err
    result = run_cli("evaluate", *path_overrides)
    assert result.error_line.startswith("evaluate: run: expected a whole config.json, got a damaged one in ")
    shutil.rmtree(folder / "model")
    result = run_cli("sample", *path_overrides)
    assert result.error_line.startswith("sample: run: expected a whole model, got a damaged one in ")


@pytest.mark.slow
def test_run_is_described_on_stderr(sample_run: RunCli, trained: Any) -> None:
    result = sample_run()
    loss = trained.curve("val/loss")[-1][1]
    assert result.err == f"run {trained.run_id}, rnn hidden=32 smallshake, val/loss {loss:.4f}\n"


def test_first_sample_is_streamed() -> None:
    from src.sample import interleave

    endless = repeat(("a", "b"))
    assert list(islice(interleave("prompt ", 2, endless), 4)) == ["--- 1 of 2\nprompt ", "a", "a", "a"]
    finite = iter([("a", "b"), ("c", "d")])
    assert "".join(interleave("p ", 2, finite)) == "--- 1 of 2\np ac\n\n--- 2 of 2\np bd\n"
    assert "".join(interleave("p ", 1, iter([("a",)]))) == "p a\n"


@pytest.mark.slow
def test_sample_depends_on_seed_and_temperature(run_cli: RunCli, trained: Any) -> None:
    def text_of(*overrides: str) -> str:
        result = run_cli("sample", "prompt=when ", "length=60", *overrides, *trained.path_overrides).check()
        return str(result.out)

    greedy = text_of("temperature=0", "seed=1")
    assert greedy == text_of("temperature=0", "seed=2")
    assert greedy == text_of("temperature=1e-9")
    sampled = text_of("temperature=1", "seed=1")
    assert sampled == text_of("temperature=1", "seed=1")
    assert sampled != text_of("temperature=1", "seed=2")
