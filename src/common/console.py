"""Terminal output: messages on standard error, tables, the names of jobs in front of lines, the time left.

`make reproduce` starts each experiment in a process of its own and describes it in an environment variable.
The job of a sweep is set in a context variable, so that every line of the job can name it.
"""

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TextIO

from src.common.files import decode_json

WIDTH = 80  # columns of a table


def echo_err(line: str) -> None:
    """Print a line on standard error; standard output is only for results that scripts read.

    Args:
        line: The text, without a line end. In a sweep, the name of the job is put in front of it.
    """
    echo(line, sys.stderr)


def echo(line: str, file: TextIO) -> None:
    """Print a line; on a terminal, break it between words, so that paths stay whole.

    Args:
        line: The text, without a line end. In a sweep, the name of the job is put in front of it.
        file: Standard output or standard error.
    """
    line = with_label(line)
    if file.isatty() and "\n" not in line:
        width, indent = shutil.get_terminal_size().columns, "    "
        line = textwrap.fill(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    print(line, file=file, flush=True)


def with_label(line: str, width: int | None = None) -> str:
    """Put the name of the job or the experiment, if there is one, in front of a line.

    Args:
        line: The line, which is cut to the columns that are left.
        width: Number of columns; None (the default) for no limit.

    Returns:
        The line, such as `job 2/4 hidden=64 clip=5 | step 250/5980`. A name takes half of the width at most.
    """
    label = current_scope().label
    if not label:
        return line if width is None else fit(line, width)
    if width is None:
        return f"{label} | {line}"
    label = fit(label, width // 2)
    return fit(f"{label} | {line}", width)


def fit(text: str, width: int) -> str:
    """Cut a text to a number of columns of a terminal, where Chinese characters take two.

    Args:
        text: Printable characters (`printable`).
        width: Number of columns, >= 1.

    Returns:
        The text, with an ellipsis at its end where it was cut.
    """
    from rich.cells import cell_len, set_cell_size  # takes 10 ms to import

    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "\u2026"


def printable(text: str) -> str:
    """Replace what would move the cursor of a terminal.

    Args:
        text: Text with any characters, such as a sample.

    Returns:
        The text with a space for each line end, control character and other character that is not printable.
    """
    return "".join(character if character.isprintable() else " " for character in text)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: `1 job`, `5,980 steps`.

    Args:
        count: The number, printed with separators of thousands.
        noun: The noun in the singular; every count except 1 appends an "s".

    Returns:
        The count and the noun, separated by a space.
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table for a terminal, the same whether or not standard output is one.

    Args:
        headers: Titles of the columns; the first column is aligned to the left, the others to the right.
        rows: Cells of each row; a row may be shorter than the headers.

    Returns:
        Lines of at most WIDTH characters, without trailing spaces, separated by line ends.
    """
    from rich.console import Console  # takes 50 ms to import
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k, header in enumerate(headers):
        table.add_column(header, justify="right" if k else "left", vertical="bottom")
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


EXPERIMENT_ENV = "CHAR_RNN_EXPERIMENT"  # an ExperimentProgress as JSON; unset or "" outside `reproduce`


@dataclass(frozen=True)
class ExperimentProgress:
    """One experiment of `reproduce` and its expected duration.

    Attributes:
        label: Its number and name, `2/4 clipping`.
        began: Time of its start, in seconds since 1970.
        seconds: Its expected duration in seconds.
        after: Expected duration of the experiments after it, in seconds.
    """

    label: str
    began: float
    seconds: float
    after: float

    def environ(self) -> dict[str, str]:
        """Return the environment variable for the process of the experiment.

        Returns:
            The variable as a mapping from its name to its value.
        """
        return {EXPERIMENT_ENV: json.dumps(asdict(self))}


@dataclass(frozen=True)
class Scope:
    """What the lines of this process belong to.

    Attributes:
        position: Experiment and job, `2/4 clipping, job 3/12`; "" for a single run.
        label: Beginning of each line: the position and the job's swept values; "" for a single run.
        alone: Whether no other job writes to the terminal at the same time.
        experiment: The experiment of `reproduce`; None outside of it.
        sweep_left: Function that estimates the seconds until the end of the sweep from the completed share of
            the job's training; it returns None as long as nothing is known. None outside a sweep.
    """

    position: str = ""
    label: str = ""
    alone: bool = True
    experiment: ExperimentProgress | None = None
    sweep_left: Callable[[float], float | None] | None = None

    def time_left(self, share: float, run_left: float) -> str:
        """Describe the time left until the end of everything that the command does.

        Args:
            share: Completed share of the training of this run, 0 to 1.
            run_left: Estimated seconds until the end of this training.

        Returns:
            A phrase such as `sweep 3 min left` or, in `reproduce`, `total 9 min left`; "" where nothing is
            known.
        """
        left = self.sweep_left(share) if self.sweep_left else None
        if self.experiment:
            if left is None:
                left = max(run_left, self.experiment.began + self.experiment.seconds - time.time())
            return f"total {format_duration(left + self.experiment.after)} left"
        return "" if left is None else f"sweep {format_duration(left)} left"


_scope: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current_scope() -> Scope:
    """Return what the lines of this process belong to.

    Returns:
        The scope of the job, or of the experiment, or of a single run.
    """
    if scope := _scope.get():
        return scope
    if described := os.environ.get(EXPERIMENT_ENV):
        experiment = ExperimentProgress(**decode_json(described))
        return Scope(experiment.label, experiment.label, experiment=experiment)
    return Scope()


@contextmanager
def job_scope(
    position: str, name: str, alone: bool, sweep_left: Callable[[float], float | None]
) -> Iterator[None]:
    """Let the lines within a `with` block name a job.

    Args:
        position: Number of the job and number of jobs, `job 3/12`.
        name: Swept values of the job; "" where nothing is swept.
        alone: Whether no other job writes to the terminal at the same time.
        sweep_left: As `Scope.sweep_left`.

    Yields:
        None; the previous scope is restored at the end of the block.
    """
    outer = current_scope()
    position = ", ".join(filter(None, (outer.position, position)))
    scope = Scope(position, f"{position} {name}".strip(), alone, outer.experiment, sweep_left)
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def format_duration(seconds: float) -> str:
    """Format a duration with one or two digits, in the unit that needs no more.

    Args:
        seconds: Duration in seconds, >= 0.

    Returns:
        For example `95 s`, `12 min` or `3 h`.
    """
    for unit, length in (("s", 1), ("min", 60)):
        if seconds < 100 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 3600:.0f} h"
