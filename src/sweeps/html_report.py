"""comparison.html: the jobs of a sweep side by side, in one file that needs nothing else."""

from collections import Counter
from math import inf, isfinite
from typing import Any

import jinja2

from src.common.console import pluralize
from src.common.files import PROJECT
from src.common.job_result import JobResult, best_of, final_score
from src.sweeps.seed_stats import describe_seeds


def render_template(name: str, **variables: Any) -> str:
    """Render a template. name: its path below src/."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PROJECT / "src"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name).render(variables)


def rank_results(rows: list[JobResult]) -> list[JobResult]:
    """The best row first, then by val/loss; those that did not finish or diverged last."""
    return sorted(
        rows,
        key=lambda row: (row.status != "FINISHED", row.loss if isfinite(row.loss) else inf, row.number),
    )


def render_page(title: str, rows: list[JobResult]) -> str:
    """The page as HTML."""
    from src.plots import sweep as sweep_plots  # matplotlib takes a second to import

    rows, best = rank_results(rows), best_of(rows)
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


def summary(rows: list[JobResult], best: JobResult | None) -> str:
    """Describe the number of jobs and the best one."""
    finished = sum(row.status == "FINISHED" for row in rows)
    count = f"{pluralize(len(rows), 'job')}, {finished} finished."
    if best is None:
        return f"{count} None of them has a val/loss."
    return f"{count} Best: {best.name}, val/loss {best.loss:.4f} nats per character, run {best.run_id}."


def select_samples(rows: list[JobResult]) -> tuple[str, list[dict[str, str]]]:
    """One sample of each row at the settings that most of them share; the line that says which.

    A row without that one (its temperature was swept, say) shows its first and its own settings.
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
    """Prompt, temperature and seed of a sample."""
    return str(sample["prompt"]), float(sample["temperature"]), int(sample["seed"])


def format_settings(prompt: str, temperature: float, seed: int) -> str:
    return f"after \u201c{prompt}\u201d at temperature {temperature:g}, seed {seed}"
