"""The model that a run logs writes text where this project is not installed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import TIME_LIMIT

pytestmark = pytest.mark.slow

OUT_OF_RANGE = [
    ("temperature", -1.0),
    ("length", -1),
    ("length", 10**6),
    ("seed", -1),
    ("top_k", -1),
    ("top_p", 0.0),
    ("top_p", 2.0),
    ("seed", None),
]
EXPECTED = {
    "temperature": "a number >= 0",
    "length": "an integer from 0 to 100000",
    "seed": "an integer >= 0",
    "top_k": "an integer >= 0 (0: off)",
    "top_p": "a number > 0 and <= 1 (1: off)",
}

# Runs elsewhere, isolated from this checkout: -I ignores PYTHONPATH and the working directory.
ELSEWHERE = """
import importlib.util, json, sys
assert importlib.util.find_spec("src") is None, "this must run where the project is not"
import os
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
import pandas

uri, model_uri = sys.argv[1:3]
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(model_uri)

def predict(prompts, **params):
    return list(model.predict({"prompt": prompts}, params=params or None))

def refused(*arguments, **params):
    try:
        predict(*arguments, **params)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""

table = pandas.DataFrame({"prompt": ["shall i compare thee ", "when "]})
chosen = {"temperature": 0.5, "length": 90, "seed": 7}
print(json.dumps({
    "schema": model.metadata.signature.to_dict(),
    "first": predict(["shall i compare thee ", "when "], **chosen),
    "again": predict(["shall i compare thee ", "when "], **chosen),
    "alone": predict(["when "], **chosen),
    "as a plain text": predict("when ", **chosen),
    "as a table": list(model.predict(table, chosen)),
    "other seed": predict(["when "], **(chosen | {"seed": 8})),
    "likeliest": predict(["when "], temperature=0.0, length=40, seed=1),
    "likeliest, other seed": predict(["when "], temperature=0.0, length=40, seed=2),
    "default": predict(["when "]),
    "none": predict(["when "], length=0),
    "normalized": predict(["When?"], **chosen),
    "restricted": predict(["when "], **chosen, top_k=3, top_p=0.8),
    "not restricted": predict(["when "], **chosen, top_k=0, top_p=1.0),
    "likeliest of one": predict(["when "], **(chosen | {"length": 40}), top_k=1),
    "out of range": [refused(["when "], **{name: value}) for name, value in json.loads(sys.argv[3])],
    "unknown character": refused(["stra\\u00dfe"]),
    "src": "src" in sys.modules,
    "code": sorted(m for m in sys.modules if m.startswith("char_rnn_") and "." not in m),
}))
"""


def run_elsewhere(trained: Any, model_uri: str, folder: Path) -> subprocess.CompletedProcess[str]:
    foreign = ("PYTHONPATH", "MLFLOW_TRACKING_URI")
    return subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, trained.uri, model_uri, json.dumps(OUT_OF_RANGE)],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key not in foreign},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )


@pytest.fixture(scope="module")
def answers(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = run_elsewhere(trained, f"runs:/{trained.run_id}/model", tmp_path_factory.mktemp("elsewhere"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def files(trained: Any) -> Path:
    """The logged model's artifacts."""
    described = (trained.outputs / "artifacts" / "models").glob("*/artifacts/MLmodel")
    (file,) = [file for file in described if f"run_id: {trained.run_id}" in file.read_text()]
    return Path(file.parent)


def test_it_loads_with_code_of_its_own(answers: dict[str, Any]) -> None:
    assert answers["src"] is False
    assert len(answers["code"]) == 1


def test_it_writes_as_many_characters_as_asked(answers: dict[str, Any]) -> None:
    assert [len(text) for text in answers["first"]] == [90, 90]
    assert [len(answers[name][0]) for name in ("likeliest", "default", "none")] == [40, 300, 0]


def test_the_same_seed_writes_the_same_text(answers: dict[str, Any]) -> None:
    assert answers["first"] == answers["again"]
    assert answers["other seed"] != answers["alone"]


def test_a_row_does_not_depend_on_its_neighbors(answers: dict[str, Any]) -> None:
    assert answers["alone"] == answers["first"][1:]


def test_prompts_may_come_in_every_form_that_mlflow_takes(answers: dict[str, Any]) -> None:
    """MLflow hands a dict of lists on as one row whose cell is the list."""
    assert answers["first"] == answers["as a table"]
    assert answers["alone"] == answers["as a plain text"]


def test_temperature_zero_needs_no_seed(answers: dict[str, Any]) -> None:
    assert answers["likeliest"] == answers["likeliest, other seed"]


def test_a_prompt_is_normalized_like_the_corpus(answers: dict[str, Any]) -> None:
    assert answers["normalized"] == answers["alone"]  # "When?" reads "when "


def test_the_signature_lists_the_params(answers: dict[str, Any]) -> None:
    params = {p["name"]: (p["type"], p["default"]) for p in json.loads(answers["schema"]["params"])}
    assert params == {
        "temperature": ("double", 0.7),
        "length": ("long", 300),
        "seed": ("long", 1),
        "top_k": ("long", 0),
        "top_p": ("double", 1.0),
    }
    (prompt,) = json.loads(answers["schema"]["inputs"])
    assert (prompt["name"], prompt["type"]) == ("prompt", "string")


def test_bad_input_raises_with_its_reason(answers: dict[str, Any]) -> None:
    assert "'ß'" in answers["unknown character"]
    assert "abcdefghijklmnopqrstuvwxyz" in answers["unknown character"]
    for (name, value), said in zip(OUT_OF_RANGE, answers["out of range"], strict=True):
        got = "null" if value is None else value
        assert said == f"MlflowException: {name}: expected {EXPECTED[name]}, got {got}"


def test_top_k_and_top_p_restrict_and_are_off_by_default(answers: dict[str, Any]) -> None:
    assert answers["not restricted"] == answers["alone"]
    assert answers["restricted"] != answers["alone"]
    assert answers["likeliest of one"] == answers["likeliest"]


@pytest.mark.filterwarnings("ignore")
def test_it_writes_what_the_command_writes(
    answers: dict[str, Any], typed: Callable[..., Any], trained: Any
) -> None:
    asked = ["prompt=shall i compare thee ", "temperature=0.5", "length=90", "seed=7"]
    ended = typed("sample", f"run={trained.run_id}", *asked, *trained.places)
    assert ended.rc == 0, ended.err
    assert ended.out == "shall i compare thee " + answers["first"][0] + "\n"


def test_nothing_in_it_is_pickled(files: Path) -> None:
    names = [file.name for file in files.rglob("*") if file.is_file()]
    assert {"weights.safetensors", "model.json", "MLmodel"} <= set(names)
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".npy", ".pt"))]
    for file in files.rglob("*"):
        if file.is_file():
            assert not file.read_bytes().startswith((b"\x80\x04", b"\x80\x05")), f"{file} is a pickle"


def test_it_knows_nothing_of_where_it_was_made(files: Path, trained: Any) -> None:
    for file in (files / "data").rglob("*.json"):
        assert str(trained.root) not in file.read_text()
    requirements = (files / "requirements.txt").read_text().split()
    names = {"mlflow", "numpy", "pydantic", "safetensors", "typing-extensions"}
    assert {line.partition("==")[0] for line in requirements} == names
    assert all("==" in line for line in requirements)
    for file in (files / "code").rglob("*.py"):
        assert "from src." not in file.read_text(), f"{file} imports the project"


def test_the_weights_are_those_of_the_run(files: Path, trained: Any) -> None:
    (logged,) = files.rglob("weights.safetensors")
    assert logged.read_bytes() == (trained.folder / "model" / "weights.safetensors").read_bytes()
