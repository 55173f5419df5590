"""Command line: invalid input, verbatim prompts and paths.

Invalid input gives an exit status, one error line and no files.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.cli.help import COMMANDS, NO_SWEEP_COMMANDS
from src.cli.main import quote_override
from tests.commands import PROJECT, RunCli, run_process


@pytest.fixture
def path_overrides(tmp_path: Path) -> list[str]:
    return [f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}"]


# command, override, and texts in the error line: key, allowed values, received value
INVALID_OVERRIDES = [
    ("train", "hidden=0", "hidden", "an integer >= 1", "0"),
    ("train", "hidden=abc", "hidden", "an integer >= 1", "abc"),
    ("train", "hidden=1.5", "hidden", "an integer >= 1", "1.5"),
    ("train", "lr=nan", "lr", "a number > 0", "nan"),
    ("train", "clip=-5", "clip", "a number > 0, or null for no clipping", "-5"),
    ("train", "clip_mode=both", "clip_mode", "one of norm, value", "both"),
    ("train", "data.split=[0.5,0.5]", "data.split", "three shares", "[0.5, 0.5]"),
    ("train", "hiden=64", "hiden", "did you mean hidden=64?"),
    ("train", "optimiser=adam", "optimiser", "did you mean optimizer=adam?"),
    ("train", "modle=lstm", "modle", "did you mean model=lstm?"),
    ("train", "layers=2", "layers", "did you mean model.layers=2?"),
    ("train", "--hidden=32", "--hidden=32", "did you mean hidden=32?"),
    ("train", "--max-epochs=2", "--max-epochs=2", "did you mean max_epochs=2?"),
    ("sample", "--temprature=1", "did you mean temperature=1?"),
    ("train", "optimizer.beta3=0.5", "optimizer.beta3", "did you mean optimizer.beta"),
    ("train", "qqqqqq=1", "qqqqqq", "--help=all lists them"),
    ("train", "+foo=1", "+foo", "--help=all lists them"),
    ("train", "optimizer.momentum=0.5", "optimizer.momentum", "key of the chosen optimizer"),
    ("train", "data=nowhere", "data", "one of file, shakespeare, smallshake, tinyshakespeare", "nowhere"),
    ("train", "model=[transformer]", "model", "one of gru, lstm, rnn", "transformer"),
    ("train", "hidden=1,2", "hidden", "add --multirun", "1,2"),
    ("train", "hidden", "hidden", "key=value"),
    ("train", "hidden=5}", "hidden", "key=value", "5}"),
    ("train", "~hidden", "hidden"),
    ("train", "optimizer.beta1=2", "optimizer.beta1", "a number >= 0 and < 1", "2"),
    ("train", "optimizer._target_=src.rnn.optimizers.SGD", "optimizer.beta1", "a key of sgd"),
    ("train", "optimizer._target_=os.system", "optimizer._target_", "a subclass of", "os.system"),
    ("train", "+optimizer.beta3=2", "optimizer.beta3", "a key of adam"),
    ("train", "~optimizer.eps", "optimizer.eps", "a value", "none"),
    ("train", "prompt=???", "prompt"),
    ("train", "hidden=${nothing}", "hidden", "nothing"),
    ("train", "--nonsense", "--nonsense"),
    ("evaluate", "hidden=64", "hidden", "--help=all lists them"),
    ("sample", "data=file", "data", "a known key"),
    ("evaluate", "temperatures=[]", "temperatures", "one or more numbers >= 0, each once, in brackets", "[]"),
    ("evaluate", "temperatures=[1,-1]", "temperatures", "one or more numbers >= 0", "[1.0, -1.0]"),
    ("sample", "tracking=wandb", "tracking", "one of mlflow, none", "wandb"),
    ("ui", "port=99999", "port", "an integer >= 1 and <= 65535", "99999"),
]


@pytest.mark.parametrize(
    ("command", "argument", "texts"), [(c, a, texts) for c, a, *texts in INVALID_OVERRIDES]
)
def test_invalid_override_is_rejected_in_one_line(
    command: str, argument: str, texts: list[str], run_cli: RunCli, path_overrides: list[str], tmp_path: Path
) -> None:
    result = run_cli(command, argument, *path_overrides, body=lambda config: print("the command ran"))
    assert result.out == ""
    line = result.error_line
    assert line.startswith(f"{command}: ")
    assert [text for text in texts if text not in line] == []
    assert not list(tmp_path.iterdir()), "no files after invalid input"


def test_option_with_separate_value_suggests_override(run_cli: RunCli) -> None:
    line = run_cli("train", "--hidden", "32", "lr=1").error_line
    assert line == "train: expected key=value, got --hidden: did you mean hidden=32?"
    assert "did you mean hidden=VALUE?" in run_cli("train", "--hidden", "lr=1").error_line


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_started_as_file_names_module(command: str, tmp_path: Path) -> None:
    """Without the imports of site: a fraction of the time."""
    file = str(PROJECT / "src" / f"{command}.py")
    line = run_process([sys.executable, "-S", "-E", file, "hidden=3", "prompt=a b"], cwd=tmp_path).error_line
    assert line.endswith(f"type: python -m src.{command} hidden=3 'prompt=a b'")


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["prompt=???", "hidden=${nothing}", "hidden=abc"])
def test_error_line_is_same_under_debugger(
    argument: str, run_cli: RunCli, path_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tracer or OC_CAUSE, OmegaConf chains inner errors to its own."""
    monkeypatch.delenv("OC_CAUSE", raising=False)
    plain = run_cli("train", argument, *path_overrides)
    monkeypatch.setenv("OC_CAUSE", "1")
    traced = run_cli("train", argument, *path_overrides)
    assert (traced.rc, traced.error_line) == (plain.rc, plain.error_line)


@pytest.mark.parametrize("name", NO_SWEEP_COMMANDS)
def test_command_without_sweeps_rejects_multirun(
    name: str, run_cli: RunCli, path_overrides: list[str], tmp_path: Path
) -> None:
    line = run_cli(name, "--multirun", *path_overrides).error_line
    assert line == f"{name}: expected a single run, got --multirun: remove it"
    assert not list(tmp_path.iterdir())


def test_preprocess_ignores_keys_of_training(run_cli: RunCli, tmp_path: Path) -> None:
    files = []
    for more in ([], ["hidden=8", "model=gru", "seed=9", "prompt=QQ"]):
        data = tmp_path / str(len(more))
        run_cli("preprocess", f"data_dir={data}", f"output_dir={tmp_path / 'o'}", *more).check()
        files.append({f.relative_to(data): f.read_bytes() for f in data.rglob("*") if f.is_file()})
    assert files[0] == files[1] != {}


@pytest.mark.slow
def test_sweep_reports_invalid_job_and_runs_others(run_cli: RunCli, path_overrides: list[str]) -> None:
    seen: list[int] = []
    arguments = (*path_overrides, "--multirun", "hidden=8,0,16")  # the option in any position
    result = run_cli("preprocess", *arguments, body=lambda c: seen.append(c.hidden))
    assert seen == [8, 16]
    assert result.rc != 0
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1] == "preprocess: hidden: expected an integer >= 1, got 0"


def received_config(run_cli: RunCli, name: str, *arguments: str) -> Any:
    """Return the config that the command's main function receives."""
    configs: list[Any] = []
    result = run_cli(name, *arguments, body=configs.append)
    assert (result.rc, result.err) == (0, "")
    (config,) = configs
    return config


def test_null_and_number_formats(run_cli: RunCli) -> None:
    values = {"clip": None, "lr": 1e-3, "hidden": 1000, "max_epochs": 0.5, "min_delta": 0.0}
    texts = ("clip=null", "lr=1e-3", "hidden=1_000", "max_epochs=.5", "min_delta=0")
    config = received_config(run_cli, "train", *texts)
    assert {key: getattr(config, key) for key in values} == values


PROMPTS = [
    "it's a \"quote\" in 'quotes' and C:\\temp\\",
    "{curly} [square] (round) key=value # no comment *?~!@%^&|<>;`",
    "${hidden} \\${hidden} $${x} ${",
    "  spaces at both ends,\ntwo lines\tand a tab\n",
    "naïve Übermut 🎭",
    "",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_is_passed_verbatim(prompt: str, run_cli: RunCli) -> None:
    assert received_config(run_cli, "sample", f"prompt={prompt}").prompt == prompt


def test_path_is_passed_verbatim(run_cli: RunCli) -> None:
    path = "/tmp/my texts, 2 (old): {draft} 'x' = y.txt"
    config = received_config(run_cli, "train", "data=file", f"data.path={path}", f"output_dir={path}")
    assert (config.data.path, config.output_dir) == (path, path)


UNUSUAL_TEXT = st.one_of(
    st.sampled_from("ab '\"\\$,:={}[]()#~+\n\t?"), st.characters(exclude_categories=["Cs"])
)
IN_QUOTES = r"""'([^'\\]|\\.)*'|"([^"\\]|\\.)*\""""  # quotes of Hydra's grammar


@settings(deadline=None, max_examples=40)
@given(st.text(UNUSUAL_TEXT))
@example("\\\\\\")
@example('\\"')
@example('"Hold," said he, "enough!"')
@example("${oc.env:HOME}")
@example("\\${x}\\")
@example("'tis")
@example("\\\n")
def test_quote_override_preserves_any_prompt(prompt: str) -> None:
    """Exceptions: `null`, `???` (OmegaConf's missing value) and quoted text."""
    assume(prompt not in ("null", "???"))
    assume(not re.fullmatch(IN_QUOTES, prompt, re.DOTALL))
    (override,) = OverridesParser.create().parse_overrides([quote_override(f"prompt={prompt}")])
    assert override.key_or_group == "prompt"
    assert OmegaConf.create({"prompt": override.value()})["prompt"] == prompt


def test_quotes_typed_for_hydra_are_removed(run_cli: RunCli) -> None:
    config = received_config(run_cli, "sample", "prompt='a, b'", 'output_dir="c: d"')
    assert (config.prompt, config.output_dir) == ("a, b", "c: d")
