"""What was logged of a finished run: enough to repeat it, and to say whether the repetition is the same.

A tracked run is read from the tracker alone, so that it can be repeated where its directory never was.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.config.schema import PlacesConfig
from src.tracking import event_log
from src.tracking.run import delivered_as, find_untracked, store_of

CURVES = ("train/loss", "val/loss", "grad/norm")
FILES = ("config.json", "environment.json", "scores.json")
SAMPLES = "samples.json"


@dataclass(frozen=True)
class Original:
    """A finished run. ended: why, like `max_epochs`. curves: name to step to value. samples: temperature to
    text."""

    run_id: str
    ended: str
    config: dict[str, Any]
    environment: dict[str, Any]
    scores: dict[str, Any]
    curves: dict[str, dict[int, float]]
    samples: dict[float, str]


def load(run: str, places: PlacesConfig) -> Original:
    """The run of that name, as `run=` of the other commands understands it.

    Raises InputError when there is none, or when something of it is missing or damaged.
    """
    if places.tracking.name == "none":
        return local(find_untracked(run, places, "rerun"))
    from src.tracking import mlflow_store  # slow to import

    uri = store_of(places)["uri"]
    found = mlflow_store.find(delivered_as(run, places), uri, places.tracking.experiment, "rerun")
    texts = mlflow_store.logged(found, uri, (*FILES, SAMPLES))
    told = {name: parsed(found.info.run_id, name, texts.get(name)) for name in (*FILES, SAMPLES)}
    try:
        rows = [dict(zip(told[SAMPLES]["columns"], row, strict=True)) for row in told[SAMPLES]["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(found.info.run_id, SAMPLES, error) from error
    ended = found.data.tags.get("ended", "")
    return made(found.info.run_id, ended, told, mlflow_store.history(found, uri, CURVES), rows)


def local(folder: Path) -> Original:
    """A run from its own directory."""
    told = {}
    for name in FILES:
        file = folder / name
        told[name] = parsed(folder.name, name, file.read_text(encoding="utf-8") if file.exists() else None)
    curves: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    rows: list[dict[str, Any]] = []
    ended = ""
    for _, record in event_log.read(folder, 0):
        if record["kind"] == "metrics":
            for name in curves.keys() & record["values"].keys():
                curves[name][record["step"]] = record["values"][name]
        elif record["kind"] == "table" and record["name"] == SAMPLES:
            rows = record["rows"]
        elif record["kind"] == "end":
            ended = record["reason"]
    return made(folder.name, ended, told, curves, rows)


def made(
    run_id: str,
    ended: str,
    told: dict[str, dict[str, Any]],
    curves: dict[str, dict[int, float]],
    rows: list[dict[str, Any]],
) -> Original:
    try:
        samples = {float(row["temperature"]): str(row["text"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run_id, SAMPLES, error) from error
    config, environment, scores = (told[name] for name in FILES)
    for name, file, key in (
        ("environment.json", environment, "data_digest"),
        ("scores.json", scores, "weights_sha256"),
    ):
        if key not in file:
            raise InputError(f"rerun: expected {key} in {name} of run {run_id}, got none")
    return Original(run_id, ended, config, environment, scores, curves, samples)


def parsed(run_id: str, name: str, text: str | None) -> dict[str, Any]:
    """The object that a logged file holds."""
    if text is None:
        raise InputError(
            f"rerun: expected a finished run, with {', '.join(FILES)} and {SAMPLES}, got {run_id}, which has "
            f"no {name}"
        )
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}")
    except ValueError as error:
        raise damaged(run_id, name, error) from error
    return value


def damaged(run_id: str, name: str, error: Exception) -> InputError:
    return InputError(f"rerun: expected a whole {name} in run {run_id}, got a damaged one ({error})")
