"""conf/ and src/config/schema.py agree: every choice composes, every key is explained and typed."""

import inspect
import json
import re
from collections.abc import Iterator
from itertools import zip_longest
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
from src.config.schema import flatten, semantic_overrides
from src.rnn.optimizers import Optimizer
from src.rnn.schedules import Schedule
from tests.commands import RunCli
from tests.compose import PRIMARY, composed

CONFIG_FILES = [file for file in sorted(CONF.rglob("*.yaml")) if "hydra" not in file.relative_to(CONF).parts]
HYDRA_KEYS = {"defaults", "hydra"}  # keys of Hydra in a config file


def read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def own_keys(file: Path) -> set[str]:
    return read(file).keys() - HYDRA_KEYS


def combinations() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield combinations of choices that contain every choice of every group."""
    for primary in PRIMARY:
        choices = {
            group: sorted(str(file.relative_to(CONF / group))[:-5] for file in (CONF / group).rglob("*.yaml"))
            for group, _ in defaults(CONF / f"{primary}.yaml")
        }
        for group in ("variant", "experiment"):  # they override keys of the root
            yield from ((primary, {group: choice}) for choice in choices.pop(group, []))
        for row in zip_longest(*choices.values()):
            yield primary, {group: choice for group, choice in zip(choices, row, strict=True) if choice}


@pytest.mark.parametrize(("primary", "choices"), list(combinations()), ids=str)
def test_every_choice_composes_and_validates(primary: str, choices: dict[str, str]) -> None:
    config = composed(primary, *(f"{group}={choice}" for group, choice in choices.items()))
    assert type(config) is schema.COMMANDS[primary]
    for group in choices.keys() - {"variant", "experiment"}:
        chosen = getattr(config, group)
        if group in TARGET_GROUPS:  # a class of the project or of a module named like the choice
            path = chosen["_target_"]
            assert choices[group] in (class_name(path), path.partition(".")[0])
        else:
            assert chosen.name.partition(".")[0] == choices[group]  # a cell can be a dotted path


@pytest.mark.parametrize("primary", PRIMARY)
def test_every_schema_key_has_one_default_in_conf(primary: str) -> None:
    defined = own_keys(CONF / f"{primary}.yaml") | own_keys(CONF / "common.yaml")
    known = fields_of(schema.COMMANDS[primary])
    groups = {name for name, f in known.items() if attrs.has(f.type) or name in TARGET_GROUPS}
    assert defined - groups == known.keys() - groups
    assert not own_keys(CONF / f"{primary}.yaml") & own_keys(CONF / "common.yaml"), "defined twice"


@pytest.mark.parametrize("group", TARGET_GROUPS)
def test_every_target_class_has_config_file(group: str) -> None:
    files = {}
    for file in (CONF / group).glob("*.yaml"):
        spec: Any = OmegaConf.to_container(OmegaConf.load(file))  # OmegaConf reads 1e-8 as a number
        files[type(instantiate(group, spec))] = file
        known = inspect.signature(resolve_name(spec["_target_"])).parameters
        assert spec.keys() - {"_target_"} == known.keys(), file
    assert files.keys() == set({"optimizer": Optimizer, "schedule": Schedule}[group].__subclasses__())


def test_null_is_accepted_for_optional_keys() -> None:
    optional = [key for key, allowed, _ in iter_leaves(composed("config")) if allowed and allowed.none_means]
    assert {"clip", "max_seconds", "patience", "data.path", "tracking.uri"} <= set(optional)
    config = composed("config", *(f"{key}=null" for key in optional))
    assert {value for key, _, value in iter_leaves(config) if key in optional} == {None}


def test_command_line_composes_same_config(run_cli: RunCli) -> None:
    received: list[Any] = []
    result = run_cli("train", "data=file", "optimizer=adam", body=received.append)
    assert (result.rc, result.out, result.err) == (0, "", "")
    assert received == [composed("config", "data=file", "optimizer=adam")]


def test_experiment_overrides_root_keys() -> None:
    config = composed("config", "experiment=tinyshakespeare", "seq_len=7")
    assert (config.hidden, config.seq_len, config.model.name, config.max_seconds) == (256, 7, "gru", 132)


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
        ends = [end for end in (allowed.ge, allowed.le) if end is not None and not allowed.is_list]
        assert all(allowed.is_satisfied_by(valid) for valid in [value, *ends]), key
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
    ends = ((allowed.ge, -1), (allowed.gt, 0), (allowed.le, 1), (allowed.lt, 0))
    return wrong + [end + offset for end, offset in ends if end is not None]


SUBCLASS = "optimizer._target_: expected the dotted path of a subclass of "
INVALID_OPTIMIZERS = [
    ("beta1", 1, "optimizer.beta1: expected a number >= 0 and < 1, got 1"),
    ("beta1", "much", "optimizer.beta1: expected a number >= 0 and < 1, got much"),
    ("eps", None, "optimizer.eps: expected a number >= 1e-30, got None"),
    ("weight_decay", float("nan"), "optimizer.weight_decay: expected a number >= 0, got nan"),
    ("beta3", 1, "optimizer.beta3: expected a key of adam (beta1, beta2, eps, weight_decay), got beta3"),
    ("_target_", "nowhere.Adam", SUBCLASS),
    ("_target_", "src.rnn.schedules.Constant", SUBCLASS),
    ("_target_", "src.rnn.optimizers.Optimizer", SUBCLASS),
    ("_target_", None, SUBCLASS),
]


@pytest.mark.parametrize(("key", "value", "line"), INVALID_OPTIMIZERS)
def test_invalid_optimizer_is_rejected_in_one_line(key: str, value: object, line: str) -> None:
    config = composed("config")
    with pytest.raises(UserError, match=f"^{re.escape(line)}.*\\Z"):
        attrs.evolve(config, optimizer={**config.optimizer, key: value})


def test_config_is_frozen() -> None:
    config = composed("config")
    for part, key in ((config, "workers"), (config.data, "path"), (config.model, "layers")):
        with pytest.raises(attrs.exceptions.FrozenAttributeError):
            setattr(part, key, 1)


def test_logged_config_round_trips() -> None:
    config = attrs.evolve(composed("config"), clip=None, prompt="a ${b} ???")
    assert schema.Config.from_dict(json.loads(json.dumps(attrs.asdict(config))), "resume") == config


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([("a", 1)], "configuration: expected keys with values, got ["),
        ({"new": 1}, "configuration: expected the keys of this version, got new, which"),
        ({"data": 3}, "data: expected keys with values, got 3"),
        ({"data": {}}, "data: expected the keys of this version, got no collapse_spaces"),
        ({"hidden": "x"}, "hidden: expected an integer >= 1, got x"),
        ({"hidden": True}, "hidden: expected an integer >= 1, got True"),
        ({"optimizer": "adam"}, "optimizer: expected _target_ and the arguments"),
        ({"objectives": [[]]}, "objectives: expected one or more of"),
    ],
)
def test_invalid_logged_config_is_rejected(changes: Any, line: str) -> None:
    logged = attrs.asdict(composed("config")) | changes if isinstance(changes, dict) else changes
    with pytest.raises(UserError, match=rf"^x: {re.escape(line)}"):
        schema.Config.from_dict(logged, "x")


@pytest.mark.parametrize(
    "split",
    [[1, 0, 0], [0, 0.5, 0.5], [0.8, 0.3, -0.1], [0.5, 0.4, 0.2], [0.9, 0.1], [float("nan"), 0.5, 0.5], []],
)
def test_invalid_split_is_rejected(split: list[float]) -> None:
    with pytest.raises(UserError, match=r"data\.split: expected three shares .*, got "):
        evolve(composed("config"), {"data.split": split})


def test_flat_names_are_command_line_names() -> None:
    flat = flatten(evolve(composed("config"), {"clip": None, "hidden": 64}))
    expected = {
        "hidden": 64, "clip": None, "optimizer": "adam", "optimizer.beta1": 0.9, "schedule": "cosine",
        "model": "rnn", "data": "smallshake", "data.split": [0.8, 0.1, 0.1],
    }  # fmt: skip
    assert expected.items() <= flat.items()
    root = {"hidden", "seq_len", "lr", "clip", "patience", "temperature", "seed", "batch_size", "max_epochs"}
    assert root <= flat.keys()
    assert not [key for key in flat if key.endswith(".name")]
    assert not [key for key, value in flat.items() if attrs.has(type(value)) or isinstance(value, dict)]


# Values of keys that do not change the result of a run.
NON_SEMANTIC = {
    "tracking.name": "none", "tracking.experiment": "another", "tracking.run_name": "mine",
    "tracking.uri": "sqlite:////m.db", "output_dir": "/o", "data_dir": "/d", "data.path": "/t",
    "skip_finished": True, "objectives": ["throughput/chars_per_second"], "register": True,
    "resume": "latest", "rerun": "latest", "figures": False,
}  # fmt: skip


def test_non_semantic_keys_do_not_change_flat_config() -> None:
    assert {key.partition(".")[0] for key in NON_SEMANTIC} == {*schema.NON_SEMANTIC_KEYS, "data"}
    plain = composed("config")
    assert str(PROJECT) not in str(flatten(plain))
    for key, value in NON_SEMANTIC.items():
        config = evolve(plain, {key: value})
        assert config != plain, key
        assert flatten(config) == flatten(plain), key


def test_semantic_overrides_ignore_paths() -> None:
    assert not semantic_overrides(
        ["output_dir=o", "data_dir=d", "tracking.uri=sqlite:///m.db", "register=true"]
    )
    changes = ["hidden=64", "data.path=other.txt", "resume=latest", "optimizer.beta1=0.8"]
    assert semantic_overrides([*changes, "output_dir=o"]) == changes
