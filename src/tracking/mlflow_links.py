"""Links into MLflow's UI that open a sweep with its swept keys and scores as columns, and its curves.

A link cannot select columns and charts, but it can name a saved view: a tag of the experiment with the state
of the page as JSON (mlflow_view.json is its template). The format is that of MLflow 3.17; a test opens every
link in a browser.
"""

import json
import shlex
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

from src.common.files import PROJECT, read_json
from src.config.schema import PathsConfig
from src.tracking.run import SWEEP_TAG_PREFIX, tracking_store

TEMPLATE = Path(__file__).with_name("mlflow_view.json")
VIEW = "mlflow.sharedViewState."  # + key: the experiment's tag with a saved view
LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves the project's own database
SCORES = ("val/loss", "test/bpc", "final_val/bpc", "throughput/chars_per_second")  # columns, where they exist
CURVES = ("val/loss", "train/loss")
MAX_CHART_RUNS = 50  # runs in charts, as in the template; a larger sweep shows MLflow's "first 20", the best
MAX_COMPARE_RUNS = 20  # columns of the compare page


@dataclass(frozen=True)
class SweepLinks:
    """Links of a sweep.

    Attributes:
        table: Table of its runs, the lowest val/loss first, with swept keys and scores as columns.
        charts: Curves of its runs.
        compare: MLflow's compare page of its runs; "" for a sweep without a run.
        page: The sweep's comparison.html, as MLflow shows it.
    """

    table: str
    charts: str
    compare: str
    page: str

    def lines(self) -> list[str]:
        """Return the links for a terminal.

        Returns:
            One line per link, with its name; a link that is "" is left out.
        """
        return [f"  {name:<8} {link}" for name, link in asdict(self).items() if link]


def ui_location(config: PathsConfig) -> tuple[str, str]:
    """Return where the UI of the store is, and how to start it.

    Args:
        config: Config that says where runs are tracked.

    Returns:
        Address of the UI, without a trailing slash, and the command that starts it; the command is "" for a
        server, which is running.
    """
    uri = tracking_store(config)["uri"]
    if uri.startswith(("http://", "https://")):
        return uri.rstrip("/"), ""
    moved = {"output_dir": config.output_dir, "tracking.uri": config.tracking.uri}
    keys = [f"{key}={value}" for key, value in moved.items() if value not in (None, str(PROJECT / "outputs"))]
    return LOCAL, f"python -m src.ui {shlex.join(keys)}" if keys else "make ui"


def sweep_links(server: str, experiment: str, sweep_id: str, run_ids: list[str]) -> SweepLinks:
    """Build the links of a sweep whose view is saved (`save_view`).

    Args:
        server: Address of the UI, without a trailing slash.
        experiment: Id of the experiment.
        sweep_id: Id of the parent run.
        run_ids: Ids of its jobs, the best first; the compare page shows the first MAX_COMPARE_RUNS.

    Returns:
        The links.
    """
    root = f"{server}/#/experiments/{experiment}/runs"
    runs = f"{root}?workflowType=machine_learning"
    view = f"viewStateShareKey={quote(sweep_id)}"
    chosen = quote(json.dumps(run_ids[:MAX_COMPARE_RUNS], separators=(",", ":")), safe="")
    within = quote(json.dumps([experiment]), safe="")
    return SweepLinks(
        table=f"{runs}&compareRunsMode=TABLE&{view}",
        charts=f"{runs}&compareRunsMode=CHART&{view}",
        compare=f"{server}/#/compare-runs?runs={chosen}&experiments={within}" if run_ids else "",
        page=f"{root}/{sweep_id}/artifacts/comparison.html",
    )


def run_link(server: str, run_id: str) -> str:
    """Return the link that opens a run in MLflow's UI.

    Args:
        server: Address of the UI, without a trailing slash.
        run_id: Id of the run.

    Returns:
        An address that needs no id of the experiment; MLflow adds it.
    """
    return f"{server}/#/runs/{quote(run_id)}"


def view_state(sweep_id: str, keys: list[str], jobs: int) -> dict[str, Any]:
    """Fill the template mlflow_view.json: the state of MLflow's page of runs that shows a sweep.

    The charts have two columns, because three cut off the legends. `isAccordionReordered` keeps MLflow from
    sorting its own sections before this one.

    Args:
        sweep_id: Id of the parent run.
        keys: The swept keys.
        jobs: Number of jobs; of more than MAX_CHART_RUNS the charts show only the first 20.

    Returns:
        The state, to be saved as JSON.
    """
    template = read_json(TEMPLATE, dict[str, Any])
    params = [param_name(key) for key in keys]
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{name}`" for name in SCORES]
    columns.append("attributes.`Duration`")
    charts = [
        template["line"]
        | {
            "uuid": f"sweep-{metric}",
            "metricKey": metric,
            "selectedMetricKeys": [metric],
            "displayName": f"{metric} [nats per character] against the optimizer step",
        }
        for metric in CURVES
    ]
    if params:
        charts.append(template["parallel"] | {"selectedParams": params})
    state: dict[str, Any] = template["page"] | {
        "searchFilter": f"tags.`{SWEEP_TAG_PREFIX}{sweep_id}` != ''",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, 90),
        "runsHiddenMode": "SHOW_ALL" if jobs <= MAX_CHART_RUNS else "FIRST_20_RUNS",
        "compareRunCharts": charts,
    }
    return state


def param_name(key: str) -> str:
    """Return the param as which a swept key is logged (`src.config.schema.flatten`).

    Args:
        key: Key as typed in an override, possibly with a leading `+`.

    Returns:
        The key, without `.name` for the choice of a group.
    """
    return key.lstrip("+").removesuffix(".name")


def save_view(
    client: Any, experiment: str, sweep_id: str, name: str, keys: list[str], run_ids: list[str]
) -> None:
    """Save the view of a sweep as a tag of its experiment, and give each run a color.

    Args:
        client: Client of the store.
        experiment: Id of the experiment.
        sweep_id: Id of the parent run.
        name: Name of the sweep, shown in MLflow's list of saved views.
        keys: The swept keys.
        run_ids: Ids of the jobs, the best first; the colors follow this order.
    """
    now = int(time.time() * 1000)
    view = {
        "name": f"sweep {name}"[:100],  # shown in MLflow's list of saved views
        "createdAt": now,
        "updatedAt": now,
        "state": json.dumps(view_state(sweep_id, keys, len(run_ids))),
    }
    # MLflow derives a run's color from its id, often the same for two jobs. These colors are matplotlib's.
    colors = read_json(TEMPLATE, dict[str, Any])["colors"]
    for run_id, color in zip(run_ids, cycle(colors), strict=False):
        client.set_tag(run_id, "mlflow.runColor", color)
    client.set_experiment_tag(experiment, VIEW + sweep_id, json.dumps(view))


def latest(config: PathsConfig, server: str) -> tuple[str, SweepLinks] | None:
    """Return the ended sweep that was started last.

    Args:
        config: Config that says where runs are tracked.
        server: Address of the UI, without a trailing slash.

    Returns:
        Name and links of the sweep; None where the experiment has no ended sweep.

    Raises:
        StoreUnreachable: MLflow does not know this kind of URI, or the file is not a database.
    """
    from src.tracking.mlflow_client import connect  # slow to import

    client = connect(tracking_store(config)["uri"])
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    if experiment is None:
        return None
    within = [experiment.experiment_id]
    sweeps = client.search_runs(within, "tags.stage = 'sweep'", order_by=["attributes.start_time DESC"])
    # A sweep without a view is still running.
    parent = next((run for run in sweeps if VIEW + run.info.run_id in experiment.tags), None)
    if parent is None:
        return None
    jobs, best_first = f"tags.`{SWEEP_TAG_PREFIX}{parent.info.run_id}` != ''", ["metrics.`val/loss` ASC"]
    members = client.search_runs(within, jobs, max_results=MAX_COMPARE_RUNS, order_by=best_first)
    run_ids = [run.info.run_id for run in members]
    return parent.info.run_name, sweep_links(server, experiment.experiment_id, parent.info.run_id, run_ids)
