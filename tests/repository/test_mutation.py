"""What `make mutation` makes of what mutmut says. (The changes themselves take hours.)"""

from pathlib import Path

import pytest

from benchmarks import mutation
from benchmarks.mutation import PROJECT, Mutant, asked, page, tell

TESTS = PROJECT / "tests"


def test_the_table_counts_and_shows_what_was_not_noticed_and_why() -> None:
    found = [
        Mutant("rnn.loss", "log_softmax", "killed", ""),
        Mutant("rnn.loss", "log_softmax", "survived", "- a\n+ b"),
        Mutant("rnn.loss", "cross_entropy", "survived", "- a | c\n+ b"),
        Mutant("data.batches", "ShuffledWindows.next", "not run", ""),
    ]
    said = page(
        found, [{"module": "rnn.loss", "function": "log_softmax", "change": "- a\n+ b", "why": "as fast"}]
    )
    assert "| `rnn.loss` | 3 | 1 | 0 | 1 | 1 | 0 |" in said
    assert "| `data.batches` | 1 | 0 | 0 | 0 | 0 | 1 |" in said
    assert "| **all** | 4 | 1 | 0 | 1 | 1 | 1 |" in said
    assert "| `rnn.loss.log_softmax` | `- a`<br>`+ b` | as fast |" in said
    assert "| `rnn.loss.cross_entropy` | `- a \\| c`<br>`+ b` | **open** |" in said


def test_some_modules_alone_are_shown_and_do_not_take_the_place_of_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = [Mutant("rnn.loss", "cross_entropy", "killed", ""), Mutant("data.batches", "next", "not run", "")]
    monkeypatch.setattr(mutation, "RESULT", tmp_path / "mutation.md")
    tell(found, [], ["rnn.loss"])
    said = capsys.readouterr().out
    assert "| `rnn.loss` | 1 | 1 |" in said
    assert "data.batches" not in said
    assert not list(tmp_path.iterdir())
    tell(found, [], [])
    assert "| **all** | 2 | 1 |" in (tmp_path / "mutation.md").read_text()


@pytest.mark.slow
def test_the_tests_that_are_asked_are_those_of_the_mathematics_and_the_text() -> None:
    def names(only: list[str]) -> set[str]:
        return {file.name for file in TESTS.rglob("test_*.py") if asked(file, only)}

    assert {"test_loss.py", "test_cells.py", "test_batches.py", "test_corpus.py"} <= names([])
    assert not {"test_peers.py", "test_trainer.py", "test_pipeline.py", Path(__file__).name} & names([])
    assert names(["rnn.optimizers"]) == {"test_clipping.py", "test_optimizers.py"}
    assert names(["data.sources"]) == {"test_bytes_to_text.py", "test_corpus.py", "test_sources.py"}
