"""`python -m src.gradcheck [MODULE.CELL ...]`: check gradients against complex-step differentiation.

It prints a table for every cell of the project, or for the cells with the given dotted paths. The exit status
is 1 if a relative error is above 1e-10, and 2 if a cell cannot be imported.
"""

import sys

import numpy as np

from src.common.console import echo_err
from src.rnn.cells import CELLS, get_cell
from src.rnn.gradient_check import Case, max_relative_error
from src.rnn.parameters import RNNConfig

MAX_RELATIVE_ERROR = 1e-10
STEPS, BATCH, HIDDEN, VOCABULARY = 7, 3, 5, 6


def main(arguments: list[str]) -> int:
    """Check the gradients of the cells, and print the table.

    Args:
        arguments: Dotted paths of cells; empty for those of the project. `-h` or `--help` prints the help.

    Returns:
        The exit status: 0 when every relative error is at most MAX_RELATIVE_ERROR, 1 when one is above it, 2
        when a cell cannot be imported.
    """
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    kinds = [(name, "tanh") for name in arguments] or list(CELLS)
    try:
        for kind in kinds:
            get_cell(*kind)
    except ValueError as unknown:
        echo_err(f"gradcheck: {unknown}")
        return 2
    width = max(6, *(len(cell) + 1 for cell, _ in kinds))
    headings = f"{'cell':<{width}}{'activation':<12}{'layers':<8}{'dropout':<9}{'max relative error':<22}"
    print(f"{headings}of parameter")
    failed = False
    for cell, activation in kinds:
        for layers in (1, 2, 3):
            for dropout in (0.0, 0.4) if layers > 1 else (0.0,):
                architecture = RNNConfig(VOCABULARY, HIDDEN, cell, layers, activation)
                case = Case.random(architecture, STEPS, BATCH, dropout, np.random.default_rng(layers))
                name, error = max_relative_error(architecture, case.gradient(), case.complex_step())
                failed |= not error <= MAX_RELATIVE_ERROR
                print(f"{cell:<{width}}{activation:<12}{layers:<8}{dropout:<9}{error:<22.1e}{name}")
    verdict = "FAIL: a relative error is above" if failed else "PASS: every relative error is at most"
    print(f"{verdict} {MAX_RELATIVE_ERROR:g}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
