"""The sweep that this process launches, shared by the command line, the Hydra callback and the sampler.

Hydra builds its callbacks and samplers from conf/, so the command line cannot hand them an object: they find
the session of their process in a context variable.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SearchSummary:
    """Outcome of a search. lines: for the terminal; tags: for the sweep's parent run."""

    lines: list[str]
    tags: dict[str, str]


class SearchSampler(Protocol):
    """The sampler of a hyperparameter search, which knows its study."""

    def summarize(self, objectives: list[str]) -> SearchSummary:
        """End the search and summarize its study."""


class OpenSweep(Protocol):
    """A sweep between its start and its end."""

    def finalize(self, status: str, sampler: SearchSampler | None) -> int:
        """Write the summary, end the parent run and return the number of failed jobs."""


class SweepSession:
    """State of the sweep that a command launches.

    Attributes:
        active_sweep: Set by the Hydra callback when the sweep starts; None before, and after `finalize`.
        sampler: Set by the sampler of a search.
        num_failed: Jobs that failed, known after `finalize`.
    """

    def __init__(self) -> None:
        self.active_sweep: OpenSweep | None = None
        self.sampler: SearchSampler | None = None
        self.num_failed = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the session that `current_session` finds."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def finalize(self, status: str) -> int:
        """Finalize the active sweep, if there is one.

        Args:
            status: FINISHED, FAILED or KILLED.

        Returns:
            The number of failed jobs.
        """
        sweep, self.active_sweep = self.active_sweep, None
        if sweep:
            self.num_failed = sweep.finalize(status, self.sampler)
        return self.num_failed


_current: ContextVar[SweepSession | None] = ContextVar("sweep_session", default=None)


def current_session() -> SweepSession | None:
    """The session of the running command, if any."""
    return _current.get()
