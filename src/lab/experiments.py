"""The experiments: what runs them, what is measured of them, and whether their claims hold."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from src.errors import InputError
from src.files import write_atomically, write_json
from src.lab.claims import Verdict, read_claims, verdicts
from src.lab.environment import PROJECT, environment
from src.lab.findings import cells, clipping, context, karpathy2015, state, temperature, tinyshakespeare
from src.lab.findings.arms import Measures
from src.lab.sweep_rows import Row, read_rows
from src.text import sources

FOLDER = PROJECT / "experiments"


@dataclass(frozen=True)
class Experiment:
    """measures, figure: of the jobs. quick: whether there is a quick setting. text: the text that it may need
    a copy of, "" for none. needs_copy: whether it cannot do without. parallel: jobs side by side (else one
    job uses all cores)."""

    name: str
    measures: Callable[[list[Row]], Measures]
    figure: Callable[[list[Row]], Figure]
    quick: bool = True
    text: str = ""
    needs_copy: bool = False
    parallel: bool = True

    def config(self, size: str) -> str:
        """The name in conf/experiment/."""
        return f"{self.name}_quick" if size == "quick" and self.quick else self.name


EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment("clipping", clipping.measures, clipping.figure),
        Experiment("state", state.measures, state.figure),
        Experiment("temperature", temperature.measures, temperature.figure),
        Experiment("context", context.measures, context.figure),
        Experiment("cells", cells.measures, cells.figure),
        Experiment(
            "tinyshakespeare",
            tinyshakespeare.measures,
            tinyshakespeare.figure,
            quick=False,
            text="tinyshakespeare",
            parallel=False,
        ),
        Experiment(
            "karpathy2015", karpathy2015.measures, karpathy2015.figure, text="warandpeace", needs_copy=True
        ),
    )
}
QUICK = ("clipping", "state", "temperature")  # what `make reproduce` runs


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to. missing: why it did not run, "" where it did. page: its sweep's."""

    experiment: Experiment
    size: str
    rows: list[Row] = field(default_factory=list)
    measures: Measures = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0
    missing: str = ""
    page: Path | None = None


def command(experiment: Experiment, size: str, places: list[str], text: str | None) -> list[str]:
    """The line that runs it, as a person would type it; finished jobs of an earlier try are reused."""
    line = ["--multirun", f"experiment={experiment.config(size)}", "skip_finished=true", *places]
    if experiment.parallel:
        line.append("hydra/launcher=joblib")
    if text:
        line.append(f"data.path={text}")
    return line


def check_texts(texts: dict[str, str | None], asked: list[Experiment]) -> None:
    """Refuse a copy that is not the text that it is named as, and an experiment that is asked for by its name
    without the copy that it needs: now, and not behind hours of others."""
    for name, given in texts.items():
        if given is not None:
            try:
                sources.find(name, Path(given).expanduser().absolute(), Path())
            except InputError as error:
                raise InputError(str(error).replace("data.path: ", f"{name}: ", 1)) from error
    for experiment in asked:
        if experiment.needs_copy and texts.get(experiment.text) is None:
            raise InputError(
                f"{experiment.text}: expected your copy of the text, for only=[{experiment.name}], got null"
            )


def run(
    experiment: Experiment, size: str, places: list[str], outputs: Path, texts: dict[str, str | None]
) -> Outcome:
    """Run the sweep in a process of its own, what it says on this terminal; read what came out.

    places: overrides that say where things are kept. texts: copies that the user has.
    """
    text = texts.get(experiment.text)
    if experiment.needs_copy and text is None:
        return Outcome(experiment, size, missing=f"it needs your copy of the text: {experiment.text}=FILE")
    line = command(experiment, size, places, text)
    began, seconds = time.time(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "src.train", *line], cwd=PROJECT, check=False)
    # A sweep with failed jobs exits with 1. Training that diverges fails, which may be what is to be seen.
    files = [f for f in (outputs / "sweeps").glob("*/jobs.json") if f.stat().st_mtime >= began - 1]
    if done.returncode not in (0, 1) or not files:
        return Outcome(experiment, size, missing=f"the sweep ended with status {done.returncode}")
    file = max(files, key=lambda f: f.stat().st_mtime_ns)
    page = file.with_name("comparison.html")
    return conclude(experiment, size, read_rows(file), time.perf_counter() - seconds, page)


def conclude(
    experiment: Experiment, size: str, rows: list[Row], seconds: float = 0.0, page: Path | None = None
) -> Outcome:
    """What the jobs measure, held against experiments/NAME/expected.json."""
    try:
        found = experiment.measures(rows)
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(
            f"experiment {experiment.name}: expected jobs to measure, got {len(rows)} of which some lack "
            f"{error}"
        ) from error
    claims = read_claims(FOLDER / experiment.name / "expected.json", size)
    return Outcome(experiment, size, rows, found, verdicts(claims, found), seconds, "", page)


def record(outcome: Outcome, folder: Path) -> None:
    """NAME.json and NAME.svg: what came out, as experiments/NAME keeps it."""
    name, around = outcome.experiment.name, environment()
    told: dict[str, Any] = {
        "command": f"python -m src.train --multirun experiment={outcome.experiment.config(outcome.size)}",
        "size": outcome.size,
        "jobs": len(outcome.rows),
        "seconds": round(outcome.seconds, 1),
        "measures": outcome.measures,
        "claims": [
            {"claim": v.claim, "held": v.held, "measure": v.measure, "value": v.value, "expected": v.expected}
            for v in outcome.verdicts
        ],
        "processor": around["processor"],
        "cores": around["cores"],
    }
    write_json(folder / f"{name}.json", told)
    figure = outcome.experiment.figure(outcome.rows)
    write_atomically(folder / f"{name}.svg", lambda file: save(figure, file, name))


def save(figure: Figure, file: Path, salt: str) -> None:
    """As SVG, the same bits for the same drawing."""
    nobody = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata=nobody)


def recorded(name: str) -> dict[str, Any]:
    """What experiments/NAME/measured.json says."""
    file = FOLDER / name / "measured.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
