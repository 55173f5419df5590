"""The page comparison.html: the jobs of a sweep side by side, in one self-contained file."""

from collections import Counter
from math import inf, isfinite
from typing import Any

from src.common.console import pluralize
from src.common.job_result import (
    JobResult,
    SearchHistory,
    best_of_texts,
    describe_equal_jobs,
    equal_jobs,
    final_score,
)
from src.common.page import render_template
from src.sweeps.seed_stats import describe_seeds
from src.tracking import mlflow_links

RUNS = "../../runs"  # from the folder of a sweep to its run directories


def rank_results(rows: list[JobResult]) -> list[JobResult]:
    """Sort the jobs of a sweep: the lowest val/loss first; jobs of different texts, text by text.

    Jobs that did not finish come last; among the finished jobs, those without a finite val/loss. Jobs that
    are equal in both keep the order of their numbers.

    Args:
        rows: Results of the jobs, in any order.

    Returns:
        The same results in a new list.
    """
    first = {row.data_digest: row.number for row in sorted(rows, key=lambda row: -row.number)}
    return sorted(
        rows,
        key=lambda row: (
            row.status != "FINISHED",
            first[row.data_digest],
            row.loss if isfinite(row.loss) else inf,
            row.number,
        ),
    )


def render_page(
    title: str, rows: list[JobResult], ui: tuple[str, str] = ("", ""), search: SearchHistory | None = None
) -> str:
    """Render the comparison of a sweep as HTML: figures, table and samples.

    Args:
        title: Name of the sweep.
        rows: Results of all jobs, in any order.
        ui: Address of MLflow's UI and the command that starts it (`mlflow_links.ui_location`); "" for both
            without tracking.
        search: Trials of a search; None (the default) for a grid.

    Returns:
        The whole page.
    """
    from src.plots import sweep as sweep_plots  # matplotlib takes a second to import

    rows, best = rank_results(rows), best_of_texts(rows)
    keys = list(dict.fromkeys(key for row in sorted(rows, key=lambda r: r.number) for key in row.swept))
    score = final_score(rows)
    server, command = ui
    links = {row.number: job_links(row, server, RUNS) for row in rows}
    sampled, samples = select_samples(rows)
    samples = [sample | {"links": links[sample["job"].number]} for sample in samples]
    return render_template(
        "sweeps/html_report.html",
        title=f"sweep {title}",
        summary=summary(rows, best),
        keys=keys,
        score=score,
        rows=rows,
        best=best,
        isfinite=isfinite,
        equal=[row for group in equal_jobs(rows) for row in group],
        equal_lines=describe_equal_jobs(rows),
        repeats=describe_seeds(rows),
        curves=sweep_plots.loss_curves(rows),
        marginals=sweep_plots.marginals(keys, rows),
        search=sweep_plots.search_history(search) if search else "",
        sampled=sampled,
        samples=samples,
        links=links,
        command=command,
    )


def summary(rows: list[JobResult], best: list[JobResult]) -> str:
    """Describe the number of jobs and the best one of each text.

    Args:
        rows: Results of all jobs.
        best: The finished job with the lowest val/loss of each text; empty where no job has a val/loss.

    Returns:
        The number of jobs, of finished jobs, and the best job with its val/loss in nats per character.
    """
    finished = sum(row.status == "FINISHED" for row in rows)
    count = f"{pluralize(len(rows), 'job')}, {finished} finished."
    if not best:
        return f"{count} None of them has a val/loss."
    for each in best:
        where = f" on {each.text}" if len(best) > 1 else ""
        count += f" Best{where}: {each.name}, val/loss {each.loss:.4f} nats per character, run {each.run_id}."
    return count


def job_links(row: JobResult, server: str, runs: str) -> dict[str, str]:
    """Return the links from a job to its run in MLflow and to its run directory.

    Args:
        row: Result of the job.
        server: Address of MLflow's UI; "" without tracking.
        runs: Path of the folder of the run directories, relative to the page.

    Returns:
        Address by name; without MLflow where the run is not in MLflow, without files where the run directory
        is not on this machine.
    """
    links = {"MLflow": mlflow_links.run_link(server, row.run_id)} if server else {}
    if row.run_id == row.directory:  # the store did not answer
        links = {}
    return links | ({"files": f"{runs}/{row.directory}/"} if row.directory else {})


def select_samples(rows: list[JobResult]) -> tuple[str, list[dict[str, Any]]]:
    """Select one sample of each job, all at the prompt and the temperature that most jobs share.

    A job without a sample at these settings (because its temperature was swept, for example), or with only
    white space at them, shows its first other sample with its own settings. Where several settings are
    equally frequent, the middle one is taken.

    Args:
        rows: Results of the jobs, in the order in which the samples are shown.

    Returns:
        A line that names the shared settings, and for each job with samples a mapping with the keys `job`
        (its result), `name`, `settings` ("" for the shared ones), `prompt` and `text`. Without any sample: ""
        and an empty list.
    """
    counted = Counter(sample_settings(sample) for row in rows for sample in row.samples)
    if not counted:
        return "", []
    most = max(counted.values())
    shared = [choice for choice, count in counted.items() if count == most]
    chosen = shared[len(shared) // 2]  # of several temperatures, the middle one
    seeds = {int(sample["seed"]) for row in rows for sample in row.samples}
    selected = []
    for row in rows:
        same = [sample for sample in row.samples if sample_settings(sample) == chosen]
        order = same + [sample for sample in row.samples if sample not in same]
        for sample in sorted(order, key=is_blank)[:1]:
            own = "" if sample in same else format_settings(*sample_settings(sample), {int(sample["seed"])})
            own += " (only white space at the shared settings)" * bool(own and same)
            content = {"prompt": str(sample["prompt"]), "text": str(sample["text"])}
            selected.append({"job": row, "name": row.name, "settings": own, **content})
    return f"Samples {format_settings(*chosen, seeds)}, unless noted otherwise.", selected


def is_blank(sample: dict[str, Any]) -> bool:
    """Return whether a sample has only white space, which a box would show as nothing.

    Args:
        sample: A row of the table of samples.

    Returns:
        True for a text without a visible character.
    """
    return not str(sample["text"]).strip()


def sample_settings(sample: dict[str, Any]) -> tuple[str, float]:
    """Return the settings that generated a sample; the random seed is often that of the job.

    Args:
        sample: A row of the table of samples.

    Returns:
        The prompt and the temperature.
    """
    return str(sample["prompt"]), float(sample["temperature"])


def format_settings(prompt: str, temperature: float, seeds: set[int]) -> str:
    """Format the settings of samples for a reader.

    Args:
        prompt: Text that the network read before it generated the samples.
        temperature: Sampling temperature, >= 0.
        seeds: Random seeds of the samples.

    Returns:
        A phrase such as `after "shall i" at temperature 0.7, seed 1`, with typographic quotation marks.
    """
    seed = f"seed {min(seeds)}" if len(seeds) == 1 else "each with the seed of its job"
    return f"after \u201c{prompt}\u201d at temperature {temperature:g}, {seed}"
