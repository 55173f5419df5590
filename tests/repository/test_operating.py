"""docs/operating.md matches the software: messages, memory, launchers, steps to restore a database."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.common.files import CONF
from src.rnn.parameters import RNNConfig
from tests.commands import RunCli
from tests.conftest import Trained, ignore_mlflow_warnings
from tests.doc_pages import constants, names_in_backticks, page, rows
from tests.mlflow_queries import connect
from tests.rnn.memory_estimate import training_bytes

OPERATING = page("operating.md")
MESSAGES = [message for row in rows(OPERATING, "symptoms") for message in re.findall(r"^`([^`]+)`$", row[0])]


def test_symptom_table_is_complete() -> None:
    table = rows(OPERATING, "symptoms")
    assert len(MESSAGES) == len(table) > 30
    assert all(len(row) == 3 and all(row) for row in table)


@pytest.mark.parametrize("message", MESSAGES)
def test_documented_message_exists(message: str) -> None:
    """The constant parts of the message are in one source file."""
    key = re.compile(r"\A[\w./]+: ")  # the key is variable
    parts = [part for text in re.split(r"\.\.\.|, got ", message) if len(part := text.strip(" ,:")) > 2]
    assert parts
    assert any(
        all(any(part in text or key.sub("", part) in text for text in texts) for part in parts)
        for texts in constants().values()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fragment", "command", "arguments"),
    [
        ("did you mean", "train", ("hiden=8",)),
        ("add --multirun", "train", ("hidden=64,128",)),
        ("quote a value", "train", ("tracking.experiment=a[b",)),
        ("a readable text file", "train", ("data=file", "data.path=nowhere.txt")),
        ("got byte 0x", "train", ("data=file", "data.path={latin}")),
        (
            "distinct characters",
            "train",
            ("data=file", "data.path={latin}", "data.max_vocabulary=2", "data.encoding=latin-1"),
        ),
        ("for one window", "train", ("data=file", "data.path={short}")),
        ("of the model's vocabulary", "train", ("data.letters_only=false", "prompt=\N{SNOWMAN}")),
        ("a writable path", "train", ("output_dir={short}/below", "tracking=none", "hidden=8")),
        ("that was interrupted", "train", ("resume=latest",)),
        ("whose driver is installed", "server", ("backend_store_uri=oracle://u:p@h/n", "port=59731")),
    ],
)
def test_documented_message_is_printed(
    fragment: str, command: str, arguments: tuple[str, ...], run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "latin.txt").write_bytes("caf\u00e9 ".encode("latin-1") * 500)
    (tmp_path / "short.txt").write_text("too short")
    texts = {name: str(tmp_path / f"{name}.txt") for name in ("latin", "short")}
    overrides = [text.format(**texts) for text in arguments]
    if not overrides[0].startswith("output_dir="):
        overrides.append(f"output_dir={tmp_path / 'outputs'}")
    if command == "train":
        overrides += ["max_epochs=0.01", "workers=1"]  # limits training if the input is accepted
    result = run_cli(command, *overrides, f"data_dir={tmp_path / 'data'}")
    assert result.rc == 2
    (message,) = (each for each in MESSAGES if fragment in each)
    assert "Traceback" not in result.err
    pattern = re.escape(message).replace(re.escape("..."), ".*")
    assert re.search(pattern, result.err.splitlines()[-1]), result.err


def test_memory_table_matches_formula() -> None:
    heading, *table = rows(OPERATING, "memory", with_heading=True)
    for cell, *sizes in table:
        (model,) = names_in_backticks(cell)
        for units, documented_size in zip(heading[1:], sizes, strict=True):
            (hidden,) = (int(name.partition("=")[2]) for name in names_in_backticks(units))
            expected = training_bytes(RNNConfig(27, hidden, model.partition("=")[2]), 20, 64)
            assert documented_size == f"{expected / 1e6:.0f} MB"


def test_documented_launcher_keys_exist() -> None:
    folder = CONF / "hydra" / "launcher"
    table = [[names_in_backticks(cell) for cell in row] for row in rows(OPERATING, "launchers")]
    documented = {name: keys for names, _, keys, *_ in table for name in names}
    assert documented.keys() == {file.stem for file in folder.glob("*.yaml")}
    for launcher, keys in documented.items():
        config = OmegaConf.load(folder / f"{launcher}.yaml")
        assert keys
        for key in keys:
            assert OmegaConf.select(config, key.removeprefix("hydra.launcher."), default="no") != "no", key


@pytest.mark.slow
@ignore_mlflow_warnings
def test_lost_database_is_restored_from_event_logs(trained: Trained, command: RunCli, tmp_path: Path) -> None:
    """Follows "Upload everything again, or elsewhere"."""
    outputs = tmp_path / "outputs"
    shutil.copytree(trained.folder, outputs / "runs" / trained.folder.name)
    (outputs / "sweeps" / "none" / "jobs").mkdir(parents=True)
    (outputs / "sweeps" / "none" / "jobs" / "none").touch()
    (steps,) = re.findall(r"^rm -f .*\nsed .*$", OPERATING, re.MULTILINE)
    steps = steps.replace("/old/outputs", str(trained.outputs)).replace("/new/outputs", str(outputs))
    subprocess.run(["bash", "-ec", steps], cwd=tmp_path, check=True)
    file = outputs / "runs" / trained.folder.name / "tracking.json"
    command("src.sync", str(outputs)).check()
    new = json.loads(file.with_name("sync_state.json").read_text())["run_id"]
    first, restored = (
        connect(f"sqlite:///{place / 'mlflow.db'}").get_run(run_id)
        for place, run_id in ((trained.outputs, trained.run_id), (outputs, new))
    )
    assert restored.data.metrics == first.data.metrics
    assert restored.data.params == first.data.params
    assert restored.info.artifact_uri.startswith(outputs.as_uri())
