"""What reaches MLflow: everything, once, with the right ending, whatever happens to run or server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.errors import InputError

# MLflow's own warnings, about its own dependencies, are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PROJECT = Path(__file__).resolve().parent.parent
CURVES = ("train/loss", "val/loss", "val/bpc", "grad/norm", "grad/clipped", "lr", "chars_per_second")
FINAL = ("loss", "bpc", "perplexity", "accuracy")


@pytest.fixture(scope="module")
def client(trained: Any) -> Any:
    import mlflow

    return mlflow.MlflowClient(trained.uri)


@pytest.fixture(scope="module")
def tracked(client: Any, trained: Any) -> Any:
    """The shared run as MLflow knows it."""
    return client.get_run(trained.run_id)


def history(client: Any, run_id: str, name: str) -> list[tuple[int, float, int]]:
    points = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, name)]
    return sorted(points)


def artifacts(client: Any, run_id: str, folder: str = "") -> set[str]:
    found: set[str] = set()
    for entry in client.list_artifacts(run_id, folder or None):
        found |= artifacts(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def text_of(client: Any, run: Any, name: str) -> str:
    import mlflow

    return str(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}"))


def only_run(client: Any, experiment: str) -> Any:
    """The one run of an experiment."""
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id])
    return run


# --- a run that went well ---


def test_it_is_finished_and_says_what_it_was(tracked: Any) -> None:
    assert tracked.info.status == "FINISHED"
    assert tracked.data.tags["ended"] == "max_epochs"
    assert tracked.data.tags["stage"] == "train"
    assert tracked.data.tags["final_split"] == "test"
    assert tracked.data.tags["mlflow.source.name"] == "src.train"
    assert tracked.info.end_time >= tracked.info.start_time


def test_params_are_the_flat_config(tracked: Any, trained: Any) -> None:
    params = tracked.data.params
    told = trained.journal[0]["params"]
    assert params == {key: "null" if value is None else str(value) for key, value in told.items()}
    expected = {"hidden": "32", "clip": "5.0", "seq_len": "20", "lr": "0.01", "patience": "10", "seed": "1"}
    expected |= {"temperature": "0.7", "batch_size": "64", "max_epochs": "0.5", "max_seconds": "null"}
    expected |= {"optimizer": "adam", "optimizer.beta1": "0.9", "model": "rnn", "data": "smallshake"}
    assert expected.items() <= params.items()
    assert not [key for key, value in params.items() if str(trained.root) in value or str(PROJECT) in value]


@pytest.mark.parametrize("name", CURVES)
def test_every_point_of_a_curve_arrived_once(name: str, client: Any, trained: Any) -> None:
    told = trained.curve(name)
    assert len(told) >= 6
    assert history(client, trained.run_id, name) == sorted(told)
    steps = [step for step, _, _ in told]
    assert steps == sorted(set(steps)), "at most one point a step"


def test_points_lie_where_the_config_says(trained: Any) -> None:
    total = trained.curve("train/loss")[-1][0]
    assert [step for step, _, _ in trained.curve("train/loss")] == [*range(25, total, 25), total]
    evaluations = [*range(100, total, 100), total]
    assert [step for step, _, _ in trained.curve("val/loss")] == [*evaluations, total + 1]


def test_the_final_scores_are_metrics(tracked: Any, trained: Any) -> None:
    scores = json.loads((trained.folder / "scores.json").read_text())
    names = [f"{context}/{name}" for context in ("test", "test_reset") for name in FINAL]
    names += [f"test/{name}_bpc" for name in ("uniform", "unigram", "ngram2", "ngram8", "xz")]
    names += [
        "test/ece",
        "test/bpc_minus_ngram",
        "test/bpc_low",
        "test_reset/bpc_high",
        "sample/known_words",
        "sample/copied",
    ]
    for name in names:
        assert tracked.data.metrics[name] == scores[name], name
    assert tracked.data.metrics["train/seconds"] > 0


def test_the_last_validation_loss_is_that_of_the_kept_weights(tracked: Any, trained: Any) -> None:
    """What a table of runs shows and sorts by."""
    from src.lab.model import weights
    from src.lab.model.scoring import validation_loss
    from src.text.corpus import load

    kept = weights.load(trained.folder / "model")
    corpus = load(next((trained.root / "data").glob("smallshake-*")))
    loss = validation_loss(kept.architecture, kept.flat, corpus.split("val"))
    assert tracked.data.metrics["val/loss"] == pytest.approx(loss, rel=1e-6)
    assert tracked.data.metrics["val/loss"] == min(value for _, value, _ in trained.curve("val/loss"))


def test_the_dataset_is_an_input_with_its_digest(tracked: Any, trained: Any) -> None:
    manifest = json.loads(next((trained.root / "data").glob("smallshake-*/manifest.json")).read_text())
    (given,) = tracked.inputs.dataset_inputs
    assert given.dataset.name == "smallshake"
    assert len(given.dataset.digest) >= 32
    assert manifest["digest"].startswith(given.dataset.digest)
    assert json.loads(given.dataset.profile)["characters"] == manifest["characters"]
    assert {tag.key: tag.value for tag in given.tags}["mlflow.data.context"] == "training"
    assert str(trained.root) not in given.dataset.source


def test_artifacts_are_complete_and_whole(client: Any, tracked: Any, trained: Any) -> None:
    expected = {"config.json", "environment.json", "scores.json", "samples.json", "evaluation.json"}
    expected |= {f"samples/temperature_{t}.txt" for t in ("0.4", "0.7", "1")} | {"samples/while_training.txt"}
    expected |= {
        f"figures/{name}.png" for name in ("losses", "gradient_norms", "reliability", "window", "temperature")
    }
    assert artifacts(client, trained.run_id) >= expected
    for name in expected - {"samples.json"} - {name for name in expected if name.endswith(".png")}:
        assert text_of(client, tracked, name) == (trained.folder / name).read_text(), name


@pytest.mark.parametrize("name", ["losses", "gradient_norms", "reliability", "window"])
def test_figures_are_pictures(name: str, client: Any, trained: Any, tmp_path: Path) -> None:
    from matplotlib.image import imread

    picture = imread(client.download_artifacts(trained.run_id, f"figures/{name}.png", str(tmp_path)))
    height, width, channels = picture.shape
    assert (height >= 400, width >= 600, channels) == (True, True, 4)
    assert 0.01 < float((picture[:, :, 0] < 0.5).mean()) < 0.5  # something is drawn, on white


def test_the_config_and_the_environment_tell_how_to_repeat_it(
    client: Any, tracked: Any, trained: Any
) -> None:
    config = json.loads(text_of(client, tracked, "config.json"))
    assert (config["hidden"], config["clip"], config["optimizer"]["name"]) == (32, 5.0, "adam")
    around = json.loads(text_of(client, tracked, "environment.json"))
    assert around["packages"].keys() >= {"numpy", "mlflow", "safetensors"}
    assert around["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "src.train" in around["command"]
    assert "hidden=32" in around["command"]
    assert tracked.data.tags.get("mlflow.source.git.commit") == around["git_commit"]


def test_samples_stand_in_one_table(client: Any, tracked: Any, trained: Any) -> None:
    table = json.loads(text_of(client, tracked, "samples.json"))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["temperature"] for row in rows] == [0.4, 0.7, 1.0]
    for row in rows:
        assert len(row["text"]) == 120
        file = text_of(client, tracked, f"samples/temperature_{row['temperature']:g}.txt")
        assert file == row["prompt"] + row["text"] + "\n"
        assert 0 < row["known_words"] < 1
        assert 3 < row["copied"] < 120


def test_one_model_is_logged(tracked: Any) -> None:
    assert len(tracked.outputs.model_outputs) == 1


# --- delivering ---


def delivered_copy(trained: Any, folder: Path, experiment: str) -> Path:
    """The journal of the shared run as that of a run of its own, which has not been delivered."""
    shutil.copytree(trained.folder, folder)
    (folder / "delivered.json").unlink()
    journal = folder / "journal.jsonl"
    start, *rest = journal.read_text().splitlines(keepends=True)
    told = json.loads(start) | {"experiment": experiment}
    journal.write_text(json.dumps(told) + "\n" + "".join(line for line in rest if '"model"' not in line))
    return folder


def deliver(trained: Any, folder: Path, alive: Callable[[], bool] = lambda: False) -> Any:
    from src.lab.tracking import delivering

    return delivering.deliver(folder, trained.uri, (trained.outputs / "artifacts").as_uri(), alive)


def test_delivering_again_adds_no_point(client: Any, trained: Any, tmp_path: Path) -> None:
    """As after a crash between delivering and noting it: the note is old, the points are there."""
    folder = delivered_copy(trained, tmp_path / "run", "told twice")
    run_id = deliver(trained, folder).run_id
    behind_start = len((folder / "journal.jsonl").read_bytes().split(b"\n")[0]) + 1
    note = {"offset": behind_start, "run_id": run_id, "ended": False}
    (folder / "delivered.json").write_text(json.dumps(note))
    assert deliver(trained, folder).run_id == run_id
    for name in CURVES:
        assert history(client, run_id, name) == sorted(trained.curve(name)), name
    run = only_run(client, "told twice")
    assert run.info.status == "FINISHED"
    assert run.data.params.keys() == trained.journal[0]["params"].keys()
    assert len(json.loads(text_of(client, run, "samples.json"))["data"]) == 3, "nor a row of the table"


def test_a_journal_is_delivered_while_it_grows(
    client: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the journal takes up where the last one stopped, in the middle of a line too."""
    from src.lab.tracking import delivering

    monkeypatch.setattr(delivering, "POLL", 0.01)
    folder = delivered_copy(trained, tmp_path / "run", "growing")
    journal = folder / "journal.jsonl"
    whole = journal.read_bytes()
    pieces = [len(whole) // 7 * k + 13 for k in range(1, 7)] + [len(whole)]
    journal.write_bytes(whole[: pieces.pop(0)])
    looks = []

    def alive() -> bool:
        looks.append(len(pieces))
        if pieces:
            journal.write_bytes(whole[: pieces.pop(0)])
        return True

    run_id = deliver(trained, folder, alive).run_id
    assert len(looks) >= 6
    for name in CURVES:
        assert history(client, run_id, name) == sorted(trained.curve(name)), name
    assert only_run(client, "growing").info.status == "FINISHED"


def test_a_journal_without_an_end_is_told_as_failed(client: Any, trained: Any, tmp_path: Path) -> None:
    folder = delivered_copy(trained, tmp_path / "run", "cut off")
    journal = folder / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:20]) + '{"kind": "met')
    run_id = deliver(trained, folder).run_id
    run = only_run(client, "cut off")
    assert (run.info.run_id, run.info.status) == (run_id, "FAILED")
    assert "ended without a word" in run.data.tags["ended"]


# --- runs that end otherwise ---


def start_training(*arguments: str) -> subprocess.Popen[str]:
    """A long training in a process group of its own, as a shell starts it."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    long = ("hidden=16", "max_epochs=100000", "patience=null", "eval_every=50", "log_every=10")
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *long, *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            return
    raise AssertionError(f"training ended before step {step}")


def test_a_killed_run_is_told_as_failed(
    command: Callable[..., Any], client: Any, trained: Any, tmp_path: Path
) -> None:
    process = start_training(*trained.places, "tracking.experiment=killed")
    wait_for_step(process, 200)
    process.kill()
    process.communicate(timeout=20)
    (folder,) = [f for f in (trained.outputs / "runs").iterdir() if is_of(f, "killed")]
    deadline = time.monotonic() + 30
    # where there are cores to spare, the run's own deliverer has seen it already
    while (folder / "deliver.log").exists() and time.monotonic() < deadline:
        note = folder / "delivered.json"
        if note.exists() and json.loads(note.read_text())["ended"]:
            break
        time.sleep(0.1)
    ended = command("src.deliver", str(folder))
    assert ended.rc == 0, ended.err
    run = only_run(client, "killed")
    assert run.info.status == "FAILED"
    assert "without a word" in run.data.tags["ended"]
    assert run.info.run_id in ended.out
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    points = [(r["step"], r["values"]["lr"], r["time"]) for r in journal if "lr" in r.get("values", {})]
    assert len(points) >= 20
    assert history(client, run.info.run_id, "lr") == points, "all it told before is kept"


def is_of(folder: Path, experiment: str) -> bool:
    return f'"experiment": "{experiment}"' in (folder / "journal.jsonl").read_text()[:200]


def test_a_diverged_run_is_failed_with_its_reason(
    command: Callable[..., Any], client: Any, trained: Any
) -> None:
    settings = ("hidden=8", "lr=1e30", "clip=null", "tracking.experiment=diverged")
    ended = command("src.train", *settings, *trained.places)
    run = only_run(client, "diverged")
    assert run.info.status == "FAILED"
    assert "expected training to stay finite" in run.data.tags["ended"]
    assert "lr" in run.data.tags["ended"]
    assert ended.rc != 0
    assert ended.out == ""
    complaint = ended.err.splitlines()[-1]
    assert complaint.startswith("train: lr: expected training to stay finite, got ")
    assert "1e+30" in complaint
    others = [
        line for line in ended.err.splitlines()[:-1] if not line.startswith(("[", "smallshake: ", "step "))
    ]
    assert others == [], "one line, and no warning of NumPy's before it"


def test_ctrl_c_keeps_what_was_learned(client: Any, trained: Any) -> None:
    process = start_training(*trained.places, "tracking.experiment=interrupted")
    wait_for_step(process, 200)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "ended by interrupted" in err
    run = only_run(client, "interrupted")
    assert run.info.status == "FINISHED"
    assert run.data.tags["ended"] == "interrupted"
    last = out.splitlines()[-1]
    assert last.startswith("test/bpc=")
    assert last.endswith(f"run={run.info.run_id}")
    (folder,) = [f for f in (trained.outputs / "runs").iterdir() if is_of(f, "interrupted")]
    assert (folder / "model" / "weights.safetensors").exists()
    told = [v for r in map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
            if (v := r.get("values", {}).get("val/loss")) is not None]  # fmt: skip
    assert run.data.metrics["val/loss"] == min(told)
    assert len(run.outputs.model_outputs) == 1


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of waiting for a server that will not come back."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.usefixtures("no_retries")
def test_an_unreachable_server_loses_nothing(
    command: Callable[..., Any], client: Any, trained: Any, tmp_path: Path
) -> None:
    nowhere = "tracking.uri=http://127.0.0.1:9"
    settings = ("hidden=8", "max_epochs=0.02", "tracking.experiment=late", nowhere)
    ended = command("src.train", *settings, f"outputs={tmp_path / 'o'}", f"data_dir={trained.root / 'data'}")
    assert ended.rc == 0, ended.err
    assert "Traceback" not in ended.err
    assert ended.out.startswith("test/bpc=")
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    (told,) = [line for line in ended.err.splitlines() if "deliver it later" in line]
    assert told.endswith(f"python -m src.deliver {folder}")
    assert "http://127.0.0.1:9" in told
    assert (folder / "model" / "weights.safetensors").exists()
    done = deliver(trained, folder)  # the server is back: here, the shared database
    assert done.ended
    run = only_run(client, "late")
    assert (run.info.run_id, run.info.status) == (done.run_id, "FINISHED")


# --- looking runs up ---


@pytest.mark.usefixtures("no_retries")
def test_a_server_that_does_not_answer_is_one_line(typed: Callable[..., Any], trained: Any) -> None:
    ended = typed("evaluate", "tracking.uri=http://127.0.0.1:9", *trained.places)
    assert ended.rc != 0
    assert ended.complaint.startswith("evaluate: ")
    assert "http://127.0.0.1:9" in ended.complaint


@pytest.mark.usefixtures("no_retries")
def test_delivering_to_a_server_that_does_not_answer_is_one_line(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from src import deliver as command

    folder = delivered_copy(trained, tmp_path / "run", "nowhere")
    (folder / "tracking.json").write_text(json.dumps({"uri": "http://127.0.0.1:9", "artifacts": ""}))
    assert command.main([str(folder)]) != 0
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("deliver: ")
    assert "http://127.0.0.1:9" in err


def test_where_no_run_is_nothing_is_made(command: Callable[..., Any], tmp_path: Path) -> None:
    ended = command("src.evaluate", f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    assert ended.rc == 2
    assert "run: expected a finished run" in ended.err
    assert not (tmp_path / "o" / "mlflow.db").exists()
    assert ended.complaint.startswith("evaluate: run: ")


@pytest.mark.parametrize("run", ["nonsense", "0" * 32])
def test_a_run_id_that_there_is_not(run: str, typed: Callable[..., Any], trained: Any) -> None:
    ended = typed("sample", f"run={run}", *trained.places)
    assert ended.rc == 2
    assert ended.complaint == (
        "sample: run: expected latest, best, an alias that char-rnn has (register=true makes champion), "
        f"models:/NAME@ALIAS or a run id, got {run}"
    )


def test_deliver_refuses_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from src import deliver as command

    for arguments in ([str(tmp_path)], ["a", "b"]):
        assert command.main(arguments) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert err.startswith("deliver: expected all, an outputs folder, or the directory of a tracked run")


def test_a_run_without_a_start_is_refused(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("")
    with pytest.raises(InputError, match="expected a journal with a start"):
        deliver(trained, tmp_path)


def test_without_a_tracker_there_is_no_database(
    typed: Callable[..., Any], trained: Any, tmp_path: Path
) -> None:
    """And the commands find the run all the same."""
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={trained.root / 'data'}", "tracking=none"]
    ended = typed("train", "hidden=8", "max_epochs=0.02", "workers=1", *places)
    assert ended.rc == 0, ended.err
    assert {entry.name for entry in (tmp_path / "o").iterdir()} == {"runs"}
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    assert not [
        name for name in ("tracking.json", "deliver.log", "delivered.json") if (folder / name).exists()
    ]
    assert ended.out.splitlines()[-1].endswith(f"run={folder.name}")
    evaluated = typed("evaluate", *places)
    assert evaluated.rc == 0, evaluated.err
    assert "test split" in evaluated.out
    kept, own = (
        json.loads((folder / name).read_text()) for name in ("evaluation/scores.json", "scores.json")
    )
    assert kept == {key: own[key] for key in kept}
    sampled = typed("sample", f"run={folder.name}", "length=30", *places)
    assert sampled.rc == 0, sampled.err
    (file,) = (folder / "samples").glob("written_*.txt")
    assert sampled.out == file.read_text()
    assert {entry.name for entry in (tmp_path / "o").iterdir()} == {"runs"}
