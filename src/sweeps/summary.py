"""Summary of a sweep: its table on the terminal, its page, and the scores of its parent run."""

import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from src.common.console import echo_err
from src.common.files import write_text
from src.common.job_result import PRUNED, JobResult, best_of, final_score, write_results
from src.config.schema import PathsConfig
from src.sweeps.html_report import rank_results, render_page
from src.sweeps.seed_stats import seed_stats
from src.sweeps.session import SearchSampler, SearchSummary
from src.sweeps.sweep import Sweep, format_value
from src.sweeps.sweep_run import SweepRun
from src.tracking import mlflow_links

# Metrics of the best job that the parent run shows.
PARENT_METRICS = ("val/loss", "val/bpc", "test/bpc", "final_val/bpc")


@dataclass
class OpenSweep:
    """A sweep between its start and its end.

    Attributes:
        run: The sweep and its parent run.
        objectives: Metrics that a search optimizes; empty for a grid.
        register: Whether the best job's model becomes the champion, once the sweep is FINISHED.
    """

    run: SweepRun
    objectives: list[str]
    register: bool

    def finalize(self, status: str, sampler: SearchSampler | None) -> int:
        """Print and store the summary, end the parent run, register the best job's model.

        Args:
            status: FINISHED, FAILED or KILLED.
            sampler: The sampler of a search.

        Returns:
            The number of failed jobs.
        """
        sweep, config = self.run.sweep, self.run.config
        results = self.run.results()
        search = sampler.summarize(self.objectives) if sampler and self.objectives else SearchSummary([], {})
        best = best_of(results)
        failed = [result for result in results if result.status not in ("FINISHED", "RUNNING")]
        file = self.run.folder / "comparison.html"
        write_text(file, render_page(sweep.name, results))
        write_results(file.with_name("jobs.json"), results)
        print_table(sweep, results, best)
        for line in [*(group.describe() for group in seed_stats(results)), *search.lines]:
            print(line, flush=True)
        for result in failed:
            echo_err(f"{result.status} {result.name}: {result.reason}")
        echo_err(f"comparison: {file}")
        if config.tracking.enabled:
            metrics = {name: best.metrics[name] for name in PARENT_METRICS if best and name in best.metrics}
            metrics |= {"sweep/jobs": len(results), "sweep/failed": len(failed)}
            ended = "FAILED" if failed and status == "FINISHED" else status
            tags = dict(search.tags)
            if best:  # the sync replaces the name of the directory by the run's id
                tags |= {"sweep.best": best.name, "sweep.best_run": best.directory}
            if links := self.run.end(ended, metrics, tags, file, rank_results(results)):
                print_links(config, links)
        if self.register:
            register_best(best, config, status)
        return len(failed)


def print_links(config: PathsConfig, links: mlflow_links.SweepLinks) -> None:
    """Print the links that open the sweep in MLflow's UI."""
    server, command = mlflow_links.ui_location(config)
    where = f"while `{command}` runs (if its port is not 5000, change it)" if command else f"on {server}"
    echo_err("\n".join([f"in MLflow, {where}:", *links.lines()]))


def register_best(best: JobResult | None, config: PathsConfig, status: str) -> None:
    """Register the best job's model, or print why not."""
    if status != "FINISHED":
        echo_err(f"not registered: the sweep did not finish ({status})")
    elif best is None:
        echo_err("not registered: no job has a val/loss")
    else:
        from src.tracking.mlflow_client import register  # slow to import

        register(best.run_id, best.directory, config)


def print_table(sweep: Sweep, results: list[JobResult], best: JobResult | None) -> None:
    """Print a row for each job on standard output, the best first."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(title=f"sweep {sweep.name}", title_justify="left")
    for key in sweep.keys:
        table.add_column(key)
    scores = ("val/loss", final_score(results))
    for heading in (*scores, "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("status", "run"):
        table.add_column(heading)
    for result in sorted(results, key=lambda r: r.loss):
        notes = [result.status, "reused" * result.reused, "best" * (result is best)]
        notes.append(PRUNED * (result.reason == PRUNED))
        table.add_row(
            *(format_value(result.swept.get(key, "")) for key in sweep.keys),
            *(f"{result.metrics[name]:.4f}" if name in result.metrics else "" for name in scores),
            f"{result.seconds:.1f}",
            ", ".join(filter(None, notes)),
            result.run_id,
        )
    console.print(table)
    if best:
        print(f"best: {best.name} val/loss={best.loss:.4f} run={best.run_id}", flush=True)
