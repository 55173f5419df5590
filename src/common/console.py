"""Terminal output: messages on standard error, and tables."""

import sys
from collections.abc import Iterable, Sequence

WIDTH = 80  # columns of a table


def echo_err(line: str) -> None:
    """Print a line on standard error; standard output is only for results that scripts read.

    Args:
        line: The text, without a line end.
    """
    print(line, file=sys.stderr, flush=True)


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
