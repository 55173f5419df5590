"""The page comparison.html: the jobs of a sweep side by side, in one self-contained file."""

from collections import Counter
from math import inf, isfinite
from typing import Any

import jinja2

from src.common.console import pluralize
from src.common.files import PROJECT
from src.common.job_result import JobResult, best_of_texts, final_score
from src.sweeps.seed_stats import describe_seeds


def render_template(name: str, **variables: Any) -> str:
    """Render a Jinja template of the project, with HTML escaping.

    Args:
        name: Path of the template below src/, for example `sweeps/html_report.html`.
        **variables: Variables of the template, by name.

    Returns:
        The rendered text.

    Raises:
        jinja2.UndefinedError: The template uses a variable that was not given.
        jinja2.TemplateNotFound: There is no such template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PROJECT / "src"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name).render(variables)


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


def render_page(title: str, rows: list[JobResult]) -> str:
    """Render the comparison of a sweep as HTML: figures, table and samples.

    Args:
        title: Name of the sweep.
        rows: Results of all jobs, in any order.

    Returns:
        The whole page.
    """
    from src.plots import sweep as sweep_plots  # matplotlib takes a second to import

    rows, best = rank_results(rows), best_of_texts(rows)
    keys = list(dict.fromkeys(key for row in sorted(rows, key=lambda r: r.number) for key in row.swept))
    score = final_score(rows)
    sampled, samples = select_samples(rows)
    return render_template(
        "sweeps/html_report.html",
        title=f"sweep {title}",
        summary=summary(rows, best),
        keys=keys,
        score=score,
        rows=rows,
        best=best,
        isfinite=isfinite,
        repeats=describe_seeds(rows),
        curves=sweep_plots.loss_curves(rows),
        marginals=sweep_plots.marginals(keys, rows),
        sampled=sampled,
        samples=samples,
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


def select_samples(rows: list[JobResult]) -> tuple[str, list[dict[str, str]]]:
    """Select one sample of each job, all at the sampling settings that most jobs share.

    A job without a sample at these settings (because its temperature was swept, for example) shows its first
    sample with its own settings. Where several settings are equally frequent, the middle one is taken.

    Args:
        rows: Results of the jobs, in the order in which the samples are shown.

    Returns:
        A line that names the shared settings, and for each job with samples a mapping with the keys `name`
        (of the job), `settings` ("" for the shared ones), `prompt` and `text`. Without any sample: "" and an
        empty list.
    """
    counted = Counter(sample_settings(sample) for row in rows for sample in row.samples)
    if not counted:
        return "", []
    most = max(counted.values())
    shared = [choice for choice, count in counted.items() if count == most]
    chosen = shared[len(shared) // 2]  # of several temperatures, the middle one
    selected = []
    for row in rows:
        same = [sample for sample in row.samples if sample_settings(sample) == chosen]
        for sample in (same or row.samples)[:1]:
            own = "" if same else format_settings(*sample_settings(sample))
            content = {"prompt": str(sample["prompt"]), "text": str(sample["text"])}
            selected.append({"name": row.name, "settings": own, **content})
    return f"Samples {format_settings(*chosen)}, unless noted otherwise.", selected


def sample_settings(sample: dict[str, Any]) -> tuple[str, float, int]:
    """Return the settings that generated a sample.

    Args:
        sample: A row of the table of samples.

    Returns:
        The prompt, the temperature and the random seed.
    """
    return str(sample["prompt"]), float(sample["temperature"]), int(sample["seed"])


def format_settings(prompt: str, temperature: float, seed: int) -> str:
    """Format the settings of a sample for a reader.

    Args:
        prompt: Text that the network read before it generated the sample.
        temperature: Sampling temperature, >= 0.
        seed: Random seed of the sampling.

    Returns:
        A phrase such as `after "shall i" at temperature 0.7, seed 1`, with typographic quotation marks.
    """
    return f"after \u201c{prompt}\u201d at temperature {temperature:g}, seed {seed}"
