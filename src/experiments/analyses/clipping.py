"""Clipping: divergence of training without it, and its cost where it is not needed."""

from math import inf, log
from statistics import median

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, mean, swept, values, where

OFF = "null"


def uniform(results: list[JobResult]) -> float:
    """Nats per character of a uniform guess, which any of the finished results has measured."""
    return max(values(results, "test/uniform_bpc"), default=inf) * log(2)


def diverged(result: JobResult, guess: float) -> bool:
    """A training that ends in no number, or worse than a uniform guess."""
    losses = result.curves.get("train/loss", [])
    return result.status == "FAILED" or not losses or not losses[-1][1] < guess


def first_diverged_step(result: JobResult, guess: float) -> float:
    """The first step at which the training loss was worse than a uniform guess (the first point apart, where
    every network still is); the last known step where it became no number before."""
    losses = result.curves.get("train/loss", [])
    for step, loss in losses[1:]:
        if not loss < guess:
            return step
    return losses[-1][0] if losses else 0


def diverged_fraction(results: list[JobResult], guess: float) -> float:
    """Of the jobs, how many diverged; infinite without a job: no claim holds of nothing."""
    return sum(diverged(result, guess) for result in results) / len(results) if results else inf


def measures(results: list[JobResult]) -> Measures:
    """Shares of jobs that diverged, the first diverged step, and differences of val/loss in nats."""
    guess, rates, clips = uniform(results), swept(results, "lr"), swept(results, "clip")
    low, high, tight, loose = rates[0], rates[-1], clips[0], clips[-2]  # the last is off
    off_high = where(results, lr=high, clip=OFF)
    measured = {
        "off_high/diverged": diverged_fraction(off_high, guess),
        "off_high/step": median(
            [first_diverged_step(result, guess) for result in off_high if diverged(result, guess)] or [inf]
        ),
        "off_low/diverged": diverged_fraction(where(results, lr=low, clip=OFF), guess),
        "tight_high/diverged": diverged_fraction(where(results, lr=high, clip=tight), guess),
        "loose_high/diverged": diverged_fraction(where(results, lr=high, clip=loose), guess),
        "tight_low/cost": mean(where(results, lr=low, clip=tight), "val/loss")
        - mean(where(results, lr=low, clip=OFF), "val/loss"),
    }
    for length in swept(results, "seq_len"):
        best = {
            clip: min(mean(where(results, lr=lr, clip=clip, seq_len=length), "val/loss") for lr in rates)
            for clip in (OFF, tight)
        }
        measured[f"tight/gain_{length}"] = best[OFF] - best[tight]
    return measured


def figure(results: list[JobResult]) -> Figure:
    """For each window length a map over learning rate and threshold: the val/loss reached, and, shaded, the
    share of seeds that diverged."""
    guess = uniform(results)
    lengths, rates, clips = swept(results, "seq_len"), swept(results, "lr"), swept(results, "clip")
    figure = Figure(
        figsize=(1.2 + 0.75 * len(rates) * len(lengths), 1.4 + 0.5 * len(clips)), layout="constrained"
    )
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for panel, length in zip(panels, lengths, strict=True):
        cells = [[where(results, lr=lr, clip=clip, seq_len=length) for lr in rates] for clip in clips]
        shares = [[diverged_fraction(cell, guess) for cell in line] for line in cells]
        shade = panel.imshow(shares, cmap="Greys", vmin=0, vmax=1.4, aspect="auto", origin="lower")
        for y, line in enumerate(cells):
            for x, cell in enumerate(line):
                loss = mean(cell, "val/loss")
                text = f"{loss:.2f}" if loss < inf else "none"
                color = "w" if shares[y][x] > 0.5 else "k"
                panel.text(x, y, text, ha="center", va="center", fontsize=8, color=color)
        panel.set_xticks(range(len(rates)), rates)
        panel.set_yticks(range(len(clips)), ["off" if clip == OFF else clip for clip in clips])
        panel.set_xlabel("learning rate")
        panel.set_title(f"windows of {length} characters", fontsize=9)
    panels[0].set_ylabel("clipping threshold")
    bar = figure.colorbar(shade, ax=list(panels), boundaries=[k / 20 for k in range(21)], ticks=[0, 0.5, 1])
    bar.set_label("share of diverged seeds")
    figure.suptitle("Lowest val/loss [nats per character], plain gradient descent", fontsize=10)
    return figure
