"""The sweep of a command and its summary: a table, a page, and the scores of the parent run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from src.common.console import echo_err
from src.common.files import write_text
from src.common.job_result import (
    PRUNED,
    JobResult,
    best_of,
    best_of_texts,
    describe_equal_jobs,
    equal_jobs,
    final_score,
    write_results,
)
from src.config.schema import PathsConfig
from src.sweeps.html_report import rank_results, render_page
from src.sweeps.seed_stats import describe_seeds
from src.sweeps.sweep_run import SweepRun
from src.tracking import mlflow_links
from src.tracking.sweep import Sweep, format_value

# Metrics of the best job that the parent run shows.
PARENT_METRICS = ("val/loss", "val/bpc", "test/bpc", "final_val/bpc")


class SweepSession:
    """The sweep that a command launches, from its start to its summary.

    Hydra builds its callbacks and samplers from conf/, so the command line cannot pass them an object: they
    find the session of their process in a context variable.

    Attributes:
        run: The open sweep with its parent run, set by the Hydra callback; None before, and after `finalize`.
        register: Whether the best job's model becomes the champion, once the sweep is FINISHED.
        search_file: Where Optuna's plugin writes the best trials of a search; None for a grid.
        sampler: Sampler of a search (`src.sweeps.optuna_search.PerTrialSeededSampler`), set by itself; None
            for a grid.
        num_failed: Number of failed jobs, known after `finalize`.
    """

    def __init__(self) -> None:
        self.run: SweepRun | None = None
        self.register = False
        self.search_file: Path | None = None
        self.sampler: Any = None
        self.num_failed = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the session that `current_session` finds, within a `with` block.

        Yields:
            None; the previous session is restored at the end of the block.
        """
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def finalize(self, status: str) -> int:
        """Print and store the summary, end the parent run, and register the best job's model; once per sweep.

        Args:
            status: Final status of the sweep: FINISHED, FAILED or KILLED.

        Returns:
            The number of failed jobs.
        """
        run, self.run = self.run, None
        if run is None:
            return self.num_failed
        if self.sampler:
            self.sampler.fail_pending_trials()
        results = run.results()
        ranked, best = rank_results(results), best_of(results)
        failed = [result for result in results if result.status not in ("FINISHED", "RUNNING")]
        self.num_failed = len(failed)
        page = run.folder / "comparison.html"
        search = self.sampler.history() if self.sampler else None
        ui = mlflow_links.ui_location(run.config) if run.config.tracking.enabled else ("", "")
        write_text(page, render_page(run.sweep.name, results, ui, search))
        write_results(page.with_name("jobs.json"), results)
        print_table(run.sweep, ranked)
        for line in (*describe_equal_jobs(ranked), *describe_seeds(results)):
            print(line, flush=True)
        for result in failed:
            echo_err(f"{result.status} {result.name}: {result.reason}")
        echo_err(f"comparison: {page}")
        if self.search_file and self.search_file.exists():
            echo_err(f"search: best trials of the study: {self.search_file}")
        if search and search.importances:
            shares = ", ".join(f"{key} {share:.2f}" for key, share in search.importances.items())
            echo_err(f"search: importance for {search.objective}: {shares}")
        if run.config.tracking.enabled:
            metrics = {name: best.metrics[name] for name in PARENT_METRICS if best and name in best.metrics}
            metrics |= {"sweep/jobs": len(results), "sweep/failed": len(failed)}
            ended = "FAILED" if failed and status == "FINISHED" else status
            # The sync replaces the name of the best run's directory by the id of the run.
            tags = {"sweep.best": best.name, "sweep.best_run": best.directory} if best else {}
            if links := run.end(ended, metrics, tags, page, ranked):
                server, command = mlflow_links.ui_location(run.config)
                start = f"while `{command}` runs (if its port is not 5000, change it)"
                echo_err("\n".join([f"in MLflow, {start if command else f'on {server}'}:", *links.lines()]))
        if self.register:
            register_best(results, run.config, status)
        return self.num_failed


_current: ContextVar[SweepSession | None] = ContextVar("sweep_session", default=None)


def current_session() -> SweepSession | None:
    """Return the session of the running command.

    Returns:
        The session; None where the command runs no sweep.
    """
    return _current.get()


def register_best(results: list[JobResult], config: PathsConfig, status: str) -> None:
    """Register the best job's model in MLflow, or print why it is not registered.

    Args:
        results: Results of all jobs.
        config: Paths and tracking keys of the sweep.
        status: Final status of the sweep; only a FINISHED sweep registers a model.
    """
    if status != "FINISHED":
        echo_err(f"not registered: the sweep did not finish ({status})")
    elif not (bests := best_of_texts(results)):
        echo_err("not registered: no job has a val/loss")
    elif len(bests) > 1:
        echo_err("not registered: the jobs have different texts, so that none of them is the best")
    else:
        from src.tracking.mlflow_client import register  # slow to import

        register(bests[0].run_id, bests[0].directory, config)


def print_table(sweep: Sweep, results: list[JobResult]) -> None:
    """Print a row for each job on standard output, then the best job of each text.

    Args:
        sweep: The sweep, whose keys become columns.
        results: Results of all jobs, the best first.
    """
    bests = best_of_texts(results)
    table = Table(title=f"sweep {sweep.name}", title_justify="left")
    scores = ("val/loss", final_score(results))
    for heading in (*sweep.keys, *scores, "seconds", "status", "run"):
        table.add_column(heading, justify="right" if heading in (*scores, "seconds") else "left")
    equal = [id(result) for group in equal_jobs(results) for result in group]
    for result in results:
        notes = [result.status, "reused" * result.reused, "best" * any(result is best for best in bests)]
        notes.append("equal" * (id(result) in equal))
        notes.append(PRUNED * (result.reason == PRUNED))
        table.add_row(
            *(format_value(result.swept.get(key, "")) for key in sweep.keys),
            *(f"{result.metrics[name]:.4f}" if name in result.metrics else "" for name in scores),
            f"{result.seconds:.1f}",
            ", ".join(filter(None, notes)),
            result.run_id,
        )
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
    for best in bests:
        where = f" on {best.text}" if len(bests) > 1 else ""
        print(f"best{where}: {best.name} val/loss={best.loss:.4f} run={best.run_id}", flush=True)
