"""One run from corpus to samples: the stages that `train` and `pipeline` share."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, log
from pathlib import Path

import numpy as np

from src.config import Config, flatten, refuse
from src.files import write_json, write_text
from src.lab import weights
from src.lab.corpora import corpus_of
from src.lab.environment import PROJECT, environment, tags_of
from src.lab.evaluation import Evaluation, evaluate_network
from src.lab.hopeless import Median
from src.lab.parallel import useful_workers
from src.lab.progress import TrainingProgress
from src.lab.rundir import Run, absolute, store_of
from src.lab.sampling import sample
from src.lab.sweep import Job, job_digest
from src.lab.training import Outcome, make_batches, never, train
from src.lab.weights import Model
from src.rnn.parameters import Architecture, Array
from src.text.corpus import Corpus

WATCHED = 80  # characters of the sample that each evaluation writes
TEMPERATURES = (0.4, 0.7, 1.0)  # of the samples at the end, beside the configured one


@dataclass(frozen=True)
class Result:
    """What a run came to. samples: by temperature. weights_sha256: of the kept weights' bytes."""

    run_id: str
    folder: Path
    outcome: Outcome
    evaluation: Evaluation
    samples: dict[float, str]
    weights_sha256: str

    def summary(self) -> str:
        """The line that a script reads."""
        return (
            f"{self.evaluation.prefix}/bpc={self.evaluation.carried.bpc:.4f} "
            f"val/loss={self.outcome.val_loss:.4f} chars/s={self.outcome.chars_per_second:.0f} "
            f"steps={self.outcome.steps} run={self.run_id}"
        )


def overview(result: Result, config: Config) -> str:
    """Scores beside the baselines, samples at three temperatures, where to look."""
    parts = [result.evaluation.table()]
    for temperature, text in result.samples.items():
        parts.append(f"temperature {temperature:g}\n  {config.prompt}{text}")
    look = [f"the run's files  {result.folder}"]
    if config.tracking.name == "mlflow":
        moved = "" if absolute(config.outputs) == PROJECT / "outputs" else f" outputs={config.outputs}"
        page = f"python -m src.ui{moved}" if moved else "make ui"
        if not (store := store_of(config)["uri"]).startswith("sqlite"):
            page = store
        if result.run_id == result.folder.name:
            page = f"not yet: python -m src.deliver {result.folder}"
        look.append(f"in MLflow        {page}   (run {result.run_id})")
    return "\n\n".join([*parts, "\n".join(look)])


def say(line: str) -> None:
    """A line for the person; standard output stays what a script reads."""
    print(line, file=sys.stderr, flush=True)


def prepare(config: Config, with_prompt: bool) -> Corpus:
    """Stage 1: the corpus, made if need be.

    with_prompt: the prompt will be needed: it is refused now, and not after the training, when the
    vocabulary lacks one of its characters.
    """
    if config.rerun is not None:
        raise refuse("rerun", "null but for python -m src.train without --multirun", config.rerun)
    if config.data.path is not None:  # a run must find its text again from whichever directory
        config.data.path = str(absolute(config.data.path))
    corpus, fresh = corpus_of(config.data, config.seq_len, absolute(config.data_dir))
    if with_prompt:
        corpus.vocabulary.encode(corpus.normalisation.apply(config.prompt))
    state = "prepared" if fresh else "already prepared, nothing to do"
    say(
        f"[1/4] preprocess: {corpus.name}, {corpus.tokens.size:,} characters, {len(corpus.vocabulary)} "
        f"distinct, {state}: {corpus.folder}"
    )
    return corpus


def run(config: Config, command: str) -> Result:
    """All stages, tracked. command: the command that was typed, for the run's source.

    Raises InputError; a run that had begun is then closed as FAILED with the reason.
    """
    return run_on(prepare(config, with_prompt=True), config, command)


def run_on(
    corpus: Corpus, config: Config, command: str, job: Job | None = None, tags: dict[str, str] | None = None
) -> Result:
    """The same on a corpus that is prepared. job: the sweep's job that this is. tags: more of them."""
    architecture = architecture_of(config, corpus)
    record = Run(config)
    if job:
        job.opened = True
        write_json(record.folder / "sweep.json", job.describe())
    with closed(record) as closing:
        open_run(record, config, corpus, architecture, command, job, tags or {})
        outcome = train_stage(record, config, corpus, architecture, job)
        record.deliver()
        result = finish(record, config, corpus, architecture, outcome)
        closing.reason = outcome.ended
    return replace(result, run_id=closing.run_id)


def architecture_of(config: Config, corpus: Corpus) -> Architecture:
    m = config.model
    return Architecture(len(corpus.vocabulary), config.hidden, m.name, m.layers, m.activation)


@dataclass
class Closing:
    """How a run ended: filled in while it does."""

    reason: str = ""
    run_id: str = ""


@contextmanager
def closed(record: Run) -> Iterator[Closing]:
    """Close the run whatever happens: FINISHED, KILLED by Ctrl-C, or FAILED with the reason."""
    closing = Closing()
    try:
        yield closing
    except KeyboardInterrupt:
        record.end("KILLED", "interrupted")
        raise
    except BaseException as error:
        record.end("FAILED", " ".join(f"{type(error).__name__}: {error}".split())[:500])
        raise
    closing.run_id = record.end("FINISHED", closing.reason)


def open_run(
    record: Run,
    config: Config,
    corpus: Corpus,
    architecture: Architecture,
    command: str,
    job: Job | None,
    more_tags: dict[str, str],
) -> None:
    """What is known before the first step."""
    around = {**environment(), "data_digest": corpus.digest}
    tags = {
        **tags_of(around),
        "stage": "train",
        "final_split": corpus.final_split,
        "mlflow.source.name": f"src.{command}",
        "mlflow.source.type": "LOCAL",
        "job_digest": job_digest(config, corpus.digest),
        **(job.tags() if job else {}),
        **more_tags,
    }
    profile = {
        "characters": corpus.tokens.size,
        "vocabulary": len(corpus.vocabulary),
        "splits": corpus.bounds,
    }
    data = {"name": corpus.name, "digest": corpus.digest, "source": corpus.folder.name, "profile": profile}
    named = config.tracking.run_name or f"{config.model.name} hidden={config.hidden} {config.data.name}"
    name = job.name if job else named
    params = flatten(config) | {"parameters": architecture.size()}
    record.start(name, params, tags, data, busy_cores=useful_workers(config.workers, config.batch_size))
    write_json(record.folder / "environment.json", around)
    record.keep(record.folder / "environment.json")


def train_stage(
    record: Run, config: Config, corpus: Corpus, architecture: Architecture, job: Job | None
) -> Outcome:
    """Stage 2: train, with a short sample at every evaluation, and keep the best weights."""
    hopeless = Median(record.folder.parent, job.sweep.id) if job and config.give_up else never
    say(f"[2/4] train, {architecture.size():,} parameters, {config.workers} workers: {record.folder}")
    samples = record.folder / "samples"
    samples.mkdir()
    watched: list[str] = []

    def evaluated(step: int, flat: Array) -> None:
        model = Model(architecture, flat, corpus.vocabulary, corpus.normalisation)
        text = write(config, model, config.temperature, WATCHED)
        watched.append(f"step {step}: {config.prompt}{text}\n")
        progress.show(text)
        write_text(samples / "while_training.txt", "".join(watched))
        record.keep(samples / "while_training.txt", "samples")

    per_epoch = make_batches(config, corpus, np.random.default_rng(0)).steps_per_epoch
    with TrainingProgress(ceil(config.max_epochs * per_epoch), per_epoch, config.max_seconds) as progress:

        def report(step: int, metrics: dict[str, float]) -> None:
            record.report(step, metrics)
            progress.report(step, metrics)

        rng = np.random.default_rng(config.seed)
        outcome = train(config, architecture, corpus, rng, report, evaluated, hopeless)
    say(
        f"trained {outcome.steps} steps ({outcome.epochs:.2f} epochs) in {outcome.seconds:.1f} s, ended by "
        f"{outcome.ended}; kept the weights of step {outcome.best_step}, val/loss {outcome.val_loss:.4f}"
    )
    return outcome


def write(config: Config, model: Model, temperature: float, length: int) -> str:
    """A sample from the run's own seed: the same weights and settings write the same text."""
    return "".join(sample(model, config.prompt, temperature, length, np.random.default_rng(config.seed)))


def finish(
    record: Run, config: Config, corpus: Corpus, architecture: Architecture, outcome: Outcome
) -> Result:
    """Stages 3 and 4: score the kept weights on the final split, write samples, draw the figures."""
    flat = outcome.flat
    model = Model(architecture, flat, corpus.vocabulary, corpus.normalisation)
    weights.save(model, record.folder / "model")
    say(f"[3/4] evaluate on the {corpus.final_split} split")
    evaluation = evaluate_network(architecture, flat, corpus, config.seq_len)
    say("[4/4] sample")
    temperatures = sorted({*TEMPERATURES, config.temperature})
    samples = {t: write(config, model, t, config.length) for t in temperatures}
    digest = hashlib.sha256(flat.tobytes()).hexdigest()

    # The last point of val/loss is that of the kept weights: what a table of runs shows and sorts by.
    kept = {"val/loss": outcome.val_loss, "val/bpc": outcome.val_loss / log(2)}
    scores = evaluation.metrics()
    record.report(outcome.steps + 1, kept)
    record.report(0, {**scores, "train/seconds": outcome.seconds})  # MLflow draws step 0 alone as a bar
    keep_samples(record, config, samples)
    draw(record, config, evaluation.baselines["unigram"], outcome.best_step)
    digests = {"weights_sha256": digest, "job_digest": job_digest(config, corpus.digest)}
    write_json(record.folder / "scores.json", {**kept, **scores, **digests})
    record.keep(record.folder / "scores.json")
    record.journal.model(record.folder / "model")
    return Result(record.folder.name, record.folder, outcome, evaluation, samples, digest)


def keep_samples(record: Run, config: Config, samples: dict[float, str]) -> None:
    """Each sample as a text, all of them as one table, so that many runs' stand side by side."""
    for temperature, text in samples.items():
        file = record.folder / "samples" / f"temperature_{temperature:g}.txt"
        write_text(file, config.prompt + text + "\n")
        record.keep(file, "samples")
    record.journal.table(
        "samples.json",
        [
            {"temperature": t, "prompt": config.prompt, "text": text, "seed": config.seed}
            for t, text in samples.items()
        ],
    )


def draw(record: Run, config: Config, unigram_bpc: float, kept_step: int) -> None:
    """The figures of the training."""
    from src.lab import figures  # matplotlib takes a second to import, after training

    curves = {name: points for name, points in record.curves.items() if "/" in name}
    if "train/loss" in curves:
        # without the point behind the last step, which repeats the kept weights' loss
        shown = curves | {"val/loss": curves["val/loss"][:-1]}
        figures.losses(shown, unigram_bpc, kept_step, record.folder / "figures" / "losses.png")
        figures.gradient_norms(
            curves, config.clip, config.clip_mode, record.folder / "figures" / "gradient_norms.png"
        )
        for file in sorted((record.folder / "figures").glob("*.png")):
            record.keep(file, "figures")
