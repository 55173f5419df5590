"""One run from corpus to samples: the stages that `train` and `pipeline` share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from src.common.atomic_io import write_json
from src.common.blas import single_blas_thread
from src.common.console import counted, say
from src.common.paths import absolute
from src.config.schema import Config
from src.config.validation import flatten, refuse
from src.data.corpus import Corpus, corpus_of
from src.diagnostics.callback import Inside
from src.final_evaluation import Result, finish, write
from src.models.serialization import Model
from src.rnn.parameters import Architecture, Array
from src.tracking.environment import environment, tags_of
from src.tracking.fingerprint import job_digest
from src.tracking.mlflow_links import server_of
from src.tracking.run import Run, closed
from src.training.checkpoint_callback import Keeper, check_fits
from src.training.data_parallel import useful_workers
from src.training.early_stopping import total_steps
from src.training.progress import TrainingProgress
from src.training.resume import Resumption
from src.training.train_state import Snapshot
from src.training.trainer import Outcome, make_batches, never, train
from src.training.warm_start import initial_weights

WATCHED = 80  # characters of the sample that each evaluation writes


class SweepJob(Protocol):
    """The job of a sweep, as far as its run needs to know it. opened: whether a run has been begun for it."""

    opened: bool

    @property
    def name(self) -> str: ...

    @property
    def entered(self) -> Path | None: ...

    def tags(self) -> dict[str, str]: ...

    def join(self, folder: Path) -> None: ...

    def pruner(self, runs: Path) -> Callable[[int, float], bool]: ...


def overview(result: Result, config: Config) -> str:
    """Scores beside the baselines, the samples as they were judged, where to look."""
    parts = [result.evaluation.table()]
    for text, judgement in zip(result.samples.values(), result.judged, strict=True):
        parts.append(f"{judgement.describe()}\n  {config.prompt}{text}")
    look = [f"the run's files  {result.folder}"]
    if config.tracking.name == "mlflow":
        server, command = server_of(config)
        page = command or server
        if result.run_id == result.folder.name:
            page = f"not yet: python -m src.sync {result.folder}"
        look.append(f"in MLflow        {page}   (run {result.run_id})")
    return "\n\n".join([*parts, "\n".join(look)])


def prepare(config: Config, with_prompt: bool) -> Corpus:
    """Stage 1: the corpus, made if need be.

    with_prompt: the prompt will be needed: it is refused now, and not after the training, when the
    vocabulary lacks one of its characters.
    """
    for key in ("rerun", "resume"):
        if getattr(config, key) is not None:
            raise refuse(key, "null but for python -m src.train without --multirun", getattr(config, key))
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


def resume(found: Resumption, command: str) -> Result:
    """The same from a checkpoint on, in the same run."""
    corpus = prepare(found.config, with_prompt=True)
    per_epoch = make_batches(found.config, corpus, np.random.default_rng(0))
    check_fits(found, corpus, total_steps(found.config, per_epoch))
    return run_on(corpus, found.config, command, found=found)


@single_blas_thread()
def run_on(
    corpus: Corpus,
    config: Config,
    command: str,
    job: SweepJob | None = None,
    found: Resumption | None = None,
    tags: dict[str, str] | None = None,
) -> Result:
    """The same on a corpus that is prepared. job: the sweep's that this is. found: a run to go on with. tags:
    more of them."""
    architecture = architecture_of(config, corpus)
    begin = None if found else initial_weights(config, architecture, corpus.vocabulary)
    entered = job.entered if job else None
    record = Run(config, found.folder if found else None, entered, found.held if found else None)
    if job:
        job.opened = True
        job.join(record.folder)
    with closed(record) as closing:
        if found:
            say(f"{job.name if job else 'resume'}: goes on: run {found.folder.name} from step {found.step}")
            busy = useful_workers(config.workers, config.batch_size)
            record.resume(busy, job.tags() if job else None)
        else:
            open_run(record, config, corpus, architecture, command, job, tags or {})
        keeper = Keeper(record, corpus, architecture)
        start = keeper.resume(found) if found else begin
        outcome = train_stage(record, config, corpus, architecture, job, keeper, start)
        record.deliver()
        result = finish(record, config, corpus, architecture, outcome)
        closing.reason = outcome.ended
    return replace(result, run_id=closing.run_id)


def architecture_of(config: Config, corpus: Corpus) -> Architecture:
    """The sizes of the network that a config names for a corpus."""
    m = config.model
    return Architecture(len(corpus.vocabulary), config.hidden, m.name, m.layers, m.activation)


def open_run(
    record: Run,
    config: Config,
    corpus: Corpus,
    architecture: Architecture,
    command: str,
    job: SweepJob | None,
    more_tags: dict[str, str],
) -> None:
    """What is known before the first step."""
    workers = useful_workers(config.workers, config.batch_size)
    around = {**environment(workers), "data_digest": corpus.digest}
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
    record.start(name, params, tags, data, busy_cores=workers)
    write_json(record.folder / "environment.json", around)
    record.keep(record.folder / "environment.json")


def train_stage(
    record: Run,
    config: Config,
    corpus: Corpus,
    architecture: Architecture,
    job: SweepJob | None,
    keeper: Keeper,
    begin: Snapshot | Array | None,
) -> Outcome:
    """Stage 2: train, with a short sample and a checkpoint at every evaluation, and keep the best weights."""
    hopeless = job.pruner(record.folder.parent) if job and config.prune else never
    shared = counted(useful_workers(config.workers, config.batch_size), "worker")
    say(f"[2/4] train: {architecture.size():,} parameters, {shared}: {record.folder}")
    inside = Inside(config, architecture, corpus, record.folder) if config.diagnostics else None

    def evaluated(step: int, flat: Array) -> None:
        model = Model(architecture, flat, corpus.vocabulary, corpus.normalisation)
        text = write(config, model, config.temperature, WATCHED)
        progress.show(text)
        keeper.watch(f"step {step}: {config.prompt}{text}\n")
        if inside and (seen := inside.evaluated(step, flat)):
            record.report(step, seen)

    batches = make_batches(config, corpus, np.random.default_rng(0))
    before = begin.state["now"]["seconds"] if isinstance(begin, Snapshot) else 0.0
    total = total_steps(config, batches)
    with TrainingProgress(total, batches.steps_per_epoch, config.max_seconds, before) as progress:

        def report(step: int, metrics: dict[str, float]) -> None:
            record.report(step, metrics)
            progress.report(step, metrics)

        if inside and not isinstance(begin, Snapshot):
            record.report(0, inside.begin(begin))
        rng = np.random.default_rng(config.seed)
        outcome = train(config, architecture, corpus, rng, report, evaluated, hopeless, keeper.keep, begin)
    say(
        f"trained {counted(outcome.steps, 'step')} ({outcome.epochs:.2f} epochs) in {outcome.seconds:.1f} s, "
        f"ended by {outcome.ended}; weights kept: those of step {outcome.best_step}, "
        f"val/loss {outcome.val_loss:.4f}"
    )
    return outcome
