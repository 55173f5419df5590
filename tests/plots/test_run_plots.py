"""The figures of a run, drawn by a real training: each has a title, and nothing is cut off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.commands import Ended
from tests.figure_checks import cut_off


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "lstm"])
def test_every_figure_of_a_run_has_a_title_and_nothing_is_cut_off(
    model: str, typed: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    save = Figure.savefig

    def watched(figure: Figure, file: Any, **how: Any) -> None:
        drawn[Path(file).name] = cut_off(figure)
        titles[Path(file).name] = figure.get_suptitle() or figure.axes[0].get_title()
        save(figure, file, **how)

    monkeypatch.setattr(Figure, "savefig", watched)
    small = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=5", "workers=1", "length=40")
    path_overrides = (f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}", "tracking=none")
    ended = typed("train", f"model={model}", *small, *path_overrides)
    assert ended.rc == 0, ended.err
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    assert len(drawn) == len(list((folder / "figures").iterdir())) >= 7
    assert not {name: lost for name, lost in drawn.items() if lost}
    assert all(titles.values()), titles


@pytest.mark.slow
def test_without_figures_a_run_has_everything_else(command: Callable[..., Ended], tmp_path: Path) -> None:
    places = (f"output_dir={tmp_path}", f"data_dir={tmp_path / 'data'}", "tracking=none")
    small = ("hidden=8", "max_epochs=0.02", "eval_every=10", "workers=1", "length=20", "figures=false")
    ended = command("src.train", *small, *places)
    assert ended.rc == 0, ended.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert not (folder / "figures").exists()
    left = {
        "model",
        "samples",
        "scores.json",
        "evaluation.json",
        "neurons.html",
        "gradient_through_time.json",
    }
    assert left <= {path.name for path in folder.iterdir()}
