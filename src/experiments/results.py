"""`python -m src.experiments.results`: the README's table of results, from what the experiments measured.

`python -m src.experiments.results outputs/reproduction` first takes what stands there into experiments/.

What an experiment came to, as experiments/NAME keeps it: numbers, claims, the figure; its parts add up.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from src.common.atomic_io import write_atomically, write_json, write_text
from src.common.console import say
from src.common.paths import PROJECT
from src.experiments.aggregate import Measures
from src.experiments.claims import Verdict, read_claims, verdicts
from src.experiments.runner import EXPERIMENTS, FOLDER, Outcome
from src.tracking.environment import environment

README = PROJECT / "README.md"
FIRST, LAST = "<!-- results -->\n", "<!-- /results -->\n"

WORDS = {True: "reproduced", False: "**not reproduced**", None: "not run"}


def table() -> str:
    """How many claims came out; a line for each, of every experiment that has been measured."""
    found: list[bool | None] = []
    lines = ["| experiment | claim | measured | expected | |", "| --- | --- | --- | --- | --- |"]
    for file in sorted((PROJECT / "experiments").glob("*/measured.json")):
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name = file.parent.name
        for claim in told.get("claims", []):
            found.append(claim["held"])
            word = WORDS[claim["held"]]
            value = "" if claim["value"] is None else f"{claim['value']:.3f}".rstrip("0").rstrip(".")
            where = f"[{name}](experiments/{name}/)"
            lines.append(f"| {where} | {claim['claim']} | {value} | {claim['expected']} | {word} |")
    ran = [held for held in found if held is not None]
    tally = f"{sum(ran)} of {len(ran)} claims reproduced, {len(found) - len(ran)} not run:"
    return "\n".join([tally, "", *lines]) + "\n"


def written(readme: str) -> str:
    """The README with today's table."""
    before, first, rest = readme.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not (first and last):
        raise ValueError(f"expected {FIRST.strip()} and {LAST.strip()} in {README}, got neither or one")
    return before + FIRST + table() + LAST + after


def main(arguments: list[str]) -> int:
    """arguments: folders whose records are taken first."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    if arguments:
        for folder in arguments:
            keep(Path(folder))
    write_text(README, written(README.read_text(encoding="utf-8")))
    return 0


ALL = "all"  # the part that a whole run is, once a part has been run again


def record(outcome: Outcome, folder: Path) -> None:
    """NAME.json and NAME.svg. Of an experiment that was run in part, beside what its other parts came to."""
    name = outcome.experiment.name
    told = told_of(outcome)
    if outcome.experiment.part:
        told = added(read(folder / f"{name}.json"), told)
    write_json(folder / f"{name}.json", told)
    save_figure(outcome.figure(), folder / f"{name}.svg", name)


def told_of(outcome: Outcome) -> dict[str, Any]:
    """What NAME.json says. parts: of an experiment that was run in part, what each took, and where."""
    e, around = outcome.experiment, environment()
    ran = {
        "command": f"python -m src.train --multirun experiment={e.config(outcome.size)}",
        "jobs": len(outcome.rows),
        "seconds": round(outcome.seconds, 1),
        "processor": around["processor"],
        "cores": around["cores"],
    }
    told = {**ran, "size": outcome.size, "measures": outcome.measures, "claims": claims_of(outcome.verdicts)}
    if not e.part:
        return told
    commit = {"commit": around["git_commit"], "changed": around["git_dirty"]}
    return told | {"parts": {e.part: ran | commit}}


def claims_of(found: list[Verdict]) -> list[dict[str, Any]]:
    """held, value: null of a claim that was not run."""
    return [
        {
            "claim": v.claim,
            "held": v.held if v.ran else None,
            "measure": v.measure,
            "value": v.value if v.ran else None,
            "expected": v.expected,
        }
        for v in found
    ]


def added(earlier: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """A record that holds parts of an experiment, on top of an earlier one of the same size."""
    if earlier is None or earlier["size"] != now["size"]:
        return now
    told = ("command", "jobs", "seconds", "processor", "cores")
    before = earlier.get("parts") or {ALL: {key: earlier[key] for key in told}}
    parts = before | now["parts"]
    return now | {
        "measures": earlier["measures"] | now["measures"],
        "parts": parts,
        "jobs": sum(part["jobs"] for part in parts.values()),
        "seconds": round(sum(part["seconds"] for part in parts.values()), 1),
    }


def measured_before(outcomes: Path, name: str, size: str) -> Measures:
    """What the parts of an experiment that have been run have measured."""
    found = read(outcomes / f"{name}.json")
    return dict(found["measures"]) if found and found["size"] == size else {}


def read(file: Path) -> dict[str, Any] | None:
    """A record, None where there is none."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(outcomes: Path, experiments: Path = FOLDER) -> None:
    """Take every record of a folder into experiments/, parts beside what stands there of the others.

    What was measured at full size stays: a quick record does not take its place.
    """
    for file in sorted(outcomes.glob("*.json")):
        name, target = file.stem, experiments / file.stem / "measured.json"
        now, earlier = read(file), read(target)
        figure, kept = file.with_suffix(".svg"), target.with_name("figure.svg")
        if now and earlier and (now["size"], earlier["size"]) == ("quick", "full"):
            say(f"{name}: what was measured at full size stays, {file} is of the quick one")
            continue
        if now and "parts" in now and earlier:
            now, draw = added(earlier, now), EXPERIMENTS[name].draw
            claims = read_claims(FOLDER / name / "expected.json", now["size"])
            now["claims"] = claims_of(verdicts(claims, now["measures"], partly=True))
            assert draw is not None
            save_figure(draw(now["measures"]), kept, name)
        else:
            write_text(kept, figure.read_text(encoding="utf-8"))
        write_json(target, now)


def save_figure(figure: Figure, file: Path, name: str) -> None:
    write_atomically(file, lambda temporary: save(figure, temporary, name))


def save(figure: Figure, file: Path, salt: str) -> None:
    """As SVG, the same bits for the same drawing."""
    nobody = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata=nobody)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
