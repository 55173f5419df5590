"""Command line: invalid input, verbatim prompts and paths.

Invalid input gives an exit status, one error line and no files.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.cli.help import NO_SWEEP_COMMANDS
from src.cli.main import quote_override
from tests.commands import RunCli


@pytest.fixture
def path_overrides(tmp_path: Path) -> list[str]:
    return [f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}"]


# command, override, key, allowed values, received value
INVALID_OVERRIDES = [
    ("train", "hidden=0", "hidden", "an integer >= 1", "0"),
    ("train", "hidden=abc", "hidden", "an integer >= 1", "abc"),
    ("train", "hidden=1.5", "hidden", "an integer >= 1", "1.5"),
    ("train", "lr=-1", "lr", "a number > 0", "-1"),
    ("train", "lr=nan", "lr", "a number > 0", "nan"),
    ("train", "temperature=-1", "temperature", "a number >= 0", "-1"),
    ("train", "seq_len=0", "seq_len", "an integer >= 1", "0"),
    ("train", "clip=-5", "clip", "a number > 0, or null for no clipping", "-5"),
    ("train", "patience=0", "patience", "an integer >= 1, or null for no early stopping", "0"),
    ("train", "clip_mode=both", "clip_mode", "one of norm, value", "both"),
    ("train", "data.split=[0.5,0.5]", "data.split", "three shares", "[0.5, 0.5]"),
    ("train", "hiden=64", "hiden", "did you mean hidden?", "hiden"),
    ("train", "optimizer.beta3=0.5", "optimizer.beta3", "did you mean optimizer.beta", "optimizer.beta3"),
    ("train", "qqqqqq=1", "qqqqqq", "--help=all lists them", "qqqqqq"),
    ("train", "+foo=1", "foo", "--help=all lists them", "+foo"),
    ("train", "optimizer.momentum=0.5", "optimizer.momentum", "key of the chosen optimizer", "momentum"),
    ("train", "data=nowhere", "data", "one of file, shakespeare, smallshake, tinyshakespeare", "nowhere"),
    ("train", "model=transformer", "model", "one of ", "transformer"),
    ("train", "model=[transformer]", "model", "one of gru, lstm, rnn", "transformer"),
    ("train", "hidden=1,2", "hidden", "add --multirun", "1,2"),
    ("train", "hidden", "hidden", "key=value", "hidden"),
    ("train", "hidden=5}", "hidden", "key=value", "5}"),
    ("train", "~hidden", "hidden", "", ""),
    ("train", "optimizer.beta1=2", "optimizer.beta1", "a number >= 0 and < 1", "2"),
    ("train", "optimizer._target_=src.rnn.optimizers.SGD", "optimizer.beta1", "a key of sgd", "beta1"),
    ("train", "optimizer._target_=os.system", "optimizer._target_", "a subclass of", "os.system"),
    ("train", "optimizer=lion", "optimizer", "one of adagrad, adam, ", "lion"),
    ("train", "+optimizer.beta3=2", "optimizer.beta3", "a key of adam", "beta3"),
    ("train", "~optimizer.eps", "optimizer.eps", "a value", "none"),
    ("train", "prompt=null", "prompt", "a text", "null"),
    ("train", "prompt=???", "prompt", "", ""),
    ("train", "hidden=${nothing}", "hidden", "nothing", ""),
    ("train", "--nonsense", "--nonsense", "", ""),
    ("evaluate", "hidden=64", "hidden", "--help=all lists them", "hidden"),
    ("sample", "data=file", "data", "a known key", "data"),
    ("evaluate", "temperatures=[]", "temperatures", "one or more numbers >= 0, each once, in brackets", "[]"),
    ("evaluate", "temperatures=[1,-1]", "temperatures", "one or more numbers >= 0", "[1.0, -1.0]"),
    ("sample", "length=-1", "length", "an integer >= 0", "-1"),
    ("sample", "promt=hello", "promt", "did you mean prompt?", "promt"),
    ("sample", "tracking=wandb", "tracking", "one of mlflow, none", "wandb"),
    ("ui", "port=99999", "port", "an integer >= 1 and <= 65535", "99999"),
]


@pytest.mark.parametrize(
    ("command", "argument", "key", "allowed", "got"),
    INVALID_OVERRIDES,
    ids=[f"{r[0]} {r[1]}" for r in INVALID_OVERRIDES],
)
def test_invalid_override_is_rejected_in_one_line(
    command: str,
    argument: str,
    key: str,
    allowed: str,
    got: str,
    run_cli: RunCli,
    path_overrides: list[str],
    tmp_path: Path,
) -> None:
    result = run_cli(command, argument, *path_overrides, body=lambda config: print("the command ran"))
    assert result.out == ""
    line = result.error_line
    assert line.startswith(f"{command}: ")
    assert key in line
    assert allowed in line
    assert got in line
    assert not list(tmp_path.iterdir()), "no files after invalid input"


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
    name: str, command: RunCli, path_overrides: list[str], tmp_path: Path
) -> None:
    result = command(f"src.{name}", "--multirun", *path_overrides)
    expected = "expected a single run, got --multirun: remove it"
    assert (result.rc, result.out, result.err) == (2, "", f"{name}: {expected}\n")
    assert not list(tmp_path.iterdir())


def test_preprocess_ignores_keys_of_training(run_cli: RunCli, tmp_path: Path) -> None:
    for folder, more in (("plain", []), ("more", ["hidden=8", "model=gru", "seed=9", "prompt=QQ"])):
        run_cli("preprocess", f"data_dir={tmp_path / folder}", f"output_dir={tmp_path / 'o'}", *more).check()
    files = [
        {f.relative_to(tmp_path / name): f.read_bytes() for f in (tmp_path / name).rglob("*") if f.is_file()}
        for name in ("plain", "more")
    ]
    assert files[0] == files[1]
    assert files[0]


@pytest.mark.slow
def test_sweep_reports_invalid_job_and_runs_others(
    run_cli: RunCli, path_overrides: list[str], tmp_path: Path
) -> None:
    seen: list[int] = []
    result = run_cli(
        "preprocess", "--multirun", "hidden=8,0,16", *path_overrides, body=lambda c: seen.append(c.hidden)
    )
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
    off = ("clip=null", "max_seconds=null", "patience=null")
    config = received_config(
        run_cli, "train", *off, "lr=1e-3", "hidden=1_000", "max_epochs=.5", "min_delta=0"
    )
    assert (config.clip, config.max_seconds, config.patience) == (None, None, None)
    assert (config.lr, config.hidden, config.max_epochs, config.min_delta) == (1e-3, 1000, 0.5, 0.0)


PROMPTS = [
    "To be, or not to be: that is the question",
    "'tis better",
    '"Hold," said he, "enough!"',
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


@settings(deadline=None, max_examples=150)
@given(st.text(UNUSUAL_TEXT))
@example("\\\\\\")
@example('\\"')
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


@pytest.mark.slow
def test_multirun_flag_in_any_position(tmp_path: Path, command: RunCli) -> None:
    path_overrides = (f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    result = command("src.preprocess", *path_overrides, "--multirun", "seq_len=10,20")
    assert (result.rc, result.out.count("train")) == (0, 2)
