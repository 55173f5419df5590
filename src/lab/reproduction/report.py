"""The report of `make reproduce`: every claim, figure and sample in one page that needs nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from src.lab.reproduction.claims import Verdict, tally
from src.lab.reproduction.experiments import FOLDER, Outcome
from src.lab.sweeps.comparison import side_by_side
from src.terminal import counted

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Section:
    """One experiment. figure: SVG. samples: name and text."""

    name: str
    question: str
    command: str
    note: str
    verdicts: list[Verdict]
    figure: str
    sampled: str
    samples: list[dict[str, str]]


def question(name: str) -> str:
    """The heading of the experiment's README: what it asks."""
    first = (FOLDER / name / "README.md").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ")


def section(outcome: Outcome) -> Section:
    """An experiment as the page shows it."""
    e = outcome.experiment
    line = f"python -m src.train --multirun experiment={e.config(outcome.size)}"
    if outcome.missing:
        return Section(e.name, question(e.name), line, f"not run: {outcome.missing}", [], "", "", [])
    finished = sum(row.status == "FINISHED" for row in outcome.rows)
    note = f"{counted(len(outcome.rows), 'job')}, {finished} finished, {outcome.seconds:.0f} s."
    sampled, samples = side_by_side(outcome.rows)
    from src.lab.figures.sweep_figures import svg  # matplotlib takes a second to import

    drawing = svg(outcome.figure(), e.name)
    return Section(
        e.name, question(e.name), line, note, outcome.verdicts, drawing, sampled, samples[:MOST_SAMPLES]
    )


MOST_SAMPLES = 6


def page(sections: list[Section], facts: dict[str, Any]) -> str:
    """The page as HTML. facts: what it ran on, by name."""
    every = [verdict for s in sections for verdict in s.verdicts]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        tally=tally(every), sections=sections, facts=facts
    )
