"""Training: batches in, best weights out. Knows no file, no terminal and no tracker.

What it measures goes to `report(step, metrics)`, the weights at each evaluation to `evaluated(step, flat)`
and everything that it would go on from to `keep(snapshot)`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf, isfinite, log

import numpy as np

from src.common.signals import Preempted, Stop, interruptible
from src.config.schema import Config
from src.data.batches import Batches, Streams, Windows
from src.data.corpus import Corpus
from src.diagnostics.gradient_flow import LastUpdate
from src.evaluation.scoring import finite, validation_loss
from src.rnn.clipping import clip_norm, clip_value, global_norm
from src.rnn.init import initialise
from src.rnn.optimizers import average_weights, decay_weights
from src.rnn.parameters import Architecture, Array, unflatten
from src.training.data_parallel import Engine, Job
from src.training.divergence import Rollback
from src.training.early_stopping import Best, budget_spent, total_steps
from src.training.factory import make_optimizer, make_schedule
from src.training.train_state import Counters, Since, Snapshot

Report = Callable[[int, dict[str, float]], None]
Hopeless = Callable[[int, float], bool]  # of a step and the best val/loss up to it


def never(step: int, loss: float) -> bool:
    """No job is given up."""
    return False


def forget(snapshot: Snapshot) -> None:
    """Nothing is kept."""


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


def make_batches(config: Config, corpus: Corpus, rng: np.random.Generator) -> Batches:
    """The supply of training batches that `batching` names."""
    tokens = corpus.split("train")
    if config.batching == "contiguous":
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
    keep: Callable[[Snapshot], None] = forget,
    begin: Snapshot | Array | None = None,
) -> Outcome:
    """Train on the corpus' training split, evaluate on its validation split, keep the best weights.

    rng draws the initial weights and the order of the windows. begin: a snapshot to go on from, or other
    initial weights (n,). Raises Diverged when a loss or a gradient is no number (and there is no way back),
    Preempted on SIGTERM, both after the last snapshot was kept.
    """
    drawn = initialise(architecture, config.model.init, rng)
    batches = make_batches(config, corpus, rng)
    total = total_steps(config, batches)
    job = Job(architecture, config.seq_len, batches.batch_size, config.model.dropout, config.stateful)
    with interruptible() as stop, Engine(job, config.workers) as engine:
        engine.weights[:] = begin if isinstance(begin, np.ndarray) else drawn
        loop = Loop(config, architecture, corpus, batches, engine, rng, report, evaluated, hopeless, keep)
        if isinstance(begin, Snapshot):
            loop.restore(begin)
        with np.errstate(all="ignore"):  # what overflows ends in Diverged, which says it better
            return loop.run(total, stop)


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
        keep: Callable[[Snapshot], None],
    ) -> None:
        self.config, self.architecture, self.batches, self.engine = config, architecture, batches, engine
        self.rng = rng
        self.val = corpus.split("val")
        self.report, self.evaluated, self.hopeless, self.keep = report, evaluated, hopeless, keep
        self.behind = False  # of the others of the sweep, at the last evaluation
        self.optimizer = make_optimizer(config.optimizer)
        self.schedule = make_schedule(config.schedule, config.max_epochs)
        self.state = self.optimizer.state(engine.weights)
        self.matrices = unflatten(architecture, engine.weights).matrices()
        self.last_update = LastUpdate(config, architecture, engine.weights)
        self.averaged = engine.weights.copy()
        self.best = Best(engine.weights)
        self.moving = {"weights": engine.weights}
        if config.ema_decay:
            self.moving["averaged"] = self.averaged
        self.moving |= {f"optimizer.{name}": array for name, array in self.state.items()}
        self.rollback = Rollback(config)
        self.rollback.keep(self.moving, 0)
        self.now = Counters()
        self.kept = (0, 0)  # step of the last snapshot, and of the last evaluation in front of it

    def run(self, total: int, stop: Stop) -> Outcome:
        """Train until step `total`, or until the time is up, nothing improves or somebody interrupts."""
        config, now = self.config, self.now
        self.began = time.perf_counter() - now.seconds
        try:
            while not (ended := self.look_up(total, stop)):
                now.step += 1
                progress = (now.step - 1) / total
                if config.max_seconds is not None:
                    self.look_at_clock()
                    progress = max(progress, now.seconds / config.max_seconds)
                now.lr = config.lr * self.rollback.scale * self.schedule.share(now.step, progress)
                self.step()
                if now.step % config.log_every == 0:
                    self.log()
        except Preempted:
            self.keep_snapshot()
            raise
        self.keep_snapshot()  # before what only an end has, so that training can go on from here, too
        if now.step == total:
            self.log()
        while now.evaluated != now.step or self.best.loss == inf:
            self.evaluate(stop)
        if stop.terminated:
            raise Preempted("SIGTERM")
        return Outcome(
            flat=self.best.flat,
            val_loss=self.best.loss,
            best_step=self.best.step,
            steps=now.step,
            epochs=now.step / self.batches.steps_per_epoch,
            seconds=self.look_at_clock(),
            chars_per_second=self.chars_per_second(),
            ended=ended,
        )

    def look_up(self, total: int, stop: Stop) -> str:
        """Between two steps: evaluate where it is time to. Why training ends here, "" where it goes on."""
        now = self.now
        if now.step % self.config.eval_every == 0 and now.evaluated != now.step:
            improved = self.evaluate(stop)
            if improved is not None:
                self.schedule.observe(improved)
                self.behind = self.hopeless(now.step, self.best.loss)
                self.rollback.keep(self.moving, now.step)
                self.keep_snapshot()
        else:
            self.look_at_clock()  # a snapshot has done so: what ends training behind it, it knows
        if stop.terminated:
            raise Preempted("SIGTERM")
        if stop.interrupted:
            return "interrupted"
        spent = budget_spent(self.config, now.step, total, self.best.waited, now.seconds)
        return "hopeless" if self.behind and spent != "early stopping" else spent

    def step(self) -> None:
        """Batch, forward, backward, clip, update."""
        config, now, g, began = self.config, self.now, self.engine.gradient, time.perf_counter()
        ids, targets, fresh = self.batches.next()
        seed = int(self.rng.integers(2**63)) if config.model.dropout else 0
        loss = self.engine.loss_and_gradient(ids, targets, fresh or now.fresh, seed)
        now.fresh = False
        norm = global_norm(g)
        if not (isfinite(loss) and isfinite(norm)):
            self.go_back(f"loss {loss:g} and gradient norm {norm:g}")
            return
        if config.clip is not None:
            by_norm = config.clip_mode == "norm"
            clipped = clip_norm(g, norm, config.clip) if by_norm else clip_value(g, config.clip)
            now.since.clipped += clipped
        self.last_update.before(now.step)
        if config.optimizer.weight_decay:
            decay_weights(self.matrices, now.lr * config.optimizer.weight_decay)
        self.optimizer.update(self.state, self.engine.weights, g, now.lr)
        self.last_update.after()
        if config.ema_decay:
            average_weights(self.averaged, self.engine.weights, config.ema_decay, now.step)
        now.since.steps += 1
        now.since.loss += loss
        now.since.norm += norm
        now.in_steps += time.perf_counter() - began

    def go_back(self, what: str) -> None:
        """To the last good weights, with a smaller learning rate; the step and what is random go on."""
        self.rollback.back(self.moving, self.now.step, what)
        self.now.fresh = True
        self.report(self.now.step, {"rollbacks": float(self.rollback.count)})

    def look_at_clock(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        self.now.seconds = time.perf_counter() - self.began
        return self.now.seconds

    def chars_per_second(self) -> float:
        characters = self.now.step * self.batches.batch_size * self.config.seq_len
        return characters / self.now.in_steps if self.now.in_steps else 0.0

    def log(self) -> None:
        if self.now.since.steps:
            self.report(self.now.step, self.now.since.metrics(self.now.lr, self.chars_per_second()))
        self.now.since = Since()

    def evaluate(self, stop: Stop) -> bool | None:
        """Validation loss of the averaged weights; whether it improved, None where it was no number."""
        now, flat = self.now, self.averaged if self.config.ema_decay else self.engine.weights
        with stop.at_once():
            loss = validation_loss(self.architecture, flat, self.val, self.config.max_eval_chars)
        now.evaluated = now.step
        if not finite(loss, flat, self.engine.weights):
            self.go_back("weights that are no numbers" if finite(loss) else f"validation loss {loss:g}")
            return None
        improved = self.best.observe(loss, flat, now.step, self.config.min_delta)
        self.report(now.step, {"val/loss": loss, "val/bpc": loss / log(2), **self.last_update.ratios})
        self.evaluated(now.step, flat)
        return improved

    def keep_snapshot(self) -> None:
        """Hand over everything that training would go on from, where that has not been done already."""
        if self.kept == (self.now.step, self.now.evaluated):
            return
        self.kept = self.now.step, self.now.evaluated
        self.look_at_clock()
        arrays = self.moving | {"best": self.best.flat}
        if self.config.stateful:
            arrays["carried"] = self.engine.state()
        if self.rollback.on and self.rollback.good_at != self.now.step:
            arrays |= {f"good.{name}": array for name, array in self.rollback.good.items()}
        state = {
            "now": asdict(self.now),
            "best": self.best.state(),
            "rollback": self.rollback.state(),
            "schedule": self.schedule.state(),
            "batches": self.batches.state(),
            "ratios": self.last_update.ratios,
            "rng": self.rng.bit_generator.state,
        }
        self.keep(Snapshot(self.now.step, state, arrays))

    def restore(self, snapshot: Snapshot) -> None:
        """Stand where the snapshot was taken. Raises KeyError or ValueError for one of another training."""
        arrays, state = snapshot.arrays, snapshot.state
        for name, array in (self.moving | {"best": self.best.flat}).items():
            array[...] = arrays[name]
        if self.config.stateful:
            self.engine.set_state(arrays["carried"])
        self.now = Counters(**{**state["now"], "since": Since(**state["now"]["since"])})
        self.kept = self.now.step, self.now.evaluated
        self.best.restore(state["best"])
        self.schedule.restore(state["schedule"])
        good = {name: arrays.get(f"good.{name}", array) for name, array in self.moving.items()}
        self.rollback.restore(state["rollback"], good)
        self.batches.restore(state["batches"])
        self.last_update.ratios = dict(state["ratios"])
        self.rng.bit_generator.state = state["rng"]
