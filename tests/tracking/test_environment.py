"""Digests of jobs."""

from pathlib import Path

import attrs
import pytest

from src.tracking.environment import job_digest
from tests.compose import composed


def digest(*overrides: str) -> str:
    return job_digest(composed("config", *overrides), "d" * 64)


def test_job_digest_ignores_number_type() -> None:
    assert digest("optimizer.weight_decay=0") == digest("optimizer.weight_decay=0.0")
    assert digest("clip=5", "temperatures=[1]") == digest("clip=5.0", "temperatures=[1.0]")
    assert digest("register=true", "skip_finished=true") == digest()
    assert len({digest(), digest("seed=2"), digest("optimizer.weight_decay=0.5")}) == 3


def test_job_digest_includes_custom_optimizer_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own_optimizer.py"
    file.write_text("from src.rnn.optimizers import SGD\n\n\nclass Mine(SGD): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = attrs.evolve(composed("config"), optimizer={"_target_": "own_optimizer.Mine"})
    before = job_digest(config, "d" * 64)
    assert before == job_digest(config, "d" * 64)
    file.write_text(file.read_text() + "# another version\n")
    assert job_digest(config, "d" * 64) != before
