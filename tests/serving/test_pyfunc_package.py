"""The logged model generates text without this project."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from src.models import serialization
from tests.commands import run_process

pytestmark = pytest.mark.slow

OUT_OF_RANGE = [
    ("temperature", -1.0, "a number >= 0"),
    ("length", -1, "an integer from 0 to 100000"),
    ("length", 10**6, "an integer from 0 to 100000"),
    ("seed", -1, "an integer >= 0"),
    ("seed", None, "an integer >= 0"),
    ("top_k", -1, "an integer >= 0 (0: off)"),
    ("top_p", 0.0, "a number > 0 and <= 1 (1: off)"),
    ("top_p", 2.0, "a number > 0 and <= 1 (1: off)"),
]

# Runs isolated from this checkout: -I ignores PYTHONPATH and the working directory.
ISOLATED_PROGRAM = """
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
    "own prompt": predict([None, "when "], **chosen),
    "as typed": predict([sys.argv[4]], **chosen),
    "restricted": predict(["when "], **chosen, top_k=3, top_p=0.8),
    "not restricted": predict(["when "], **chosen, top_k=0, top_p=1.0),
    "likeliest of one": predict(["when "], **(chosen | {"length": 40}), top_k=1),
    "out of range": [refused(["when "], **{name: value}) for name, value, _ in json.loads(sys.argv[3])],
    "unknown character": refused(["stra\\u00dfe"]),
    "src": "src" in sys.modules,
    "code": sorted(m for m in sys.modules if m.startswith("char_rnn_") and "." not in m),
}))
"""


@pytest.fixture(scope="module")
def outputs(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    prompt = serialization.load(trained.folder / "model").prompt
    arguments = (trained.uri, f"runs:/{trained.run_id}/model", json.dumps(OUT_OF_RANGE), prompt)
    excluded = ("PYTHONPATH", "MLFLOW_TRACKING_URI")
    process = run_process(
        [sys.executable, "-I", "-c", ISOLATED_PROGRAM, *arguments],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={key: value for key, value in os.environ.items() if key not in excluded},
    ).check()
    found: dict[str, Any] = json.loads(process.out.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def model_dir(trained: Any) -> Path:
    """The artifacts of the logged model."""
    model_files = (trained.outputs / "artifacts" / "models").glob("*/artifacts/MLmodel")
    (file,) = [file for file in model_files if f"run_id: {trained.run_id}" in file.read_text()]
    return Path(file.parent)


def test_model_has_own_code(outputs: dict[str, Any]) -> None:
    assert outputs["src"] is False
    assert len(outputs["code"]) == 1


def test_output_length(outputs: dict[str, Any]) -> None:
    assert [len(text) for text in outputs["first"]] == [90, 90]
    assert [len(outputs[name][0]) for name in ("likeliest", "default", "none")] == [40, 300, 0]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("first", "again"),
        ("first", "as a table"),
        ("alone", "as a plain text"),
        ("alone", "normalized"),  # "When?" reads "when "
        ("alone", "not restricted"),
        ("likeliest", "likeliest, other seed"),
        ("likeliest", "likeliest of one"),
    ],
)
def test_outputs_are_equal(name: str, other: str, outputs: dict[str, Any]) -> None:
    """MLflow passes a dict of lists as one row whose cell is the list."""
    assert outputs[name] == outputs[other]


def test_rows_seeds_and_restrictions(outputs: dict[str, Any]) -> None:
    assert outputs["alone"] == outputs["first"][1:], "rows are independent"
    assert outputs["other seed"] != outputs["alone"]
    assert outputs["restricted"] != outputs["alone"]


def test_missing_prompt_is_that_of_run(outputs: dict[str, Any]) -> None:
    assert outputs["own prompt"][0] == outputs["as typed"][0]
    assert outputs["own prompt"][1] == outputs["alone"][0]


def test_signature_lists_params(outputs: dict[str, Any]) -> None:
    params = {p["name"]: (p["type"], p["default"]) for p in json.loads(outputs["schema"]["params"])}
    assert params == {
        "temperature": ("double", 0.7),
        "length": ("long", 300),
        "seed": ("long", 1),
        "top_k": ("long", 0),
        "top_p": ("double", 1.0),
    }
    (prompt,) = json.loads(outputs["schema"]["inputs"])
    assert (prompt["name"], prompt["type"]) == ("prompt", "string")


def test_invalid_input_raises(outputs: dict[str, Any]) -> None:
    assert "'ß'" in outputs["unknown character"]
    assert "' abcdefghijklmnopqrs' and 7 more" in outputs["unknown character"]
    assert outputs["out of range"] == [
        f"MlflowException: {name}: expected {expected}, got {'null' if value is None else value}"
        for name, value, expected in OUT_OF_RANGE
    ]


def test_model_contains_no_pickle(model_dir: Path) -> None:
    files = [file for file in model_dir.rglob("*") if file.is_file()]
    assert {"weights.safetensors", "model.json", "MLmodel"} <= {file.name for file in files}
    for file in files:
        assert not file.name.endswith((".pkl", ".pickle", ".joblib", ".npy", ".pt"))
        assert not file.read_bytes().startswith((b"\x80\x04", b"\x80\x05")), f"{file} is a pickle"


def test_model_contains_no_machine_path(model_dir: Path, trained: Any) -> None:
    for file in (model_dir / "data").rglob("*.json"):
        assert str(trained.root) not in file.read_text()
    requirements = (model_dir / "requirements.txt").read_text().split()
    names = {"mlflow", "numpy", "pydantic", "safetensors", "typing-extensions"}
    assert {line.partition("==")[0] for line in requirements} == names
    assert all("==" in line for line in requirements)
    for file in (model_dir / "code").rglob("*.py"):
        assert "from src." not in file.read_text(), f"{file} imports the project"


def test_model_has_weights_of_run(model_dir: Path, trained: Any) -> None:
    (logged,) = model_dir.rglob("weights.safetensors")
    assert logged.read_bytes() == (trained.folder / "model" / "weights.safetensors").read_bytes()
