"""Draws the figures of docs/, diagrams and short, repeatable training runs: `python -m docs.figures`.

Takes half a minute. Axes have units, and lines differ in black and white.
"""

import sys
import tempfile
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from threadpoolctl import threadpool_limits

from docs.diagrams import DIAGRAMS, svg
from src.common.files import write_text
from src.data import sources
from src.data.batches import ShuffledWindows
from src.data.corpus import Corpus, CorpusConfig, prepare
from src.data.normalization import Normalization
from src.evaluation.scoring import validation_loss
from src.generation.sampling import sample_token
from src.plots import run as plots
from src.rnn.loss import log_softmax
from src.rnn.network import Buffers, loss_and_gradient
from src.rnn.optimizers import SGD, Adam, Optimizer, clip_norm, global_norm
from src.rnn.parameters import Array, RNNConfig, initialize, unflatten
from src.rnn.state_gradients import norm_by_distance, state_gradients
from src.rnn.step import Stepper
from src.training.train_state import BestWeights

FIGURES = Path(__file__).resolve().parent / "figures"
STEPS, BATCH, HIDDEN = 20, 64, 64  # sizes of window, batch and hidden state
ADAM = Adam(0.9, 0.999, 1e-8)
FAR = 60  # characters, without a limit by the window


@dataclass
class Trained:
    """Result of a training run: last and best weights; loss and gradient norm before clipping of every step;
    val:
    (step, validation loss)."""

    flat: Array
    best: BestWeights
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    val: list[tuple[int, float]] = field(default_factory=list)


def sonnets(folder: Path) -> Corpus:
    """Prepare the default corpus in `folder`."""
    settings = CorpusConfig("smallshake", "utf-8", Normalization(True, True, False), (0.8, 0.1, 0.1))
    source = sources.find("smallshake", None, folder)
    return prepare(source.parts, settings, STEPS, folder)[0]


def train(
    architecture: RNNConfig,
    tokens: Any,
    updates: int,
    optimizer: Optimizer,
    lr: float,
    clip: float | None,
    val: Any = None,
    every: int = 0,
    stride: int = 1,
) -> Trained:
    """Train with the loop of training-and-sampling.md. every: updates between two validations."""
    rng = np.random.default_rng(1)
    flat = initialize(architecture, "orthogonal", rng)
    gradient, state, trained = np.empty_like(flat), optimizer.state(flat), Trained(flat, BestWeights(flat))
    p, g = unflatten(architecture, flat), unflatten(architecture, gradient)
    batches = ShuffledWindows(tokens, STEPS, BATCH, stride, rng)
    buffers = Buffers.allocate(architecture, STEPS, BATCH, training=True)
    for step in range(1, updates + 1):
        ids, targets, _ = batches.next()
        buffers.reset()
        trained.losses.append(loss_and_gradient(p, g, ids, targets, buffers))
        trained.norms.append(global_norm(gradient))
        if clip is not None:
            clip_norm(gradient, trained.norms[-1], clip)
        optimizer.update(state, flat, gradient, lr)
        if every and step % every == 0:
            loss = validation_loss(architecture, flat, val)
            trained.best.update(loss, flat, step, 0)
            trained.val.append((step, loss))
    return trained


def recall() -> Array:
    """Return a text of 4,000 passages whose last character repeats the first: 0 or 1, 18 of 2 to 5, a 6, and
    the first again."""
    rng = np.random.default_rng(1)
    passages = rng.integers(2, 6, size=(4000, STEPS + 1), dtype=np.uint8)
    passages[:, 0] = passages[:, -1] = rng.integers(2, size=4000)
    passages[:, -2] = 6
    return passages.reshape(-1)


def spread(tokens: Any, steps: int) -> Array:
    """Return 32 windows of `tokens` with the next character, (T + 1, 32)."""
    starts = np.linspace(0, tokens.size - steps - 1, 32).astype(np.intp)
    windows: Array = tokens[np.arange(steps + 1)[:, None] + starts].astype(np.intp)
    return windows


def reach(architecture: RNNConfig, flat: Array, windows: Array) -> Array:
    """Return the mean norm of dL_T/d(state at T - k) of the only layer, relative to k = 0, by state and k,
    (S, T)."""
    steps, batch = windows[:-1].shape
    buffers, p = Buffers.allocate(architecture, steps, batch, flat.dtype), unflatten(architecture, flat)
    norms: Array = norm_by_distance(state_gradients(p, windows[:-1], windows[-1], buffers))[0]
    return norms / norms[:, :1]


def reach_axes(figure: Figure, columns: int) -> list[Axes]:
    """Create axes for the result of `reach`."""
    panels: list[Axes] = figure.subplots(1, columns, squeeze=False)[0].tolist()
    for ax in panels:
        ax.grid(alpha=0.3)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("distance k to the loss [characters]")
    panels[0].set_ylabel("gradient at distance k, over that at k = 0")
    return panels


def reach_of_wh(corpus: Corpus) -> Figure:
    """Gradient through time of untrained networks whose wh is a multiple of an orthogonal matrix."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    (ax,) = reach_axes(figure, 1)
    architecture = RNNConfig(len(corpus.vocabulary), HIDDEN)
    for scale, style, mark in ((3, "-", "D"), (1.5, "--", "^"), (1, "-.", "s"), (0.5, ":", "o")):
        flat = initialize(architecture, "orthogonal", np.random.default_rng(1), np.float64)
        unflatten(architecture, flat).layers[0].wh[...] *= scale
        (norms,) = reach(architecture, flat, spread(corpus.split("val"), FAR))
        label = f"wh orthogonal, times {scale:g}"
        ax.semilogy(norms, "k" + style, marker=mark, markevery=10, markersize=4, label=label)
    ax.legend()
    return figure


def reach_of_cells(corpus: Corpus) -> Figure:
    """Gradient through time of an untrained LSTM by its forget gate, and of cells trained on two texts."""
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    left, right = reach_axes(figure, 2)
    architecture = RNNConfig(len(corpus.vocabulary), HIDDEN, "lstm")
    for bias, style, mark in ((4, "-", "D"), (1, "--", "^"), (0, "-.", "s"), (-1, ":", "o")):
        flat = initialize(architecture, "orthogonal", np.random.default_rng(1), np.float64)
        unflatten(architecture, flat).layers[0].b[architecture.spec.gates.index("f")] = bias
        norms = reach(architecture, flat, spread(corpus.split("val"), FAR))[1]
        label = f"bias {bias}, f about {1 / (1 + exp(-bias)):.2f}"
        left.semilogy(norms, "k" + style, marker=mark, markevery=10, markersize=4, label=label)
    left.set_title("cell state of an untrained LSTM", fontsize=10)
    sonnets, passages = corpus.split("train"), recall()
    texts = (
        ("recall", passages, 7, STEPS + 1, passages.reshape(-1, STEPS + 1)[:32].T.astype(np.intp)),
        ("sonnets", sonnets, len(corpus.vocabulary), 1, spread(corpus.split("val"), STEPS)),
    )
    for text, tokens, vocab, stride, windows in texts:
        for cell, style, mark in (("lstm", "-", "s"), ("rnn", ":", "o")):
            architecture = RNNConfig(vocab, HIDDEN, cell)
            flat = train(architecture, tokens, 1000, ADAM, 5e-3, 1.0, stride=stride).flat
            color, label = "k" if text == "recall" else "0.55", f"{cell}, {text}"
            norms = reach(architecture, flat, windows)[0]
            right.semilogy(norms, style, color=color, marker=mark, markevery=3, markersize=4, label=label)
    right.set_title("hidden state of trained networks", fontsize=10)
    for ax in (left, right):
        ax.legend(fontsize=8)
    return figure


def clipping(corpus: Corpus) -> Figure:
    """SGD with a high learning rate, with and without clipping."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    architecture = RNNConfig(len(corpus.vocabulary), HIDDEN)
    for clip, color, style in ((None, "0.55", "-"), (0.5, "k", "-")):
        name = "not clipped" if clip is None else f"clipped at {clip:g}"
        trained = train(architecture, corpus.split("train"), 400, SGD(), 3.0, clip)
        left.semilogy(trained.losses, style, color=color, linewidth=1, label=name)
        right.semilogy(trained.norms, style, color=color, linewidth=1, label=name)
    left.axhline(log(len(corpus.vocabulary)), color="k", linestyle=":", label="uniform guess")
    right.axhline(0.5, color="k", linestyle="--", label="threshold 0.5")
    left.set_ylabel("loss of the batch [nats per character]")
    right.set_ylabel("norm of the gradient before clipping [nats]")
    for ax in (left, right):
        ax.set_xlabel("optimizer step")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return figure


def stopping(corpus: Corpus) -> Figure:
    """Training and validation loss on a text that is too short."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    ax = figure.add_subplot()
    ax.grid(alpha=0.3)
    architecture, every = RNNConfig(len(corpus.vocabulary), 128), 50
    short, val = corpus.split("train")[:15000], corpus.split("val")
    trained = train(architecture, short, 1500, ADAM, 5e-3, 5.0, val, every)
    means = np.array(trained.losses).reshape(-1, every).mean(axis=1)
    steps = [step for step, _ in trained.val]
    ax.plot(steps, means, "k--", label="training (mean of the batches)")
    ax.plot(steps, [loss for _, loss in trained.val], "k-o", markersize=3, label="validation")
    ax.axvline(trained.best.step, color="k", linestyle=":", label=f"best weights (step {trained.best.step})")
    ax.set_xlabel("optimizer step")
    ax.set_ylabel("loss [nats per character]")
    ax.legend()
    return figure


def temperature(corpus: Corpus) -> Figure:
    """Predictions of a trained network for the next character at three temperatures."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    architecture = RNNConfig(len(corpus.vocabulary), 128)
    trained = train(architecture, corpus.split("train"), 2000, ADAM, 5e-3, 5.0)
    stepper, prompt = Stepper(architecture, trained.flat, 1), "shall i compare th"
    for character in corpus.vocabulary.encode(prompt):
        logits = stepper.step(np.array([character], np.intp))[0]
    names = corpus.vocabulary.characters.replace(" ", "␣")
    for ax, tau in zip(figure.subplots(3, 1, sharex=True), (0.1, 1.0, 2.0), strict=True):
        p = np.exp(log_softmax((logits / tau)[:, None].astype(np.float64)))[:, 0]
        likeliest = int(sample_token(logits, 0, 0.5))
        bars = ax.bar(list(names), p, color="0.75", edgecolor="k", linewidth=0.6)
        bars[likeliest].set_hatch("////")
        entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
        label = f"temperature {tau:g}, entropy {entropy:.2f} bits"
        ax.text(0.99, 0.85, label, transform=ax.transAxes, ha="right", va="top")
        ax.set_ylim(0, 1.05)
        ax.grid(alpha=0.3, axis="y")
        ax.set_ylabel("probability")
    ax.set_xlabel(f"next character after “{prompt}”")
    return figure


DRAWN = (reach_of_wh, reach_of_cells, clipping, stopping, temperature)


def main() -> int:
    for diagram in DIAGRAMS:
        write_text(FIGURES / f"{diagram.__name__}.svg", svg(diagram))
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        corpus = sonnets(Path(folder))
        for draw in DRAWN:
            plots.save(draw(corpus), FIGURES / f"{draw.__name__}.png")
            print(f"docs/figures/{draw.__name__}.png", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
