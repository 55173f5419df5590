"""resume= and init_from= of a run that has finished: what is refused, trained further and begun anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Ended
from tests.interrupted import only_run, points

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
Typed = Callable[..., Any]


@pytest.fixture(scope="module")
def finished(
    data: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Ended]
) -> tuple[Path, list[str]]:
    """A small finished run, and where it is."""
    outputs = tmp_path_factory.mktemp("outputs")
    places = [f"output_dir={outputs}", f"data_dir={data}", "tracking=none"]
    settings = ("hidden=8", "workers=1", "length=20", "max_epochs=0.05", "eval_every=20", "figures=false")
    ended = command("src.train", *settings, *places)
    assert ended.rc == 0, ended.err
    return only_run(outputs), places


def test_what_may_not_change_is_refused_with_the_difference(typed: Typed, finished: Any) -> None:
    folder, places = finished
    before = (folder / "events.jsonl").read_bytes()
    changes = ("hidden=9", "optimizer=sgd", "max_epochs=1", "length=20", "seed=1")
    ended = typed("train", f"resume={folder}", *changes, *places)
    assert ended.rc == 2
    assert ended.complaint == (
        f"train: resume: expected the config of run {folder.name}, got hidden=9 (it has 8), "
        f"optimizer=sgd (it has adam): remove it, or start a new run with init_from={folder.name}"
    )
    assert (folder / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("nonsense", "expected latest, a run id, the name of a directory under "),
        (
            "latest",
            "that was interrupted, got none: to train a finished run further, give a larger max_epochs",
        ),
        ("{name}", "that is not complete, got {name}, finished by max_epochs: to train it further"),
        ("{folder}/checkpoints/step_00000060.safetensors", "finished by max_epochs"),
        ("{folder}/scores.json", "expected a whole checkpoint, got "),
    ],
)
def test_what_cannot_be_resumed_is_one_line(typed: Typed, finished: Any, asked: str, expected: str) -> None:
    folder, places = finished
    names = {"name": folder.name, "folder": folder}
    ended = typed("train", f"resume={asked.format(**names)}", *places)
    assert ended.rc == 2
    last = ended.err.splitlines()[-1]
    assert last.startswith("train: resume: ")
    assert expected.format(**names) in last
    assert "Traceback" not in ended.err


def test_another_process_at_work_is_not_disturbed(typed: Typed, finished: Any) -> None:
    from src.common.file_lock import acquire

    folder, places = finished
    holder = acquire(folder)
    try:
        ended = typed("train", f"resume={folder.name}", "max_epochs=1", *places)
        assert ended.rc == 2
        assert "expected a directory that no other process uses" in ended.err
        assert "interrupted, got none" in typed("train", "resume=latest", "max_epochs=1", *places).err
    finally:
        holder.release()


def test_sweeps_and_pipelines_resume_nothing(typed: Typed, finished: Any) -> None:
    ended = typed("pipeline", "resume=latest", *finished[1])
    assert (ended.rc, "null, except with python -m src.train" in ended.complaint) == (2, True)


def test_init_from_takes_the_weights_and_begins_anew(typed: Typed, finished: Any) -> None:
    """A changed config is welcome; other sizes and other characters are not."""
    from src.models import serialization
    from src.training import checkpoint

    folder, places = finished
    files = sorted((folder / "checkpoints").iterdir())
    kept = serialization.load(folder / "model").params
    assert checkpoint.load(files[-1]).arrays["weights"].tobytes() != kept.tobytes()
    settings = ("hidden=8", "workers=1", "length=20", "max_epochs=1e-6", "lr=1e-12", "ema_decay=0")
    for name in (folder.name, str(folder), str(files[-1])):
        ended = typed("train", *settings, f"init_from={name}", *places)
        assert ended.rc == 0, ended.err
        new = max((folder.parent).iterdir(), key=lambda f: f.stat().st_ctime_ns)
        assert new != folder
        begun = serialization.load(new / "model").params
        # two steps of Adam, each at most lr (1 - beta1) / sqrt(1 - beta2); rounding does not lengthen one
        # beyond 2
        assert abs(begun - kept).max() <= 2 * 2 * 1e-12 * 0.1 / 0.001**0.5
        assert [step for step, name, _ in points(new) if name == "val/loss"] == [1, 2], "a fresh start"
    for changes, words in (
        (("hidden=9",), "hidden=8, not 9"),
        (("model=gru", "hidden=8"), "cell=rnn, not gru"),
        (("hidden=8", "data.lowercase=false"), "trained on the same"),
        (("hidden=8", "init_from=nowhere"), "init_from: expected"),
    ):
        ended = typed("train", *settings, f"init_from={folder.name}", *changes, *places)
        assert ended.rc == 2, changes
        assert words in ended.err.splitlines()[-1]
        assert "Traceback" not in ended.err


def test_a_finished_run_is_trained_further(typed: Typed, finished: Any) -> None:
    """In the same run, with more of max_epochs; the scores at the end are the new ones."""
    folder, places = finished
    before, scores = points(folder), json.loads((folder / "scores.json").read_text())
    ended = typed("train", f"resume={folder.name}", "max_epochs=0.1", *places)
    assert ended.rc == 0, ended.err
    after = points(folder)
    assert after[: len(before)] == before
    assert len({(step, name) for step, name, _ in after}) == len(after), "no point twice"
    assert json.loads((folder / "scores.json").read_text())["test/bpc"] < scores["test/bpc"]
    assert json.loads((folder / "config.json").read_text())["max_epochs"] == 0.1
    (last,) = [v for s, n, v in after[len(before) :] if n == "test/bpc"]
    assert last == json.loads((folder / "scores.json").read_text())["test/bpc"]
