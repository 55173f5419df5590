"""Figures of a real run have titles and no clipped texts."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.commands import RunCli
from tests.figure_checks import clipped_texts

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", ["rnn", "lstm"])
def test_figures_have_titles_and_fit(
    model: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clipped: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    save = Figure.savefig

    def recording_savefig(figure: Figure, file: Any, **how: Any) -> None:
        clipped[Path(file).name] = clipped_texts(figure)
        titles[Path(file).name] = figure.get_suptitle() or figure.axes[0].get_title()
        save(figure, file, **how)

    monkeypatch.setattr(Figure, "savefig", recording_savefig)
    small = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=5", "workers=1", "length=40")
    path_overrides = (f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}", "tracking=none")
    run_cli("train", f"model={model}", *small, *path_overrides).check()
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    assert len(clipped) == len(list((folder / "figures").iterdir())) >= 7
    assert not {name: texts for name, texts in clipped.items() if texts}
    assert all(titles.values()), titles


def test_figures_false_omits_only_figures(command: RunCli, tmp_path: Path) -> None:
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={tmp_path / 'data'}", "tracking=none")
    small = ("hidden=8", "max_epochs=0.02", "eval_every=10", "workers=1", "length=20", "figures=false")
    command("src.train", *small, *path_overrides).check()
    (folder,) = (tmp_path / "runs").iterdir()
    assert not (folder / "figures").exists()
    expected = {
        "model",
        "samples",
        "scores.json",
        "evaluation.json",
        "neurons.html",
        "gradient_through_time.json",
    }
    assert expected <= {path.name for path in folder.iterdir()}
