"""Tiny Shakespeare: the loss against the seconds of training, compared with nanoGPT's CPU recipe."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, mean
from src.plots.run import single_axes

# nanoGPT's CPU recipe: 4 layers, 4 heads, 128 wide, context 64, 2,000 iterations. Its README says 1.88;
# run on a 2-core machine it took 132 s and came to 1.874.
NANOGPT_CPU = (132.0, 1.874)


def measures(results: list[JobResult]) -> Measures:
    """The loss on the held-out tenth in nats, and the seconds of training."""
    loss = mean(results, "final_val/loss")
    return {
        "loss": loss,
        "seconds": mean(results, "train/seconds"),
        "below_recipe": NANOGPT_CPU[1] - loss,
    }


def figure(results: list[JobResult]) -> Figure:
    """Plot the validation loss over seconds. (Steps take equal times, so the step gives the second.)"""
    figure, ax = single_axes(
        6.5,
        3.8,
        "training time [seconds on 2 cores]",
        "held-out loss [nats per character]",
        "Tiny Shakespeare: held-out loss by training time",
    )
    for result in results:
        points = result.curves["val/loss"][:-1]  # the last one repeats the best weights' after the last step
        scale = result.metrics["train/seconds"] / points[-1][0]
        seconds, losses = [step * scale for step, _ in points], [loss for _, loss in points]
        ax.plot(seconds, losses, "ko-", markersize=4, label="GRU of 256 units, in NumPy")
    ax.plot(
        *NANOGPT_CPU,
        "k*",
        markersize=12,
        markerfacecolor="w",
        linestyle="none",
        label="nanoGPT's CPU recipe, final loss",
    )
    ax.legend()
    return figure
