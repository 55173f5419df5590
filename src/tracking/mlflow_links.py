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

from src.common.files import PROJECT, parse_json, read_json
from src.config.schema import PathsConfig
from src.tracking.run import SWEEP_TAG_PREFIX, tracking_store
from src.tracking.run_record import JobNote

TEMPLATE = Path(__file__).with_name("mlflow_view.json")
CLASSIC = "workflowType=machine_learning"  # in each link; else MLflow opens its view of GenAI apps
VIEW = "mlflow.sharedViewState."  # + key: the experiment's tag with a saved view
LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves the project's own database
OVERVIEW = "overview"  # key of the view of all runs
TRAINED = "tags.stage = 'train'"  # without the parent runs of sweeps, which have no curves
COLOR = "mlflow.runColor"  # tag of a run
OVERVIEW_RUNS = 100  # newest runs whose params are compared to choose the columns
MAX_PARAMS = 8  # params in the view of all runs
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
    chosen = quote(json.dumps(run_ids[:MAX_COMPARE_RUNS], separators=(",", ":")), safe="")
    within = quote(json.dumps([experiment]), safe="")
    return SweepLinks(
        table=view_link(server, experiment, sweep_id, "TABLE"),
        charts=view_link(server, experiment, sweep_id, "CHART"),
        compare=f"{server}/#/compare-runs?runs={chosen}&experiments={within}&{CLASSIC}" if run_ids else "",
        page=page_link(server, experiment, sweep_id, "artifacts/comparison.html"),
    )


def view_link(server: str, experiment: str, key: str, mode: str) -> str:
    """Build the link of a saved view.

    Args:
        server: Address of the UI, without a trailing slash.
        experiment: Id of the experiment.
        key: Key of the view: OVERVIEW, or the id of a sweep's parent run.
        mode: TABLE or CHART.

    Returns:
        The link.
    """
    view = f"{CLASSIC}&compareRunsMode={mode}&viewStateShareKey={quote(key)}"
    return f"{server}/#/experiments/{experiment}/runs?{view}"


def page_link(server: str, experiment: str, run_id: str, page: str) -> str:
    """Build the link of a page of a run.

    Args:
        server: Address of the UI, without a trailing slash; "" for a link within MLflow's pages.
        experiment: Id of the experiment.
        run_id: Id of the run.
        page: Page of the run, like `artifacts/neurons.html`.

    Returns:
        The link.
    """
    address = f"#/experiments/{experiment}/runs/{run_id}/{quote(page)}?{CLASSIC}"
    return f"{server}/{address}" if server else address


def run_link(server: str, run_id: str) -> str:
    """Return the link that opens a run in MLflow's UI.

    Args:
        server: Address of the UI, without a trailing slash.
        run_id: Id of the run.

    Returns:
        An address that needs no id of the experiment; MLflow adds it.
    """
    return f"{server}/#/runs/{quote(run_id)}?{CLASSIC}"


def view_state(where: str, params: list[str], jobs: int) -> dict[str, Any]:
    """Fill the template mlflow_view.json: the state of MLflow's page of runs that shows some runs.

    The charts have two columns, because three cut off the legends. `isAccordionReordered` keeps MLflow from
    sorting its own sections before this one.

    Args:
        where: Filter that finds the runs.
        params: Params in columns and in the last chart.
        jobs: Number of runs; of more than MAX_CHART_RUNS the charts show only the first 20.

    Returns:
        The state, to be saved as JSON.
    """
    template = read_json(TEMPLATE, dict[str, Any])
    scores = [f"metrics.`{name}`" for name in SCORES]
    columns = [*scores[:2], *(f"params.`{name}`" for name in params), *scores[2:], "attributes.`Duration`"]
    charts = [
        template["line"]
        | {
            "uuid": f"runs-{metric}",
            "metricKey": metric,
            "selectedMetricKeys": [metric],
            "displayName": f"{metric} [nats per character] against the optimizer step",
        }
        for metric in CURVES
    ]
    if params:
        charts.append(template["parallel"] | {"selectedParams": params})
    state: dict[str, Any] = template["page"] | {
        "searchFilter": where,
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
    for run_id, color in zip(run_ids, cycle(colors()), strict=False):
        client.set_tag(run_id, COLOR, color)
    state = view_state(jobs_filter(sweep_id), [param_name(key) for key in keys], len(run_ids))
    set_view(client, experiment, sweep_id, f"sweep {name}", state)


def save_overview(client: Any, experiment: str) -> None:
    """Save the view of all runs: scores and the params in which the newest runs differ, the best run first.

    The jobs of sweeps are runs like the others. Sorted by time, MLflow would hide them below their parent.

    Args:
        client: Client of the store.
        experiment: Id of the experiment.
    """
    newest = ["attributes.start_time DESC"]
    runs = client.search_runs([experiment], TRAINED, max_results=OVERVIEW_RUNS, order_by=newest)
    notes = [text for run in runs for key, text in run.data.tags.items() if key.startswith(SWEEP_TAG_PREFIX)]
    swept = [param_name(key) for text in notes for key in parse_json(text, JobNote)["swept"]]
    params = dict.fromkeys([*swept, *(name for run in runs for name in run.data.params)])
    values = {name: {run.data.params.get(name) for run in runs} for name in params}
    differ = [name for name in params if len(values[name]) > 1][:MAX_PARAMS]
    taken = [run.data.tags.get(COLOR) for run in runs]
    free = cycle([color for color in colors() if color not in taken] or colors())
    for run in reversed(runs):
        if COLOR not in run.data.tags:
            client.set_tag(run.info.run_id, COLOR, next(free))
    set_view(client, experiment, OVERVIEW, "all runs", view_state(TRAINED, differ, OVERVIEW_RUNS))


def colors() -> list[str]:
    """Return the colors of runs, those of matplotlib.

    MLflow derives a run's color from its id, and it is often the same for two runs.

    Returns:
        Colors as hexadecimal codes.
    """
    return list(read_json(TEMPLATE, dict[str, Any])["colors"])


def set_view(client: Any, experiment: str, key: str, name: str, state: dict[str, Any]) -> None:
    """Save a view as a tag of its experiment; it replaces an earlier view with this key.

    Args:
        client: Client of the store.
        experiment: Id of the experiment.
        key: Key of the view in links.
        name: Name of the view in MLflow's list of saved views.
        state: State of the page (`view_state`).
    """
    now = int(time.time() * 1000)
    view = {"name": name[:100], "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
    client.set_experiment_tag(experiment, VIEW + key, json.dumps(view))


def jobs_filter(sweep_id: str) -> str:
    """Return the filter that finds the jobs of a sweep.

    Args:
        sweep_id: Id of the parent run.

    Returns:
        A filter in MLflow's search syntax.
    """
    return f"tags.`{SWEEP_TAG_PREFIX}{sweep_id}` != ''"


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
    jobs, best_first = jobs_filter(parent.info.run_id), ["metrics.`val/loss` ASC"]
    members = client.search_runs(within, jobs, max_results=MAX_COMPARE_RUNS, order_by=best_first)
    run_ids = [run.info.run_id for run in members]
    return parent.info.run_name, sweep_links(server, experiment.experiment_id, parent.info.run_id, run_ids)
