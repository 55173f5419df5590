"""What a command says to the person who typed it."""

import sys


def echo_err(line: str) -> None:
    """A line for the person; standard output stays what a script reads."""
    print(line, file=sys.stderr, flush=True)


def pluralize(count: int, noun: str) -> str:
    """`1 job`, `5,980 steps`: a number of what the noun names, in the singular or with an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
