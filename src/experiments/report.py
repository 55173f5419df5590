"""The report of `make reproduce`: every claim, figure and sample in one page that needs nothing else.

The pipeline's run on the sonnets, as `make reproduce` starts it and its report shows it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from src.common.errors import pluralize
from src.common.files import absolute
from src.common.process import run_module
from src.config.schema import ReproduceConfig
from src.experiments.analyses.sonnets import EXPECTED, FIGURES
from src.experiments.claims import ClaimResult, check_claims, read_claims, tally
from src.experiments.runner import FOLDER, ExperimentResult
from src.sweeps.html_report import select_samples
from src.tracking.environment import environment
from src.tracking.run import tracking_store

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Section:
    """One experiment. figure: SVG. samples: name and text."""

    name: str
    question: str
    command: str
    note: str
    claims: list[ClaimResult]
    figure: str
    sampled: str
    samples: list[dict[str, str]]


def question(name: str) -> str:
    """The heading of the experiment's README: what it asks."""
    first = (FOLDER / name / "README.md").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ")


def section(outcome: ExperimentResult) -> Section:
    """An experiment as the page shows it."""
    e = outcome.experiment
    line = f"python -m src.train --multirun experiment={e.config(outcome.size)}"
    if outcome.missing:
        return Section(e.name, question(e.name), line, f"not run: {outcome.missing}", [], "", "", [])
    finished = sum(row.status == "FINISHED" for row in outcome.results)
    note = f"{pluralize(len(outcome.results), 'job')}, {finished} finished, {outcome.seconds:.0f} s."
    sampled, samples = select_samples(outcome.results)
    from src.plots.sweep import svg  # matplotlib takes a second to import

    drawing = svg(outcome.figure(), e.name)
    return Section(
        e.name, question(e.name), line, note, outcome.claims, drawing, sampled, samples[:MOST_SAMPLES]
    )


MOST_SAMPLES = 6


def page(sections: list[Section], facts: dict[str, Any]) -> str:
    """The page as HTML. facts: what it ran on, by name."""
    every = [verdict for s in sections for verdict in s.claims]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        tally=tally(every), sections=sections, facts=facts
    )


def places(config: ReproduceConfig) -> list[str]:
    """Where the commands that it starts are to keep things."""
    found = [f"output_dir={absolute(config.output_dir)}", f"data_dir={absolute(config.data_dir)}"]
    found.append(f"tracking={config.tracking.name}")
    if config.tracking.enabled:
        found += [f"tracking.uri={tracking_store(config)['uri']}"] if config.tracking.uri else []
        found.append(f"tracking.experiment={config.tracking.experiment}")
    return found


def sonnets(places: list[str], outputs: Path) -> list[ClaimResult]:
    """Run the pipeline in a process of its own; what its claims came to, none where it did not end."""
    file = outputs / FIGURES
    file.unlink(missing_ok=True)
    run_module("src.pipeline", *places)
    return read_claim_results(file)


def read_claim_results(file: Path) -> list[ClaimResult]:
    """The claims against the figures of the pipeline's run, none where it left none."""
    if not file.exists():
        return []
    return check_claims(read_claims(EXPECTED), json.loads(file.read_text(encoding="utf-8"))["metrics"])


def sonnets_section(outputs: Path) -> Section:
    """The pipeline's run as the report shows it."""
    file, line = outputs / FIGURES, "python -m src.pipeline"
    if not file.exists():
        return Section("sonnets", question("sonnets"), line, "not run: it did not end", [], "", "", [])
    told = json.loads(file.read_text(encoding="utf-8"))
    samples = [
        {"name": f"temperature {t}", "settings": "", "prompt": "", "text": text}
        for t, text in told["samples"].items()
    ]
    note = f"{pluralize(told['steps'], 'step')}; weights kept: those of step {told['best_step']}."
    return Section(
        "sonnets", question("sonnets"), line, note, read_claim_results(file), "", "Samples.", samples
    )


def facts(size: str) -> dict[str, Any]:
    """What the report says it ran on."""
    around = environment()
    commit = (around["git_commit"] or "none")[:12] + (" with changes" if around["git_dirty"] else "")
    return {
        "size": size,
        "commit": commit,
        "processor": f"{around['processor']}, {around['cores']} cores",
        "Python": around["python"],
        "NumPy": around["packages"]["numpy"],
    }
