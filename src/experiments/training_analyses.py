"""Measures and figures of the experiments on training: clipping, temperature, sonnets, tinyshakespeare."""

from math import inf, log
from statistics import fmean, median

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.claims import Measures
from src.plots.run import QUALITY, quality_figure, single_axes
from src.sweeps.seed_stats import mean, swept_values, values, where

OFF = "null"  # the value of `clip` without clipping
SONNETS_PREFIXES = ("test", "test_stateless", "repeat")
SONNETS_MEASURES = ("val/loss", "train/steps", "train/best_step")
# Seconds and loss of nanoGPT's CPU recipe: 4 layers, 4 heads, 128 wide, context 64, 2,000 iterations. Its
# README says 1.88; run on a 2-core machine it took 132 s and reached 1.874.
NANOGPT_CPU = (132.0, 1.874)


def uniform(results: list[JobResult]) -> float:
    """Return the loss of a uniform guess, which every finished run measures.

    Args:
        results: Results of the jobs.

    Returns:
        Nats per character; infinity where no job finished.
    """
    return max(values(results, "test/uniform_bpc"), default=inf) * log(2)


def diverged(result: JobResult, guess: float) -> bool:
    """Return whether a training diverged: it ended without a number, or worse than a uniform guess.

    Args:
        result: Result of the job.
        guess: Loss of a uniform guess in nats per character.

    Returns:
        True also for a failed job, and for one without a training curve.
    """
    losses = result.curves.get("train/loss", [])
    return result.status == "FAILED" or not losses or not losses[-1][1] < guess


def first_diverged_step(result: JobResult, guess: float) -> float:
    """Find the first step at which the training loss was not below that of a uniform guess.

    The first point of the curve does not count, because no network has learned anything there.

    Args:
        result: Result of the job.
        guess: Loss of a uniform guess in nats per character.

    Returns:
        The optimizer step. Where there is no such point, because training stopped at a loss that is not
        finite, the last logged step; 0 without a curve.
    """
    losses = result.curves.get("train/loss", [])
    last = losses[-1][0] if losses else 0
    return next((step for step, loss in losses[1:] if not loss < guess), last)


def diverged_fraction(results: list[JobResult], guess: float) -> float:
    """Compute the share of jobs that diverged.

    Args:
        results: Results of the jobs.
        guess: Loss of a uniform guess in nats per character.

    Returns:
        The share, 0 to 1; infinity without a job, so that no claim passes.
    """
    return sum(diverged(result, guess) for result in results) / len(results) if results else inf


def measure_clipping(results: list[JobResult]) -> Measures:
    """Measure how often training diverges with and without clipping, and what clipping costs or gains.

    Args:
        results: Results of the jobs, swept over `lr`, `clip` and `seq_len`.

    Returns:
        Shares of diverged jobs (`off_high/diverged`: without clipping at the highest learning rate), the
        median first diverged step (`off_high/step`), and differences of val/loss in nats per character: at
        the lowest learning rate the loss with the tightest threshold minus the loss without clipping
        (`tight_low/cost`), and the gain of that threshold for each window length (`tight/gain_LENGTH`).
    """
    guess, rates, clips = uniform(results), swept_values(results, "lr"), swept_values(results, "clip")
    low, high, tight, loose = rates[0], rates[-1], clips[0], clips[-2]  # the last value is `null`
    jobs = {
        f"{clip_name}_{rate_name}": where(results, lr=rate, clip=clip)
        for clip_name, clip in (("off", OFF), ("tight", tight), ("loose", loose))
        for rate_name, rate in (("low", low), ("high", high))
    }
    steps = [first_diverged_step(job, guess) for job in jobs["off_high"] if diverged(job, guess)]
    measured = {
        f"{name}/diverged": diverged_fraction(jobs[name], guess)
        for name in ("off_high", "off_low", "tight_high", "loose_high")
    }
    measured["off_high/step"] = median(steps or [inf])
    measured["tight_low/cost"] = mean(jobs["tight_low"], "val/loss") - mean(jobs["off_low"], "val/loss")
    for length in swept_values(results, "seq_len"):
        best = {
            clip: min(mean(where(results, lr=lr, clip=clip, seq_len=length), "val/loss") for lr in rates)
            for clip in (OFF, tight)
        }
        measured[f"tight/gain_{length}"] = best[OFF] - best[tight]
    return measured


def plot_clipping(results: list[JobResult], _: Measures) -> Figure:
    """Plot a map over learning rate and clipping threshold for each window length.

    A cell shows the val/loss in nats per character; its shade shows the share of seeds that diverged.

    Args:
        results: Results of the jobs.

    Returns:
        The figure.
    """
    guess = uniform(results)
    lengths, rates, clips = (swept_values(results, key) for key in ("seq_len", "lr", "clip"))
    figure = Figure((1.2 + 0.75 * len(rates) * len(lengths), 1.4 + 0.5 * len(clips)), layout="constrained")
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


def contrast_clipping(results: list[JobResult]) -> list[JobResult]:
    """Select jobs without clipping and with the lowest threshold, side by side.

    Args:
        results: Results of the jobs.

    Returns:
        Both jobs of the highest learning rate and the first seed, for the shortest and the longest window.
    """
    lengths, rates, clips = (swept_values(results, key) for key in ("seq_len", "lr", "clip"))
    return [
        job
        for length in dict.fromkeys((lengths[0], lengths[-1]))
        for clip in (OFF, clips[0])
        for job in where(results, lr=rates[-1], clip=clip, seq_len=length)[:1]
    ]


def describe_outcome(result: JobResult, guess: float) -> str:
    """Describe the outcome of a training above its sample.

    Args:
        result: Result of the job.
        guess: Loss of a uniform guess in nats per character.

    Returns:
        The val/loss of the kept weights; for a diverged training also the last training loss, which the
        sample does not show: it comes from the kept weights, the best ones before.
    """
    words = f"val/loss {result.loss:.4f}" if result.loss < inf else "no val/loss"
    if diverged(result, guess):
        losses = result.curves.get("train/loss", [])
        words += f", diverged: train/loss {losses[-1][1]:.4g} at the end" if losses else ", diverged"
    return words


def by_temperature(results: list[JobResult], column: str) -> dict[float, float]:
    """Return a text metric of the samples by temperature.

    Args:
        results: Results of the jobs.
        column: Name of the text metric, a key of QUALITY.

    Returns:
        Mean over the networks, by temperature in ascending order; temperatures without a value are left out.
    """
    found: dict[float, list[float]] = {}
    for sample in (sample for result in results for sample in result.samples):
        if sample.get(column) is not None:
            found.setdefault(float(sample["temperature"]), []).append(float(sample[column]))
    return {temperature: fmean(values) for temperature, values in sorted(found.items())}


def measure_temperature(results: list[JobResult]) -> Measures:
    """Measure each text metric at each temperature.

    Args:
        results: Results of the jobs.

    Returns:
        Mean over the networks, by metric and temperature: `known_words@0.5`.
    """
    return {
        f"{column}@{temperature:g}": value
        for column in QUALITY
        for temperature, value in by_temperature(results, column).items()
    }


def plot_temperature(results: list[JobResult], _: Measures) -> Figure:
    """Plot each text metric over the temperature.

    Args:
        results: Results of the jobs.

    Returns:
        The figure.
    """
    return quality_figure({name: by_temperature(results, name) for name in QUALITY}, "Samples by temperature")


def measure_sonnets(results: list[JobResult]) -> Measures:
    """Select the measures of the pipeline's run.

    Args:
        results: Results with exactly one job.

    Returns:
        The scores of the test split, the lowest val/loss and its step, and whether a second training gave
        identical weights, by metric name.

    Raises:
        ValueError: There is not exactly one job.
    """
    (result,) = results
    return {
        name: value
        for name, value in result.metrics.items()
        if name.partition("/")[0] in SONNETS_PREFIXES or name in SONNETS_MEASURES
    }


def plot_sonnets(results: list[JobResult], _: Measures) -> Figure:
    """Plot training and validation loss against the step.

    Args:
        results: Results with exactly one job.

    Returns:
        The figure.
    """
    ylabel, title = "loss [nats per character]", "Training and validation loss"
    figure, ax = single_axes("optimizer step", ylabel, title, (7, 4))
    (result,) = results
    train, val = result.curves["train/loss"], result.curves["val/loss"][:-1]  # the last repeats the best
    ax.plot(*zip(*train, strict=True), color="0.6", linewidth=1, label="training (batches)")
    ax.plot(*zip(*val, strict=True), "k-o", markersize=3, label="validation")
    ax.legend()
    return figure


def measure_tinyshakespeare(results: list[JobResult]) -> Measures:
    """Measure the loss on the held-out tenth of the text, and the training time.

    Args:
        results: Results of the jobs.

    Returns:
        The mean loss in nats per character (`loss`), the mean training time (`seconds`), and the loss of
        nanoGPT's CPU recipe (NANOGPT_CPU) minus `loss` (`below_recipe`).
    """
    loss, seconds = mean(results, "final_val/loss"), mean(results, "train/seconds")
    return {"loss": loss, "seconds": seconds, "below_recipe": NANOGPT_CPU[1] - loss}


def plot_tinyshakespeare(results: list[JobResult], _: Measures) -> Figure:
    """Plot the validation loss over the training time in seconds.

    The curve is logged by step; steps take equal times, so the time follows from the step.

    Args:
        results: Results of the jobs.

    Returns:
        The figure.
    """
    xlabel, ylabel = "training time [seconds on 2 cores]", "held-out loss [nats per character]"
    figure, ax = single_axes(xlabel, ylabel, "Tiny Shakespeare: held-out loss by training time", (6.5, 3.8))
    for result in results:
        points = result.curves["val/loss"][:-1]  # the last repeats that of the best weights
        scale = result.metrics["train/seconds"] / points[-1][0]
        seconds, losses = [step * scale for step, _ in points], [loss for _, loss in points]
        ax.plot(seconds, losses, "ko-", markersize=4, label="GRU of 256 units, in NumPy")
    label = "nanoGPT's CPU recipe, final loss"
    ax.plot(*NANOGPT_CPU, "k*", markersize=12, markerfacecolor="w", linestyle="none", label=label)
    ax.legend()
    return figure
