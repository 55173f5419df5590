"""How far a journal has been delivered: a note in the run's directory."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from src.common.atomic_io import write_json
from src.common.errors import InputError
from src.tracking import event_log

STATE = "sync_state.json"
TRACKING = "tracking.json"  # beside it: where to; `sweep`: the directory of the sweep that the run belongs to


@dataclass
class Delivered:
    """offset: bytes of the journal that have arrived. run_id, experiment: of MLflow, "" before there is one.
    ended: the last thing that arrived was an end. sending: what follows `offset` is on its way; to another
    process that finds this: it may have arrived."""

    offset: int = 0
    run_id: str = ""
    ended: bool = False
    sending: bool = False
    experiment: str = ""

    @classmethod
    def of(cls, folder: Path) -> "Delivered":
        """What the note says, nothing yet where there is none. Raises InputError for a damaged one."""
        file = folder / STATE
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"expected a whole {STATE}, got a damaged one in {folder} ({error})") from error

    def save(self, folder: Path) -> None:
        write_json(folder / STATE, asdict(self))

    def whole(self, folder: Path) -> bool:
        """Whether there is nothing left to deliver and nothing more to be expected."""
        return self.ended and self.offset == (folder / event_log.NAME).stat().st_size


def store_in(folder: Path) -> str:
    """The uri of the store to which a run or sweep is delivered; "" for one that is not tracked."""
    try:
        return str(json.loads((folder / TRACKING).read_text(encoding="utf-8"))["uri"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def undelivered(outputs: Path) -> list[Path]:
    """The directories, sweeps first, whose journals have not been delivered to their end."""
    files = [file for kind in ("sweeps", "runs") for file in sorted(outputs.glob(f"{kind}/*/{TRACKING}"))]
    journals = [file.parent for file in files if (file.parent / event_log.NAME).exists()]
    return [folder for folder in journals if not Delivered.of(folder).whole(folder)]
