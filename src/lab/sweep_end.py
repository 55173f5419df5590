"""The end of a sweep: its table on the terminal, its page, its parent run with the best job's scores."""

import sys

from rich.console import Console
from rich.table import Table

from src.config import PlacesConfig
from src.files import write_text
from src.lab.comparison import page
from src.lab.rundir import store_of
from src.lab.sweep import Sweep, folder_of, rows_of
from src.lab.sweep_rows import Row, best_of

OF_THE_BEST = ("val/loss", "val/bpc", "test/bpc")  # metrics of the best job that the parent shows


def close_sweep(sweep: Sweep, config: PlacesConfig, status: str) -> int:
    """Say what the sweep came to, on the terminal and in the tracker; returns how many jobs failed."""
    rows = rows_of(sweep, config)
    best, failed = best_of(rows), [row for row in rows if row.status not in ("FINISHED", "RUNNING")]
    file = folder_of(config, sweep) / "comparison.html"
    write_text(file, page(sweep.name, rows))
    tell(sweep, rows, best)
    for row in failed:
        print(f"{row.status} {row.name}: {row.reason}", file=sys.stderr)
    if config.tracking.name != "none":
        from src.lab import sweep_store  # slow to import

        metrics = {name: best.metrics[name] for name in OF_THE_BEST if best and name in best.metrics}
        metrics |= {"sweep/jobs": len(rows), "sweep/failed": len(failed)}
        tags = {"sweep.best": best.name, "sweep.best_run": best.run_id} if best else {}
        ended = "FAILED" if failed and status == "FINISHED" else status
        sweep_store.close_parent(store_of(config)["uri"], sweep.id, ended, metrics, tags, [file])
    print(f"side by side: {file}", file=sys.stderr, flush=True)
    return len(failed)


def tell(sweep: Sweep, rows: list[Row], best: Row | None) -> None:
    """The table, the best job first, on standard output."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(title=f"sweep {sweep.name}", title_justify="left")
    for key in sweep.keys:
        table.add_column(key)
    for heading in ("val/loss", "test/bpc", "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("status", "run"):
        table.add_column(heading)
    for row in sorted(rows, key=lambda r: r.loss):
        status = row.status + (", reused" if row.reused else "") + (", best" if row is best else "")
        scores = [number(row.metrics.get(name)) for name in ("val/loss", "test/bpc")]
        swept = [row.swept.get(key, "") for key in sweep.keys]
        table.add_row(*swept, *scores, f"{row.seconds:.1f}", status, row.run_id)
    console.print(table)
    if best:
        print(f"best: {best.name} val/loss={best.loss:.4f} run={best.run_id}", flush=True)


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
