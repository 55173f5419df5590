"""The stages through the command line, end to end; and that learning really happens."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.config import Config
from src.lab.evaluation.baselines import baselines
from src.lab.learning.training import Outcome, train
from src.rnn.parameters import Architecture, Array
from src.text.corpus import Corpus

PROJECT = Path(__file__).resolve().parent.parent
SUMMARY = r"^test/bpc=\d+\.\d+ val/loss=\d+\.\d+ chars/s=\d+ steps=\d+ run=[\w-]+$"
Typed = Callable[..., Any]


def weights_of(outputs: Path) -> bytes:
    """The kept weights of the one run under a directory."""
    (file,) = outputs.glob("runs/*/model/weights.safetensors")
    return file.read_bytes()


# --- learning, without the command line around it ---


@pytest.fixture(scope="module")
def sonnets(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    from src.config import DataConfig
    from src.lab.learning.corpora import corpus_of

    data = DataConfig("smallshake", None, True, True, False, "utf-8", [0.8, 0.1, 0.1], 1, 10000)
    return corpus_of(data, 20, tmp_path_factory.mktemp("sonnets"))[0]


@pytest.fixture
def config(typed: Typed) -> Callable[..., Config]:
    """A config as typed, for a short training in this process."""

    def compose(*arguments: str) -> Config:
        configs: list[Config] = []
        settings = ("hidden=32", "workers=1", "patience=null", "eval_every=50", *arguments)
        ended = typed("train", *settings, body=configs.append)
        assert ended.rc == 0, ended.err
        return configs[0]

    return compose


def trained_with(config: Config, corpus: Corpus) -> tuple[Outcome, list[tuple[int, float]], Array]:
    """Outcome, the validation curve in bits, and the weights at the end (not the kept ones)."""
    curve: list[tuple[int, float]] = []
    last: list[Array] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        if "val/bpc" in metrics:
            curve.append((step, metrics["val/bpc"]))

    def evaluated(step: int, flat: Array) -> None:
        last[:] = [flat.copy()]

    rng = np.random.default_rng(config.seed)
    outcome = train(
        config, Architecture(len(corpus.vocabulary), config.hidden), corpus, rng, report, evaluated
    )
    return outcome, curve, last[0]


@pytest.mark.slow
def test_it_learns_first_letters_then_pairs_of_letters(
    config: Callable[..., Config], sonnets: Corpus
) -> None:
    """Below the unigram the network knows how often letters are, below the bigram what follows what."""
    known = baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))
    outcome, curve, _ = trained_with(config("max_epochs=0.35"), sonnets)
    bits = [value for _, value in curve]
    assert bits[0] < known["uniform"]
    first = {
        name: next(step for step, value in curve if value < known[name]) for name in ("unigram", "ngram2")
    }
    assert first["unigram"] < first["ngram2"] <= outcome.steps
    assert outcome.val_loss / log(2) == min(bits) < known["ngram2"] - 0.1
    assert outcome.seconds < 30


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd lr=1", "momentum lr=0.1", "adagrad lr=0.05", "rmsprop lr=2e-3"])
def test_every_optimiser_learns(optimizer: str, config: Callable[..., Config], sonnets: Corpus) -> None:
    name, lr = optimizer.split()
    known = baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))
    chosen = config(f"optimizer={name}", lr, "max_epochs=0.25", "schedule.warmup=20", "average=0.9")
    outcome, _, _ = trained_with(chosen, sonnets)
    assert outcome.val_loss / log(2) < known["unigram"]


@pytest.mark.slow
@pytest.mark.parametrize(("average", "schedule"), [(0, "cosine"), (0.99, "constant")])
def test_watching_does_not_change_what_is_learned(
    average: float, schedule: str, config: Callable[..., Config], sonnets: Corpus
) -> None:
    """The weights at the last step are the same to the bit however often one evaluates and logs."""
    settings = ("max_epochs=0.06", f"average={average}", f"schedule={schedule}", "hidden=16")
    seldom = trained_with(config(*settings, "eval_every=10000", "log_every=10000"), sonnets)
    often = trained_with(config(*settings, "eval_every=7", "log_every=1"), sonnets)
    assert seldom[0].steps == often[0].steps
    assert len(seldom[1]) == 1
    assert len(often[1]) > 8
    assert np.array_equal(seldom[2], often[2])


@pytest.mark.slow
def test_seed_and_settings_do_change_what_is_learned(config: Callable[..., Config], sonnets: Corpus) -> None:
    settings = ("max_epochs=0.02", "hidden=16")
    first = trained_with(config(*settings), sonnets)[2]
    assert np.array_equal(first, trained_with(config(*settings), sonnets)[2])
    for change in (
        "seed=2",
        "lr=2e-3",
        "clip=0.1",
        "clip=0.01 clip_mode=value",
        "model.init=uniform",
        "average=0.5",
    ):
        assert not np.array_equal(first, trained_with(config(*settings, *change.split()), sonnets)[2]), change


@pytest.mark.slow
def test_early_stopping_keeps_the_best(config: Callable[..., Config], sonnets: Corpus) -> None:
    """A learning rate far too high does not get better for long."""
    restless = config("lr=0.5", "max_epochs=20", "patience=3", "average=0", "eval_every=20", "hidden=16")
    outcome, curve, _ = trained_with(restless, sonnets)
    assert outcome.ended == "early stopping"
    best_step, best = min(curve, key=lambda point: point[1])
    assert outcome.best_step == best_step
    assert outcome.val_loss == pytest.approx(best * log(2))
    assert len(curve) >= 4
    assert curve[-1][0] == outcome.steps
    assert outcome.steps - best_step >= 3 * 20


@pytest.mark.slow
def test_time_is_a_budget_too(config: Callable[..., Config], sonnets: Corpus) -> None:
    outcome, _, _ = trained_with(config("max_seconds=0.4", "max_epochs=1000", "hidden=16"), sonnets)
    assert outcome.ended == "max_seconds"
    assert 0.4 <= outcome.seconds < 1.5
    assert outcome.epochs < 1000


# --- one's own text, stage by stage ---

LINE = "the rain in spain stays mainly in the plain; a hand, a stand: sand? land! 42 Winds of Grand Élan"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 kB of a person's own text, with capitals, punctuation, digits, line ends and an accent."""
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(LINE.split(), 8)) for _ in range(450)]
    file = tmp_path_factory.mktemp("own") / "my text, 1.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_the_stages_one_after_another_on_a_text_of_ones_own(
    text: Path, command: Callable[..., Any], typed: Typed, tmp_path: Path
) -> None:
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    data = ["data=file", f"data.path={text}"]

    first = command("src.preprocess", *data, *places)
    assert first.rc == 0, first.err
    assert "nothing to do" not in first.err
    assert re.search(r"^train +[\d,]+ characters$", first.out, re.MULTILINE)
    assert (tmp_path / "d" / "file.txt").read_text(encoding="utf-8") == text.read_text(encoding="utf-8")
    (manifest,) = (tmp_path / "d").glob("file-*/manifest.json")
    made = manifest.stat().st_mtime_ns
    again = typed("preprocess", *data, *places)
    assert "already prepared, nothing to do" in again.err
    assert again.out == first.out
    assert manifest.stat().st_mtime_ns == made
    assert not (tmp_path / "o").exists()

    settings = ["hidden=16", "max_epochs=0.5", "eval_every=50", "length=40", "prompt=the rain, Élan: 42"]
    trained = command("src.train", *settings, *data, *places)
    assert trained.rc == 0, trained.err
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    (line,) = trained.out.splitlines()
    assert re.fullmatch(SUMMARY.replace(r"\w+$", re.escape(folder.name)), line)
    assert re.findall(r"^\[(\d)/4\]", trained.err, re.MULTILINE) == ["1", "2", "3", "4"]
    assert "already prepared, nothing to do" in trained.err

    evaluated = typed("evaluate", *places)
    assert evaluated.rc == 0, evaluated.err
    bpc = re.match(r"test/bpc=([\d.]+) ", line)
    assert bpc is not None
    assert re.search(rf"^network, state carried .* {bpc[1]} ", evaluated.out, re.MULTILINE)
    assert "characters of the test split" in evaluated.out
    for name in ("network, reset every 20", "uniform", "unigram", "8-gram", "xz", "test split"):
        assert re.search(rf"^{name}\b", evaluated.out, re.MULTILINE)

    sampled = typed("sample", "prompt=Winds, 42\nof ", "length=50", *places)
    assert sampled.rc == 0, sampled.err
    assert sampled.out.startswith("Winds, 42\nof ")
    assert len(sampled.out) == len("Winds, 42\nof ") + 50 + 1
    assert set(sampled.out) <= set(text.read_text(encoding="utf-8"))

    text_before = text.read_text(encoding="utf-8")
    try:
        text.write_text(text_before + "ß", encoding="utf-8")
        changed = typed("evaluate", *places)
        assert changed.rc != 0
        assert "has the text changed?" in changed.complaint
    finally:
        text.write_text(text_before, encoding="utf-8")


@pytest.mark.slow
def test_without_a_test_split_the_scores_are_the_validation_splits(
    text: Path, typed: Typed, tmp_path: Path
) -> None:
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    data = ["data=file", f"data.path={text}", "data.split=[0.9,0.1,0.0]", "prompt=the "]
    ended = typed("train", "hidden=8", "max_epochs=0.1", "workers=1", *data, *places)
    assert ended.rc == 0, ended.err
    (line,) = ended.out.splitlines()
    assert re.fullmatch(SUMMARY.replace("test/", "val_final/").replace(r"\w+", r"[\w-]+"), line)
    assert "[3/4] evaluate: on the validation split" in ended.err
    (file,) = (tmp_path / "o").glob("runs/*/scores.json")
    scores = json.loads(file.read_text())
    assert not [name for name in scores if name.startswith("test")]
    assert scores["val_final/loss"] == pytest.approx(
        scores["val/loss"], rel=0.02
    )  # two ways to score a split
    evaluated = typed("evaluate", *places)
    assert "validation split (this corpus has no test split)" in evaluated.out


# --- one run, from the outside ---


@pytest.mark.slow
def test_the_last_line_is_for_scripts(trained: Any) -> None:
    (line,) = trained.ended.out.splitlines()
    assert re.match(SUMMARY, line)
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert f"test/bpc={scores['test/bpc']:.4f} val/loss={scores['val/loss']:.4f} " in line
    assert "steps=598 " in line


@pytest.mark.slow
def test_without_a_terminal_progress_is_plain_lines(trained: Any) -> None:
    err = trained.ended.err
    assert "\x1b" not in err
    assert "\r" not in err
    lines = [line for line in err.splitlines() if line.startswith("step ")]
    assert [int(line.split("/")[0].removeprefix("step ")) for line in lines] == [100, 200, 300, 400, 500, 598]
    shape = r"step \d+/598  epoch \d\.\d\d  train \d\.\d{3}  val \d\.\d{3} nats  [\d,]+ chars/s  \d+ s left"
    assert all(re.fullmatch(shape, line) for line in lines), lines
    assert "Warning" not in err


@pytest.mark.slow
def test_the_shared_run_learned_in_seconds(trained: Any) -> None:
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert (
        scores["test/bpc"]
        < scores["test/ngram2_bpc"]
        < scores["test/unigram_bpc"]
        < scores["test/uniform_bpc"]
    )
    ((_, seconds, _),) = trained.curve("train/seconds")
    assert seconds < 30


@pytest.mark.slow
def test_the_same_command_gives_the_same_bits_tracked_or_not(
    command: Callable[..., Any], trained: Any, small: tuple[str, ...], tmp_path: Path
) -> None:
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    ended = command("src.train", *small, *places)
    assert ended.rc == 0, ended.err
    assert weights_of(tmp_path / "o") == (trained.folder / "model" / "weights.safetensors").read_bytes()
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    for file in sorted((trained.folder / "samples").glob("*.txt")):
        if not file.name.startswith("written_"):
            assert (folder / "samples" / file.name).read_text() == file.read_text(), file.name
    own, shared = (json.loads((f / "scores.json").read_text()) for f in (folder, trained.folder))
    assert own == shared


@pytest.mark.slow
def test_a_time_budget_on_the_command_line(typed: Typed, tmp_path: Path) -> None:
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    ended = typed("train", "max_seconds=1", "max_epochs=1000", "hidden=16", "workers=1", "length=10", *places)
    assert ended.rc == 0, ended.err
    said = re.search(
        r"^trained [\d,]+ steps .* in ([\d.]+) s, ended by max_seconds;", ended.err, re.MULTILINE
    )
    assert said is not None, ended.err
    assert 1 <= float(said[1]) < 2.5


@pytest.mark.slow
def test_the_pipeline_says_when_claims_are_not_checked(typed: Typed, tmp_path: Path) -> None:
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    ended = typed("pipeline", "hidden=8", "max_epochs=0.05", "workers=1", "length=30", *places)
    assert ended.rc == 0, ended.err
    assert "claims not checked" in ended.out
    assert "hidden=8 max_epochs=0.05" in ended.out
    assert "network, state carried" in ended.out
    assert re.findall(r"^temperature ([\d.]+), ", ended.out, re.MULTILINE) == ["0.4", "0.7", "1"]
    assert re.match(SUMMARY.replace(r"\w+", r"[\w-]+"), ended.out.splitlines()[-1])
    assert not (tmp_path / "o" / "reproduction.json").exists()


# --- sampling and evaluating a tracked run ---

pytest_mlflow = pytest.mark.filterwarnings("ignore")  # MLflow's own warnings are not ours to mend


@pytest.mark.slow
@pytest_mlflow
def test_sampling_finds_a_run_by_name_and_by_id(typed: Typed, trained: Any) -> None:
    asked = ["prompt=when in ", "temperature=0.9", "seed=3", "length=70", *trained.places]
    texts = [typed("sample", f"run={run}", *asked).out for run in ("latest", "best", trained.run_id)]
    assert texts[0].startswith("when in ")
    assert len(texts[0]) == len("when in ") + 70 + 1
    assert texts[0] == texts[1] == texts[2]
    digest = hashlib.sha256(b"when in ").hexdigest()[:6]  # another prompt is another file
    name = f"written_{digest}_temperature_0.9_seed_3_length_70.txt"
    kept = trained.outputs / "artifacts" / trained.run_id / "artifacts" / "samples" / name
    assert kept.read_text() == texts[0]


@pytest.mark.slow
@pytest_mlflow
def test_seed_and_temperature_decide_the_text(typed: Typed, trained: Any) -> None:
    def text_of(*asked: str) -> str:
        ended = typed("sample", "prompt=when ", "length=60", *asked, *trained.places)
        assert ended.rc == 0, ended.err
        return str(ended.out)

    coldest = text_of("temperature=0", "seed=1")
    assert coldest == text_of("temperature=0", "seed=2")
    assert coldest == text_of("temperature=1e-9")
    warm = text_of("temperature=1", "seed=1")
    assert warm == text_of("temperature=1", "seed=1")
    assert warm != text_of("temperature=1", "seed=2")


@pytest.mark.slow
@pytest_mlflow
def test_a_prompt_that_the_model_cannot_read_is_refused(typed: Typed, trained: Any) -> None:
    ended = typed("sample", "prompt=straße", *trained.places)
    assert ended.rc == 2
    assert ended.out == ""
    assert ended.complaint.startswith("sample: prompt: expected only the 27 characters that the model knows")
    assert ended.complaint.endswith("got 'ß'")


@pytest.mark.slow
@pytest_mlflow
def test_evaluating_gives_the_scores_of_the_run(typed: Typed, trained: Any) -> None:
    ended = typed("evaluate", f"run={trained.run_id}", *trained.places)
    assert ended.rc == 0, ended.err
    scores = json.loads((trained.folder / "scores.json").read_text())
    assert f"{scores['test/loss']:.4f}" in ended.out
    kept = trained.outputs / "artifacts" / trained.run_id / "artifacts" / "evaluation" / "scores.json"
    told = json.loads(kept.read_text())
    assert told.keys() == {key for key in scores if key.startswith(("test/", "test_reset/"))}
    assert told == pytest.approx({key: scores[key] for key in told}, rel=1e-6)
    report = json.loads(kept.with_name("evaluation.json").read_text())
    assert [text["temperature"] for text in report["judged"]] == [0.1, 0.4, 0.7, 1, 1.5, 2, None]
    known = [text["known_words"] for text in report["judged"][:-1]]
    assert known[2] > known[3] > known[-1]  # the hotter, the more words it makes up
    assert kept.with_name("temperature.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_sample_appears_while_it_is_written(typed: Typed, text: Path, tmp_path: Path) -> None:
    places = [f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}", "tracking=none"]
    data = ["data=file", f"data.path={text}", "prompt=the "]
    assert typed("train", "hidden=8", "max_epochs=0.02", "workers=1", "length=5", *data, *places).rc == 0
    endless = ["prompt=the ", "length=5000000", *places]
    process = subprocess.Popen(
        [sys.executable, "-m", "src.sample", *endless],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.read(300).startswith(b"the ")
        assert process.poll() is None, "the text was there only when all of it was written"
    finally:
        process.kill()
        process.communicate()


# --- sweeps ---


@pytest.fixture(scope="module")
def sweep(trained: Any) -> Any:
    """Two runs of one command, beside the shared run but in an experiment of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "src.train", "--multirun", "hidden=8,16", "max_epochs=0.05", "length=20",
         "tracking.experiment=sweep", *trained.places],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120,
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def id_of(trained: Any, line: str) -> str:
    """Of the run whose directory the line of a sweep's job names."""
    folder = trained.outputs / "runs" / line.rpartition("run=")[2]
    return str(json.loads((folder / "delivered.json").read_text())["run_id"])


@pytest.mark.slow
@pytest_mlflow
def test_a_sweep_makes_one_finished_run_a_job(sweep: Any, trained: Any) -> None:
    import mlflow

    lines = [line for line in sweep.stdout.splitlines() if line.startswith("test/bpc=")]
    assert len(lines) == 2
    assert all(re.match(SUMMARY, line) for line in lines)
    client = mlflow.MlflowClient(trained.uri)
    runs = [client.get_run(id_of(trained, line)) for line in lines]
    assert [run.data.params["hidden"] for run in runs] == ["8", "16"]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    experiment = client.get_experiment_by_name("sweep").experiment_id
    assert {run.info.experiment_id for run in runs} == {experiment}


@pytest.mark.slow
@pytest_mlflow
def test_latest_and_best_are_told_apart(sweep: Any, typed: Typed, trained: Any) -> None:
    from src.lab.tracking import runs

    names = re.findall(r"^test/bpc=.* run=(.+)$", sweep.stdout, re.MULTILINE)
    ids = [id_of(trained, name) for name in names]
    losses = [float(loss) for loss in re.findall(r"val/loss=([\d.]+)", sweep.stdout)]
    assert runs.find("latest", trained.uri, "sweep").info.run_id == ids[-1]
    assert runs.find("best", trained.uri, "sweep").info.run_id == ids[losses.index(min(losses))]
    assert runs.find("best", trained.uri, "char-rnn").info.run_id == trained.run_id
    asked = ["length=40", "tracking.experiment=sweep", *trained.places]
    latest, by_id, by_name = (typed("sample", f"run={run}", *asked) for run in ("latest", ids[-1], names[-1]))
    assert latest.rc == 0, latest.err
    assert latest.out == by_id.out == by_name.out
    assert latest.out != typed("sample", f"run={ids[0]}", *asked).out
