"""The MLflow content of a successful run."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.outage import artifacts
from tests.commands import PROJECT
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import CURVES, artifact_text, metric_history

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

FIGURES = ("losses", "gradient_norms", "reliability", "window")
FINAL = ("loss", "bpc", "perplexity", "accuracy")


@pytest.fixture(scope="module")
def mlflow_run(client: Any, trained: Any) -> Any:
    """The MLflow run of `trained`."""
    return client.get_run(trained.run_id)


def test_run_status_and_tags(mlflow_run: Any) -> None:
    assert mlflow_run.info.status == "FINISHED"
    expected = {"stop_reason": "max_epochs", "stage": "train", "final_split": "test",
                "mlflow.source.name": "src.train"}  # fmt: skip
    assert mlflow_run.data.tags.items() >= expected.items()
    assert mlflow_run.info.end_time >= mlflow_run.info.start_time
    assert len(mlflow_run.outputs.model_outputs) == 1


def test_val_loss_is_first_metric(mlflow_run: Any) -> None:
    """MLflow's compare page draws the first metric of the runs."""
    assert next(iter(mlflow_run.data.metrics)) == "val/loss"


def test_run_is_described(mlflow_run: Any, trained: Any) -> None:
    text = mlflow_run.data.tags["mlflow.note.content"]
    scores = mlflow_run.data.metrics
    assert text.startswith(f"val/loss **{scores['val/loss']:.4f}** nats per character, test/bpc **")
    assert "`data=smallshake model=rnn model.layers=1 hidden=32 " in text
    sample = (trained.folder / "samples" / "temperature_0.7.txt").read_text().split()
    assert " ".join(sample) in " ".join(text.split())
    address = f"#/experiments/{mlflow_run.info.experiment_id}/runs/{mlflow_run.info.run_id}/artifacts"
    for page in ("neurons.html", "samples.json", "figures/losses.png"):
        assert f"[{page}]({address}/{page}?workflowType=machine_learning)" in text


def test_description_of_a_person_is_kept(client: Any, trained: Any) -> None:
    from src.tracking.mlflow_writer import describe
    from src.tracking.run_record import read_events

    run, note = read_events(trained.folder), client.get_run(trained.run_id).data.tags["mlflow.note.content"]
    for text, expected in (("My own words.", "My own words."), (note, note)):
        client.set_tag(trained.run_id, "mlflow.note.content", text)
        describe(client, trained.run_id, run)
        assert client.get_run(trained.run_id).data.tags["mlflow.note.content"] == expected


def test_model_has_scores_description_and_example(client: Any, mlflow_run: Any, trained: Any) -> None:
    import mlflow

    (model,) = [client.get_logged_model(output.model_id) for output in mlflow_run.outputs.model_outputs]
    scores = {metric.key: metric.value for metric in model.metrics}
    for name in ("val/loss", "test/bpc", "test/accuracy"):
        assert scores[name] == mlflow_run.data.metrics[name]
    (code,) = re.findall(r"```python\n(.*?)\n```", model.tags["mlflow.note.content"], re.DOTALL)
    assert len(code.splitlines()) == 3
    names: dict[str, Any] = {}
    exec(code, names)
    described = json.loads((trained.folder / "model" / "model.json").read_text())
    assert names["model"].input_example == {"prompt": [described["prompt"]]}
    written = names["model"].predict(names["model"].input_example, params={"length": 20})
    assert len(written[0]) == 20
    mlflow.set_tracking_uri(trained.uri)


def test_params_are_flat_config(mlflow_run: Any, trained: Any) -> None:
    params = mlflow_run.data.params
    logged = trained.events[0]["params"]
    assert params == {key: "null" if value is None else str(value) for key, value in logged.items()}
    expected = {"hidden": "32", "clip": "5.0", "max_epochs": "0.5", "max_seconds": "null",
                "optimizer": "adam", "optimizer.beta1": "0.9", "data": "smallshake"}  # fmt: skip
    assert expected.items() <= params.items()
    assert not [key for key, value in params.items() if str(trained.root) in value or str(PROJECT) in value]


@pytest.mark.parametrize("name", CURVES)
def test_every_point_is_synced_once(name: str, client: Any, trained: Any) -> None:
    logged = trained.curve(name)
    assert len(logged) >= 6
    assert metric_history(client, trained.run_id, name) == sorted(logged)
    steps = [step for step, _, _ in logged]
    assert steps == sorted(set(steps)), "more than one point per step"


def test_metrics_are_logged_at_configured_steps(trained: Any) -> None:
    total = trained.curve("train/loss")[-1][0]
    assert [step for step, _, _ in trained.curve("train/loss")] == [*range(25, total, 25), total]
    evaluations = [*range(100, total, 100), total]
    assert [step for step, _, _ in trained.curve("val/loss")] == [*evaluations, total + 1]


def test_final_scores_are_metrics(mlflow_run: Any, trained: Any) -> None:
    scores = json.loads((trained.folder / "scores.json").read_text())
    names = {f"{context}/{name}" for context in ("test", "test_stateless") for name in FINAL}
    names |= {f"test/{name}_bpc" for name in ("uniform", "unigram", "ngram2", "ngram8", "xz")}
    names |= {"test/ece", "test/bpc_minus_ngram", "test/bpc_ci_low", "test_stateless/bpc_ci_high",
              "sample/known_words", "sample/longest_match"}  # fmt: skip
    metrics = mlflow_run.data.metrics
    assert {name: metrics.get(name) for name in names} == {name: scores[name] for name in names}
    assert metrics["train/seconds"] > 0


def test_last_val_loss_is_of_best_weights(mlflow_run: Any, trained: Any) -> None:
    """The table of runs shows this value."""
    from src.data.corpus import load
    from src.evaluation.scoring import validation_loss
    from src.models import serialization

    model = serialization.load(trained.folder / "model")
    corpus = load(next((trained.root / "data").glob("smallshake-*")))
    loss = validation_loss(model.architecture, model.params, corpus.split("val"))
    assert mlflow_run.data.metrics["val/loss"] == loss  # the same computation with one BLAS thread
    assert mlflow_run.data.metrics["val/loss"] == min(value for _, value, _ in trained.curve("val/loss"))


def test_dataset_is_logged_with_digest(mlflow_run: Any, trained: Any) -> None:
    manifest = json.loads(next((trained.root / "data").glob("smallshake-*/manifest.json")).read_text())
    (dataset_input,) = mlflow_run.inputs.dataset_inputs
    assert dataset_input.dataset.name == "smallshake"
    assert len(dataset_input.dataset.digest) >= 32
    assert manifest["digest"].startswith(dataset_input.dataset.digest)
    assert json.loads(dataset_input.dataset.profile)["characters"] == manifest["characters"]
    assert {tag.key: tag.value for tag in dataset_input.tags}["mlflow.data.context"] == "training"
    assert str(trained.root) not in dataset_input.dataset.source


def test_artifacts_are_complete(client: Any, mlflow_run: Any, trained: Any) -> None:
    names = {"config.json", "environment.json", "scores.json", "evaluation.json",
             "samples/during_training.txt"}  # fmt: skip
    names |= {f"samples/temperature_{t}.txt" for t in ("0.4", "0.7", "1")}
    figures = {f"figures/{name}.png" for name in (*FIGURES, "temperature")}
    assert set(artifacts(client, trained.run_id)) >= names | figures | {"samples.json"}
    for name in names:
        assert artifact_text(client, mlflow_run, name) == (trained.folder / name).read_text(), name


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_readable_images(name: str, client: Any, trained: Any, tmp_path: Path) -> None:
    from matplotlib.image import imread

    picture = imread(client.download_artifacts(trained.run_id, f"figures/{name}.png", str(tmp_path)))
    height, width, channels = picture.shape
    assert (height >= 400, width >= 600, channels) == (True, True, 4)
    assert 0.01 < float((picture[:, :, 0] < 0.5).mean()) < 0.5  # the figure is not empty


def test_config_and_environment_are_logged(client: Any, mlflow_run: Any, trained: Any) -> None:
    config = json.loads(artifact_text(client, mlflow_run, "config.json"))
    assert (config["hidden"], config["optimizer"]["_target_"]) == (32, "src.rnn.optimizers.Adam")
    environment = json.loads(artifact_text(client, mlflow_run, "environment.json"))
    assert environment["packages"].keys() >= {"numpy", "mlflow", "safetensors"}
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"src.train", "hidden=32"} <= set(environment["command"].split())
    assert mlflow_run.data.tags.get("mlflow.source.git.commit") == environment["git_commit"]


def test_samples_are_logged_as_table(client: Any, mlflow_run: Any, trained: Any) -> None:
    table = json.loads(artifact_text(client, mlflow_run, "samples.json"))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["temperature"] for row in rows] == [0.4, 0.7, 1.0]
    for row in rows:
        assert len(row["text"]) == 120
        file = artifact_text(client, mlflow_run, f"samples/temperature_{row['temperature']:g}.txt")
        assert file == row["prompt"] + row["text"] + "\n"
        assert 0 < row["known_words"] < 1
        assert 3 < row["longest_match"] < 120
