"""Tiny Shakespeare: the loss against the seconds of training, with nanoGPT's CPU recipe beside it."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, mean

# nanoGPT's CPU recipe: 4 layers, 4 heads, 128 wide, context 64, 2,000 iterations. Its README says 1.88;
# run on a 2-core machine it took 132 s and came to 1.874.
NANOGPT_CPU = (132.0, 1.874)


def measures(rows: list[JobResult]) -> Measures:
    """The loss on the held-out tenth in nats, and the seconds of training."""
    return {
        "loss": mean(rows, "final_val/loss"),
        "seconds": mean(rows, "train/seconds"),
        "below_recipe": NANOGPT_CPU[1] - mean(rows, "final_val/loss"),
    }


def figure(rows: list[JobResult]) -> Figure:
    """The validation curve over seconds. (Steps take equal times, so the step tells the second.)"""
    drawn = Figure(figsize=(6.5, 3.8), layout="constrained")
    ax = drawn.add_subplot()
    for row in rows:
        points = row.curves["val/loss"][:-1]  # the last one repeats the kept weights' behind the last step
        scale = row.metrics["train/seconds"] / points[-1][0]
        ax.plot(
            [step * scale for step, _ in points],
            [loss for _, loss in points],
            "ko-",
            markersize=4,
            label="GRU of 256 units, in NumPy",
        )
    ax.plot(
        *NANOGPT_CPU,
        "k*",
        markersize=12,
        markerfacecolor="w",
        linestyle="none",
        label="nanoGPT's CPU recipe, at its end",
    )
    ax.set_xlabel("training [seconds on 2 cores]")
    ax.set_ylabel("held-out tenth [nats per character]")
    ax.grid(alpha=0.3)
    ax.legend()
    return drawn
