"""How a run ends, whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from src.lab.learning.signals import Preempted, preemptible
from src.lab.runs.rundir import Run


@dataclass
class Closing:
    """How a run ended: filled in while it does."""

    reason: str = ""
    run_id: str = ""


@contextmanager
def closed(record: Run) -> Iterator[Closing]:
    """Close the run whatever happens: FINISHED, KILLED by Ctrl-C or SIGTERM, or FAILED with the reason."""
    closing = Closing()
    try:
        with preemptible():
            yield closing
    except Preempted as error:
        record.end("KILLED", str(error), wait=False)
        raise Preempted(f"ended by {error}; {record.how_to_resume()}") from error
    except KeyboardInterrupt:
        record.end("KILLED", "interrupted")
        raise
    except BaseException as error:
        record.end("FAILED", " ".join(f"{type(error).__name__}: {error}".split())[:500])
        raise
    closing.run_id = record.end("FINISHED", closing.reason)
