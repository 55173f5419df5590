"""Links that open a sweep in MLflow's UI, and the saved view. (test_browser.py opens them.)"""

import json
from pathlib import Path
from typing import Any

import pytest

from src.common.files import PROJECT
from src.config.schema import PathsConfig, TrackingConfig
from src.tracking import mlflow_links
from src.tracking.mlflow_links import LOCAL, SweepLinks, param_name, sweep_links, view_state
from src.tracking.sweep import Job, Sweep
from tests.conftest import ignore_mlflow_warnings


def config(outputs: Path, uri: str | None = None, experiment: str = "char-rnn") -> PathsConfig:
    return PathsConfig(str(outputs), "", TrackingConfig("mlflow", uri, experiment, None))


@pytest.fixture(autouse=True)
def no_server_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_sweep_link_urls() -> None:
    links = sweep_links("http://host:1", "7", "0123abcd", ["b", "a"])
    runs = "http://host:1/#/experiments/7/runs"
    assert links == SweepLinks(
        table=f"{runs}?workflowType=machine_learning&compareRunsMode=TABLE&viewStateShareKey=0123abcd",
        charts=f"{runs}?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=0123abcd",
        compare="http://host:1/#/compare-runs?runs=%5B%22b%22%2C%22a%22%5D&experiments=%5B%227%22%5D"
        "&workflowType=machine_learning",
        page=f"{runs}/0123abcd/artifacts/comparison.html?workflowType=machine_learning",
    )
    assert all("workflowType=machine_learning" in line for line in links.lines()), "else MLflow's GenAI view"
    empty = sweep_links("http://host", "1", "id", [])
    assert [line.split()[0] for line in empty.lines()] == ["table", "charts", "page"]
    many = [f"run{n}" for n in range(90)]
    assert sweep_links("", "1", "id", many) == sweep_links("", "1", "id", many[:20])
    assert sweep_links("", "1", "id", many) != sweep_links("", "1", "id", many[:19])


@pytest.mark.parametrize(
    ("outputs", "uri", "expected"),
    [
        (PROJECT / "outputs", None, (LOCAL, "make ui")),
        (Path("/other"), None, (LOCAL, "python -m src.ui output_dir=/other")),
        (PROJECT / "outputs", "sqlite:///m.db", (LOCAL, "python -m src.ui tracking.uri=sqlite:///m.db")),
        (Path("/other"), "http://tracker:5000/", ("http://tracker:5000", "")),
    ],
)
def test_ui_location(outputs: Path, uri: str | None, expected: tuple[str, str]) -> None:
    assert mlflow_links.ui_location(config(outputs, uri)) == expected


def test_view_state_content() -> None:
    params = [param_name(key) for key in ("hidden", "+data.stride", "optimizer.name")]
    state = view_state("tags.stage = 'train'", params, jobs=4)
    assert state["searchFilter"] == "tags.stage = 'train'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/loss`", True)
    assert params == ["hidden", "data.stride", "optimizer"]
    columns = ["metrics.`val/loss`", "metrics.`test/bpc`", *(f"params.`{name}`" for name in params)]
    assert state["selectedColumns"][:5] == columns
    assert state["columnOrder"] == state["selectedColumns"]
    *lines, parallel = state["compareRunCharts"]
    assert [(chart["type"], chart["metricKey"]) for chart in lines] == [
        ("LINE", "val/loss"),
        ("LINE", "train/loss"),
    ]
    assert (parallel["type"], parallel["selectedParams"]) == ("PARALLEL", params)
    assert state["runsHiddenMode"] == "SHOW_ALL"
    assert parallel["selectedMetrics"] == ["val/loss"]
    large = view_state("", [], jobs=200)
    assert large["runsHiddenMode"] == "FIRST_20_RUNS"
    assert [chart["type"] for chart in large["compareRunCharts"]] == ["LINE", "LINE"]


def test_view_state_fits_mlflow_tag() -> None:
    """MLflow's limit is 20,000 characters."""
    state = view_state("f" * 32, ["optimizer.weight_decay"] * 16, jobs=5000)
    assert len(json.dumps(json.dumps(state))) < 15_000


@pytest.mark.slow
@ignore_mlflow_warnings
def test_overview_has_swept_and_different_params(client: Any, trained: Any, tmp_path: Path) -> None:
    number = client.create_experiment(tmp_path.name)
    job = Job(Sweep("parent", "clip=1,5", ["clip"]), 0, {"clip": "5"})
    for tags, params in (
        ({}, {"hidden": "8", "seed": "1", "clip": "1"}),
        (job.tags(), {"hidden": "16", "seed": "1", "clip": "5"}),
    ):
        run = client.create_run(number, tags={"stage": "train", **tags})
        for name, value in params.items():
            client.log_param(run.info.run_id, name, value)
    for _ in range(2):  # again with the same result
        mlflow_links.save_overview(client, number)
        view = json.loads(client.get_experiment(number).tags["mlflow.sharedViewState.overview"])
        state = json.loads(view["state"])
        assert state["selectedColumns"][:5] == [
            "metrics.`val/loss`", "metrics.`test/bpc`", "params.`clip`", "params.`hidden`",
            "metrics.`final_val/bpc`",
        ]  # fmt: skip
        colors = {run.data.tags["mlflow.runColor"] for run in client.search_runs([number])}
        assert len(colors) == 2


@pytest.mark.slow
@ignore_mlflow_warnings
def test_latest_finished_sweep_is_found(client: Any, trained: Any, tmp_path: Path) -> None:
    paths_config = config(tmp_path, trained.uri, tmp_path.name)
    assert mlflow_links.latest(paths_config, "http://host") is None  # no experiment
    number = client.create_experiment(tmp_path.name)

    def create_sweep() -> tuple[str, list[str]]:
        """Create a sweep of three jobs; return its id and those of its jobs, the best first."""
        parent = client.create_run(number, tags={"stage": "sweep"}, run_name="hidden=1,2,3")
        sweep = Sweep(parent.info.run_id, "hidden=1,2,3", ["hidden"])
        runs = [client.create_run(number, tags=Job(sweep, k, {}).tags()).info.run_id for k in range(3)]
        client.log_metric(runs[0], "val/loss", 2.5)
        client.log_metric(runs[2], "val/loss", 1.5)
        return sweep.id, [runs[2], runs[0], runs[1]]

    first, runs = create_sweep()
    assert mlflow_links.latest(paths_config, "http://host") is None  # not ended
    mlflow_links.save_view(client, number, first, "hidden=1,2,3", ["hidden"], runs)
    expected = ("hidden=1,2,3", sweep_links("http://host", number, first, runs))
    assert mlflow_links.latest(paths_config, "http://host") == expected
    view = json.loads(client.get_experiment(number).tags[f"mlflow.sharedViewState.{first}"])
    assert view["name"] == "sweep hidden=1,2,3"
    assert json.loads(view["state"]) == view_state(f"tags.`sweep.{first}` != ''", ["hidden"], 3)
    assert 1.6e12 < view["createdAt"] == view["updatedAt"]
    assert len({client.get_run(run).data.tags["mlflow.runColor"] for run in runs}) == 3
    second, others = create_sweep()
    assert mlflow_links.latest(paths_config, "http://host") == expected  # the second sweep is still running
    mlflow_links.save_view(client, number, second, "hidden=1,2,3", ["hidden"], others)
    expected = ("hidden=1,2,3", sweep_links("http://host", number, second, others))
    assert mlflow_links.latest(paths_config, "http://host") == expected
