"""Training: batches in, best weights out. Knows no file, no terminal and no tracker.

What it measures goes to `report(step, metrics)`, the weights at each evaluation to `evaluated(step, flat)`.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf, isfinite, log

import numpy as np

from src.config import (
    AdagradConfig,
    AdamConfig,
    Config,
    CosineConfig,
    MomentumConfig,
    OptimizerConfig,
    PlateauConfig,
    RmspropConfig,
    ScheduleConfig,
)
from src.errors import Diverged
from src.lab.parallel import Engine, Job
from src.lab.probing import LastUpdate
from src.lab.scoring import validation_loss
from src.rnn import optimizers, schedules
from src.rnn.clipping import clip_norm, clip_value, global_norm
from src.rnn.initialisation import initialise
from src.rnn.optimizers import Optimizer, average_weights, decay_weights
from src.rnn.parameters import Architecture, Array, unflatten
from src.rnn.schedules import Schedule
from src.text.batches import Batches, Streams, Windows
from src.text.corpus import Corpus

Report = Callable[[int, dict[str, float]], None]
Hopeless = Callable[[int, float], bool]  # of a step and the best val/loss up to it


def never(step: int, loss: float) -> bool:
    """No job is given up."""
    return False


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    flat (n,): the weights with the lowest validation loss. val_loss in nats, found at best_step. steps,
    epochs, seconds: all of the training, evaluations included. chars_per_second: characters trained on a
    second of the optimiser steps alone. ended: `max_epochs`, `max_seconds`, `early stopping`,
    `hopeless` or `interrupted`.
    """

    flat: Array
    val_loss: float
    best_step: int
    steps: int
    epochs: float
    seconds: float
    chars_per_second: float
    ended: str


@dataclass
class Since:
    """Sums since the last point of the training curves."""

    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0
    clipped: int = 0

    def metrics(self, lr: float, chars_per_second: float) -> dict[str, float]:
        return {
            "train/loss": self.loss / self.steps,
            "grad/norm": self.norm / self.steps,
            "grad/clipped": self.clipped / self.steps,
            "lr": lr,
            "chars_per_second": chars_per_second,
        }


def make_optimizer(config: OptimizerConfig) -> Optimizer:
    match config:
        case MomentumConfig():
            return optimizers.Momentum(config.momentum, config.nesterov)
        case AdagradConfig():
            return optimizers.Adagrad(config.eps)
        case RmspropConfig():
            return optimizers.RmsProp(config.decay, config.eps)
        case AdamConfig():
            return optimizers.Adam(config.beta1, config.beta2, config.eps)
    return optimizers.Sgd()


def make_schedule(config: ScheduleConfig) -> Schedule:
    match config:
        case CosineConfig():
            return schedules.Cosine(config.warmup, config.final)
        case PlateauConfig():
            return schedules.Plateau(config.warmup, config.factor, config.patience, config.least)
    return schedules.Constant(config.warmup)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets an event, which ends training between two steps; pressed again, it interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there Python receives signals
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class Best:
    """The lowest validation loss so far, its weights, and for how long there was none to count as better."""

    def __init__(self, flat: Array) -> None:
        self.flat = flat.copy()
        self.loss = inf
        self.step = 0
        self.waited = 0
        self.reference = inf

    def observe(self, loss: float, flat: Array, step: int, min_delta: float) -> bool:
        """Take note of an evaluation; True when it was better by at least min_delta."""
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.flat[:] = flat
        improved = loss < self.reference - min_delta
        if improved:
            self.reference = loss
        self.waited = 0 if improved else self.waited + 1
        return improved


def make_batches(config: Config, corpus: Corpus, rng: np.random.Generator) -> Batches:
    """The supply of training batches that `batching` names."""
    tokens = corpus.split("train")
    if config.batching == "stream":
        return Streams(tokens, config.seq_len, config.batch_size, rng)
    return Windows(tokens, config.seq_len, config.batch_size, config.data.stride, rng)


def train(
    config: Config,
    architecture: Architecture,
    corpus: Corpus,
    rng: np.random.Generator,
    report: Report,
    evaluated: Callable[[int, Array], None],
    hopeless: Hopeless = never,
) -> Outcome:
    """Train on the corpus' training split, evaluate on its validation split, keep the best weights.

    rng draws the initial weights and the order of the windows. Raises Diverged when a loss or a
    gradient is no number.
    """
    begin = initialise(architecture, config.model.init, rng)
    batches = make_batches(config, corpus, rng)
    total = max(1, ceil(config.max_epochs * batches.steps_per_epoch))
    job = Job(architecture, config.seq_len, batches.batch_size, config.model.dropout, config.state == "carry")
    with interruptible() as interrupted, Engine(job, config.workers) as engine:
        engine.weights[:] = begin
        loop = Loop(config, architecture, corpus, batches, engine, rng, report, evaluated, hopeless)
        with np.errstate(all="ignore"):  # what overflows ends in Diverged, which says it better
            return loop.run(total, interrupted)


class Loop:
    """The training loop over steps 1, 2, ...; holds what changes from step to step."""

    def __init__(
        self,
        config: Config,
        architecture: Architecture,
        corpus: Corpus,
        batches: Batches,
        engine: Engine,
        rng: np.random.Generator,
        report: Report,
        evaluated: Callable[[int, Array], None],
        hopeless: Hopeless,
    ) -> None:
        self.config, self.architecture, self.batches, self.engine = config, architecture, batches, engine
        self.rng = rng
        self.val = corpus.split("val")
        self.report, self.evaluated, self.hopeless = report, evaluated, hopeless
        self.behind = False  # of the others of the sweep, at the last evaluation
        self.optimizer = make_optimizer(config.optimizer)
        self.schedule = make_schedule(config.schedule)
        self.state = self.optimizer.state(engine.weights)
        self.matrices = unflatten(architecture, engine.weights).matrices()
        self.last_update = LastUpdate(config, architecture, engine.weights)
        self.averaged = engine.weights.copy()
        self.best = Best(engine.weights)
        self.since = Since()
        self.step_seconds = 0.0

    def run(self, total: int, interrupted: threading.Event) -> Outcome:
        """Train for `total` steps, or until the time is up, nothing improves or somebody interrupts."""
        config, began, ended, step, evaluated_at = self.config, time.perf_counter(), "", 0, 0
        while not ended:
            step += 1
            progress = (step - 1) / total
            if config.max_seconds is not None:
                progress = max(progress, (time.perf_counter() - began) / config.max_seconds)
            lr = config.lr * self.schedule.share(step, progress)
            self.step(step, lr)
            if step % config.log_every == 0 or step == total:
                self.log(step, lr)
            if step % config.eval_every == 0:
                improved = self.evaluate(step)
                evaluated_at = step
                self.schedule.observe(improved)
                self.behind = self.hopeless(step, self.best.loss)
            ended = self.reason_to_end(step, total, time.perf_counter() - began, interrupted)
        if evaluated_at != step:
            self.evaluate(step)
        return Outcome(
            flat=self.best.flat,
            val_loss=self.best.loss,
            best_step=self.best.step,
            steps=step,
            epochs=step / self.batches.steps_per_epoch,
            seconds=time.perf_counter() - began,
            chars_per_second=self.chars_per_second(step),
            ended=ended,
        )

    def step(self, step: int, lr: float) -> None:
        """Batch, forward, backward, clip, update."""
        config, g, began = self.config, self.engine.gradient, time.perf_counter()
        ids, targets, fresh = self.batches.next()
        seed = int(self.rng.integers(2**63)) if config.model.dropout else 0
        loss = self.engine.loss_and_gradient(ids, targets, fresh, seed)
        norm = global_norm(g)
        if not (isfinite(loss) and isfinite(norm)):
            clip = "null" if config.clip is None else f"{config.clip:g}"
            raise Diverged(
                f"lr: expected training to stay finite, got loss {loss:g} and gradient norm {norm:g} at step "
                f"{step}: try a smaller lr (now {config.lr:g}) or clip (now {clip})"
            )
        if config.clip is not None:
            by_norm = config.clip_mode == "norm"
            clipped = clip_norm(g, norm, config.clip) if by_norm else clip_value(g, config.clip)
            self.since.clipped += clipped
        self.last_update.before(step)
        if config.optimizer.weight_decay:
            decay_weights(self.matrices, lr * config.optimizer.weight_decay)
        self.optimizer.update(self.state, self.engine.weights, g, lr)
        self.last_update.after()
        if config.average:
            average_weights(self.averaged, self.engine.weights, config.average, step)
        self.since.steps += 1
        self.since.loss += loss
        self.since.norm += norm
        self.step_seconds += time.perf_counter() - began

    def chars_per_second(self, step: int) -> float:
        return step * self.batches.batch_size * self.config.seq_len / self.step_seconds

    def log(self, step: int, lr: float) -> None:
        self.report(step, self.since.metrics(lr, self.chars_per_second(step)))
        self.since = Since()

    def evaluate(self, step: int) -> bool:
        """Validation loss of the averaged weights; True when it improved."""
        flat = self.averaged if self.config.average else self.engine.weights
        loss = validation_loss(self.architecture, flat, self.val, self.config.eval_chars)
        improved = self.best.observe(loss, flat, step, self.config.min_delta)
        self.report(step, {"val/loss": loss, "val/bpc": loss / log(2), **self.last_update.ratios})
        self.evaluated(step, flat)
        return improved

    def reason_to_end(self, step: int, total: int, seconds: float, interrupted: threading.Event) -> str:
        config = self.config
        if interrupted.is_set():
            return "interrupted"
        if config.patience is not None and self.best.waited >= config.patience:
            return "early stopping"
        if self.behind:
            return "hopeless"
        if config.max_seconds is not None and seconds >= config.max_seconds:
            return "max_seconds"
        return "max_epochs" if step >= total else ""
