"""The examples of a page as one program, to be run, changed and broken.

    python -m docs.examples backpropagation > lesson.py
    python -i lesson.py

Pasting them into Python line by line does not do before 3.13: a blank line ends a function there.
"""

import sys

from docs.build import DOCS, FENCE, PAGES
from src.common.errors import UserError, echo_err


def examples(page: str) -> str:
    """Every example of a page, in order. What is quoted from the source is none, and is left out."""
    lines, found, at = page.split("\n"), list[str](), 0
    while at < len(lines):
        if lines[at] == FENCE + "python":
            end = lines.index(FENCE, at)
            caption = lines[max(at - 2, 0) : at]
            if not any(line.startswith("<!-- code:") for line in caption):
                found.append("\n".join(lines[at + 1 : end]))
            at = end
        at += 1
    return "\n\n".join(found) + "\n"


def main() -> int:
    names = [name.removesuffix(".md") for name in PAGES]
    try:
        if len(sys.argv) != 2 or sys.argv[1] not in names:
            raise UserError(
                f"expected one page of {', '.join(names)}, got {' '.join(sys.argv[1:]) or 'none'}"
            )
        print(examples((DOCS / f"{sys.argv[1]}.md").read_text(encoding="utf-8")), end="")
    except UserError as error:
        echo_err(f"examples: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
