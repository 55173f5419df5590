"""docs/operating.md says what is so: the messages, the memory, the launchers, a lost database made anew."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from src.common.files import CONF
from src.rnn.parameters import RNNConfig
from tests.conftest import Trained, run_command
from tests.doc_pages import constants, named, page, rows
from tests.rnn.memory_estimate import training_bytes

OPERATING = page("operating.md")
MESSAGES = [message for row in rows(OPERATING, "symptoms") for message in re.findall(r"^`([^`]+)`$", row[0])]


def test_every_line_of_the_table_has_a_message_a_cause_and_a_remedy() -> None:
    table = rows(OPERATING, "symptoms")
    assert len(MESSAGES) == len(table) > 30
    assert all(len(row) == 3 and all(row) for row in table)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_one_that_the_software_has(message: str) -> None:
    """Its parts between what is filled in stand in one file of the code."""
    key = re.compile(r"\A[\w./]+: ")  # a message may be told of one key or another
    pieces = [part.strip(" ,:") for part in re.split(r"\.\.\.|, got ", message)]
    parts = [part for part in pieces if len(part) > 2]
    assert parts
    assert any(
        all(any(part in text or key.sub("", part) in text for text in texts) for part in parts)
        for texts in constants().values()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "command", "arguments"),
    [
        ("did you mean", "train", ("hiden=8",)),
        ("add --multirun", "train", ("hidden=64,128",)),
        ("quote a value", "train", ("tracking.experiment=a[b",)),
        ("a readable text file", "train", ("data=file", "data.path=nowhere.txt")),
        ("expected text in", "train", ("data=file", "data.path={latin}")),
        ("distinct characters", "train", ("data=file", "data.path={latin}", "data.max_vocabulary=2")),
        ("for one window", "train", ("data=file", "data.path={short}")),
        ("of the model's vocabulary", "train", ("data.letters_only=false", "prompt=\N{SNOWMAN}")),
        ("a writable path", "train", ("output_dir={short}/below", "tracking=none", "hidden=8")),
        ("that was interrupted", "train", ("resume=latest",)),
        ("whose driver is installed", "server", ("backend_store_uri=oracle://u:p@h/n", "port=59731")),
    ],
)
def test_messages_of_the_table_come_when_provoked(
    said: str, command: str, arguments: tuple[str, ...], typed: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "latin.txt").write_bytes("caf\u00e9 ".encode("latin-1") * 500)
    (tmp_path / "short.txt").write_text("too short")
    places = {name: str(tmp_path / f"{name}.txt") for name in ("latin", "short")}
    given = [text.format(**places) for text in arguments]
    if "max_vocabulary" in given[-1]:
        given.append("data.encoding=latin-1")
    elsewhere = [] if given[0].startswith("output_dir=") else [f"output_dir={tmp_path / 'outputs'}"]
    if command == "train":
        given += ["max_epochs=0.01", "workers=1"]  # should one of them be accepted after all
    ended = typed(command, *given, *elsewhere, f"data_dir={tmp_path / 'data'}")
    assert ended.rc == 2
    (message,) = (each for each in MESSAGES if said in each)
    parts = [re.escape(part) for part in message.split("...")]
    assert "Traceback" not in ended.err
    assert re.search(".*".join(parts), ended.err.splitlines()[-1]), ended.err


# --- figures ---


def test_memory_is_what_the_formula_says() -> None:
    heading, *table = rows(OPERATING, "memory", with_heading=True)
    for cell, *sizes in table:
        (model,) = named(cell)
        for units, told_size in zip(heading[1:], sizes, strict=True):
            (hidden,) = (int(name.partition("=")[2]) for name in named(units))
            expected = training_bytes(RNNConfig(27, hidden, model.partition("=")[2]), 20, 64)
            assert told_size == f"{expected / 1e6:.0f} MB"


def test_every_launcher_is_told_of_with_keys_that_it_has() -> None:
    folder = CONF / "hydra" / "launcher"
    told_of = {name: named(row[2]) for row in rows(OPERATING, "launchers") for name in named(row[0])}
    assert told_of.keys() == {file.stem for file in folder.glob("*.yaml")}
    for launcher, keys in told_of.items():
        config = OmegaConf.load(folder / f"{launcher}.yaml")
        assert keys
        for key in keys:
            assert OmegaConf.select(config, key.removeprefix("hydra.launcher."), default="no") != "no", key


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
def test_a_lost_database_is_made_anew_from_the_journals(trained: Trained, tmp_path: Path) -> None:
    """The steps under "Upload everything again, or elsewhere"."""
    from src.tracking.mlflow_client import connect

    outputs = tmp_path / "outputs"
    shutil.copytree(trained.folder, outputs / "runs" / trained.folder.name)
    (outputs / "sweeps" / "none" / "jobs").mkdir(parents=True)
    (outputs / "sweeps" / "none" / "jobs" / "none").touch()
    (steps,) = re.findall(r"^rm -f .*\nsed .*$", OPERATING, re.MULTILINE)
    steps = steps.replace("/old/outputs", str(trained.outputs)).replace("/new/outputs", str(outputs))
    subprocess.run(["bash", "-ec", steps], cwd=tmp_path, check=True)
    file = outputs / "runs" / trained.folder.name / "tracking.json"
    ended = run_command("src.sync", str(outputs))
    assert ended.rc == 0, ended.err
    new = json.loads(file.with_name("sync_state.json").read_text())["run_id"]
    first, again = (
        connect(f"sqlite:///{place / 'mlflow.db'}").get_run(run_id)
        for place, run_id in ((trained.outputs, trained.run_id), (outputs, new))
    )
    assert again.data.metrics == first.data.metrics
    assert again.data.params == first.data.params
    assert again.info.artifact_uri.startswith(outputs.as_uri())
