"""Run one experiment: corpus -> Trainer -> evaluation -> samples -> log."""

import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from src.common.callback import Callback
from src.common.console import current_scope, echo_err, pluralize, printable
from src.common.files import absolute, write_json
from src.common.process import single_blas_thread
from src.config.constraints import invalid_value_error
from src.config.schema import Config, flatten, semantic_overrides
from src.data.corpus import Corpus, load_corpus
from src.tracking.environment import environment, environment_tags, job_digest
from src.tracking.mlflow_links import ui_location
from src.tracking.run import Run, run_scope
from src.tracking.sweep import Job
from src.training.callbacks import EarlyStopping, ProgressBar, SampleLogger
from src.training.checkpoint import CheckpointCallback
from src.training.data_parallel import effective_workers
from src.training.resume import ResumePoint, check_resumable
from src.training.trainer import Trainer

if TYPE_CHECKING:
    from src.final_evaluation import RunResult

SAMPLES = "samples/during_training.txt"


def format_summary(result: "RunResult", config: Config) -> str:
    """Format scores with their baselines, samples with their metrics, and where to find the run.

    Args:
        result: Result of the run.
        config: Validated config of the run.

    Returns:
        Several lines for a terminal, without a line end after the last.
    """
    parts = [result.evaluation.table()]
    for text, metrics in zip(result.samples.values(), result.sample_metrics, strict=True):
        sample = "\n".join(map(printable, f"{result.prompt}{text}".split("\n")))  # no escape sequences
        parts.append(f"{metrics.describe()}\n  {sample}")
    look = [f"the run's files  {result.folder}"]
    if config.tracking.enabled:
        server, command = ui_location(config)
        page = command or server
        if result.run_id == result.folder.name:
            page = f"not uploaded yet; run: python -m src.sync {shlex.quote(str(result.folder))}"
        look.append(f"in MLflow        {page}   (run {result.run_id})")
    return "\n\n".join([*parts, "\n".join(look)])


def prepare(config: Config, with_prompt: bool) -> Corpus:
    """Prepare the corpus of a config, or find it prepared; print its size on standard error.

    Args:
        config: Validated config; its group `data` names the text and how to prepare it.
        with_prompt: Whether to check now that the vocabulary can encode the prompt of the config, if it has
            one, and not only after training.

    Returns:
        The corpus.

    Raises:
        UserError: The text cannot be read, the vocabulary lacks a character of the prompt, or `resume` or
            `rerun` is set.
    """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
    for key in ("rerun", "resume"):
        if (value := getattr(config, key)) is not None:
            raise invalid_value_error(key, "null, except with python -m src.train without --multirun", value)
    corpus, fresh = load_corpus(config.data, config.seq_len, absolute(config.data_dir))
    if with_prompt and config.prompt is not None:
        corpus.vocabulary.encode(corpus.normalization.apply(config.prompt))
    state = "prepared" if fresh else "already prepared"
    echo_err(
        f"[1/4] preprocess: {corpus.name}, {corpus.tokens.size:,} characters, {len(corpus.vocabulary)} "
        f"distinct, {state}: {corpus.folder}"
    )
    return corpus


@single_blas_thread()
def run(
    config: Config,
    command: str,
    corpus: Corpus | None = None,
    job: Job | None = None,
    resumed: ResumePoint | None = None,
    tags: dict[str, str] | None = None,
    overrides: Iterable[str] = (),
) -> "RunResult":
    """Train, evaluate, sample and log one run.

    Args:
        config: Validated, frozen config of the run.
        command: Name of the command that was typed, logged as the source of the run.
        corpus: The corpus, if it is already prepared; None (the default) to prepare it.
        job: The job of a sweep that this run is; None (the default) outside a sweep.
        resumed: A run and its checkpoint, from which it continues; None (the default) for a new run.
        tags: More tags of the run, tag name to text; None (the default) for no more.
        overrides: The overrides as typed, which name a new run; none by default.

    Returns:
        The result, with the run's id.

    Raises:
        UserError: The input is invalid. A run that had begun is closed as FAILED with the reason.
    """
    corpus = corpus or prepare(config, with_prompt=True)
    trainer = Trainer(config, corpus)
    if config.init_from is not None and resumed is None:
        from src.training.warm_start import initial_weights

        trainer.params = initial_weights(config, trainer.architecture, corpus)
    if resumed and job is None:
        check_resumable(resumed, corpus, trainer.max_steps)
    workers = effective_workers(config.workers, config.batch_size)
    folder, lock = (resumed.folder, resumed.lock) if resumed else (None, None)
    log = Run(config, folder, job.sync_dir if job else None, lock)
    if job:
        job.started = True
        job.write_job_note(log.folder)
    with run_scope(log):
        if resumed:
            prefix = "" if job else "resume: "
            echo_err(f"{prefix}resuming run {log.folder.name} from step {resumed.step}")
            log.resume(workers, job.tags() if job else None)
        else:
            log_run_start(log, trainer, command, workers, job, tags or {}, overrides)
        size = trainer.architecture.size()
        echo_err(f"[2/4] train: {size:,} parameters, {pluralize(workers, 'worker')}: {log.folder}")
        samples = SampleLogger(log, log.folder / SAMPLES)
        if resumed:
            samples.restore(resumed.checkpoint.state["sample_chars"])
        with ProgressBar(samples) as progress:
            callbacks = [samples, progress, *optional_callbacks(log, trainer, job)]
            # The checkpoint is the last: it contains the results of the other callbacks.
            callbacks.append(CheckpointCallback(log, samples))
            result = trainer.fit(log, callbacks, resumed.checkpoint.train_state if resumed else None)
        alone = not current_scope().label  # else the command that started the run says how to resume it
        again = f"; {log.how_to_resume()}" if result.stop_reason == "interrupted" and alone else ""
        echo_err(
            f"trained {pluralize(result.steps, 'step')} ({result.epochs:.2f} epochs) in {result.seconds:.1f} "
            f"s, stop reason: {result.stop_reason}{again}"
        )
        echo_err(f"kept the weights of step {result.best_step}, val/loss {result.val_loss:.4f}")
        log.start_sync()
        from src.final_evaluation import evaluate_and_log  # imported after training, which does not need it

        final = evaluate_and_log(log, trainer, result)
        log.stop_reason = result.stop_reason
    return replace(final, run_id=log.run_id)


def run_name(config: Config, text: str, overrides: Iterable[str]) -> str:
    """Name a run so that runs that differ have names that differ.

    Args:
        config: Validated config of the run; `tracking.run_name` has precedence.
        text: Name of the text.
        overrides: The overrides as typed.

    Returns:
        Cell, hidden units, the other typed overrides that affect the result, and the text.
    """
    others = [
        o
        for o in semantic_overrides(overrides)
        if o.split("=")[0] not in ("model", "hidden", "data", "data.path")
    ]
    named = [config.model.name, f"hidden={config.hidden}", *others, text]
    return config.tracking.run_name or " ".join(named)


def optional_callbacks(log: Run, trainer: Trainer, job: Job | None) -> list[Callback]:
    """Build the callbacks that a config or a sweep asks for.

    Args:
        log: The run.
        trainer: The trainer, which has the config and the corpus.
        job: The job of a sweep that the run is; None outside a sweep.

    Returns:
        Early stopping and, where they are configured, the pruner and the diagnostics.
    """
    config = trainer.config
    callbacks: list[Callback] = [EarlyStopping(config.patience)]
    if job and config.prune:
        from src.training.median_pruner import MedianPruner

        callbacks.append(MedianPruner(log.folder.parent, job.sweep.id, trainer.corpus.digest))
    if config.diagnostics:
        from src.diagnostics.gradient_flow import DiagnosticsCallback

        callbacks.append(DiagnosticsCallback(log, log.folder))
    return callbacks


def log_run_start(
    log: Run,
    trainer: Trainer,
    command: str,
    workers: int,
    job: Job | None,
    more_tags: dict[str, str],
    overrides: Iterable[str],
) -> None:
    """Log everything that is known before the first step: params, tags, dataset and environment.

    Args:
        log: The run.
        trainer: The trainer, which has the config, the corpus and the architecture.
        command: Name of the command that was typed, logged as the source of the run.
        workers: Number of processes that share a batch.
        job: The job of a sweep that the run is; None outside a sweep.
        more_tags: More tags, tag name to text; may be empty.
        overrides: The overrides as typed, which name the run.

    Raises:
        UserError: A file cannot be written.
    """
    config, corpus = trainer.config, trainer.corpus
    env: dict[str, Any] = {**environment(workers), "data_digest": corpus.digest}
    tags = {
        **environment_tags(env),
        "stage": "train",
        "final_split": corpus.final_split,
        "mlflow.source.name": f"src.{command}",
        "mlflow.source.type": "LOCAL",
        "job_digest": job_digest(config, corpus.digest),
        **(job.tags() if job else {}),
        **more_tags,
    }
    size, splits = corpus.tokens.size, corpus.bounds
    profile = {"characters": size, "vocabulary": len(corpus.vocabulary), "splits": splits}
    profile |= {"files": corpus.files}
    data = {"name": corpus.name, "digest": corpus.digest, "source": corpus.folder.name, "profile": profile}
    # `data` is the name of the text: of the user's own text, `file` would say nothing.
    params = flatten(config) | {"data": corpus.name, "parameters": trainer.architecture.size()}
    log.start(
        job.run_name if job else run_name(config, corpus.name, overrides),
        params,
        tags,
        data,
        busy_cores=workers,
    )
    write_json(log.folder / "environment.json", env)
    log.log_artifact(log.folder / "environment.json")
