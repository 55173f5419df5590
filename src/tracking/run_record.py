"""Everything that a run logged, read once into one value."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic rejects typing.TypedDict before Python 3.12

from src.common.errors import UserError
from src.common.files import read_json
from src.common.job_result import GRADIENTS, Curves, GradientFile, JobResult, best_gradient_norms
from src.tracking import event_log

JOB_NOTE = "sweep.json"  # in a run directory: the job of a sweep for which the run was trained
SAMPLES = "samples.json"  # name of the table of samples
# Files that a run must have to be repeated and compared.
REQUIRED = ("config.json", "environment.json", "scores.json", SAMPLES)
JOB_CURVES = ("train/loss", "val/loss", "grad/clip_fraction")  # in the result of a job
COMPARED_CURVES = ("train/loss", "val/loss", "grad/norm")


class JobNote(TypedDict):
    """Content of sweep.json: the job of a sweep for which the run was trained.

    A sweep-ID.json has the same content for a job of another sweep that reused the run.

    Attributes:
        sweep: Id of the sweep: its parent run in MLflow, or the name of its directory.
        number: Index of the job in the sweep, from 0.
        name: Swept keys with their values, like `hidden=64 clip=1`.
        swept: Swept key to value, as text.
        reused: Whether the run was trained for an earlier sweep; absent for no.
    """

    sweep: str
    number: int
    name: str
    swept: dict[str, str]
    reused: NotRequired[bool]


@dataclass(frozen=True)
class RunRecord:
    """A run as it was logged, in its directory or in MLflow.

    Attributes:
        run_id: Id in MLflow, or the name of the directory.
        name: Name of the run, for people.
        status: FINISHED, FAILED, KILLED, or RUNNING for a run without an end event. A run that was resumed
            after an end is RUNNING again.
        stop_reason: Why it ended, like `max_epochs`; "" where no reason was logged.
        start_time: Milliseconds since 1970.
        end_time: Milliseconds since 1970; 0 while it is RUNNING.
        params: The flattened config, dotted key to text.
        tags: Tag name to text, as in MLflow.
        data_digest: Digest of the corpus; "" where none was logged.
        experiment: Name of its experiment in MLflow; "" in a record that MLflow gives.
        metrics: Metric name to the last logged value.
        curves: Metric name to (step, value) points, in the order in which they were logged.
        samples: Rows of the table of samples, column name to value.
        num_models: How often a model was logged.
        config: Content of config.json; empty where the file is missing.
        environment: Content of environment.json; empty where the file is missing.
        scores: Content of scores.json; empty where the file is missing.
        folder: The run directory; None where it is not on this machine.
        aliases: Aliases of its registered model, like `char-rnn@champion`.
    """

    run_id: str
    name: str = ""
    status: str = "RUNNING"
    stop_reason: str = ""
    start_time: int = 0
    end_time: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    data_digest: str = ""
    experiment: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    num_models: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float | str] = field(default_factory=dict)
    folder: Path | None = None
    aliases: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path, key: str = "run") -> "RunRecord":
        """Read a run directory.

        Args:
            folder: The run directory.
            key: Config key that an error names.

        Returns:
            The record with its files, samples and curves.

        Raises:
            UserError: A file is damaged, or there is no event log.
        """
        try:
            logged = read_events(folder)
        except OSError as error:
            raise UserError(
                f"{key}: expected a run with an event log, got {folder}, which has none"
            ) from error
        except UserError as error:
            raise UserError(f"{key}: {error}") from error
        files = {
            name: read_json(file, schema, key) if (file := folder / f"{name}.json").exists() else {}
            for name, schema in SCHEMAS.items()
        }
        return replace(logged, **files)

    @property
    def val_loss(self) -> float | None:
        """Validation loss (val/loss) of the kept weights, nats per character; None where it is not known."""
        loss = self.scores.get("val/loss", self.metrics.get("val/loss"))
        return loss if isinstance(loss, float) else None

    @property
    def text(self) -> str:
        """Name of the text on which it was trained; for the user's own text, the name of its file."""
        return self.params.get("data", "")

    def describe(self, query: str) -> str:
        """Describe the run in one line.

        Args:
            query: The name by which the run was found, like `best`.

        Returns:
            Id, name and val/loss; for `best` also the text on which runs were compared.
        """
        parts = [f"run {self.run_id}"] if query == self.run_id else [f"run={query}: {self.run_id}"]
        parts += [self.name] if self.name not in ("", self.run_id) else []
        parts += [f"val/loss {self.val_loss:.4f}"] if self.val_loss is not None else []
        if query == "best":
            digest = self.data_digest[:12] or "unknown"
            parts += [f"the lowest on {self.text or 'its text'} (digest {digest})"]
        return ", ".join(parts)


SCHEMAS: dict[str, Any] = dict.fromkeys(("config", "environment"), dict[str, Any])
SCHEMAS["scores"] = dict[str, float | str]


def read_events(folder: Path) -> RunRecord:
    """Read the event log of a run, without its other files.

    Args:
        folder: The run directory.

    Returns:
        The record, with samples and curves.

    Raises:
        FileNotFoundError: There is no event log.
        UserError: The event log is damaged.
    """
    logged: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    curves: Curves = {}
    models = 0
    for _, event in event_log.read_lines(folder, 0):
        match event["kind"]:
            case "start":
                params = {k: "null" if v is None else str(v) for k, v in event["params"].items()}
                digest = event["data"]["digest"] if event["data"] else ""
                logged |= {"name": event["name"], "params": params, "tags": event["tags"]}
                logged |= {"start_time": event["time"], "data_digest": digest}
                logged["experiment"] = event["experiment"]
            case "metrics":
                metrics |= event["values"]
                for name, value in event["values"].items():
                    curves.setdefault(name, []).append((event["step"], value))
            case "table":
                logged |= {"samples": event["rows"]} if event["name"] == SAMPLES else {}
            case "model":
                models += 1
            case "resumed":
                logged |= {"status": "RUNNING", "stop_reason": "", "end_time": 0}
                logged["tags"] = logged.get("tags", {}) | event["tags"]
            case "end":
                logged |= {"status": event["status"], "stop_reason": event["reason"]}
                logged["end_time"] = event["time"]
    return RunRecord(folder.name, metrics=metrics, curves=curves, num_models=models, folder=folder, **logged)


def job_result(folder: Path, note: JobNote, run_id: str = "") -> JobResult:
    """Build the result of a job from its run directory.

    Args:
        folder: The run directory.
        note: Note of the job.
        run_id: Id of the run in MLflow; "" (the default) for the name of the directory.

    Returns:
        The result, with curves, samples and, where they were measured, gradient norms.

    Raises:
        FileNotFoundError: There is no event log.
        UserError: A file is damaged.
    """
    run, file = read_events(folder), folder / GRADIENTS
    gradients = read_json(file, GradientFile) if file.exists() else None
    return build_job_result(replace(run, run_id=run_id or run.run_id), note, gradients, folder.name)


def build_job_result(run: RunRecord, note: JobNote, gradients: GradientFile | None, folder: str) -> JobResult:
    """Build the result of a job from the record of its run.

    Args:
        run: Record with curves and samples.
        note: Note of the job.
        gradients: Content of gradient_through_time.json; None where it was not measured.
        folder: Name of the run directory; "" where it is not known.

    Returns:
        The result.
    """
    return JobResult(
        name=note["name"],
        number=note["number"],
        swept=note["swept"],
        run_id=run.run_id,
        status=run.status,
        reason=run.stop_reason,
        reused=note.get("reused", False),
        seconds=max(0, run.end_time - run.start_time) / 1000,
        text=run.text,
        data_digest=run.data_digest,
        metrics=run.metrics,
        curves={name: run.curves[name] for name in JOB_CURVES if name in run.curves},
        samples=run.samples,
        gradient=best_gradient_norms(gradients, run.curves.get("val/loss", [])) if gradients else [],
        directory=folder,
    )


def check_details(run: RunRecord, key: str) -> RunRecord:
    """Return a run that has everything that is needed to repeat and compare it.

    Args:
        run: Record with its files.
        key: Config key that an error names.

    Returns:
        The same record.

    Raises:
        UserError: A file of REQUIRED, or a digest in one of them, is missing.
    """
    parts = (run.config, run.environment, run.scores, run.samples)
    if missing := [name for name, part in zip(REQUIRED, parts, strict=True) if not part]:
        raise UserError(
            f"{key}: expected a finished run, with {', '.join(REQUIRED)}, got {run.run_id}, which has no "
            f"{missing[0]}"
        )
    for name, file, digest in (
        ("environment.json", run.environment, "data_digest"),
        ("scores.json", run.scores, "weights_sha256"),
    ):
        if digest not in file:
            raise UserError(f"{key}: expected {digest} in {name} of run {run.run_id}, got none")
    return run
