"""`python -m src.experiments.results`: write the README's table of results from experiments/*/measured.json.

`python -m src.experiments.results outputs/reproduction` first publishes the records of that folder to
experiments/. A record has the measures, the claims and the figure of an experiment; records of its parts are
merged.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from src.common.errors import echo_err
from src.common.files import PROJECT, write_atomically, write_json, write_text
from src.experiments.aggregate import Measures
from src.experiments.claims import ClaimResult, check_claims, read_claims
from src.experiments.runner import EXPERIMENTS, FOLDER, ExperimentResult
from src.tracking.environment import environment

README = PROJECT / "README.md"
FIRST, LAST = "<!-- results -->\n", "<!-- /results -->\n"

STATUS_TEXT = {True: "reproduced", False: "**not reproduced**", None: "not run"}


def table() -> str:
    """The Markdown table: the number of reproduced claims, and a row for each claim."""
    found: list[bool | None] = []
    lines = ["| experiment | claim | measured | expected | |", "| --- | --- | --- | --- | --- |"]
    for file in sorted((PROJECT / "experiments").glob("*/measured.json")):
        entry: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name = file.parent.name
        for claim in entry.get("claims", []):
            found.append(claim["held"])
            word = STATUS_TEXT[claim["held"]]
            value = "" if claim["value"] is None else f"{claim['value']:.3f}".rstrip("0").rstrip(".")
            where = f"[{name}](experiments/{name}/)"
            lines.append(f"| {where} | {claim['claim']} | {value} | {claim['expected']} | {word} |")
    ran = [held for held in found if held is not None]
    tally = f"{sum(ran)} of {len(ran)} claims reproduced, {len(found) - len(ran)} not run:"
    return "\n".join([tally, "", *lines]) + "\n"


def update_readme(readme: str) -> str:
    """The README's text with the table of now. Raises ValueError without the markers."""
    before, first, rest = readme.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not (first and last):
        raise ValueError(f"expected {FIRST.strip()} and {LAST.strip()} in {README}, got neither or one")
    return before + FIRST + table() + LAST + after


def main(arguments: list[str]) -> int:
    """Publish the records of the folders in `arguments`, then write the table."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    if arguments:
        for folder in arguments:
            publish(Path(folder))
    write_text(README, update_readme(README.read_text(encoding="utf-8")))
    return 0


ALL = "all"  # name of the whole experiment as a part, once a part was run again


def record(outcome: ExperimentResult, folder: Path) -> None:
    """Write NAME.json and NAME.svg; merge a part of an experiment with its earlier parts."""
    name = outcome.experiment.name
    entry = to_record(outcome)
    if outcome.experiment.part:
        entry = merge_parts(read_measured(folder / f"{name}.json"), entry)
    write_json(folder / f"{name}.json", entry)
    save_figure(outcome.figure(), folder / f"{name}.svg", name)


def to_record(outcome: ExperimentResult) -> dict[str, Any]:
    """The record of an outcome. parts: command, time and machine of each part of an experiment."""
    e, around = outcome.experiment, environment()
    ran = {
        "command": f"python -m src.train --multirun experiment={e.config(outcome.size)}",
        "jobs": len(outcome.results),
        "seconds": round(outcome.seconds, 1),
        "processor": around["processor"],
        "cores": around["cores"],
    }
    entry = {
        **ran,
        "size": outcome.size,
        "measures": outcome.measures,
        "claims": claim_records(outcome.claims),
    }
    if not e.part:
        return entry
    commit = {"commit": around["git_commit"], "changed": around["git_dirty"]}
    return entry | {"parts": {e.part: ran | commit}}


def claim_records(found: list[ClaimResult]) -> list[dict[str, Any]]:
    """The claims of a record. held, value: null for a claim that was not executed."""
    return [
        {
            "claim": v.claim,
            "held": v.passed if v.executed else None,
            "measure": v.measure,
            "value": v.value if v.executed else None,
            "expected": v.expected,
        }
        for v in found
    ]


def merge_parts(earlier: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Merge the record of a part with an earlier record of the same size."""
    if earlier is None or earlier["size"] != now["size"]:
        return now
    kept = ("command", "jobs", "seconds", "processor", "cores")
    before = earlier.get("parts") or {ALL: {key: earlier[key] for key in kept}}
    parts = before | now["parts"]
    return now | {
        "measures": earlier["measures"] | now["measures"],
        "parts": parts,
        "jobs": sum(part["jobs"] for part in parts.values()),
        "seconds": round(sum(part["seconds"] for part in parts.values()), 1),
    }


def earlier_measures(outcomes: Path, name: str, size: str) -> Measures:
    """Measures of the parts of an experiment that were run earlier."""
    found = read_measured(outcomes / f"{name}.json")
    return dict(found["measures"]) if found and found["size"] == size else {}


def read_measured(file: Path) -> dict[str, Any] | None:
    """Read a record; None where there is none."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def publish(outcomes: Path, experiments: Path = FOLDER) -> None:
    """Copy every record of a folder to experiments/; merge the parts of an experiment.

    A quick record does not replace a full one.
    """
    for file in sorted(outcomes.glob("*.json")):
        name, target = file.stem, experiments / file.stem / "measured.json"
        now, earlier = read_measured(file), read_measured(target)
        figure, kept = file.with_suffix(".svg"), target.with_name("figure.svg")
        if now and earlier and (now["size"], earlier["size"]) == ("quick", "full"):
            echo_err(f"{name}: the full-size record stays, {file} is a quick one")
            continue
        if now and "parts" in now and earlier:
            now, draw = merge_parts(earlier, now), EXPERIMENTS[name].draw
            claims = read_claims(FOLDER / name / "expected.json", now["size"])
            now["claims"] = claim_records(check_claims(claims, now["measures"], partly=True))
            assert draw is not None
            save_figure(draw(now["measures"]), kept, name)
        else:
            write_text(kept, figure.read_text(encoding="utf-8"))
        write_json(target, now)


def save_figure(figure: Figure, file: Path, name: str) -> None:
    write_atomically(file, lambda temporary: save(figure, temporary, name))


def save(figure: Figure, file: Path, salt: str) -> None:
    """Write an SVG; the same figure gives the same bytes."""
    nobody = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata=nobody)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
