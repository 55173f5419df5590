"""conf/ and src/config/schema.py agree: every choice composes, every key is explained and typed."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import attrs
import pytest
import yaml
from omegaconf import OmegaConf

from src.cli.help import defaults
from src.common.errors import UserError
from src.common.files import CONF, PROJECT
from src.config import schema
from src.config.constraints import (
    TARGET_GROUPS,
    Constraint,
    class_name,
    evolve,
    fields_of,
    instantiate,
    iter_leaves,
)
from src.config.schema import flatten
from src.pipeline import differs_from_default
from src.rnn.optimizers import Optimizer
from src.rnn.schedules import Schedule
from tests.commands import RunCli
from tests.compose import PRIMARY, compose_raw, composed

CHOICES = [
    (primary, group, str(file.relative_to(CONF / group).with_suffix("")))
    for primary in PRIMARY
    for group, _ in defaults(CONF / f"{primary}.yaml")
    for file in sorted((CONF / group).rglob("*.yaml"))
]
CONFIG_FILES = [file for file in sorted(CONF.rglob("*.yaml")) if "hydra" not in file.relative_to(CONF).parts]
HYDRA_KEYS = {"defaults", "hydra"}  # keys of Hydra in a config file


def read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def own_keys(file: Path) -> set[str]:
    return read(file).keys() - HYDRA_KEYS


def test_every_primary_config_has_a_schema() -> None:
    assert set(PRIMARY) == schema.COMMANDS.keys()


@pytest.mark.parametrize(("primary", "group", "choice"), CHOICES)
def test_every_choice_composes_and_validates(primary: str, group: str, choice: str) -> None:
    config = composed(primary, f"{group}={choice}")
    assert type(config) is schema.COMMANDS[primary]
    if group in ("variant", "experiment"):  # they override keys of the root
        return
    chosen = getattr(config, group)
    if group in TARGET_GROUPS:  # a class of the project or of a module named like the choice
        assert choice in (class_name(chosen["_target_"]), chosen["_target_"].partition(".")[0])
    else:
        assert chosen.name.partition(".")[0] == choice  # a cell can be a dotted path


@pytest.mark.parametrize("primary", PRIMARY)
def test_every_schema_key_has_a_default_in_conf(primary: str) -> None:
    defined = own_keys(CONF / f"{primary}.yaml") | own_keys(CONF / "common.yaml")
    known = fields_of(schema.COMMANDS[primary])
    assert defined == {
        name for name, f in known.items() if not attrs.has(f.type) and name not in TARGET_GROUPS
    }
    assert not OmegaConf.missing_keys(compose_raw(primary))


@pytest.mark.parametrize("group", TARGET_GROUPS)
def test_every_target_class_has_config_file(group: str) -> None:
    files = {}
    for file in (CONF / group).glob("*.yaml"):
        spec: Any = OmegaConf.to_container(OmegaConf.load(file))  # OmegaConf reads 1e-8 as a number
        files[type(instantiate(group, spec))] = file
        known = inspect.signature(resolve_name(spec["_target_"])).parameters
        assert spec.keys() - {"_target_"} == known.keys(), file
    assert files.keys() == set({"optimizer": Optimizer, "schedule": Schedule}[group].__subclasses__())


def test_no_key_is_defined_twice() -> None:
    for primary in PRIMARY:
        assert not own_keys(CONF / f"{primary}.yaml") & own_keys(CONF / "common.yaml")


def test_null_is_accepted_for_optional_keys() -> None:
    optional = [key for key, allowed, _ in iter_leaves(composed("config")) if allowed and allowed.none_means]
    assert {"clip", "max_seconds", "patience", "data.path", "tracking.uri"} <= set(optional)
    config = composed("config", *(f"{key}=null" for key in optional))
    assert {value for key, _, value in iter_leaves(config) if key in optional} == {None}


def test_command_line_composes_same_config(run_cli: RunCli) -> None:
    expected = composed("config", "hidden=64", "optimizer=sgd")
    received: list[Any] = []
    result = run_cli("train", "hidden=64", "optimizer=sgd", body=received.append)
    assert (result.rc, result.out, result.err) == (0, "", "")
    assert received == [expected]


def test_experiment_overrides_root_keys() -> None:
    config = composed("config", "experiment=tinyshakespeare")
    assert (config.hidden, config.model.name, config.batching, config.max_seconds) == (
        256,
        "gru",
        "contiguous",
        132,
    )
    assert composed("config", "experiment=tinyshakespeare", "hidden=64").hidden == 64


@pytest.mark.parametrize("file", CONFIG_FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_key_has_a_comment_above_it(file: Path) -> None:
    """The first line of a file explains the choice; inherited keys are explained in their own file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    bases = [file.parent / f"{base}.yaml" for base in read(file).get("defaults", []) if isinstance(base, str)]
    inherited = {key for base in bases if base.exists() for key in own_keys(base)}
    for key in own_keys(file) - inherited - {"name", "_target_"}:
        (at,) = [k for k, line in enumerate(lines) if re.match(rf"{key}:", line)]
        assert re.match(r"# \S", lines[at - 1]), f"{key} in {file} has no comment above it"


@pytest.mark.parametrize("primary", PRIMARY)
def test_every_key_rejects_values_outside_its_range(primary: str) -> None:
    config = composed(primary)
    for key, allowed, value in iter_leaves(config):
        if allowed is None:  # key of an optimizer or a schedule
            continue
        assert allowed.is_satisfied_by(value), key
        for wrong in invalid_values(allowed):
            with pytest.raises(UserError, match=re.escape(key)) as error:
                evolve(config, {key: wrong})
            assert "\n" not in str(error.value)
            assert "expected" in str(error.value)
            assert str(wrong) in str(error.value) or wrong is None


def invalid_values(allowed: Constraint) -> list[Any]:
    """Return values just outside the range, and non-finite values."""
    wrong: list[Any] = [] if allowed.none_means else [None]
    if allowed.choices:
        wrong.append("something else")
    if allowed.kind in ("an integer", "a number"):
        wrong += [float("nan"), float("inf"), -float("inf")]
    wrong += [allowed.ge - 1] if allowed.ge is not None else []
    wrong += [allowed.gt] if allowed.gt is not None else []
    wrong += [allowed.le + 1] if allowed.le is not None else []
    wrong += [allowed.lt] if allowed.lt is not None else []
    return wrong


INVALID_OPTIMIZERS = [
    ({"beta1": 1}, "optimizer.beta1: expected a number >= 0 and < 1, got 1"),
    ({"beta1": "much"}, "optimizer.beta1: expected a number >= 0 and < 1, got much"),
    ({"eps": None}, "optimizer.eps: expected a number >= 1e-30, got None"),
    ({"weight_decay": float("nan")}, "optimizer.weight_decay: expected a number >= 0, got nan"),
    ({"beta3": 1}, "optimizer.beta3: expected a key of adam (beta1, beta2, eps, weight_decay), got beta3"),
    ({"_target_": "os.system"}, "optimizer._target_: expected the dotted path of a subclass of "),
    ({"_target_": "nowhere.Adam"}, "optimizer._target_: expected the dotted path of a subclass of "),
    ({"_target_": "src.rnn.schedules.Constant"}, "optimizer._target_: expected the dotted path of a "),
    ({"_target_": None}, "optimizer._target_: expected the dotted path of a subclass of "),
    ({"_target_": "src.rnn.optimizers.Optimizer"}, "optimizer._target_: expected the dotted path of a "),
]


@pytest.mark.parametrize(("changes", "line"), INVALID_OPTIMIZERS, ids=lambda value: str(value)[:40])
def test_invalid_optimizer_is_rejected_in_one_line(changes: dict[str, Any], line: str) -> None:
    config = composed("config")
    with pytest.raises(UserError) as error:
        attrs.evolve(config, optimizer={**config.optimizer, **changes})
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_missing_hyperparameter_is_reported() -> None:
    with pytest.raises(
        UserError, match=r"^schedule\.warmup_steps: expected a value \(required by .*constant\), got none$"
    ):
        instantiate("schedule", {"_target_": "src.rnn.schedules.Constant"})


def test_config_is_frozen() -> None:
    config = composed("config")
    for part, key in ((config, "workers"), (config.data, "path"), (config.model, "layers")):
        with pytest.raises(attrs.exceptions.FrozenAttributeError):
            setattr(part, key, 1)


def test_logged_config_round_trips() -> None:
    config = composed("config", "optimizer=sgd", "schedule=plateau", "clip=null")
    config = attrs.evolve(config, prompt="a ${b} ???")
    assert schema.Config.from_dict(json.loads(json.dumps(attrs.asdict(config))), "resume") == config


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda logged: [logged], "x: configuration: expected keys with values, got ["),
        (
            lambda logged: {**logged, "new": 1},
            "x: configuration: expected the keys of this version, got new, which",
        ),
        (lambda logged: {**logged, "data": 3}, "x: data: expected keys with values, got 3"),
        (
            lambda logged: {**logged, "data": {}},
            "x: data: expected the keys of this version, got no collapse_spaces",
        ),
        (lambda logged: {**logged, "hidden": "x"}, "x: hidden: expected an integer >= 1, got x"),
        (lambda logged: {**logged, "hidden": True}, "x: hidden: expected an integer >= 1, got True"),
        (lambda logged: {**logged, "optimizer": "adam"}, "x: optimizer: expected _target_ and the arguments"),
        (lambda logged: {**logged, "objectives": [[]]}, "x: objectives: expected one or more of"),
    ],
)
def test_invalid_logged_config_is_rejected(change: Callable[[Any], Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        schema.Config.from_dict(change(attrs.asdict(composed("config"))), "x")
    assert str(error.value).startswith(line)


def test_constraint_bounds() -> None:
    constraint = Constraint("a number", ge=0, lt=1)
    assert [constraint.is_satisfied_by(x) for x in (-1e-9, 0, 0.5, 1)] == [False, True, True, False]
    assert constraint.describe() == "a number >= 0 and < 1"
    clip = Constraint("a number", gt=0, none_means="no clipping")
    assert [clip.is_satisfied_by(x) for x in (None, 0, 1e-300)] == [True, False, True]
    assert clip.describe() == "a number > 0, or null for no clipping"
    assert Constraint("a text", choices=("a", "b")).describe() == "one of a, b"


def test_invalid_split_is_rejected() -> None:
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
        with pytest.raises(UserError, match=r"data\.split: expected three shares .*, got "):
            evolve(config, {"data.split": split})


def test_flat_names_are_command_line_names() -> None:
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
    assert not [key for key, value in flat.items() if attrs.has(type(value)) or isinstance(value, dict)]


def test_flat_values_contain_no_machine_path(tmp_path: Path) -> None:
    path_overrides = [f"output_dir={tmp_path}/o", f"data_dir={tmp_path}/d", f"data.path={tmp_path}/t"]
    flat = flatten(composed("config", *path_overrides, f"tracking.uri=sqlite:///{tmp_path}/m.db"))
    for key, value in flat.items():
        assert str(tmp_path) not in str(value), key
        assert str(PROJECT) not in str(value), key
    assert flat == flatten(composed("config"))  # paths do not change the flat config


def test_non_semantic_keys_do_not_change_flat_config() -> None:
    run_cli = {
        "tracking": ["tracking=none", "tracking.experiment=another", "tracking.run_name=mine"],
        "output_dir": ["output_dir=o"],
        "data_dir": ["data_dir=d"],
        "skip_finished": ["skip_finished=true"],
        "objectives": ["objectives=[throughput/chars_per_second]"],
        "register": ["register=true"],
        "resume": ["resume=latest"],
        "rerun": ["rerun=latest"],
        "figures": ["figures=false"],
    }
    assert run_cli.keys() == set(schema.NON_SEMANTIC_KEYS)
    plain = flatten(composed("config"))
    for override in [override for overrides in run_cli.values() for override in overrides]:
        config = composed("config", override)
        assert config != composed("config"), override
        assert flatten(config) == plain, override


def test_differs_from_default_ignores_paths() -> None:
    assert not differs_from_default(
        ["output_dir=o", "data_dir=d", "tracking.uri=sqlite:///m.db", "register=true"]
    )
    changes = ["hidden=64", "data.path=other.txt", "resume=latest", "optimizer.beta1=0.8"]
    assert differs_from_default([*changes, "output_dir=o"]) == changes
