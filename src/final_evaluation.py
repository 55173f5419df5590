"""The last stages of a run: evaluate the kept weights, generate samples, and log both."""

import hashlib
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from src.common.console import echo_err, pluralize
from src.common.files import read_json, write_json, write_text
from src.common.job_result import GRADIENTS, GradientFile
from src.config.schema import Config
from src.evaluation.evaluate import Evaluation, evaluate_network
from src.evaluation.text_quality import TextMetrics, TextQuality, final_split
from src.generation.sampling import sample
from src.models import serialization
from src.rnn.parameters import unflatten
from src.rnn.state_gradients import recurrent_matrices, singular_values
from src.tracking.environment import job_digest
from src.tracking.run import Run
from src.training.train_state import TrainResult
from src.training.trainer import Trainer


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        run_id: Id of the run in MLflow, or the name of the run directory.
        folder: The run directory.
        training: Result of the training, with the kept weights.
        evaluation: Scores of the kept weights on the final split.
        prompt: Text that the network read before each sample.
        samples: Temperature to generated text, without the prompt.
        sample_metrics: Metrics of the samples, in their order.
        weights_sha256: SHA-256 of the bytes of the kept weights, in hexadecimal.
    """

    run_id: str
    folder: Path
    training: TrainResult
    evaluation: Evaluation
    prompt: str
    samples: dict[float, str]
    sample_metrics: list[TextMetrics]
    weights_sha256: str

    def summary(self) -> str:
        """Return the line on standard output, for scripts.

        Returns:
            Like `test/bpc=... val/loss=... chars/s=... steps=... run=...`, with the loss in nats per
            character.
        """
        return (
            f"{self.evaluation.prefix}/bpc={self.evaluation.stateful.bpc:.4f} "
            f"val/loss={self.training.val_loss:.4f} chars/s={self.training.chars_per_second:.0f} "
            f"steps={self.training.steps} run={self.run_id}"
        )


def evaluate_and_log(run: Run, trainer: Trainer, result: TrainResult) -> RunResult:
    """Score the kept weights on the final split, generate samples, draw the figures, and log all of it.

    Args:
        run: The run, which is still open.
        trainer: The trainer after training, which has the config, the corpus and the architecture.
        result: Result of the training, with the kept weights.

    Returns:
        The result of the run, with the name of the run directory as its id.

    Raises:
        UserError: A file cannot be written.
    """
    config, corpus, architecture, params = trainer.config, trainer.corpus, trainer.architecture, result.params
    model, prompt = trainer.model(params), trainer.prompt
    kept_before = serialization.digest(run.folder / "model") if run.history.num_models else ""
    serialization.save(model, run.folder / "model")
    echo_err(f"[3/4] evaluate: on the {final_split(corpus)}")
    rng = np.random.default_rng(config.seed)
    evaluation = evaluate_network(architecture, params, corpus, config.seq_len, rng, config.max_eval_chars)
    temperatures = sorted({*config.temperatures, config.temperature})
    each = ", ".join(f"{t:g}" for t in temperatures)
    echo_err(f"[4/4] sample: {pluralize(config.length, 'character')} at each temperature of {each}")
    # Each generator starts from the run's seed: the same weights and settings give the same text.
    rngs = {t: np.random.default_rng(config.seed) for t in temperatures}
    samples = {t: "".join(sample(model, prompt, t, config.length, rngs[t])) for t in temperatures}
    quality = TextQuality(corpus)
    sample_metrics = [quality.compute(prompt, text, t) for t, text in samples.items()]
    digest = hashlib.sha256(params.tobytes()).hexdigest()

    # The last point of val/loss is that of the kept weights: a table of runs shows it and sorts by it.
    kept = {"val/loss": result.val_loss, "val/bpc": result.val_loss / log(2)}
    own = sample_metrics[temperatures.index(config.temperature)].metrics()
    scores = evaluation.metrics() | {f"sample/{name}": value for name, value in own.items()}
    run.log_metrics(kept, result.steps + 1)
    # MLflow draws a single point at step 0 as a bar. A run resumed after an end has other scores there.
    final = 0 if all(run.points.get((0, n), v) == v for n, v in scores.items()) else result.steps
    run.log_metrics({**scores, "train/seconds": result.seconds}, final)
    log_samples(run, prompt, config.seed, samples, sample_metrics)
    write_json(run.folder / "evaluation.json", evaluation.report(sample_metrics))
    run.log_artifact(run.folder / "evaluation.json")
    if config.figures:
        compared = [*sample_metrics, quality.reference_metrics(config.length)]
        draw_figures(run, config, evaluation, compared, result.best_step)
    if config.diagnostics:
        write_diagnostics(run, trainer, result)
    digests = {"weights_sha256": digest, "job_digest": job_digest(config, corpus.digest)}
    write_json(run.folder / "scores.json", {**kept, **scores, **digests})
    run.log_artifact(run.folder / "scores.json")
    if kept_before != serialization.digest(run.folder / "model"):
        run.event_log.model(run.folder / "model")
    return RunResult(run.folder.name, run.folder, result, evaluation, prompt, samples, sample_metrics, digest)


def log_samples(
    run: Run, prompt: str, seed: int, samples: dict[float, str], sample_metrics: list[TextMetrics]
) -> None:
    """Log each sample as a text file, and all of them with their metrics as one table.

    Args:
        run: The run.
        prompt: Text that the network read first.
        seed: Random seed of the samples.
        samples: Temperature to generated text.
        sample_metrics: Metrics of the samples, in their order.

    Raises:
        UserError: A file cannot be written.
    """
    for temperature, text in samples.items():
        file = run.folder / "samples" / f"temperature_{temperature:g}.txt"
        write_text(file, prompt + text + "\n")
        run.log_artifact(file, "samples")
    run.event_log.table(
        "samples.json",
        [
            {"temperature": t, "prompt": prompt, "text": text, "seed": seed, **j.columns()}
            for (t, text), j in zip(samples.items(), sample_metrics, strict=True)
        ],
    )


def draw_figures(
    run: Run, config: Config, evaluation: Evaluation, sample_metrics: list[TextMetrics], kept_step: int
) -> None:
    """Draw and log the figures of the training and of the evaluation.

    Args:
        run: The run, whose history has the curves.
        config: Validated config of the run.
        evaluation: Scores of the kept weights.
        sample_metrics: Metrics of the samples and of the held-out text with which they are compared.
        kept_step: Optimizer step of the kept weights.
    """
    from src.plots import run as plots  # matplotlib takes a second to import, after training

    folder, unigram_bpc = run.folder / "figures", evaluation.baselines["unigram"]
    points_of = {name: points for name, points in run.history.curves.items() if "/" in name}
    if "train/loss" in points_of:
        # without the point after the last step, which repeats the kept weights' loss
        shown = points_of | {"val/loss": points_of["val/loss"][:-1]}
        plots.plot_losses(shown, unigram_bpc, kept_step, folder / "losses.png")
        plots.plot_gradient_norms(points_of, config.clip, config.clip_mode, folder / "gradient_norms.png")
    plots.plot_reliability(evaluation.bins, folder / "reliability.png")
    plots.plot_loss_by_position(evaluation, folder / "window.png")
    plots.plot_quality(sample_metrics, folder / "temperature.png")
    for file in sorted(folder.glob("*.png")):
        run.log_artifact(file, "figures")


def write_diagnostics(run: Run, trainer: Trainer, result: TrainResult) -> None:
    """Draw the diagnostics of the whole training, and write the page of the units' activations.

    Args:
        run: The run, whose directory has gradient_through_time.json.
        trainer: The trainer after training.
        result: Result of the training, with the kept weights.

    Raises:
        UserError: A file cannot be written.
    """
    from src.diagnostics.unit_analysis import render_page

    if trainer.config.figures:
        draw_diagnostics(run, trainer, result)
    file = run.folder / "neurons.html"
    page = render_page(run.folder.name, trainer.architecture, result.params, trainer.corpus)
    write_text(file, page)
    run.log_artifact(file)


def draw_diagnostics(run: Run, trainer: Trainer, result: TrainResult) -> None:
    """Draw and log the gradient through time and the singular values of the recurrent matrices.

    Args:
        run: The run, whose directory has gradient_through_time.json.
        trainer: The trainer after training.
        result: Result of the training, with the kept weights.

    Raises:
        UserError: The file gradient_through_time.json is missing or damaged.
    """
    from src.plots import diagnostics  # matplotlib takes a second to import, after training
    from src.plots import run as plots

    record = read_json(run.folder / GRADIENTS, GradientFile)
    network = unflatten(trainer.architecture, result.params)
    figures = {
        "gradient_through_time": diagnostics.gradient_through_time(record, result.best_step),
        "singular_values": diagnostics.singular_values(
            [np.array(values, np.float64) for values in record["initial_singular_values"]],
            [singular_values(w) for w in recurrent_matrices(network)],
            gated=trainer.architecture.cell != "rnn",
        ),
    }
    for name, figure in figures.items():
        file = run.folder / "figures" / f"{name}.png"
        plots.save(figure, file)
        run.log_artifact(file, "figures")
