"""`python -m src.results`: the README's table of results, from what the experiments measured.

`python -m src.results outputs/reproduction` first takes what stands there into experiments/.
"""

import json
import sys
from pathlib import Path
from typing import Any

from src.cli import PROJECT
from src.files import write_text

README = PROJECT / "README.md"
FIRST, LAST = "<!-- results -->\n", "<!-- /results -->\n"

WORDS = {True: "reproduced", False: "**not reproduced**", None: "not run"}


def table() -> str:
    """How many claims came out; a line for each, of every experiment that has been measured."""
    found: list[bool | None] = []
    lines = ["| experiment | claim | measured | expected | |", "| --- | --- | --- | --- | --- |"]
    for file in sorted((PROJECT / "experiments").glob("*/measured.json")):
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name = file.parent.name
        for claim in told.get("claims", []):
            found.append(claim["held"])
            word = WORDS[claim["held"]]
            value = "" if claim["value"] is None else f"{claim['value']:.3f}".rstrip("0").rstrip(".")
            where = f"[{name}](experiments/{name}/)"
            lines.append(f"| {where} | {claim['claim']} | {value} | {claim['expected']} | {word} |")
    ran = [held for held in found if held is not None]
    tally = f"{sum(ran)} of {len(ran)} claims reproduced, {len(found) - len(ran)} not run:"
    return "\n".join([tally, "", *lines]) + "\n"


def written(readme: str) -> str:
    """The README with today's table."""
    before, first, rest = readme.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not (first and last):
        raise ValueError(f"expected {FIRST.strip()} and {LAST.strip()} in {README}, got neither or one")
    return before + FIRST + table() + LAST + after


def main(arguments: list[str]) -> int:
    """arguments: folders whose records are taken first."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    if arguments:
        from src.lab.reproduction.recording import keep  # matplotlib takes a second to import

        for folder in arguments:
            keep(Path(folder))
    write_text(README, written(README.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
