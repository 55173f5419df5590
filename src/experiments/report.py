"""The page of `make reproduce`: every claim, figure and sample in one self-contained file."""

from typing import Any

from src.common.console import pluralize
from src.experiments.claims import tally
from src.experiments.runner import FOLDER, ExperimentResult
from src.sweeps.html_report import render_template, select_samples
from src.tracking.environment import environment

MAX_SAMPLE_CHARACTERS = 400
MAX_SAMPLES = 6


def render_page(outcomes: list[ExperimentResult], facts: dict[str, Any]) -> str:
    """Render the page as HTML. facts: what it ran on, by name."""
    title = tally(claim.passed for outcome in outcomes for claim in outcome.claims)
    sections = [section(outcome) for outcome in outcomes]
    return render_template("experiments/report.html", title=title, sections=sections, facts=facts)


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

    figure = svg(outcome.figure(), e.name)
    samples = [{**s, "text": s["text"][:MAX_SAMPLE_CHARACTERS]} for s in samples[:MAX_SAMPLES]]
    return {**variables, "note": note, "figure": figure, "selection": selection, "samples": samples}


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
