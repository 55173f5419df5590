"""Where the project is, and paths as they are typed."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"


def absolute(path: str) -> Path:
    """A path as typed, relative to where the command was started."""
    return Path(path).expanduser().absolute()
