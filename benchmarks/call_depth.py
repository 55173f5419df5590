"""Count the stack frames and imported modules before the first gradient.

    python -m benchmarks.call_depth [KEY=VALUE ...]

Runs `python -m src.train` until the first call of a cell's backward pass. Prints the frames of the project on
the stack, and the number of its imported modules. The limits of the test suite are 9 frames and 60 modules.
"""

import runpy
import sys
import tempfile
from pathlib import Path
from types import FrameType

SOURCE = Path(__file__).resolve().parents[1] / "src"
CELLS = {str(SOURCE / "rnn" / f"{cell}.py") for cell in ("vanilla", "gru", "lstm")}
MAX_FRAMES, MAX_MODULES = 9, 60


class FirstGradient(BaseException):
    """Ends the training at the first gradient; not an Exception, so that nothing handles it."""


def project_frames(frame: FrameType | None) -> list[str]:
    """List the frames of the project, the outermost first, as `file:line function`."""
    found = []
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(SOURCE):
            found.append(f"{file.relative_to(SOURCE.parent)}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return found[::-1]


def measure(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Train until the first gradient.

    Args:
        arguments: Overrides of `python -m src.train`.

    Returns:
        The frames of the project on the stack and the names of its imported modules.
    """
    seen: list[tuple[list[str], list[str]]] = []

    def profile(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in CELLS and code.co_name == "backward":
            sys.setprofile(None)
            modules = sorted(name for name in sys.modules if name.partition(".")[0] == "src")
            seen.append((project_frames(frame), modules))
            raise FirstGradient

    sys.argv = ["train", *arguments]
    sys.setprofile(profile)
    try:
        runpy.run_module("src.train", run_name="__main__", alter_sys=True)
    except FirstGradient:
        pass
    finally:
        sys.setprofile(None)
    return seen[0]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        places = [f"output_dir={folder}/outputs", f"data_dir={folder}/data", "tracking=none"]
        frames, modules = measure([*places, *sys.argv[1:]])
    print("\n".join(frames))
    print(f"{len(frames)} frames of the project on the stack at the first gradient (at most {MAX_FRAMES})")
    print(f"{len(modules)} modules of the project imported (at most {MAX_MODULES})")
    return int(len(frames) > MAX_FRAMES or len(modules) > MAX_MODULES)


if __name__ == "__main__":
    sys.exit(main())
