"""The training loop: batches in, best weights out.

The trainer knows no files, no terminal and no tracker; callbacks and a logger connect it to them (see
`callbacks.py`).
"""

import time
from collections.abc import Iterable
from dataclasses import asdict
from math import ceil, inf, isfinite, log

import numpy as np

from src.common.callback import Callback, Logger
from src.common.errors import UserError
from src.common.process import Preempted, StopFlags, interruptible
from src.config.constraints import instantiate
from src.config.schema import Config
from src.data.batches import build_batches
from src.data.corpus import Corpus
from src.diagnostics.gradient_flow import UpdateRatio
from src.evaluation.scoring import all_finite, validation_loss
from src.models.serialization import TrainedModel
from src.rnn.optimizers import Optimizer, clip_norm, clip_value, decay_weights, ema_update, global_norm
from src.rnn.parameters import Array, RNNConfig, initialize, unflatten
from src.rnn.schedules import Schedule
from src.training.data_parallel import DataParallel
from src.training.shard import ShardSpec
from src.training.train_state import (
    BestWeights,
    Rollback,
    RunningSums,
    TrainCounters,
    TrainResult,
    TrainState,
)


class Trainer:
    """A training of a network: train on one split of a corpus, validate on another, keep the best weights.

    Args:
        config: Validated config of the run. Its seed determines the initial weights, the order of the windows
            and the dropout masks.
        corpus: Prepared corpus.

    Attributes:
        architecture: Sizes and cell type of the network.
        params: Weights at the current step, float32, shape (n,). They may be replaced before `fit`.
        eval_params: Weights that are validated and kept, shape (n,): `params`, or their moving average if
            `ema_decay` > 0. Set by `start`.
        best: Best weights so far. Set by `start`.
        batches: Supply of training batches.
        max_steps: Number of optimizer steps in `max_epochs`, >= 1.
        counters: Numbers that change from step to step.
        stop_reason: Why the steps ended; "" during training.
    """

    def __init__(self, config: Config, corpus: Corpus) -> None:
        self.config, self.corpus = config, corpus
        self.rng = np.random.default_rng(config.seed)
        m = config.model
        self.architecture = RNNConfig(len(corpus.vocabulary), config.hidden, m.name, m.layers, m.activation)
        # The order of the windows takes the next numbers of the same generator.
        self.params = initialize(self.architecture, config.model.init, self.rng)
        self.batches = build_batches(config, corpus, self.rng)
        self.max_steps = max(1, ceil(config.max_epochs * self.batches.steps_per_epoch))
        self.optimizer: Optimizer = instantiate("optimizer", config.optimizer)
        self.schedule: Schedule = instantiate("schedule", config.schedule)
        self.rollback = Rollback(config)
        self.counters = TrainCounters()
        self.stop_reason = self._requested = ""

    @property
    def step(self) -> int:
        """Number of the last optimizer step; 0 before the first."""
        return self.counters.step

    @property
    def prompt(self) -> str:
        """Beginning of each sample: that of the config; where it has none, that of the corpus."""
        return self.corpus.opening if self.config.prompt is None else self.config.prompt

    def model(self, params: Array) -> TrainedModel:
        """Return the network with everything that is needed to generate text.

        Args:
            params: Weights, float32, shape (n,).

        Returns:
            The model, with the prompt of the run.
        """
        corpus = self.corpus
        return TrainedModel(self.architecture, params, corpus.vocabulary, corpus.normalization, self.prompt)

    def request_stop(self, reason: str) -> None:
        """Request that the training ends before the next step; for callbacks.

        Args:
            reason: Stop reason. If there are several requests, the first reason counts.
        """
        self._requested = self._requested or reason

    def fit(
        self, logger: Logger, callbacks: Iterable[Callback] = (), state: TrainState | None = None
    ) -> TrainResult:
        """Train until the budget is spent, a callback requests a stop, or Ctrl-C is pressed.

        Args:
            logger: Destination of the metrics.
            callbacks: Callbacks, called in this order; none by default.
            state: State from a checkpoint, from which the training continues; None (the default): a new
                training.

        Returns:
            The best weights and how they were found.

        Raises:
            DivergenceError: A loss, a gradient or the weights are not finite, and rollback is off or has been
                done `max_rollbacks` times.
            Preempted: SIGTERM arrived. If it arrived during the steps, `on_steps_end` was called before.
            UserError: `state` belongs to another training, or a worker process was killed.
            RuntimeError: A worker process ended by itself.
        """
        with (
            interruptible() as stop,
            self.start(logger, callbacks),
            # An overflow ends in a DivergenceError, which says more than a warning of NumPy.
            np.errstate(all="ignore"),
        ):
            if state is not None:
                self.load_state(state)
            self.began = time.perf_counter() - self.counters.seconds
            for callback in self.callbacks:
                callback.on_train_start(self)
            try:
                while not (reason := self._stop_reason(stop)):
                    self.train_step()
            except Preempted:
                self._end_steps("SIGTERM")
                raise
            self._end_steps(reason)
            if self.step == self.max_steps:
                self._log_training()
            while self.counters.validated != self.step or self.best.loss == inf:
                self._validate(stop)
            if stop.terminated:
                raise Preempted("SIGTERM")
            result = TrainResult(
                params=self.best.params,
                val_loss=self.best.loss,
                best_step=self.best.step,
                steps=self.step,
                epochs=self.step / self.batches.steps_per_epoch,
                seconds=self._read_clock(),
                chars_per_second=self._chars_per_second(),
                stop_reason=reason,
            )
            for callback in self.callbacks:
                callback.on_train_end(self, result)
            return result

    def log(self, metrics: dict[str, float]) -> None:
        """Log metrics at the current step, and pass them to the callbacks.

        Args:
            metrics: Values by metric name.
        """
        self.logger.log_metrics(metrics, self.step)
        for callback in self.callbacks:
            callback.on_log(self, metrics)

    def start(self, logger: Logger, callbacks: Iterable[Callback]) -> DataParallel:
        """Allocate the arrays that change from step to step.

        Args:
            logger: Destination of the metrics.
            callbacks: Callbacks, called in this order.

        Returns:
            The worker processes, a context manager in which `train_step` may be called.
        """
        self.logger, self.callbacks = logger, list(callbacks)
        config, initial = self.config, self.params
        spec = ShardSpec(
            self.architecture, config.seq_len, self.batches.batch_size, config.model.dropout, config.stateful
        )
        self.engine = DataParallel(spec, config.workers)
        self.params = self.engine.params
        self.params[:] = initial
        self.optimizer_state = self.optimizer.state(self.params)
        self.matrices = unflatten(self.architecture, self.params).matrices()
        self.update_ratio = UpdateRatio(self.config, self.architecture, self.params)
        self.averaged = self.params.copy()
        self.eval_params = self.averaged if self.config.ema_decay else self.params
        self.best = BestWeights(self.params)
        self.moving = {"weights": self.params}
        if self.config.ema_decay:
            self.moving["averaged"] = self.averaged
        self.moving |= {f"optimizer.{name}": array for name, array in self.optimizer_state.items()}
        self.rollback.save(self.moving, 0)
        return self.engine

    def _stop_reason(self, stop: StopFlags) -> str:
        """Return why the training ends before the next step, "" if it does not; first validate if it is time.

        Raises:
            Preempted: SIGTERM arrived.
        """
        counters = self.counters
        if counters.step % self.config.eval_every == 0 and counters.validated != counters.step:
            self._validate(stop)
        else:
            self._read_clock()  # a checkpoint reads the clock, too: the decision to stop must use its time
        if stop.terminated:
            raise Preempted("SIGTERM")
        if stop.interrupted:
            return "interrupted"
        return self._requested or counters.spent_budget(self.config, self.max_steps)

    def _end_steps(self, reason: str) -> None:
        self.stop_reason = reason
        for callback in self.callbacks:
            callback.on_steps_end(self)

    def train_step(self) -> None:
        """Do one optimizer step: batch, forward pass, backward pass, clipping, update.

        A step whose loss or gradient is not finite changes no weights and is rolled back.

        Raises:
            DivergenceError: The loss or the gradient is not finite, and rollback is off or has been done
                `max_rollbacks` times.
        """
        config, counters, g = self.config, self.counters, self.engine.gradient
        counters.step += 1
        counters.lr = self._learning_rate()
        began = time.perf_counter()
        ids, targets, reset_state = self.batches.next()
        seed = int(self.rng.integers(2**63)) if config.model.dropout else 0
        loss = self.engine.loss_and_gradient(ids, targets, reset_state or counters.reset_state, seed)
        counters.reset_state = False
        norm = global_norm(g)
        if isfinite(loss) and isfinite(norm):
            if (clip := config.clip) is not None:
                clipped = clip_norm(g, norm, clip) if config.clip_mode == "norm" else clip_value(g, clip)
                counters.running.clipped += clipped
            self.update_ratio.on_step_start(counters.step)
            if self.optimizer.weight_decay:
                decay_weights(self.matrices, counters.lr * self.optimizer.weight_decay)
            self.optimizer.update(self.optimizer_state, self.params, g, counters.lr)
            self.update_ratio.on_step_end()
            if config.ema_decay:
                ema_update(self.averaged, self.params, config.ema_decay, counters.step)
            counters.running.steps += 1
            counters.running.loss += loss
            counters.running.norm += norm
            counters.step_seconds += time.perf_counter() - began
        else:
            self._roll_back(f"loss {loss:g} and gradient norm {norm:g}")
        if counters.step % config.log_every == 0:
            self._log_training()

    def _learning_rate(self) -> float:
        """Return the learning rate of the current step."""
        progress = (self.step - 1) / self.max_steps
        if self.config.max_seconds is not None:
            progress = max(progress, self._read_clock() / self.config.max_seconds)
        factor = self.schedule.lr_factor(self.step, progress, progress * self.config.max_epochs)
        return self.config.lr * self.rollback.scale * factor

    def _validate(self, stop: StopFlags) -> None:
        """Compute the validation loss of `eval_params`, log it and call the callbacks."""
        counters = self.counters
        with stop.raise_on_signal():
            tokens, most = self.corpus.split("val"), self.config.max_eval_chars
            loss = validation_loss(self.architecture, self.eval_params, tokens, most)
        counters.validated = counters.step
        if not all_finite(loss, self.eval_params, self.params):
            self._roll_back("non-finite weights" if all_finite(loss) else f"validation loss {loss:g}")
            return
        improved = self.best.update(loss, self.eval_params, counters.step, self.config.min_delta)
        self.log({"val/loss": loss, "val/bpc": loss / log(2), **self.update_ratio.ratios})
        self.schedule.on_validation(improved)
        self.rollback.save(self.moving, counters.step)
        for callback in self.callbacks:
            callback.on_validation_end(self, loss)

    def _roll_back(self, what: str) -> None:
        """Restore the last good weights with a smaller learning rate; step and generator are not restored."""
        self.rollback.restore_last_good(self.moving, self.step, what)
        self.counters.reset_state = True
        self.log({"rollbacks": float(self.rollback.count)})

    def _read_clock(self) -> float:
        """Return the seconds of training so far, also those before an interruption, and store them."""
        self.counters.seconds = time.perf_counter() - self.began
        return self.counters.seconds

    def _chars_per_second(self) -> float:
        characters = self.step * self.batches.batch_size * self.config.seq_len
        return characters / self.counters.step_seconds if self.counters.step_seconds else 0.0

    def _log_training(self) -> None:
        """Log the means since the last point of the training curves."""
        sums, self.counters.running = self.counters.running, RunningSums()
        if sums.steps:
            metrics = {
                "train/loss": sums.loss / sums.steps,
                "grad/norm": sums.norm / sums.steps,
                "grad/clip_fraction": sums.clipped / sums.steps,
                "lr": self.counters.lr,
                "throughput/chars_per_second": self._chars_per_second(),
            }
            self.log(metrics)

    def train_state(self) -> TrainState:
        """Return everything from which `fit` can continue.

        Returns:
            The state between two steps; its arrays are views of the arrays in use.
        """
        self._read_clock()
        arrays = self.moving | {"best": self.best.params}
        if self.config.stateful:
            arrays["carried"] = self.engine.state()
        if self.rollback.enabled and self.rollback.good_at != self.step:
            arrays |= {f"good.{name}": array for name, array in self.rollback.good.items()}
        state = {
            "counters": asdict(self.counters),
            "best": self.best.state(),
            "rollback": self.rollback.state(),
            "schedule": self.schedule.state(),
            "batches": self.batches.state(),
            "update_ratios": self.update_ratio.ratios,
            "rng": self.rng.bit_generator.state,
        }
        return TrainState(state, arrays)

    def load_state(self, saved: TrainState) -> None:
        """Restore the state that `train_state` returned; to be called after `start`.

        Args:
            saved: State of a training on the same corpus; the two configs may differ in the keys of
                `OVERRIDABLE_ON_RESUME`.

        Raises:
            UserError: The state belongs to another training.
        """
        arrays, state = saved.arrays, saved.state
        own = self.moving | {"best": self.best.params}
        saved.check_arrays(own | ({"carried": self.engine.carried} if self.config.stateful else {}))
        for name, array in own.items():
            array[...] = arrays[name]
        if self.config.stateful:
            self.engine.set_state(arrays["carried"])
        good = {name: arrays.get(f"good.{name}", array) for name, array in self.moving.items()}
        try:  # only the schedule, which may be a user's own, knows the format of its state
            self.counters = TrainCounters.from_state(state["counters"])
            self.best.restore(state["best"])
            self.rollback.restore(state["rollback"], good)
            self.schedule.restore(state["schedule"])
            self.batches.restore(state["batches"])
            self.update_ratio.ratios = dict(state["update_ratios"])
            self.rng.bit_generator.state = state["rng"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"resume: expected a checkpoint of this training, got {error!r}") from error
