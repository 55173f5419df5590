"""The default config on Shakespeare's sonnets: the run of the pipeline."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures
from src.plots.run import single_axes

PREFIXES = ("test", "test_stateless", "repeat")
MEASURES = ("val/loss", "train/steps", "train/best_step")


def measures(results: list[JobResult]) -> Measures:
    """Scores of the test split, the lowest val/loss and its step, and whether a repetition is identical."""
    (result,) = results
    return {
        name: value
        for name, value in result.metrics.items()
        if name.partition("/")[0] in PREFIXES or name in MEASURES
    }


def figure(results: list[JobResult]) -> Figure:
    """Training and validation loss against the step."""
    figure, ax = single_axes(
        7, 4, "optimizer step", "loss [nats per character]", "Training and validation loss"
    )
    for result in results:
        steps, losses = zip(*result.curves["train/loss"], strict=True)
        ax.plot(steps, losses, color="0.6", linewidth=1, label="training (batches)")
        steps, losses = zip(*result.curves["val/loss"][:-1], strict=True)  # the last repeats the best
        ax.plot(steps, losses, "k-o", markersize=3, label="validation")
    ax.legend()
    return figure
