"""Figures of a real run; diagnostics and figures are optional."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tests.checkpointed_job import only_run
from tests.commands import RunCli
from tests.figure_checks import clipped_texts

pytestmark = pytest.mark.slow
DIAGNOSTICS = {"gradient_through_time.json", "neurons.html"}
DIAGNOSTIC_FIGURES = {"gradient_through_time", "singular_values"}


def train(run_cli: RunCli, root: Path, *arguments: str) -> Path:
    small = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=5", "workers=1", "length=20")
    paths = (f"output_dir={root}", f"data_dir={root / 'data'}", "tracking=none")
    run_cli("train", *small, *arguments, *paths).check()
    return only_run(root)


@pytest.mark.parametrize(("model", "diagnostics"), [("rnn", False), ("lstm", True)])
def test_figures_have_titles_and_fit(
    model: str, diagnostics: bool, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are black and white, and not empty."""
    clipped: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    save = Figure.savefig

    def recording_savefig(figure: Figure, file: Any, **how: Any) -> None:
        stem = Path(file).name.split(".")[1]  # of .STEM.png.PID.tmp
        clipped[stem] = clipped_texts(figure)
        titles[stem] = figure.get_suptitle() or figure.axes[0].get_title()
        save(figure, file, **how)

    monkeypatch.setattr(Figure, "savefig", recording_savefig)
    folder = train(run_cli, tmp_path, f"model={model}", f"diagnostics={diagnostics}")
    assert clipped.keys() == {file.stem for file in (folder / "figures").iterdir()}
    assert clipped.keys() & DIAGNOSTIC_FIGURES == (DIAGNOSTIC_FIGURES if diagnostics else set())
    assert len(clipped.keys() - DIAGNOSTIC_FIGURES) >= 5
    assert not {name: texts for name, texts in clipped.items() if texts}
    assert all(titles.values()), titles
    for name in DIAGNOSTIC_FIGURES & clipped.keys():
        picture = imread(folder / "figures" / f"{name}.png")[:, :, :3]
        assert picture.shape[0] >= 400
        assert picture.shape[1] >= 600
        assert float(abs(picture - picture.mean(axis=2, keepdims=True)).max()) < 0.02, "black and white"
        assert 0.01 < float((picture[:, :, 0] < 0.5).mean()) < 0.5, "not empty"


def test_diagnostics_and_figures_can_be_omitted(run_cli: RunCli, tmp_path: Path) -> None:
    """The weights are the same without diagnostics."""
    with_diagnostics = train(run_cli, tmp_path / "a", "model=lstm", "figures=false")
    without = train(run_cli, tmp_path / "b", "model=lstm", "figures=false", "diagnostics=false")
    names = {"model", "samples", "scores.json", "evaluation.json"}
    for folder in (with_diagnostics, without):
        found = {path.name for path in folder.iterdir()}
        assert names <= found
        assert "figures" not in found
        assert found & DIAGNOSTICS == (DIAGNOSTICS if folder == with_diagnostics else set())
        events = (folder / "events.jsonl").read_text(encoding="utf-8")
        assert ("diagnostics/" in events) == ("neurons.html" in events) == (folder == with_diagnostics)
    weights = [folder / "model" / "weights.safetensors" for folder in (with_diagnostics, without)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
