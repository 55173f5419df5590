"""Figures of a run's training: axes with units, readable in black and white."""

from math import log
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.common.files import write_atomically
from src.common.job_result import Curves


def save(figure: Figure, path: Path) -> None:
    """As PNG; raises UserError where the place cannot be written to."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def axes(figure: Figure, ylabel: str) -> Axes:
    """The one pair of axes of a figure, over the steps of the training."""
    ax = figure.add_subplot()
    ax.set_xlabel("optimizer step")
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.3)
    return ax


def to_bits(nats: Any) -> Any:
    return nats / log(2)


def to_nats(bits: Any) -> Any:
    return bits * log(2)


def plot_losses(curves: Curves, unigram_bpc: float, kept_step: int, path: Path) -> None:
    """Training and validation loss against the step, the unigram's as a line to read them by."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = axes(figure, "loss [nats per character]")
    ax.plot(*zip(*curves["train/loss"], strict=True), color="0.6", linewidth=1, label="training (batches)")
    ax.plot(*zip(*curves["val/loss"], strict=True), "k-o", markersize=3, label="validation")
    ax.axhline(unigram_bpc * log(2), color="k", linestyle=":", label="unigram")
    ax.axvline(kept_step, color="k", linestyle="--", linewidth=0.8, label=f"weights kept (step {kept_step})")
    bits = ax.secondary_yaxis("right", functions=(to_bits, to_nats))
    bits.set_ylabel("loss [bits per character]")
    ax.legend()
    save(figure, path)


def plot_gradient_norms(curves: Curves, clip: float | None, clip_mode: str, path: Path) -> None:
    """The gradient's norm before clipping, and how often it was clipped."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = axes(figure, "gradient norm before clipping\n[nats per character]")
    ax.semilogy(*zip(*curves["grad/norm"], strict=True), "k-", linewidth=1, label="norm")
    if clip is not None and clip_mode == "norm":
        ax.axhline(clip, color="k", linestyle="--", linewidth=0.8, label=f"clip = {clip:g}")
    share = ax.twinx()
    share.plot(*zip(*curves["grad/clip_fraction"], strict=True), color="0.6", linestyle=":", label="clipped")
    share.set_ylabel("share of steps clipped")
    share.set_ylim(-0.02, 1.02)
    lines = [*ax.get_lines(), *share.get_lines()]
    ax.legend(lines, [str(line.get_label()) for line in lines])
    save(figure, path)
