"""Bad input, prompts to the letter, and help, through the command line.

Bad input ends with an exit status, one line that says what is wrong, and nothing on disk.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.cli.help import NO_SWEEP_COMMANDS
from src.cli.main import quote_override
from tests.conftest import run_command

Command = Callable[..., Any]


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return [f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}"]


# --- bad input ---

# command, what is typed, the key that is named, what is said to be allowed, what is said to have come
REFUSED = [
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
    ("sample", "data=file", "data", "a known key", "data"),  # a group of other commands
    ("evaluate", "temperatures=[]", "temperatures", "one or more numbers >= 0, each once, in brackets", "[]"),
    ("evaluate", "temperatures=[1,-1]", "temperatures", "one or more numbers >= 0", "[1.0, -1.0]"),
    ("sample", "length=-1", "length", "an integer >= 0", "-1"),
    ("sample", "promt=hello", "promt", "did you mean prompt?", "promt"),
    ("sample", "tracking=wandb", "tracking", "one of mlflow, none", "wandb"),
    ("ui", "port=99999", "port", "an integer >= 1 and <= 65535", "99999"),
]


@pytest.mark.parametrize(
    ("command", "argument", "key", "allowed", "came"), REFUSED, ids=[f"{r[0]} {r[1]}" for r in REFUSED]
)
def test_bad_input_is_one_line(
    command: str,
    argument: str,
    key: str,
    allowed: str,
    came: str,
    typed: Command,
    places: list[str],
    tmp_path: Path,
) -> None:
    ended = typed(command, argument, *places, body=lambda config: print("the command ran"))
    assert ended.out == ""
    assert ended.rc != 0
    line = ended.complaint
    assert line.startswith(f"{command}: ")
    assert key in line
    assert allowed in line
    assert came in line
    assert not list(tmp_path.iterdir()), "nothing is written for bad input"


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["prompt=???", "hidden=${nothing}", "hidden=abc"])
def test_under_a_debugger_bad_input_is_the_same_line(
    argument: str, typed: Command, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OmegaConf finds a tracer, or OC_CAUSE, it hangs inner errors onto its own."""
    monkeypatch.delenv("OC_CAUSE", raising=False)
    plain = typed("train", argument, *places)
    monkeypatch.setenv("OC_CAUSE", "1")
    traced = typed("train", argument, *places)
    assert (traced.rc, traced.complaint) == (plain.rc, plain.complaint)


# What shows only when the text is read.
REFUSED_TEXTS = [
    (["data=file", "data.path=/no/such/text.txt"], "data.path", "a readable text file", "/no/such/text.txt"),
    (["data=file"], "data.path", "a file to read", "null"),
    (["data.encoding=klingon"], "data.encoding", "a text encoding such as utf-8", "klingon"),
    (["prompt=7 straßen"], "prompt", "abcdefghijklmnopqrstuvwxyz", "'ß'"),
    (["seq_len=20000"], "seq_len=20000", "one window", "95728"),
]


@pytest.mark.parametrize(
    ("arguments", "key", "allowed", "came"), REFUSED_TEXTS, ids=[" ".join(r[0]) for r in REFUSED_TEXTS]
)
def test_a_text_that_does_not_fit_is_one_line(
    arguments: list[str], key: str, allowed: str, came: str, typed: Command, places: list[str], tmp_path: Path
) -> None:
    ended = typed("train", *arguments, *places)
    assert ended.rc != 0
    assert ended.out == ""
    assert not (tmp_path / "outputs").exists(), "no run begins"
    assert [key in ended.err, allowed in ended.err, came in ended.err] == [True, True, True]
    assert ended.complaint.startswith("train: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "at least"),
        (b"a" * 5000, "at least 2 distinct characters"),
        (b"\xff\xfe caf\xe9 " * 300, "byte 0xff at position 0"),
    ],
)
def test_a_text_that_cannot_be_learned_is_one_line(
    text: bytes, said: str, typed: Command, places: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_bytes(text)
    ended = typed("train", "data=file", f"data.path={tmp_path / 'text.txt'}", *places)
    assert ended.rc != 0
    assert said in ended.err
    assert not (tmp_path / "outputs").exists()
    assert ended.complaint.startswith("train: data")


@pytest.mark.parametrize(("command", "run"), [("evaluate", "latest"), ("sample", "../../etc")])
def test_a_run_that_there_is_not(
    command: str, run: str, typed: Command, places: list[str], tmp_path: Path
) -> None:
    ended = typed(command, f"run={run}", "tracking=none", *places)
    assert ended.rc != 0
    assert ended.complaint.startswith(f"{command}: run: expected ")
    assert str(tmp_path) in ended.complaint
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("place", ["output_dir", "data_dir"])
def test_a_place_that_cannot_be_written_to(place: str, typed: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    both = {"output_dir": tmp_path / "o", "data_dir": tmp_path / "d", place: tmp_path / "file" / "below"}
    ended = typed("train", "tracking=none", *(f"{key}={value}" for key, value in both.items()))
    assert ended.rc != 0
    last = ended.err.splitlines()[-1]
    assert last.startswith("train: expected a writable path, got ")
    assert str(tmp_path / "file") in last
    assert "Traceback" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "argument", "said"),
    [
        ("train", "hidden=0", "hidden: expected an integer >= 1, got 0"),
        ("train", "hiden=3", "hiden: expected a known key, got hiden: did you mean hidden?"),
        ("sample", "temperature=-1", "temperature: expected a number >= 0, got -1.0"),
    ],
)
def test_bad_input_in_a_process_of_its_own(
    name: str, argument: str, said: str, places: list[str], tmp_path: Path
) -> None:
    ended = run_command(f"src.{name}", argument, *places)
    assert (ended.rc, ended.out, ended.err) == (2, "", f"{name}: {said}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NO_SWEEP_COMMANDS)
def test_what_serves_or_runs_everything_is_not_swept(
    name: str, command: Command, places: list[str], tmp_path: Path
) -> None:
    ended = command(f"src.{name}", "--multirun", *places)
    said = "expected a single run, got --multirun: remove it"
    assert (ended.rc, ended.out, ended.err) == (2, "", f"{name}: {said}\n")
    assert not list(tmp_path.iterdir())


def test_other_keys_change_nothing_of_what_preprocess_makes(typed: Command, tmp_path: Path) -> None:
    """As its page says."""
    for folder, more in (("plain", []), ("more", ["hidden=8", "model=gru", "seed=9", "prompt=QQ"])):
        ended = typed("preprocess", f"data_dir={tmp_path / folder}", f"output_dir={tmp_path / 'o'}", *more)
        assert ended.rc == 0, ended.err
    made = [
        {f.relative_to(tmp_path / name): f.read_bytes() for f in (tmp_path / name).rglob("*") if f.is_file()}
        for name in ("plain", "more")
    ]
    assert made[0] == made[1]
    assert made[0]


@pytest.mark.slow
def test_the_bad_job_of_a_sweep_is_told_and_the_others_run(
    typed: Command, places: list[str], tmp_path: Path
) -> None:
    seen: list[int] = []
    ended = typed("preprocess", "--multirun", "hidden=8,0,16", *places, body=lambda c: seen.append(c.hidden))
    assert seen == [8, 16]
    assert ended.rc != 0
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1] == "preprocess: hidden: expected an integer >= 1, got 0"


# --- good input ---


def arrived(typed: Command, name: str, *arguments: str) -> Any:
    """The config that a command's body would get."""
    configs: list[Any] = []
    ended = typed(name, *arguments, body=configs.append)
    assert (ended.rc, ended.err) == (0, "")
    (config,) = configs
    return config


def test_null_switches_off_and_numbers_come_in_every_spelling(typed: Command) -> None:
    off = ("clip=null", "max_seconds=null", "patience=null")
    config = arrived(typed, "train", *off, "lr=1e-3", "hidden=1_000", "max_epochs=.5", "min_delta=0")
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
def test_a_prompt_arrives_verbatim(prompt: str, typed: Command) -> None:
    assert arrived(typed, "sample", f"prompt={prompt}").prompt == prompt


def test_a_path_arrives_verbatim(typed: Command) -> None:
    path = "/tmp/my texts, 2 (old): {draft} 'x' = y.txt"
    config = arrived(typed, "train", "data=file", f"data.path={path}", f"output_dir={path}")
    assert (config.data.path, config.output_dir) == (path, path)


ODD = st.one_of(st.sampled_from("ab '\"\\$,:={}[]()#~+\n\t?"), st.characters(exclude_categories=["Cs"]))
IN_QUOTES = r"""'([^'\\]|\\.)*'|"([^"\\]|\\.)*\""""  # as a person types them for Hydra


@settings(deadline=None, max_examples=150)
@given(st.text(ODD))
@example("\\\\\\")
@example('\\"')
@example("${oc.env:HOME}")
@example("\\${x}\\")
@example("'tis")
@example("\\\n")
def test_any_prompt_passes_through_hydras_grammar(prompt: str) -> None:
    """But `null`, `???` (OmegaConf's mark of a missing value) and what stands in quotes already."""
    assume(prompt not in ("null", "???"))
    assume(not re.fullmatch(IN_QUOTES, prompt, re.DOTALL))
    (override,) = OverridesParser.create().parse_overrides([quote_override(f"prompt={prompt}")])
    assert override.key_or_group == "prompt"
    assert OmegaConf.create({"prompt": override.value()})["prompt"] == prompt


def test_quotes_that_a_person_typed_for_hydra_are_hydras(typed: Command) -> None:
    config = arrived(typed, "sample", "prompt='a, b'", 'output_dir="c: d"')
    assert (config.prompt, config.output_dir) == ("a, b", "c: d")


@pytest.mark.slow
def test_the_flag_of_a_sweep_may_stand_anywhere(tmp_path: Path, command: Command) -> None:
    places = (f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    ended = command("src.preprocess", *places, "--multirun", "seq_len=10,20")
    assert (ended.rc, ended.out.count("train")) == (0, 2)
