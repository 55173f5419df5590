"""What a command says to the person who typed it."""

import sys


def say(line: str) -> None:
    """A line for the person; standard output stays what a script reads."""
    print(line, file=sys.stderr, flush=True)
