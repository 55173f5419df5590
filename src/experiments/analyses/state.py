"""The hidden state between two batches: reset, carried to other windows, carried along the text."""

from math import log

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, mean, plot_seeds, seed_stats, swept, values, where

CONTEXTS = {"test": "state carried through the text", "test_stateless": "state reset for every window"}


def measures(rows: list[JobResult]) -> Measures:
    """Bits per character: the mean of each arm on the test split in both contexts, and its deviation; and on
    the validation split, the state carried."""
    found: Measures = {}
    contexts = {context: seed_stats(rows, "variant", f"{context}/bpc") for context in CONTEXTS}
    for variant, val_loss, _ in seed_stats(rows, "variant", "val/loss").itertuples():
        short = variant.rpartition("/")[2]
        for context, stats in contexts.items():
            found[f"{short}/{context}"] = float(stats["mean"][variant])
        found[f"{short}/val"] = val_loss / log(2)
        found[f"{short}/deviation"] = float(contexts["test"]["std"][variant])
    return found


def figure(rows: list[JobResult]) -> Figure:
    """A dot a seed, a line at each arm's mean."""
    drawn = Figure(figsize=(7, 3.6), layout="constrained")
    ax = drawn.add_subplot()
    arms = swept(rows, "variant")
    for k, (context, label) in enumerate(CONTEXTS.items()):
        for x, variant in enumerate(arms):
            arm, at = where(rows, variant=variant), x + (k - 0.5) * 0.3
            points, middle = values(arm, f"{context}/bpc"), mean(arm, f"{context}/bpc")
            named = label if x == 0 else None
            plot_seeds(
                ax, at, points, middle, "o^"[k], markerfacecolor=("k", "none")[k], alpha=0.6, label=named
            )
    ax.set_xticks(range(len(arms)), [name.rpartition("/")[2] for name in arms])
    ax.set_xlabel("in training, the state is: reset; carried across shuffled windows; carried along streams")
    ax.set_ylabel("test split [bits per character]")
    ax.grid(alpha=0.3, axis="y")
    ax.legend(title="in the evaluation")
    return drawn
