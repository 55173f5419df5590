"""The last stages of a run: what the kept weights are worth and what they write, kept with the run."""

import hashlib
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from src.config import Config
from src.files import write_json, write_text
from src.lab.evaluation.evaluation import Evaluation, evaluate_network
from src.lab.evaluation.judging import Judge, Judgement, final_split_of
from src.lab.inside.inside import finish_inside
from src.lab.learning.training import Outcome
from src.lab.model import weights
from src.lab.model.sampling import sample
from src.lab.model.weights import Model
from src.lab.runs.digests import job_digest
from src.lab.runs.rundir import Run
from src.rnn.parameters import Architecture
from src.terminal import counted, say
from src.text.corpus import Corpus


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
    kept_before = weights.digest(record.folder / "model") if record.told.models else ""
    weights.save(model, record.folder / "model")
    say(f"[3/4] evaluate: on the {final_split_of(corpus)}")
    rng = np.random.default_rng(config.seed)
    evaluation = evaluate_network(architecture, flat, corpus, config.seq_len, rng, config.eval_chars)
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
    if config.probe:
        finish_inside(record, config, corpus, architecture, outcome)
    digests = {"weights_sha256": digest, "job_digest": job_digest(config, corpus.digest)}
    write_json(record.folder / "scores.json", {**kept, **scores, **digests})
    record.keep(record.folder / "scores.json")
    if kept_before != weights.digest(record.folder / "model"):
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
    from src.lab.figures import (  # matplotlib takes a second to import, after training
        curves,
        evaluation_figures,
    )

    folder, unigram_bpc = record.folder / "figures", evaluation.baselines["unigram"]
    points_of = {name: points for name, points in record.curves.items() if "/" in name}
    if "train/loss" in points_of:
        # without the point behind the last step, which repeats the kept weights' loss
        shown = points_of | {"val/loss": points_of["val/loss"][:-1]}
        curves.losses(shown, unigram_bpc, kept_step, folder / "losses.png")
        curves.gradient_norms(points_of, config.clip, config.clip_mode, folder / "gradient_norms.png")
    evaluation_figures.reliability(evaluation.bins, folder / "reliability.png")
    evaluation_figures.window(evaluation, folder / "window.png")
    evaluation_figures.temperatures(judged, folder / "temperature.png")
    for file in sorted(folder.glob("*.png")):
        record.keep(file, "figures")
