"""comparison.html: the runs of a sweep side by side, in one file that needs nothing else."""

from src.lab.sweep_rows import Row


def page(title: str, rows: list[Row]) -> str:
    """The page as HTML."""
    return title + str(rows)
