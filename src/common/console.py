"""Messages of a command to the terminal."""

import sys


def echo_err(line: str) -> None:
    """Print a line on standard error; standard output is for results that scripts read."""
    print(line, file=sys.stderr, flush=True)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: `1 job`, `5,980 steps`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
