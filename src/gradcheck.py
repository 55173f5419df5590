"""`python -m src.gradcheck`: every cell's gradients against complex-step differentiation, as a table.

The exit status is 1 where a relative error is above 1e-10.
"""

import sys

import numpy as np

from src.rnn.cells import CELLS
from src.rnn.gradient_check import Case, max_relative_error
from src.rnn.parameters import RNNConfig

MAX_RELATIVE_ERROR = 1e-10
STEPS, BATCH, HIDDEN, VOCABULARY = 7, 3, 5, 6


def main(arguments: list[str]) -> int:
    """Print the table; 0 when every error is small."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    print(f"{'cell':<6}{'activation':<12}{'layers':<8}{'dropout':<9}{'max relative error':<22}of parameter")
    failed = False
    for cell, activation in CELLS:
        for layers in (1, 2, 3):
            for dropout in (0.0, 0.4) if layers > 1 else (0.0,):
                architecture = RNNConfig(VOCABULARY, HIDDEN, cell, layers, activation)
                case = Case.random(architecture, STEPS, BATCH, dropout, np.random.default_rng(layers))
                name, error = max_relative_error(architecture, case.gradient(), case.complex_step())
                failed |= not error <= MAX_RELATIVE_ERROR
                print(f"{cell:<6}{activation:<12}{layers:<8}{dropout:<9}{error:<22.1e}{name}")
    print(f"expected at most {MAX_RELATIVE_ERROR:g} everywhere: {'NOT so' if failed else 'so it is'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
