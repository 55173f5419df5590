"""The end of a sweep: its table on the terminal, its page, its parent run with the best job's scores."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from src.common.atomic_io import write_text
from src.common.console import say
from src.common.job_result import HOPELESS, Row, best_of, final_score, write_rows
from src.config.schema import PlacesConfig
from src.sweeps.html_report import page, ranked
from src.sweeps.job_store import folder_of, rows_of
from src.sweeps.seed_stats import groups, told
from src.sweeps.sweep import Sweep, shorter
from src.sweeps.sweep_run import SweepRecord
from src.tracking import mlflow_links, model_registry
from src.tracking.run import store_of

# Metrics of the best job that the parent shows.
OF_THE_BEST = ("val/loss", "val/bpc", "test/bpc", "val_final/bpc")


def close_sweep(
    sweep: Sweep,
    config: PlacesConfig,
    status: str,
    record: SweepRecord | None,
    register: bool = False,
    lines: Sequence[str] = (),
    found: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Say what the sweep came to, on the terminal and in the tracker; returns how many jobs failed.

    record: of a sweep that one process delivers. register: make the best job's model the champion, unless the
    sweep was cut short. lines: what a search has to say beside its table; found: the same as tags of the
    parent.
    """
    rows = record.rows() if record else rows_of(sweep, config)
    best, failed = best_of(rows), [row for row in rows if row.status not in ("FINISHED", "RUNNING")]
    file = folder_of(config, sweep) / "comparison.html"
    write_text(file, page(sweep.name, rows))
    write_rows(file.with_name("jobs.json"), rows)
    tell(sweep, rows, best)
    for line in [*(told(group) for group in groups(rows)), *lines]:
        print(line, flush=True)
    for row in failed:
        say(f"{row.status} {row.name}: {row.reason}")
    say(f"side by side: {file}")
    if config.tracking.name != "none":
        metrics = {name: best.metrics[name] for name in OF_THE_BEST if best and name in best.metrics}
        metrics |= {"sweep/jobs": len(rows), "sweep/failed": len(failed)}
        ended = "FAILED" if failed and status == "FINISHED" else status
        tags = {"sweep.best": best.name} if best else {}
        if record:
            tags |= {"sweep.best_run": best.directory} if best else {}
            shown = record.end(ended, sweep, metrics, tags | dict(found), file, ranked(rows))
        else:
            tags |= {"sweep.best_run": best.run_id} if best else {}
            shown = tell_tracker(sweep, config, ended, metrics, tags | dict(found), file, ranked(rows))
        if shown:
            say_where(config, shown)
    if register:
        register_best(best, config, status)
    return len(failed)


def tell_tracker(
    sweep: Sweep,
    config: PlacesConfig,
    status: str,
    metrics: dict[str, float],
    tags: dict[str, str],
    file: Path,
    ranked: list[Row],
) -> mlflow_links.Addresses:
    """Close the parent of a sweep whose jobs delivered themselves; the addresses that open it."""
    from src.tracking import mlflow_store  # slow to import

    mlflow_store.close_parent(store_of(config)["uri"], sweep.id, status, metrics, tags, [file])
    return mlflow_links.publish(sweep.id, sweep.name, sweep.keys, config, [row.run_id for row in ranked])


def say_where(config: PlacesConfig, shown: mlflow_links.Addresses) -> None:
    """Print the addresses that open the sweep in MLflow's UI."""
    server, command = mlflow_links.server_of(config)
    once = f"once `{command}` runs, on its port if that is not 5000" if command else f"on {server}"
    say("\n".join([f"in MLflow, {once}:", *shown.lines()]))


def register_best(best: Row | None, config: PlacesConfig, status: str) -> None:
    """Register the best job's model, or say why not."""
    if status != "FINISHED":
        say(f"registered: nothing, the sweep was cut short ({status})")
    elif best is None:
        say("registered: nothing, no job has a val/loss")
    else:
        model_registry.register_delivered(best.run_id, best.directory, config)


def tell(sweep: Sweep, rows: list[Row], best: Row | None) -> None:
    """The table, the best job first, on standard output."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(title=f"sweep {sweep.name}", title_justify="left")
    for key in sweep.keys:
        table.add_column(key)
    shown = ("val/loss", final_score(rows))
    for heading in (*shown, "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("status", "run"):
        table.add_column(heading)
    for row in sorted(rows, key=lambda r: r.loss):
        status = row.status + (", reused" if row.reused else "") + (", best" if row is best else "")
        status += f", {HOPELESS}" if row.reason == HOPELESS else ""
        scores = [number(row.metrics.get(name)) for name in shown]
        swept = [shorter(row.swept.get(key, "")) for key in sweep.keys]
        table.add_row(*swept, *scores, f"{row.seconds:.1f}", status, row.run_id)
    console.print(table)
    if best:
        print(f"best: {best.name} val/loss={best.loss:.4f} run={best.run_id}", flush=True)


def number(value: float | None) -> str:
    """To four digits; nothing for what was not measured."""
    return "" if value is None else f"{value:.4f}"
