"""`python -m src.experiments.results`: write the tables of results from experiments/*/measured.json.

It writes the table of experiments/README.md, and the number of reproduced claims in the project's README.

`python -m src.experiments.results outputs/reproduction` first copies the records of that folder to
experiments/. A record has the measures, the claims and the figure of an experiment; records of its parts are
merged. `make reproduce` also writes a page: every claim, figure and sample in one self-contained file.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, cast

from matplotlib.figure import Figure
from typing_extensions import TypedDict

from src.common.console import echo_err, pluralize
from src.common.errors import UserError
from src.common.files import PROJECT, read_json, write_atomically, write_block, write_json, write_text
from src.common.page import render_template
from src.experiments import training_analyses as training
from src.experiments.claims import WORDS, ClaimResult, Measures, Preset, check_claims, read_claims, tally
from src.experiments.runner import EXPERIMENTS, FOLDER, RUNS, Experiment, ExperimentResult
from src.plots.sweep import svg, write_svg
from src.sweeps.html_report import job_links, select_samples
from src.tracking.environment import environment

README = PROJECT / "README.md"
MAX_SAMPLES, MAX_SAMPLE_CHARACTERS = 6, 400  # of each experiment on the page
ALL = "all"  # name of the whole experiment as a part, once a part of it was run again


class Execution(TypedDict):
    """Command, duration and environment of an experiment, or of a part of it.

    Attributes:
        command: The command that runs it.
        jobs: Number of jobs.
        seconds: Duration in seconds.
        processor: Name of the processor.
        cores: Number of cores of the machine.
        commit: Git commit of the code, only of a part; None outside a checkout.
        changed: Whether the code had uncommitted changes, only of a part; None outside a checkout.
    """

    command: str
    jobs: int
    seconds: float
    processor: str
    cores: int
    commit: NotRequired[str | None]
    changed: NotRequired[bool | None]


class ClaimRecord(TypedDict):
    """A checked claim in a record.

    Attributes:
        claim: The claim in words.
        passed: Whether the claim is reproduced; None for a claim that was not run.
        measure: Name of the metric, or the difference of metrics.
        value: Measured value; None for a claim that was not run.
        expected: The bounds in words.
    """

    claim: str
    passed: bool | None
    measure: str
    value: float | None
    expected: str


class Record(Execution):
    """Content of a measured.json: the result of an experiment.

    Attributes:
        preset: `quick` or `full`.
        measures: Measured value by name.
        claims: The checked claims.
        samples: Prompt and generated text by temperature, only of an experiment with one job.
        parts: Execution of each part by its name, only of an experiment that was run in parts.
    """

    preset: Preset
    measures: Measures
    claims: list[ClaimRecord]
    samples: NotRequired[dict[str, str]]
    parts: NotRequired[dict[str, Execution]]


def read_record(file: Path) -> Record | None:
    """Read a record.

    Args:
        file: Path of a measured.json, or of a record in outputs/reproduction.

    Returns:
        The record; None where there is no such file.

    Raises:
        UserError: The file is damaged.
    """
    return read_json(file, Record, "experiments") if file.exists() else None


def update_pages(readme: Path = README, experiments: Path = FOLDER / "README.md") -> None:
    """Write the current results between the marks of the two pages.

    Args:
        readme: Page that gets the number of reproduced claims.
        experiments: Page that gets that number and the table of results.

    Raises:
        ValueError: A page lacks its marks.
        UserError: A measured.json is damaged, or a page cannot be written.
    """
    passed: list[bool | None] = []
    lines = ["| experiment | claim | measured | expected | |", "| --- | --- | --- | --- | --- |"]
    for file in sorted(FOLDER.glob("*/measured.json")):
        name = file.parent.name
        for claim in read_json(file, Record, "experiments")["claims"]:
            passed.append(claim["passed"])
            word = "**not reproduced**" if claim["passed"] is False else WORDS[claim["passed"]]
            value = "" if claim["value"] is None else f"{claim['value']:.3f}".rstrip("0").rstrip(".")
            lines.append(f"| [{name}]({name}/) | {claim['claim']} | {value} | {claim['expected']} | {word} |")
    table = "\n".join(lines)
    write_block(readme, "tally", tally(passed))
    write_block(experiments, "results", f"\n{tally(passed)}:\n\n{table}\n")


def main(arguments: list[str]) -> int:
    """Publish the records of the given folders, then write the tables.

    Args:
        arguments: Folders with records; `-h` or `--help` prints the help and does nothing else.

    Returns:
        The exit status: 0, or 2 after a UserError, which is printed in one line.
    """
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        for folder in arguments:
            publish(Path(folder))
        update_pages()
    except UserError as error:
        echo_err(f"results: {error}")
        return 2
    return 0


def record(outcome: ExperimentResult, folder: Path) -> None:
    """Write the record and the figure of an experiment; merge a part with its earlier parts.

    Args:
        outcome: Result of the experiment.
        folder: Folder in which NAME.json and NAME.svg are written.

    Raises:
        UserError: The earlier record is damaged, or a file cannot be written.
    """
    e, env = outcome.experiment, environment()
    executed: Execution = {
        "command": e.command_line(outcome.preset),
        "jobs": len(outcome.results),
        "seconds": round(outcome.seconds, 1),
        "processor": env["processor"],
        "cores": env["cores"],
    }
    claims = claim_records(outcome.claims)
    measured = {"preset": outcome.preset, "measures": outcome.measures, "claims": claims}
    entry = cast("Record", executed | measured)
    if len(outcome.results) == 1:
        samples = outcome.results[0].samples
        entry["samples"] = {f"{s['temperature']:g}": f"{s['prompt']}{s['text']}" for s in samples}
    if e.part:
        entry["parts"] = {e.part: {**executed, "commit": env["git_commit"], "changed": env["git_dirty"]}}
    earlier = read_record(folder / f"{e.name}.json")
    if e.part and earlier:
        entry = merge_parts(earlier, entry)
    write_json(folder / f"{e.name}.json", entry)
    save_figure(outcome.figure(), folder / f"{e.name}.svg", e.name)


def claim_records(claims: list[ClaimResult]) -> list[ClaimRecord]:
    """Convert checked claims to the entries of a record.

    Args:
        claims: The checked claims.

    Returns:
        One entry per claim, in the same order.
    """
    keys = ClaimRecord.__annotations__
    return [cast("ClaimRecord", {key: getattr(claim, key) for key in keys}) for claim in claims]


def merge_parts(earlier: Record, now: Record) -> Record:
    """Merge the record of a part with an earlier record of the same experiment.

    Args:
        earlier: The earlier record, of the whole experiment or of some parts.
        now: The new record, of one or more parts; its measures replace earlier ones of the same name.

    Returns:
        The merged record, whose claims are those of `now`; `now` itself where the presets differ.
    """
    if earlier["preset"] != now["preset"]:
        return now
    whole = {key: value for key, value in earlier.items() if key in Execution.__annotations__}
    parts = earlier.get("parts", {ALL: cast("Execution", whole)}) | now["parts"]
    return {
        **now,
        "measures": earlier["measures"] | now["measures"],
        "parts": parts,
        "jobs": sum(part["jobs"] for part in parts.values()),
        "seconds": round(sum(part["seconds"] for part in parts.values()), 1),
    }


def earlier_measures(folder: Path, name: str, preset: Preset) -> Measures:
    """Return the measures of the parts of an experiment that were run earlier.

    Args:
        folder: Folder of the records.
        name: Name of the experiment.
        preset: `quick` or `full`; measures of the other preset do not count.

    Returns:
        Measured value by name; empty where nothing was run earlier.

    Raises:
        UserError: The record is damaged.
    """
    earlier = read_record(folder / f"{name}.json")
    return earlier["measures"] if earlier and earlier["preset"] == preset else {}


def expected_seconds(experiment: Experiment, preset: Preset, folder: Path) -> float:
    """Estimate the duration of an experiment from its last record.

    Args:
        experiment: The experiment.
        preset: `quick` or `full`.
        folder: Folder of the records of this machine; where it has none, the published record counts.

    Returns:
        Seconds. The duration of the other preset is scaled by the number of jobs and epochs; 0 where nothing
        is recorded.

    Raises:
        UserError: A record is damaged.
    """
    own = read_record(folder / f"{experiment.name}.json")
    found = (
        own if own and own["preset"] == preset else read_record(FOLDER / experiment.name / "measured.json")
    )
    if found is None:
        return 0.0
    if experiment.command != "src.train" or (found["preset"] == preset and not experiment.part):
        return found["seconds"]
    from src.sweeps.hydra_callback import experiment_size  # imports Hydra

    recorded = replace(experiment, part="").config(found["preset"])
    return found["seconds"] * experiment_size(experiment.config(preset)) / experiment_size(recorded)


def publish(folder: Path, experiments: Path = FOLDER) -> None:
    """Copy every record of a folder to experiments/; merge the parts of an experiment.

    A quick record does not replace a full one.

    Args:
        folder: Folder with NAME.json and NAME.svg for each experiment.
        experiments: Folder with a subfolder for each experiment, which gets measured.json and figure.svg.

    Raises:
        UserError: A record is damaged, or a file cannot be written.
    """
    for file in sorted(folder.glob("*.json")):
        name, target = file.stem, experiments / file.stem / "measured.json"
        now, earlier = read_json(file, Record, "experiments"), read_record(target)
        figure = target.with_name("figure.svg")
        if earlier and (now["preset"], earlier["preset"]) == ("quick", "full"):
            echo_err(f"{name}: kept the record of preset=full; {file} is of preset=quick")
            continue
        if "parts" in now and earlier:
            now = merge_parts(earlier, now)
            claims = read_claims(FOLDER / name / "expected.json", now["preset"])
            now["claims"] = claim_records(check_claims(claims, now["measures"], partly=True))
            save_figure(EXPERIMENTS[name].plot([], now["measures"]), figure, name)
        else:
            write_text(figure, file.with_suffix(".svg").read_text(encoding="utf-8"))
        write_json(target, now)


def save_figure(figure: Figure, file: Path, salt: str) -> None:
    """Write a figure as SVG, atomically.

    Args:
        figure: The figure.
        file: File to write.
        salt: Text from which the ids in the SVG are made: the same figure and salt give the same bytes.

    Raises:
        UserError: The file cannot be written.
    """
    write_atomically(file, lambda temporary: write_svg(figure, temporary, salt))


def render_page(
    outcomes: list[ExperimentResult], facts: dict[str, Any], ui: tuple[str, str] = ("", "")
) -> str:
    """Render the report of the experiments as HTML, for a file in their output folder.

    Args:
        outcomes: Results of the experiments, in the order of the page.
        facts: What the experiments ran on, by name (`describe_environment`).
        ui: Address of MLflow's UI and the command that starts it (`mlflow_links.ui_location`); "" for both
            without tracking.

    Returns:
        The whole page.
    """
    title = tally(claim.passed for outcome in outcomes for claim in outcome.claims)
    server, command = ui
    sections = [section(outcome, server) for outcome in outcomes]
    return render_template(
        "experiments/report.html", title=title, sections=sections, facts=facts, command=command
    )


def section(outcome: ExperimentResult, server: str) -> dict[str, Any]:
    """Collect the variables of an experiment for the template report.html.

    Args:
        outcome: Result of the experiment.
        server: Address of MLflow's UI; "" without tracking.

    Returns:
        Values by variable name; `question` is the heading of the experiment's README, which also describes
        the figure. Samples are limited to MAX_SAMPLES, each to MAX_SAMPLE_CHARACTERS.
    """
    e = outcome.experiment
    readme = (FOLDER / e.name / "README.md").read_text(encoding="utf-8")
    finished = sum(result.status == "FINISHED" for result in outcome.results)
    note = f"{pluralize(len(outcome.results), 'job')}, {finished} finished, {outcome.seconds:.0f} s."
    guess = training.uniform(outcome.results)
    jobs = e.contrast(outcome.results) if outcome.results else []
    selection, samples = select_samples(jobs)
    for sample in samples:
        outcome_words = training.describe_outcome(sample["job"], guess)
        sample["settings"] = "; ".join(filter(None, (outcome_words, sample["settings"])))
    if len(jobs) == 1:  # all temperatures of a single run
        selection = f"Samples of {jobs[0].name}." if jobs[0].swept else "Samples."
        samples = [
            {**sample, "job": jobs[0], "name": f"temperature {sample['temperature']:g}", "settings": ""}
            for sample in jobs[0].samples
        ]
    if silent := [f"{job.name} ({job.status}, {job.reason})" for job in jobs if not job.samples]:
        selection += f" Without a sample: {', '.join(silent)}."
    last = min(len(samples), MAX_SAMPLES) - 1
    samples = [samples[k * (len(samples) - 1) // max(1, last)] for k in range(last + 1)]  # evenly spaced
    description = "".join(re.findall(r"!\[(.*)\]\(figure\.svg\)", readme))
    return {
        "name": e.name,
        "question": readme.splitlines()[0].removeprefix("# "),
        "command": e.command_line(outcome.preset),
        "claims": outcome.claims,
        "note": f"not run: {outcome.missing}" if outcome.missing else note,
        "figure": "" if outcome.missing else svg(outcome.figure(), e.name, description),
        "comparison": f"{RUNS}/{outcome.comparison}" if outcome.comparison else "",
        "selection": selection,
        "samples": [
            {
                **s,
                "text": s["text"][:MAX_SAMPLE_CHARACTERS],
                "links": job_links(s["job"], server, f"{RUNS}/runs"),
            }
            for s in samples
        ],
    }


def describe_environment(preset: str) -> dict[str, Any]:
    """Describe the environment for the page: commit, processor, versions.

    Args:
        preset: Preset of the command, `quick` or `full`.

    Returns:
        Facts in words, by name.
    """
    env = environment()
    commit = (env["git_commit"] or "none")[:12] + (" with changes" if env["git_dirty"] else "")
    return {
        "preset": preset,
        "commit": commit,
        "processor": f"{env['processor']}, {env['cores']} cores",
        "Python": env["python"],
        "NumPy": env["packages"]["numpy"],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
