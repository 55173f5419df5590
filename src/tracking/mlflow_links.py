"""Addresses of the MLflow UI that open a sweep as one wants to see it.

In a fresh browser MLflow's table shows neither params nor metrics and its charts those of every run. What an
address cannot say (visible columns, which charts) a saved view can: a tag of the experiment that holds the
state of the page as JSON, named in the address by its key. The formats are those of MLflow 3.17; tests open
every address in a browser.
"""

import json
import time
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import quote

from src.common.paths import PROJECT
from src.config.schema import PlacesConfig
from src.tracking.run import MEMBER, store_of

VIEW = "mlflow.sharedViewState."  # + key: the experiment's tag with a saved view
LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves the project's own database
SCORES = ("val/loss", "test/bpc", "final_val/bpc", "throughput/chars_per_second")  # columns: those that exist
CURVES = ("val/loss", "train/loss")
# MLflow's own colour of a run comes from its id, often the same for two of a sweep. These are matplotlib's.
COLOURS = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5",
    "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
]  # fmt: skip
DRAWN = 50  # runs up to which all are drawn; of more, MLflow's "first 20", which are the best
SIDE_BY_SIDE = 20  # runs on the compare page: more columns than these nobody reads


@dataclass(frozen=True)
class Addresses:
    """What each opens: the runs with what was swept and their scores as columns, the lowest val/loss first;
    their curves; their compare page ("" without a run); comparison.html."""

    table: str
    charts: str
    compare: str
    page: str

    def lines(self) -> list[str]:
        """For a terminal."""
        named = [
            ("table", self.table),
            ("charts", self.charts),
            ("compare", self.compare),
            ("page", self.page),
        ]
        return [f"  {name:<8} {address}" for name, address in named if address]


def server_of(config: PlacesConfig) -> tuple[str, str]:
    """Where the UI of the config's store is, and what makes it answer there ("": it does)."""
    uri = store_of(config)["uri"]
    if uri.startswith(("http://", "https://")):
        return uri.rstrip("/"), ""
    moved = {"output_dir": config.output_dir, "tracking.uri": config.tracking.uri}
    typed = [
        f"{key}={value}" for key, value in moved.items() if value not in (None, str(PROJECT / "outputs"))
    ]
    return LOCAL, " ".join(["python -m src.ui", *typed]) if typed else "make ui"


def addresses(server: str, experiment: str, sweep_id: str, run_ids: list[str]) -> Addresses:
    """Of a sweep whose view has been saved. run_ids: its runs, the best first."""
    root = f"{server}/#/experiments/{experiment}/runs"
    runs = f"{root}?workflowType=machine_learning"
    view = f"viewStateShareKey={quote(sweep_id)}"
    chosen = quote(json.dumps(run_ids[:SIDE_BY_SIDE], separators=(",", ":")), safe="")
    within = quote(json.dumps([experiment]), safe="")
    return Addresses(
        table=f"{runs}&compareRunsMode=TABLE&{view}",
        charts=f"{runs}&compareRunsMode=CHART&{view}",
        compare=f"{server}/#/compare-runs?runs={chosen}&experiments={within}" if run_ids else "",
        page=f"{root}/{sweep_id}/artifacts/comparison.html",
    )


def view_state(sweep_id: str, keys: list[str], jobs: int) -> dict[str, Any]:
    """The state of MLflow's page of runs that shows this sweep's."""
    params = [param_of(key) for key in keys]
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{name}`" for name in SCORES]
    columns.append("attributes.`Duration`")
    section = {"uuid": "sweep", "name": "sweep", "display": True, "isReordered": True}
    section["columns"] = 2  # of three the legends are cut off
    charts = [line_chart(name) for name in CURVES]
    if params:
        charts.append(parallel_coordinates(params))
    return {
        "searchFilter": f"tags.`{MEMBER}{sweep_id}` != ''",
        "orderByKey": "metrics.`val/loss`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, 90),
        "runsHiddenMode": "SHOW_ALL" if jobs <= DRAWN else "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [section],
        "isAccordionReordered": True,  # else MLflow sorts its own sections before this one
    }


def param_of(key: str) -> str:
    """The param that a swept key is logged as (`src.config.validation.flatten`)."""
    return key.lstrip("+").removesuffix(".name")


def line_chart(metric: str) -> dict[str, Any]:
    """A metric's curves, of every run that is shown."""
    return {
        "type": "LINE",
        "uuid": f"sweep-{metric}",
        "metricSectionId": "sweep",
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": DRAWN,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": f"{metric} [nats per character] against the optimiser step",
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": False,
    }


def parallel_coordinates(params: list[str]) -> dict[str, Any]:
    """A line for each run, through the values of what was swept to its val/loss."""
    return {
        "type": "PARALLEL",
        "uuid": "sweep-parallel",
        "metricSectionId": "sweep",
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": DRAWN,
        "displayName": "what was swept, and val/loss",
        "selectedParams": params,
        "selectedMetrics": ["val/loss"],
        "showAllRuns": False,
    }


def save_view(
    client: Any, experiment: str, sweep_id: str, name: str, keys: list[str], run_ids: list[str]
) -> None:
    """Save the sweep's view with its experiment. run_ids: its runs, the best first."""
    now = int(time.time() * 1000)
    view = {
        "name": f"sweep {name}"[:100],  # MLflow's list of saved views shows it
        "createdAt": now,
        "updatedAt": now,
        "state": json.dumps(view_state(sweep_id, keys, len(run_ids))),
    }
    for run_id, colour in zip(run_ids, cycle(COLOURS), strict=False):
        client.set_tag(run_id, "mlflow.runColor", colour)
    client.set_experiment_tag(experiment, VIEW + sweep_id, json.dumps(view))


def publish(sweep_id: str, name: str, keys: list[str], config: PlacesConfig, run_ids: list[str]) -> Addresses:
    """Save the view of a sweep whose parent this process has made; the addresses."""
    from src.tracking.mlflow_client import connect, experiment_id  # slow to import

    store = store_of(config)
    client = connect(store["uri"])
    experiment = experiment_id(client, config.tracking.experiment, store["artifacts"])
    save_view(client, experiment, sweep_id, name, keys, run_ids)
    return addresses(server_of(config)[0], experiment, sweep_id, run_ids)


def latest(config: PlacesConfig, server: str) -> tuple[str, Addresses] | None:
    """Name and addresses of the sweep begun last of those that have ended, None without one."""
    from src.tracking.mlflow_client import connect  # slow to import

    client = connect(store_of(config)["uri"])
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    if experiment is None:
        return None
    within = [experiment.experiment_id]
    sweeps = client.search_runs(within, "tags.stage = 'sweep'", order_by=["attributes.start_time DESC"])
    # Without a view it is still at work, or from before views were saved.
    parent = next((run for run in sweeps if VIEW + run.info.run_id in experiment.tags), None)
    if parent is None:
        return None
    members = client.search_runs(
        within,
        f"tags.`{MEMBER}{parent.info.run_id}` != ''",
        max_results=SIDE_BY_SIDE,
        order_by=["metrics.`val/loss` ASC"],
    )
    run_ids = [run.info.run_id for run in members]
    return parent.info.run_name, addresses(server, experiment.experiment_id, parent.info.run_id, run_ids)
