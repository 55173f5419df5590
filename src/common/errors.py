"""Messages to the user: exceptions that are shown without a traceback, and lines on standard error."""

import sys


class UserError(Exception):
    """Bad input: the message is one line with what was expected, what was given and what to change.

    The commands print it without a traceback and exit with status 2.
    """


class DivergenceError(UserError):
    """Training produced a loss, a gradient or weights that are not finite."""


def echo_err(line: str) -> None:
    """Print a line on standard error; standard output is for results that scripts read."""
    print(line, file=sys.stderr, flush=True)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: `1 job`, `5,980 steps`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
