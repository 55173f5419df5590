"""The jobs of a sweep that is delivered as one: each tells the sweep's directory where its own is.

On the machine of the launching process, whatever `outputs` means to each job.
"""

from pathlib import Path

from src.common.atomic_io import write_text

JOBS = "jobs"  # folder in the sweep's directory: of each job a file with the path of its directory


def enter(sweep: Path, job: Path) -> None:
    """Make the job known."""
    write_text(sweep / JOBS / job.name, str(job))


def jobs_of(sweep: Path) -> list[Path]:
    """The directories of its jobs so far; none of what is no sweep."""
    files = sorted((sweep / JOBS).glob("[!.]*"))  # a name with a dot is still being written
    return [Path(file.read_text(encoding="utf-8")) for file in files]
