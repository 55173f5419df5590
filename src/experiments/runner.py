"""The experiments: what runs them, what is measured of them, and whether their claims hold."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

from src.common.errors import UserError
from src.common.files import PROJECT
from src.common.job_result import JobResult, read_results
from src.common.process import run_module
from src.data import sources
from src.experiments.aggregate import Measures
from src.experiments.analyses import (
    cells,
    clipping,
    context,
    karpathy2015,
    state,
    temperature,
    tinyshakespeare,
)
from src.experiments.claims import ClaimResult, check_claims, read_claims

FOLDER = PROJECT / "experiments"


@dataclass(frozen=True)
class Experiment:
    """measures, figure: of the jobs. quick: whether there is a quick setting. text: the text that it may need
    a copy of, "" for none. needs_copy: whether it cannot do without. parallel: jobs side by side (else one
    job uses all cores). draw: the figure of the measures alone, of an experiment that may be run in parts,
    whose measures add up. part: the one that is run, "" for all of it."""

    name: str
    measures: Callable[[list[JobResult]], Measures]
    figure: Callable[[list[JobResult]], Figure]
    quick: bool = True
    text: str = ""
    needs_copy: bool = False
    parallel: bool = True
    draw: Callable[[Measures], Figure] | None = None
    part: str = ""

    @property
    def cli_name(self) -> str:
        """As `experiments=` names it."""
        return f"{self.name}_{self.part}" if self.part else self.name

    def config(self, size: str) -> str:
        """The name in conf/experiment/. (A part has full size only.)"""
        whole = f"{self.name}_quick" if size == "quick" and self.quick else self.name
        return self.cli_name if self.part else whole


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
            "karpathy2015",
            karpathy2015.measures,
            karpathy2015.figure,
            text="warandpeace",
            needs_copy=True,
            draw=karpathy2015.plot_losses,
        ),
    )
}
QUICK = ("clipping", "state", "temperature")  # what `make reproduce` runs


def get_experiment(name: str) -> Experiment:
    """An experiment, or a part of one: `karpathy2015_64`."""
    whole, _, part = name.partition("_")
    return replace(EXPERIMENTS[whole], part=part)


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment came to. missing: why it did not run, "" where it did. page: its sweep's."""

    experiment: Experiment
    size: str
    results: list[JobResult] = field(default_factory=list)
    measures: Measures = field(default_factory=dict)
    claims: list[ClaimResult] = field(default_factory=list)
    seconds: float = 0.0
    missing: str = ""
    page: Path | None = None

    def figure(self) -> Figure:
        """Of the jobs; of an experiment that is run in parts, of all measures that there are."""
        e = self.experiment
        return e.draw(self.measures) if e.draw else e.figure(self.results)


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
            except UserError as error:
                raise UserError(str(error).replace("data.path: ", f"{name}: ", 1)) from error
    for experiment in asked:
        if experiment.needs_copy and texts.get(experiment.text) is None:
            needed = f"your copy of the text, for experiments=[{experiment.cli_name}]"
            raise UserError(f"{experiment.text}: expected {needed}, got null")


def run(
    experiment: Experiment,
    size: str,
    places: list[str],
    outputs: Path,
    texts: dict[str, str | None],
    earlier: Measures | None = None,
) -> ExperimentResult:
    """Run the sweep in a process of its own, what it says on this terminal; read what came out.

    places: overrides that say where things are kept. texts: copies that the user has. earlier: what other
    parts of the experiment have measured. Raises KeyboardInterrupt when it was interrupted, behind its end.
    """
    text = texts.get(experiment.text)
    if experiment.needs_copy and text is None:
        return ExperimentResult(
            experiment, size, missing=f"it needs your copy of the text: {experiment.text}=FILE"
        )
    line = command(experiment, size, places, text)
    began, seconds = time.time(), time.perf_counter()
    status = run_module("src.train", *line)
    # A sweep with failed jobs exits with 1. Training that diverges fails, which may be what is to be seen.
    files = [f for f in (outputs / "sweeps").glob("*/jobs.json") if f.stat().st_mtime >= began - 1]
    if status not in (0, 1) or not files:
        return ExperimentResult(experiment, size, missing=f"the sweep ended with status {status}")
    file = max(files, key=lambda f: f.stat().st_mtime_ns)
    page = file.with_name("comparison.html")
    return build_result(experiment, size, read_results(file), time.perf_counter() - seconds, page, earlier)


def build_result(
    experiment: Experiment,
    size: str,
    rows: list[JobResult],
    seconds: float = 0.0,
    page: Path | None = None,
    earlier: Measures | None = None,
) -> ExperimentResult:
    """What the jobs measure, held against experiments/NAME/expected.json.

    earlier: what other parts of the experiment have measured.
    """
    try:
        found = (earlier or {}) | experiment.measures(rows)
    except (IndexError, KeyError, ValueError) as error:
        raise UserError(
            f"experiment {experiment.name}: expected jobs to measure, got {len(rows)} of which some lack "
            f"{error}"
        ) from error
    claims = read_claims(FOLDER / experiment.name / "expected.json", size)
    held = check_claims(claims, found, partly=bool(experiment.part))
    return ExperimentResult(experiment, size, rows, found, held, seconds, "", page)
