"""Answers `python src/train.py`: a command is started as a module, `python -m src.train`.

Python looks for the modules of a program in the folder of its file. There, `import src` finds this file and
not the package, whichever command it was.
"""

import shlex
import sys
from pathlib import Path

if __name__ == "src":
    command = Path(sys.argv[0]).stem
    line = shlex.join(["python", "-m", f"src.{command}", *sys.argv[1:]])
    print(f"{command}: expected a module, got a file: in the project's folder, type: {line}", file=sys.stderr)
    sys.exit(2)
