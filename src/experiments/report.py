"""The page of `make reproduce`: every claim, figure and sample in one self-contained file."""

from pathlib import Path
from typing import Any

import jinja2

from src.common.console import pluralize
from src.experiments.claims import tally
from src.experiments.runner import FOLDER, ExperimentResult
from src.sweeps.html_report import select_samples
from src.tracking.environment import environment

TEMPLATE = Path(__file__).with_name("report.html")
MAX_SAMPLES = 6


def render_page(outcomes: list[ExperimentResult], facts: dict[str, Any]) -> str:
    """Render the page as HTML. facts: what it ran on, by name."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return template.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        tally=tally(claim.passed for outcome in outcomes for claim in outcome.claims),
        sections=[section(outcome) for outcome in outcomes],
        facts=facts,
    )


def section(outcome: ExperimentResult) -> dict[str, Any]:
    """The variables of an experiment in the template. question: the heading of its README."""
    e = outcome.experiment
    readme = (FOLDER / e.name / "README.md").read_text(encoding="utf-8")
    variables = {
        "name": e.name,
        "question": readme.splitlines()[0].removeprefix("# "),
        "command": e.command_line(outcome.preset),
        "claims": outcome.claims,
    }
    if outcome.missing:
        note = f"not run: {outcome.missing}"
        return {**variables, "note": note, "figure": "", "selection": "", "samples": []}
    finished = sum(result.status == "FINISHED" for result in outcome.results)
    note = f"{pluralize(len(outcome.results), 'job')}, {finished} finished, {outcome.seconds:.0f} s."
    selection, samples = select_samples(outcome.results)
    if len(outcome.results) == 1:  # all temperatures of a single run
        selection = "Samples."
        samples = [
            {**sample, "name": f"temperature {sample['temperature']:g}", "settings": ""}
            for sample in outcome.results[0].samples
        ]
    from src.plots.sweep import svg  # matplotlib takes a second to import

    return {
        **variables,
        "note": note,
        "figure": svg(outcome.figure(), e.name),
        "selection": selection,
        "samples": samples[:MAX_SAMPLES],
    }


def describe_environment(preset: str) -> dict[str, Any]:
    """Describe the environment for the page: commit, processor, versions."""
    env = environment()
    commit = (env["git_commit"] or "none")[:12] + (" with changes" if env["git_dirty"] else "")
    return {
        "preset": preset,
        "commit": commit,
        "processor": f"{env['processor']}, {env['cores']} cores",
        "Python": env["python"],
        "NumPy": env["packages"]["numpy"],
    }
