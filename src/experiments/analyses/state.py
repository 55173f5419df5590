"""The initial hidden state of a window: zero, of other windows, or of the preceding text."""

from math import log

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, plot_variants, seed_stats, short_name
from src.plots.run import single_axes

CONTEXTS = {"test": "stateful evaluation", "test_stateless": "stateless evaluation"}


def measures(results: list[JobResult]) -> Measures:
    """Return bits per character of each variant: stateful and stateless on the test split, mean and
    deviation over seeds; and stateful on the validation split."""
    measured: Measures = {}
    contexts = {context: seed_stats(results, "variant", f"{context}/bpc") for context in CONTEXTS}
    for variant, val_loss, _ in seed_stats(results, "variant", "val/loss").itertuples():
        name = short_name(variant)
        for context, stats in contexts.items():
            measured[f"{name}/{context}"] = float(stats["mean"][variant])
        measured[f"{name}/val"] = val_loss / log(2)
        measured[f"{name}/deviation"] = float(contexts["test"]["std"][variant])
    return measured


def figure(results: list[JobResult]) -> Figure:
    """Plot the score of each variant in both contexts: a mark for each seed, a line at their mean."""
    figure, ax = single_axes(
        7,
        3.6,
        "initial state in training\n"
        "(reset: zero; shuffled: of other windows; streams: of the preceding text)",
        "test split [bits per character]",
        "Score by initial state in training",
    )
    ax.grid(visible=False, axis="x")
    for k, (context, label) in enumerate(CONTEXTS.items()):
        style = {"markerfacecolor": ("k", "none")[k], "alpha": 0.6}
        plot_variants(ax, results, f"{context}/bpc", (k - 0.5) * 0.3, "o^"[k], label, **style)
    ax.legend()
    return figure
