"""Progress of a run's upload to MLflow, and the list of jobs that are uploaded along with a sweep."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from src.common.atomic_io import write_json, write_text
from src.common.errors import UserError
from src.tracking import event_log

STATE = "sync_state.json"
TRACKING = "tracking.json"  # of a tracked run: `uri`, `artifacts`; of a job also `sweep`, a directory
JOBS = "jobs"  # folder in a sweep's directory: for each job a file with the path of its directory


@dataclass
class SyncState:
    """How much of a run's event log is in MLflow.

    Attributes:
        offset: Uploaded bytes of the event log.
        run_id: MLflow's id of the run; "" before it exists.
        experiment: MLflow's id of its experiment.
        ended: Whether the last uploaded event is an end.
    """

    offset: int = 0
    run_id: str = ""
    experiment: str = ""
    ended: bool = False

    @classmethod
    def load(cls, folder: Path) -> "SyncState":
        """Read the state of a run's directory; the initial state where nothing was uploaded.

        Raises:
            UserError: The file is damaged.
        """
        file = folder / STATE
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"expected a whole {STATE}, got a damaged one in {folder} ({error})") from error

    def save(self, folder: Path) -> None:
        """Write the state to a run's directory."""
        write_json(folder / STATE, asdict(self))

    def is_complete(self, folder: Path) -> bool:
        """Whether the whole event log, with an end, is uploaded."""
        return self.ended and self.offset == (folder / event_log.NAME).stat().st_size


def load_store(folder: Path) -> dict[str, str]:
    """Read where a run is tracked: `uri`, `artifacts` and, of a job, `sweep`.

    Raises:
        UserError: The file is damaged.
    """
    try:
        store = json.loads((folder / TRACKING).read_text(encoding="utf-8"))
        return {"uri": store["uri"], "artifacts": store["artifacts"], "sweep": "", **store}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"expected a whole {TRACKING}, got a damaged one in {folder} ({error})") from error


def register_job(sweep: Path, job: Path) -> None:
    """Add a job's directory to those that are uploaded with the sweep."""
    write_text(sweep / JOBS / job.name, str(job))


def list_jobs(sweep: Path) -> list[Path]:
    """The directories of the sweep's jobs so far; empty for a run."""
    files = sorted((sweep / JOBS).glob("[!.]*"))  # a leading dot: being written
    return [Path(file.read_text(encoding="utf-8")) for file in files]
