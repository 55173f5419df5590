"""Terminal output: messages on standard error, and tables."""

import sys
from collections.abc import Iterable, Sequence

WIDTH = 80  # columns of a table


def echo_err(line: str) -> None:
    """Print a line on standard error; standard output is for results that scripts read."""
    print(line, file=sys.stderr, flush=True)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: `1 job`, `5,980 steps`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table for a terminal, the same whether or not standard output is one.

    Args:
        headers: Of the columns; the first column is aligned to the left, the others to the right.
        rows: The cells; a row may be shorter than the headers.

    Returns:
        Lines of at most WIDTH characters, without trailing spaces.
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
