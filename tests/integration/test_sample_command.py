"""`python -m src.sample`: one text, several texts, and what is kept with the run."""

import hashlib
import shutil
from collections.abc import Callable
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies

Typed = Callable[..., Any]


def kept(trained: Any, suffix: str) -> Path:
    digest = hashlib.sha256(b"when ").hexdigest()[:6]
    folder = trained.outputs / "artifacts" / trained.run_id / "artifacts" / "samples"
    return Path(folder / f"written_{digest}_temperature_1_seed_5_length_30{suffix}.txt")


@pytest.fixture
def write(typed: Typed, trained: Any) -> Typed:
    asked = [f"run={trained.run_id}", "prompt=when ", "temperature=1", "seed=5", "length=30", *trained.places]
    return lambda *more: typed("sample", *asked, *more)


@pytest.mark.slow
def test_several_samples_come_one_behind_the_other_and_are_kept(write: Typed, trained: Any) -> None:
    ended = write("num_samples=3", "top_k=9")
    assert ended.rc == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0::3] == ["--- 1 of 3", "--- 2 of 3", "--- 3 of 3"]
    assert lines[2::3] == ["", ""]
    texts = lines[1::3]
    assert [len(text) for text in texts] == [len("when ") + 30] * 3
    assert all(text.startswith("when ") for text in texts)
    assert len(set(texts)) == 3
    assert kept(trained, "_top_k_9_samples_3").read_text() == ended.out
    assert write("top_k=9").out == texts[0] + "\n"
    assert kept(trained, "_top_k_9").read_text() == texts[0] + "\n"


@pytest.mark.slow
def test_top_k_and_top_p_are_off_unless_asked_for(write: Typed, trained: Any) -> None:
    plain = write()
    assert plain.out == write("top_k=null", "top_p=null", "num_samples=1").out
    assert plain.out == write("top_k=27", "top_p=1").out
    assert plain.out != write("top_p=0.3").out
    assert kept(trained, "_top_p_0.3").exists()
    assert write("top_k=1").out == write("temperature=0").out


@pytest.mark.slow
def test_sampling_needs_the_model_and_evaluating_the_config_too(
    typed: Typed, trained: Any, tmp_path: Path
) -> None:
    """The model's own files say everything about sampling: prompts are normalized as its text was."""
    folder = tmp_path / "runs" / "copy"
    shutil.copytree(trained.folder, folder)
    (folder / "config.json").unlink()
    places = ["run=copy", "tracking=none", f"output_dir={tmp_path}", f"data_dir={trained.root / 'data'}"]
    ended = typed("sample", *places, "prompt=when ", "length=9")
    assert (ended.rc, len(ended.out)) == (0, len("when ") + 9 + 1), ended.err
    ended = typed("evaluate", *places)
    assert ended.rc == 2
    assert ended.complaint.startswith("evaluate: run: expected a whole config.json, got a damaged one in ")
    shutil.rmtree(folder / "model")
    ended = typed("sample", *places)
    assert ended.rc == 2
    assert ended.complaint.startswith("sample: run: expected a whole model, got a damaged one in ")


@pytest.mark.slow
def test_the_run_in_use_is_told_beside_the_text(write: Typed, trained: Any) -> None:
    ended = write()
    loss = trained.curve("val/loss")[-1][1]
    assert ended.err == f"run {trained.run_id}, rnn hidden=32 smallshake, val/loss {loss:.4f}\n"


@pytest.mark.parametrize(
    ("typed_in", "said"),
    [
        ("top_k=0", "top_k: expected an integer >= 1, or null for all, got 0"),
        ("top_k=1.5", "top_k: expected an integer >= 1, or null for all, got 1.5"),
        ("top_p=0", "top_p: expected a number > 0 and <= 1, or null for all, got 0.0"),
        ("top_p=2", "top_p: expected a number > 0 and <= 1, or null for all, got 2.0"),
        ("num_samples=0", "num_samples: expected an integer >= 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(typed: Typed, typed_in: str, said: str) -> None:
    ended = typed("sample", typed_in)
    assert (ended.rc, ended.complaint) == (2, f"sample: {said}")


def test_the_first_text_is_shown_while_it_is_written() -> None:
    from src.sample import interleave

    endless = repeat(("a", "b"))
    assert list(islice(interleave("prompt ", 2, endless), 4)) == ["--- 1 of 2\nprompt ", "a", "a", "a"]
    few = iter([("a", "b"), ("c", "d")])
    assert "".join(interleave("p ", 2, few)) == "--- 1 of 2\np ac\n\n--- 2 of 2\np bd\n"
    assert "".join(interleave("p ", 1, iter([("a",)]))) == "p a\n"


@pytest.mark.slow
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
def test_a_prompt_that_the_model_cannot_read_is_refused(typed: Typed, trained: Any) -> None:
    ended = typed("sample", "prompt=straße", *trained.places)
    assert ended.rc == 2
    assert ended.out == ""
    assert ended.complaint.startswith(
        "sample: prompt: expected only the 27 characters of the model's vocabulary"
    )
    assert ended.complaint.endswith("got 'ß'")
