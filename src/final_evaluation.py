"""The last stages of a run: what the kept weights are worth and what they write, kept with the run."""

import hashlib
import json
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from src.common.atomic_io import write_json, write_text
from src.common.console import counted, say
from src.config.schema import Config
from src.data.corpus import Corpus
from src.diagnostics.callback import Inside, drawn_weights
from src.evaluation.evaluate import Evaluation, evaluate_network
from src.evaluation.text_quality import Judge, Judgement, final_split_of
from src.generation.sampling import sample
from src.models import serialization
from src.models.serialization import Model
from src.rnn.parameters import Architecture, Array, unflatten
from src.rnn.spectrum import recurrent_matrices, singular_values
from src.tracking.fingerprint import job_digest
from src.tracking.run import Run
from src.training.trainer import Outcome


@dataclass(frozen=True)
class Result:
    """What a run came to. samples: by temperature; judged: in their order. weights_sha256: of the kept
    weights' bytes."""

    run_id: str
    folder: Path
    outcome: Outcome
    evaluation: Evaluation
    samples: dict[float, str]
    judged: list[Judgement]
    weights_sha256: str

    def summary(self) -> str:
        """The line that a script reads."""
        return (
            f"{self.evaluation.prefix}/bpc={self.evaluation.carried.bpc:.4f} "
            f"val/loss={self.outcome.val_loss:.4f} chars/s={self.outcome.chars_per_second:.0f} "
            f"steps={self.outcome.steps} run={self.run_id}"
        )


def write(config: Config, model: Model, temperature: float, length: int) -> str:
    """A sample from the run's own seed: the same weights and settings write the same text."""
    return "".join(sample(model, config.prompt, temperature, length, np.random.default_rng(config.seed)))


def finish(
    record: Run, config: Config, corpus: Corpus, architecture: Architecture, outcome: Outcome
) -> Result:
    """Stages 3 and 4: score the kept weights on the final split, write samples, draw the figures."""
    flat = outcome.flat
    model = Model(architecture, flat, corpus.vocabulary, corpus.normalisation)
    kept_before = serialization.digest(record.folder / "model") if record.told.models else ""
    serialization.save(model, record.folder / "model")
    say(f"[3/4] evaluate: on the {final_split_of(corpus)}")
    rng = np.random.default_rng(config.seed)
    evaluation = evaluate_network(architecture, flat, corpus, config.seq_len, rng, config.max_eval_chars)
    temperatures = sorted({*config.temperatures, config.temperature})
    each = ", ".join(f"{t:g}" for t in temperatures)
    say(f"[4/4] sample: {counted(config.length, 'character')} at each temperature of {each}")
    samples = {t: write(config, model, t, config.length) for t in temperatures}
    judge = Judge(corpus)
    judged = [judge.judge(config.prompt, text, t) for t, text in samples.items()]
    digest = hashlib.sha256(flat.tobytes()).hexdigest()

    # The last point of val/loss is that of the kept weights: what a table of runs shows and sorts by.
    kept = {"val/loss": outcome.val_loss, "val/bpc": outcome.val_loss / log(2)}
    own = judged[temperatures.index(config.temperature)].measures()
    scores = evaluation.metrics() | {f"sample/{name}": value for name, value in own.items()}
    record.report(outcome.steps + 1, kept)
    # MLflow draws step 0 alone as a bar. A run that went on behind an end has other scores there already.
    final = 0 if all(record.told.points.get((0, n), v) == v for n, v in scores.items()) else outcome.steps
    record.report(final, {**scores, "train/seconds": outcome.seconds})
    keep_samples(record, config, samples, judged)
    write_json(record.folder / "evaluation.json", evaluation.report(judged))
    record.keep(record.folder / "evaluation.json")
    draw(record, config, evaluation, [*judged, judge.held_out(config.length)], outcome.best_step)
    if config.diagnostics:
        finish_inside(record, config, corpus, architecture, outcome)
    digests = {"weights_sha256": digest, "job_digest": job_digest(config, corpus.digest)}
    write_json(record.folder / "scores.json", {**kept, **scores, **digests})
    record.keep(record.folder / "scores.json")
    if kept_before != serialization.digest(record.folder / "model"):
        record.journal.model(record.folder / "model")
    return Result(record.folder.name, record.folder, outcome, evaluation, samples, judged, digest)


def keep_samples(record: Run, config: Config, samples: dict[float, str], judged: list[Judgement]) -> None:
    """Each sample as a text, all of them judged in one table, so that many runs' stand side by side."""
    for temperature, text in samples.items():
        file = record.folder / "samples" / f"temperature_{temperature:g}.txt"
        write_text(file, config.prompt + text + "\n")
        record.keep(file, "samples")
    record.journal.table(
        "samples.json",
        [
            {"temperature": t, "prompt": config.prompt, "text": text, "seed": config.seed, **j.columns()}
            for (t, text), j in zip(samples.items(), judged, strict=True)
        ],
    )


def draw(
    record: Run, config: Config, evaluation: Evaluation, judged: list[Judgement], kept_step: int
) -> None:
    """The figures of the training and of what came out."""
    from src.plots import (  # matplotlib takes a second to import, after training
        evaluation as evaluation_plots,
    )
    from src.plots import training as training_plots

    folder, unigram_bpc = record.folder / "figures", evaluation.baselines["unigram"]
    points_of = {name: points for name, points in record.curves.items() if "/" in name}
    if "train/loss" in points_of:
        # without the point behind the last step, which repeats the kept weights' loss
        shown = points_of | {"val/loss": points_of["val/loss"][:-1]}
        training_plots.losses(shown, unigram_bpc, kept_step, folder / "losses.png")
        training_plots.gradient_norms(points_of, config.clip, config.clip_mode, folder / "gradient_norms.png")
    evaluation_plots.reliability(evaluation.bins, folder / "reliability.png")
    evaluation_plots.window(evaluation, folder / "window.png")
    evaluation_plots.temperatures(judged, folder / "temperature.png")
    for file in sorted(folder.glob("*.png")):
        record.keep(file, "figures")


def finish_inside(
    record: Run, config: Config, corpus: Corpus, architecture: Architecture, outcome: Outcome
) -> None:
    """The kept weights: probed, drawn, and made a page."""
    from src.diagnostics import activation_page
    from src.plots import (  # matplotlib takes a second to import, after training
        diagnostics as diagnostics_plots,
    )
    from src.plots import training as training_plots

    inside = Inside(config, architecture, corpus, record.folder)
    # As of val/loss, the last point is that of the kept weights: what a table of runs shows.
    record.report(outcome.steps + 1, inside.take(outcome.best_step, inside.prober.look(outcome.flat)))
    record.keep(inside.file)
    drawn = {
        "gradient_through_time": diagnostics_plots.gradient_through_time(
            json.loads(inside.file.read_text(encoding="utf-8")), outcome.best_step
        ),
        "singular_values": diagnostics_plots.singular_values(
            None if config.init_from else spectra(architecture, drawn_weights(config, architecture)),
            spectra(architecture, outcome.flat),
            gated=architecture.cell != "rnn",
        ),
    }
    for name, figure in drawn.items():
        file = record.folder / "figures" / f"{name}.png"
        training_plots.save(figure, file)
        record.keep(file, "figures")
    page = record.folder / "neurons.html"
    write_text(page, activation_page.page(record.folder.name, architecture, outcome.flat, corpus))
    record.keep(page)


def spectra(architecture: Architecture, flat: Array) -> list[Array]:
    """The singular values of each layer's recurrent matrix."""
    return [singular_values(w) for w in recurrent_matrices(unflatten(architecture, flat))]
