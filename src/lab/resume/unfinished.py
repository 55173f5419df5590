"""A job that was begun before and not finished: found again, to go on from its last checkpoint."""

from collections.abc import Iterator
from pathlib import Path

from src.config import Config
from src.errors import InputError
from src.lab.resume import checkpoint
from src.lab.resume.resuming import Resumption
from src.lab.runs import journal, told
from src.lab.runs.delivered import Delivered, store_in
from src.lab.runs.holding import held, hold
from src.lab.runs.rundir import absolute, store_of
from src.lab.runs.told import Told
from src.terminal import say

FAILS_AGAIN = ("Diverged: ", "InputError: ")  # how the reason of such a run begins


def find_unfinished(config: Config, digest: str, name: str) -> Resumption | None:
    """Of the interrupted runs of a job that are on this machine the one that came furthest, held by this
    process from now on; None where there is none.

    digest: what makes two jobs the same (job_digest). name: the job's. A run that cannot go on is named in a
    line and passed over, as is, in silence, one on which another process is at work.
    """
    furthest: Resumption | None = None
    for folder in begun(absolute(config.outputs) / "runs", digest):
        found = claimed(folder, config, name)
        if found and furthest:
            found, behind = sorted((found, furthest), key=lambda each: each.step, reverse=True)
            behind.release()
        furthest = found or furthest
    return furthest


def begun(runs: Path, digest: str) -> Iterator[Path]:
    """The directories of the job's runs that have come to a checkpoint."""
    for folder in sorted(file.parent for file in runs.glob(f"*/{checkpoint.FOLDER}")):
        try:
            start = next((record for _, record in journal.read(folder, 0)), {})
        except (OSError, InputError):
            continue
        if start.get("tags", {}).get("job_digest") == digest and checkpoint.all_of(folder):
            yield folder


def claimed(folder: Path, config: Config, name: str) -> Resumption | None:
    """What a run would go on from, its directory held; None where it cannot, or another process has it."""
    try:
        if held(folder):  # at work: not to be waited for
            return None
        mine = hold(folder)
    except InputError:  # another process was faster
        return None
    try:
        ended = told.read(folder)
        if cut_off(ended) and known_there(folder, config):
            whole = checkpoint.newest(folder, (folder / journal.NAME).stat().st_size, name)
            return Resumption(folder, config, whole, ended.status, ended.reason, mine)
    except InputError as error:
        say(f"{name}: run {folder.name} cannot go on: {str(error).removeprefix(f'{name}: ')}")
    mine.release()
    return None


def cut_off(ended: Told) -> bool:
    """Whether a run that nobody writes ended before its end, and not by what would end it again."""
    match ended.status:
        case "FINISHED":
            return ended.reason == "interrupted"
        case "FAILED":
            return not ended.reason.startswith(FAILS_AGAIN)
        case _:  # KILLED, or without a word
            return True


def known_there(folder: Path, config: Config) -> bool:
    """Whether the run may go on in the store in which this one is to be tracked: not if it has its id in
    another one."""
    tracked = config.tracking.name == "mlflow" and bool(Delivered.of(folder).run_id)
    return not tracked or store_in(folder) == store_of(config)["uri"]
