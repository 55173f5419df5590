"""A full disk gives one error line, exit status 2, and no incomplete files.

A limit on the file size raises the same kind of error.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

from src.models import serialization
from src.tracking import event_log
from tests.commands import CommandResult, environ_without_coverage, run_process

pytestmark = pytest.mark.slow

LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
runpy.run_module("src.train", run_name="__main__")
"""
SAVING = """
import resource, sys
from pathlib import Path
from src.common.errors import UserError
from src.models import serialization
folder = Path(sys.argv[1])
model = serialization.load(folder)
model.params[:] = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    serialization.save(model, folder)
except UserError as error:
    print(error)
"""


def run_python(code: str, *arguments: str) -> CommandResult:
    return run_process([sys.executable, "-c", code, *arguments], env=environ_without_coverage())


def test_full_disk_ends_run_in_one_line(trained: Any, tmp_path: Path) -> None:
    """The event log reaches the limit during training."""
    overrides = ("hidden=8", "max_epochs=1", "workers=1", "log_every=1", "eval_every=100000", "tracking=none",
             "figures=false")  # fmt: skip
    process = run_python(
        LIMITED, "100000", *overrides, f"output_dir={tmp_path}", f"data_dir={trained.root / 'data'}"
    )
    (folder,) = (tmp_path / "runs").iterdir()
    line = f"train: expected a writable path, got {folder} (File too large): change output_dir or data_dir"
    assert process.rc == 2
    assert "Traceback" not in process.err
    assert "Error" not in process.err
    assert process.err.splitlines()[-1] == line
    assert process.out == ""
    records = [record for _, record in event_log.read_lines(folder, 0)]
    assert records[-1]["kind"] == "metrics"
    assert (folder / event_log.NAME).read_bytes().endswith(b"}\n")
    assert not list(folder.rglob("*.tmp"))
    from src.tracking.sync_state import close_run

    assert close_run(folder), "the run can be closed later"


def test_full_disk_keeps_previous_weights(trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    kept = serialization.load(trained.folder / "model")
    serialization.save(kept, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    process = run_python(SAVING, str(folder))
    assert (process.rc, process.err) == (0, "")
    file = folder / "weights.safetensors"
    expected = f"expected a writable path, got {file} (File too large): change output_dir or data_dir\n"
    assert process.out == expected
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
