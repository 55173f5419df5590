"""conf/ and src/config/schema.py fit one another: every choice composes, every key is explained and typed."""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from omegaconf import OmegaConf

from src.cli.help import defaults
from src.common.errors import InputError
from src.common.paths import CONF, PROJECT
from src.config import schema
from src.config.constraints import Allowed
from src.config.validation import check, flatten, walk
from src.experiments.analyses.sonnets import differs_from_default
from tests.compose import PRIMARY, as_hydra_has_it, composed

CHOICES = [
    (primary, group, str(file.relative_to(CONF / group).with_suffix("")))
    for primary in PRIMARY
    for group, _ in defaults(CONF / f"{primary}.yaml")
    for file in sorted((CONF / group).rglob("*.yaml"))
]
OUR_FILES = [file for file in sorted(CONF.rglob("*.yaml")) if "hydra" not in file.relative_to(CONF).parts]
HYDRAS = {"defaults", "hydra"}  # keys of a file that are Hydra's own


def read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def own_keys(file: Path) -> set[str]:
    return read(file).keys() - HYDRAS


# --- what composes ---


def test_every_primary_config_has_a_schema() -> None:
    assert set(PRIMARY) == schema.COMMANDS.keys()


@pytest.mark.parametrize(("primary", "group", "choice"), CHOICES)
def test_every_choice_of_every_group_composes_and_passes(primary: str, group: str, choice: str) -> None:
    config = composed(primary, f"{group}={choice}")
    check(config)
    assert type(config) is schema.COMMANDS[primary]
    if group in ("variant", "experiment"):  # they override keys of the root and have none of their own
        return
    chosen = getattr(config, group)
    assert chosen.name == choice
    kinds = {"optimizer": schema.OPTIMIZERS, "schedule": schema.SCHEDULES}.get(group)
    assert kinds is None or type(chosen) is kinds[choice]


@pytest.mark.parametrize("primary", PRIMARY)
def test_every_schema_key_has_a_default_in_conf(primary: str) -> None:
    given = own_keys(CONF / f"{primary}.yaml") | own_keys(CONF / "common.yaml")
    hints = get_type_hints(schema.COMMANDS[primary])
    assert given == {name for name, kind in hints.items() if not is_dataclass(kind)}
    assert not OmegaConf.missing_keys(as_hydra_has_it(primary))


@pytest.mark.parametrize(
    ("folder", "kinds"), [("optimizer", schema.OPTIMIZERS), ("schedule", schema.SCHEDULES)]
)
def test_every_key_of_a_choice_has_its_default_in_the_choices_file(
    folder: str, kinds: dict[str, type]
) -> None:
    assert {file.stem for file in (CONF / folder).glob("*.yaml")} == kinds.keys()
    for choice, kind in kinds.items():
        assert own_keys(CONF / folder / f"{choice}.yaml") == {f.name for f in fields(kind)}


def test_no_key_stands_in_two_places() -> None:
    for primary in PRIMARY:
        assert not own_keys(CONF / f"{primary}.yaml") & own_keys(CONF / "common.yaml")


def test_null_composes_where_it_means_something() -> None:
    optional = [key for key, allowed, _ in walk(composed("config")) if allowed.optional]
    assert {"clip", "max_seconds", "patience", "data.path", "tracking.uri"} <= set(optional)
    config = composed("config", *(f"{key}=null" for key in optional))
    check(config)
    assert {value for key, _, value in walk(config) if key in optional} == {None}


def test_the_command_line_composes_the_same_config(typed: Callable[..., Any]) -> None:
    expected = composed("config", "hidden=64", "optimizer=sgd")
    arrived: list[Any] = []
    ended = typed("train", "hidden=64", "optimizer=sgd", body=arrived.append)
    assert (ended.rc, ended.out, ended.err) == (0, "", "")
    assert arrived == [expected]


def test_an_experiment_overrides_the_root() -> None:
    config = composed("config", "experiment=tinyshakespeare")
    assert (config.hidden, config.model.name, config.batching, config.max_seconds) == (
        256,
        "gru",
        "contiguous",
        132,
    )
    assert composed("config", "experiment=tinyshakespeare", "hidden=64").hidden == 64


# --- what is explained ---


@pytest.mark.parametrize("file", OUR_FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_key_has_a_comment_above_it(file: Path) -> None:
    """The name of a choice is explained by the file's first line; what a choice takes over from its
    neighbour (`defaults: [smallshake]`) is explained there."""
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    bases = [file.parent / f"{base}.yaml" for base in read(file).get("defaults", []) if isinstance(base, str)]
    elsewhere = {key for base in bases if base.exists() for key in own_keys(base)}
    for key in own_keys(file) - elsewhere - {"name"}:
        (at,) = [k for k, line in enumerate(lines) if re.match(rf"{key}:", line)]
        assert re.match(r"# \S", lines[at - 1]), f"{key} in {file} has no comment above it"


# --- what is checked ---


@pytest.mark.parametrize("primary", PRIMARY)
def test_every_key_refuses_what_lies_outside_and_says_what_is_allowed(primary: str) -> None:
    config = composed(primary)
    for key, allowed, value in walk(config):
        assert allowed.accepts(value), key
        for wrong in outside(allowed):
            with pytest.raises(InputError, match=re.escape(key)) as refused:
                check(with_value(deepcopy(config), key, wrong))
            assert "\n" not in str(refused.value)
            assert "expected" in str(refused.value)
            assert str(wrong) in str(refused.value) or wrong is None


def outside(allowed: Allowed) -> list[Any]:
    """Values just outside the range, and those that are no number."""
    wrong: list[Any] = [] if allowed.optional else [None]
    if allowed.choices:
        wrong.append("something else")
    if allowed.kind in ("an integer", "a number"):
        wrong += [float("nan"), float("inf"), -float("inf")]
    wrong += [allowed.least - 1] if allowed.least is not None else []
    wrong += [allowed.above] if allowed.above is not None else []
    wrong += [allowed.most + 1] if allowed.most is not None else []
    wrong += [allowed.below] if allowed.below is not None else []
    return wrong


def with_value(config: Any, key: str, value: Any) -> Any:
    *groups, name = key.split(".")
    part = config
    for group in groups:
        part = getattr(part, group)
    setattr(part, name, value)
    return config


def test_the_ends_of_a_range_are_as_described() -> None:
    half = Allowed("a number", least=0, below=1)
    assert [half.accepts(x) for x in (-1e-9, 0, 0.5, 1)] == [False, True, True, False]
    assert half.describe() == "a number >= 0 and < 1"
    clip = Allowed("a number", above=0, optional="no clipping")
    assert [clip.accepts(x) for x in (None, 0, 1e-300)] == [True, False, True]
    assert clip.describe() == "a number > 0, or null for no clipping"
    assert Allowed("a text", choices=("a", "b")).describe() == "one of a, b"


def test_shares_that_are_no_split() -> None:
    config = composed("config")
    nan = float("nan")
    for split in (
        [1, 0, 0],
        [0, 0.5, 0.5],
        [0.8, 0.3, -0.1],
        [0.5, 0.4, 0.2],
        [0.9, 0.1],
        [nan, 0.5, 0.5],
        [],
    ):
        config.data.split = split
        with pytest.raises(InputError, match=r"data\.split: expected three shares .*, got "):
            check(config)


# --- what a tracker is told ---


def test_flat_names_are_those_that_a_person_types() -> None:
    flat = flatten(composed("config", "clip=null", "hidden=64"))
    assert flat["hidden"] == 64
    assert flat["clip"] is None
    assert flat["optimizer"] == "adam"
    assert flat["optimizer.beta1"] == 0.9
    assert flat["schedule"] == "cosine"
    assert flat["model"] == "rnn"
    assert flat["data"] == "smallshake"
    assert flat["data.split"] == [0.8, 0.1, 0.1]
    root = {"hidden", "seq_len", "lr", "clip", "patience", "temperature", "seed", "batch_size", "max_epochs"}
    assert root <= flat.keys()
    assert not [key for key in flat if key.endswith(".name")]
    assert not [key for key, value in flat.items() if is_dataclass(value) or isinstance(value, dict)]


def test_flat_values_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    places = [f"output_dir={tmp_path}/o", f"data_dir={tmp_path}/d", f"data.path={tmp_path}/t"]
    flat = flatten(composed("config", *places, f"tracking.uri=sqlite:///{tmp_path}/m.db"))
    for key, value in flat.items():
        assert str(tmp_path) not in str(value), key
        assert str(PROJECT) not in str(value), key
    assert flat == flatten(composed("config"))  # where a run was made does not change what it was


def test_what_is_done_with_a_run_does_not_change_what_it_was() -> None:
    typed = {
        "tracking": ["tracking=none", "tracking.experiment=another", "tracking.run_name=mine"],
        "output_dir": ["output_dir=o"],
        "data_dir": ["data_dir=d"],
        "skip_finished": ["skip_finished=true"],
        "objectives": ["objectives=[throughput/chars_per_second]"],
        "register": ["register=true"],
        "resume": ["resume=latest"],
        "rerun": ["rerun=latest"],
    }
    assert typed.keys() == set(schema.ASIDE)
    plain = flatten(composed("config"))
    for override in [override for overrides in typed.values() for override in overrides]:
        config = composed("config", override)
        assert config != composed("config"), override
        assert flatten(config) == plain, override


def test_the_claims_are_of_the_defaults_wherever_they_are_put() -> None:
    assert not differs_from_default(
        ["output_dir=o", "data_dir=d", "tracking.uri=sqlite:///m.db", "register=true"]
    )
    changes = ["hidden=64", "data.path=other.txt", "resume=latest", "optimizer.beta1=0.8"]
    assert differs_from_default([*changes, "output_dir=o"]) == changes
