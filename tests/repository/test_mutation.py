"""The report of `make mutation`. (The mutation tests themselves take half an hour.)"""

from pathlib import Path

import pytest

from benchmarks import mutation
from benchmarks.mutation import PROJECT, Mutant, is_selected, page, report

TESTS = PROJECT / "tests"


def test_mutation_table_counts_and_explanations() -> None:
    found = [
        Mutant("rnn.loss", "log_softmax", "killed", ""),
        Mutant("rnn.loss", "log_softmax", "survived", "- a\n+ b"),
        Mutant("rnn.loss", "cross_entropy", "survived", "- a | c\n+ b"),
        Mutant("data.batches", "ShuffledWindows.next", "not run", ""),
    ]
    explained = {"module": "rnn.loss", "function": "log_softmax", "change": "- a\n+ b", "why": "as fast"}
    expected = {
        "| `rnn.loss` | 3 | 1 | 0 | 1 | 1 | 0 |",
        "| `data.batches` | 1 | 0 | 0 | 0 | 0 | 1 |",
        "| **all** | 4 | 1 | 0 | 1 | 1 | 1 |",
        "| `rnn.loss.log_softmax` | `- a`<br>`+ b` | as fast |",
        "| `rnn.loss.cross_entropy` | `- a \\| c`<br>`+ b` | **open** |",
    }
    assert expected <= set(page(found, [explained]).splitlines())


def test_partial_mutation_report_is_only_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = [Mutant("rnn.loss", "cross_entropy", "killed", ""), Mutant("data.batches", "next", "not run", "")]
    monkeypatch.setattr(mutation, "RESULT", tmp_path / "mutation.md")
    report(found, [], ["rnn.loss"])
    text = capsys.readouterr().out
    assert "| `rnn.loss` | 1 | 1 |" in text
    assert "data.batches" not in text
    assert not list(tmp_path.iterdir())
    report(found, [], [])
    assert "| **all** | 2 | 1 |" in (tmp_path / "mutation.md").read_text()


@pytest.mark.slow
def test_selected_tests_of_mutation() -> None:
    def names(*only: str) -> set[str]:
        return {file.name for file in TESTS.rglob("test_*.py") if is_selected(file, list(only))}

    every = names()
    assert {"test_loss.py", "test_cells.py", "test_batches.py", "test_corpus.py"} <= every
    assert not {"test_peers.py", "test_trainer.py", "test_pipeline.py", Path(__file__).name} & every
    assert names("rnn.optimizers") == {"test_optimizers.py", "test_public_names.py"}
    assert names("data.sources") == {"test_corpus.py", "test_sources.py"}
