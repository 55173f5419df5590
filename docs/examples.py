"""Print the examples of a page as one program.

    python -m docs.examples backpropagation > lesson.py
    python -i lesson.py

Python before 3.13 cannot take them line by line: a blank line ends a function.
"""

import sys

from docs.build import DOCS, FENCE, PAGES
from src.common.console import echo_err
from src.common.errors import UserError


def examples(page: str) -> str:
    """Return all examples of a page in order, without quotes of the source."""
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
