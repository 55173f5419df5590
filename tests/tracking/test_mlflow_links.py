"""Links that open a sweep in MLflow's UI, and the saved view. (test_browser.py opens them.)"""

import json
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

from src.common.files import PROJECT
from src.config.schema import PathsConfig, TrackingConfig
from src.tracking import mlflow_links
from src.tracking.sweep import Job, Sweep
from tests.mlflow_queries import connect

SWEEP = Sweep("0123abcd", "hidden=8,16 model=rnn,lstm", ["hidden", "model", "data.stride"])


def config(outputs: Path, uri: str | None = None) -> PathsConfig:
    tracking = TrackingConfig(name="mlflow", uri=uri, experiment="char-rnn", run_name=None)
    return PathsConfig(output_dir=str(outputs), data_dir="", tracking=tracking)


@pytest.fixture(autouse=True)
def no_server_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_sweep_link_urls() -> None:
    links = mlflow_links.sweep_links("http://host:1", "7", SWEEP.id, ["b", "a"])
    for address, mode in ((links.table, "TABLE"), (links.charts, "CHART")):
        base, _, query = address.partition("?")
        assert base == "http://host:1/#/experiments/7/runs"
        assert parse_qs(query) == {
            "workflowType": ["machine_learning"],
            "compareRunsMode": [mode],
            "viewStateShareKey": [SWEEP.id],
        }
    base, _, query = links.compare.partition("?")
    assert base == "http://host:1/#/compare-runs"
    assert {key: json.loads(value) for key, (value,) in parse_qs(query).items()} == {
        "runs": ["b", "a"],
        "experiments": ["7"],
    }
    assert not set('[]"` ') & set(links.table + links.charts + links.compare + links.page)
    assert links.page == "http://host:1/#/experiments/7/runs/0123abcd/artifacts/comparison.html"


def test_compare_link_is_limited_to_20_runs() -> None:
    run_ids = [f"run{n}" for n in range(90)]
    assert (
        json.loads(
            unquote(mlflow_links.sweep_links("", "1", "id", run_ids).compare.split("=")[1].split("&")[0])
        )
        == run_ids[:20]
    )
    empty = mlflow_links.sweep_links("http://host", "1", "id", [])
    assert empty.compare == ""
    assert [line.split()[0] for line in empty.lines()] == ["table", "charts", "page"]
    assert mlflow_links.sweep_links("", "1", "id", ["one"]).compare.endswith(
        "runs=%5B%22one%22%5D&experiments=%5B%221%22%5D"
    )


@pytest.mark.parametrize(
    ("outputs", "uri", "server", "command"),
    [
        (PROJECT / "outputs", None, mlflow_links.LOCAL, "make ui"),
        (Path("/else/where"), None, mlflow_links.LOCAL, "python -m src.ui output_dir=/else/where"),
        (
            PROJECT / "outputs",
            "sqlite:////else/m.db",
            mlflow_links.LOCAL,
            "python -m src.ui tracking.uri=sqlite:////else/m.db",
        ),
        (Path("/else/where"), "http://tracker:5000/", "http://tracker:5000", ""),
    ],
)
def test_ui_location(outputs: Path, uri: str | None, server: str, command: str) -> None:
    assert mlflow_links.ui_location(config(outputs, uri)) == (server, command)


def test_view_state_content() -> None:
    state = mlflow_links.view_state(SWEEP.id, SWEEP.keys, jobs=4)
    assert state["searchFilter"] == "tags.`sweep.0123abcd` != ''"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/loss`", True)
    columns = [
        "params.`hidden`",
        "params.`model`",
        "params.`data.stride`",
        "metrics.`val/loss`",
        "metrics.`test/bpc`",
    ]
    assert state["selectedColumns"][:5] == columns
    assert state["columnOrder"] == state["selectedColumns"]
    lines = [chart for chart in state["compareRunCharts"] if chart["type"] == "LINE"]
    assert [chart["metricKey"] for chart in lines] == ["val/loss", "train/loss"]
    (parallel,) = [chart for chart in state["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert parallel["selectedParams"] == ["hidden", "model", "data.stride"]
    assert state["runsHiddenMode"] == "SHOW_ALL"
    assert mlflow_links.view_state(SWEEP.id, SWEEP.keys, jobs=200)["runsHiddenMode"] == "FIRST_20_RUNS"
    assert [c["type"] for c in mlflow_links.view_state("i", [], 1)["compareRunCharts"]] == ["LINE", "LINE"]


def test_param_name() -> None:
    assert [mlflow_links.param_name(key) for key in ("hidden", "model.layers", "optimizer.name", "+x")] == [
        "hidden",
        "model.layers",
        "optimizer",
        "x",
    ]


def create_sweep(uri: str) -> tuple[Sweep, list[str]]:
    """Create a sweep of three jobs in a new store, one without a val/loss."""
    from src.tracking.mlflow_client import connect, experiment_id

    client = connect(uri)
    experiment = experiment_id(client, "char-rnn", "")
    parent = client.create_run(experiment, tags={"stage": "sweep"}, run_name="hidden=1,2,3")
    sweep = Sweep(parent.info.run_id, "hidden=1,2,3", ["hidden"])
    runs = []
    for number, loss in enumerate((2.5, None, 1.5)):
        tags = Job(sweep, number, {"hidden": str(number)}).tags()
        run = client.create_run(experiment, tags=tags, run_name=f"hidden={number}")
        if loss:
            client.log_metric(run.info.run_id, "val/loss", loss)
        client.set_terminated(run.info.run_id)
        runs.append(run.info.run_id)
    return sweep, [runs[2], runs[0], runs[1]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow's, of its own SQLAlchemy
def test_latest_finished_sweep_is_found(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    paths_config = config(tmp_path)
    connect(uri)
    assert mlflow_links.latest(paths_config, "http://host") is None  # no experiment
    first, runs = create_sweep(uri)
    assert mlflow_links.latest(paths_config, "http://host") is None  # not ended
    client = connect(uri)
    number = client.get_experiment_by_name("char-rnn").experiment_id
    mlflow_links.save_view(client, number, first.id, first.name, first.keys, runs)
    experiment = client.get_experiment(number)
    expected = mlflow_links.sweep_links("http://host", experiment.experiment_id, first.id, runs)
    assert mlflow_links.latest(paths_config, "http://host") == ("hidden=1,2,3", expected)
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{first.id}"])
    assert view["name"] == "sweep hidden=1,2,3"
    assert json.loads(view["state"]) == mlflow_links.view_state(first.id, first.keys, 3)
    assert 1.6e12 < view["createdAt"] == view["updatedAt"]
    colors = [connect(uri).get_run(run).data.tags["mlflow.runColor"] for run in runs]
    assert len(set(colors)) == 3
    second, others = create_sweep(uri)
    found = mlflow_links.latest(paths_config, "http://host")
    assert found is not None
    assert first.id in found[1].table  # the second sweep is still running
    mlflow_links.save_view(client, number, second.id, second.name, second.keys, others)
    found = mlflow_links.latest(paths_config, "http://host")
    assert found is not None
    assert second.id in found[1].table


def test_view_state_fits_mlflow_tag() -> None:
    """MLflow's limit is 20,000 characters."""
    keys = [
        "hidden",
        "seq_len",
        "lr",
        "clip",
        "patience",
        "temperature",
        "model.layers",
        "optimizer.weight_decay",
    ]
    state = mlflow_links.view_state("f" * 32, keys * 2, jobs=5000)
    assert len(json.dumps(json.dumps(state))) < 15_000
