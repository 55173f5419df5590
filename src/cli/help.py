"""The `--help` pages, built from the comments in conf/: each key, its default and the reason for it.

`--help` fits one screen and explains the keys that a beginner changes; `--help=all` explains all of them.
This module does not import Hydra or any other slow package, so that the page appears at once.
"""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from src.common.errors import UserError
from src.common.files import CONF

WIDTH = 80
KEY = 17  # column of the explanations
HIDDEN_KEYS = ("name", "_target_")  # a choice of the group sets them
FLAGS = ("-h", "--help", "--help=all")


BEGINNER_KEYS = ["hidden", "seq_len", "lr", "clip", "max_epochs", "data"]
SERVER_KEYS = ["host", "port"]
# Command: purpose, examples, and the keys of the short page.
COMMANDS: dict[str, tuple[str, list[str], list[str]]] = {
    "preprocess": (
        "prepare a corpus: token file, vocabulary and manifest",
        ["", "data=shakespeare", "data=file data.path=book.txt data.split=[0.8,0.1,0.1]"],
        ["data", "seq_len", "data_dir"],
    ),
    "train": (
        "train a network, evaluate it and generate samples, in one tracked run",
        [
            "hidden=128 clip=5",
            "--multirun hidden=64,128,256 clip=1,5",
            "data=file data.path=book.txt max_seconds=120",
        ],
        BEGINNER_KEYS,
    ),
    "evaluate": (
        "score a trained model, baselines and generated texts on the test split",
        ["run=best", "run=RUN_ID temperatures=[0.5,1] length=5000"],
        ["run", "temperatures", "length", "seed"],
    ),
    "sample": (
        "generate text with a trained model; print it and log it to its run",
        [
            'run=best prompt="shall i" temperature=0.7 length=400',
            "run=champion top_p=0.9 num_samples=8",
            "temperature=0 length=100",
        ],
        ["run", "prompt", "temperature", "length", "num_samples"],
    ),
    "export": (
        "write the weights of a trained model as a PyTorch state dict",
        ["run=best format=torch", "run=RUN_ID path=char_rnn.safetensors"],
        ["run", "format", "path"],
    ),
    "ui": ("serve the MLflow UI on this machine", ["", "port=5001"], SERVER_KEYS),
    "server": (
        "run an MLflow server with a database, for the jobs of several machines",
        [
            "",
            "backend_store_uri=postgresql://USER:PASSWORD@HOST/NAME",
            "host=10.0.0.5 allowed_hosts=lab.example:5000",
        ],
        [*SERVER_KEYS, "backend_store_uri", "allowed_hosts"],
    ),
    "play": (
        "serve a page that shows text of two trained runs side by side",
        ["", "left=best right=RUN_ID port=8081"],
        ["left", "right", *SERVER_KEYS],
    ),
    "reproduce": (
        "run the experiments, check every claim, write a page of results",
        ["", "experiments=[clipping]", "preset=full warandpeace=warpeace_input.txt"],
        ["preset", "experiments", "warandpeace"],
    ),
    "pipeline": (
        "run the four stages as one tracked run, then check the claims",
        ["", "max_epochs=1", "data=file data.path=book.txt"],
        BEGINNER_KEYS,
    ),
}
# Commands that serve until they are stopped, or that start sweeps themselves: they accept no --multirun.
NO_SWEEP_COMMANDS = ("ui", "server", "play", "reproduce")
# Keys that a command uses, where it shares its schema with other commands.
VISIBLE_KEYS = {"preprocess": ("seq_len", "output_dir", "data_dir", "data")}


def requested_help(arguments: Sequence[str]) -> bool | None:
    """Look for a help option on a command line.

    Args:
        arguments: The command line without the module.

    Returns:
        True for `--help=all`, False for `--help` or `-h`, None without either.

    Raises:
        UserError: `--help=` has another value.
    """
    for argument in arguments:
        if argument.startswith("--help=") and argument not in FLAGS:
            raise UserError(f"expected --help or --help=all, got {argument}")
    found = set(FLAGS) & set(arguments)
    return "--help=all" in found if found else None


def render_help(command: str, config_name: str, all_keys: bool) -> str:
    """Build the help page of a command.

    Args:
        command: Name of the command.
        config_name: Its config, conf/<config_name>.yaml.
        all_keys: Whether to explain every key; False: one screen with the keys that a beginner changes.

    Returns:
        The page, at most WIDTH columns wide.
    """
    purpose, examples, first_keys = COMMANDS[command]
    lines = [f"{command}: {purpose}", "", f"usage: python -m src.{command} [key=value ...] [options]", ""]
    lines += [f"  python -m src.{command} {example}".rstrip() for example in examples]
    lines += ["", *(render_all(command, config_name) if all_keys else render_first(first_keys, config_name))]
    lines += ["", "Options"]
    if not all_keys:
        lines += format_entry("--help=all", "all keys, with the reasons for their defaults, by group")
    if command not in NO_SWEEP_COMMANDS:
        lines += format_entry("--multirun", "sweep: key=a,b,c runs every combination; -m for short")
    lines += format_entry("--cfg job", "print the composed config and exit")
    if all_keys:
        lines += format_entry("--hydra-help", "print the help of Hydra itself: launchers and sweepers")
        lines += format_entry("-sc install=bash", "TAB completion; type:")
        lines += [" " * (KEY + 2) + f'eval "$(python -m src.{command} -sc install=bash)"']
    return "\n".join(lines)


def render_first(keys: list[str], config_name: str) -> list[str]:
    """Format some keys with the first sentence of each explanation.

    Args:
        keys: Keys outside of groups, and possibly the group `data`.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        Lines of the page, beginning with a heading.
    """
    entries = {key: (value, comment) for key, value, comment in config_entries(config_name)}
    lines = ["Keys"]
    for key in keys:
        if key == "data":
            names = ", ".join(sorted(file.stem for file in (CONF / key).glob("*.yaml")))
            chosen = dict(defaults(CONF / f"{config_name}.yaml"))[key]
            lines += format_entry(f"{key}={chosen}", f"Corpus: {names} (your text: data.path=FILE).")
        else:
            value, comment = entries[key]
            lines += format_entry(f"{key}={value}", re.split(r"(?<=\.) (?=[A-Z0-9])", comment)[0])
    return lines


def render_all(command: str, config_name: str) -> list[str]:
    """Format every key, group of keys and choice of a group that a command uses.

    Args:
        command: Name of the command; VISIBLE_KEYS limits the keys of some commands.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        Lines of the page, beginning with a heading.
    """
    reads = VISIBLE_KEYS.get(command)
    lines = ["Keys (--cfg job prints all of them with their values)"]
    for key, value, comment in config_entries(config_name):
        if reads is None or key in reads:
            lines += format_entry(f"{key}={value}", comment)
    lines += ["", "Groups: group=choice selects a choice, group.key=value changes one of its keys"]
    groups = defaults(CONF / f"{config_name}.yaml")
    for group, chosen in groups:
        if (reads is None or group in reads) and (choices := render_group(group, chosen)):
            lines += ["", *choices]
    if reads is not None:
        lines += ["", "Other keys of train are accepted and ignored."]
    elif any(group == "experiment" for group, _ in groups):
        lines += ["", "Sweeps (with --multirun): the launcher runs the jobs, the sweeper chooses them"]
        for group in ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler"):
            lines += ["", *render_group(group, "null")]
    return lines


def config_entries(config_name: str) -> list[tuple[str, str, str]]:
    """Return every key of a command outside of groups.

    Args:
        config_name: Name of the command's config, a file of conf/.

    Returns:
        Key, default as text and comment of each key; those of conf/common.yaml last.
    """
    return parse_entries(CONF / f"{config_name}.yaml") + parse_entries(CONF / "common.yaml")


def render_group(group: str, chosen: str) -> list[str]:
    """Format the choices of a group and the keys of the default choice.

    Args:
        group: Name of the group, a folder of conf/.
        chosen: The default choice; `null` for none, whose keys are not formatted.

    Returns:
        Lines of the page.
    """
    lines = []
    for file in sorted((CONF / group).glob("*.yaml")):
        mark = "  (default)" if file.stem == chosen else ""
        lines += format_entry(f"{group}={file.stem}", first_comment(file) + mark)
    if chosen == "null":
        return lines
    for key, value, comment in parse_entries(CONF / group / f"{chosen}.yaml"):
        lines += format_entry(f"  {group}.{key}={value}", comment)
    return lines


def format_entry(head: str, comment: str) -> list[str]:
    """Format a key and its explanation in two columns.

    Args:
        head: The key with its default, `hidden=128`, or an option.
        comment: The explanation, one paragraph of any length.

    Returns:
        Lines of at most WIDTH columns; the explanation begins on the next line where `head` is too long.
    """
    body = textwrap.wrap(comment, WIDTH - KEY - 2, break_on_hyphens=False)
    if len(head) < KEY:
        return [f"  {head:<{KEY}}{body[0]}"] + [" " * (KEY + 2) + line for line in body[1:]]
    return [f"  {head}"] + [" " * (KEY + 2) + line for line in body]


def parse_entries(file: Path) -> list[tuple[str, str, str]]:
    """Return every top-level key of a config file that has a comment above it.

    Args:
        file: A file of conf/.

    Returns:
        Key, default as text and comment of each key, in the order of the file.
    """
    entries, comment = [], []
    for line in file.read_text(encoding="utf-8").splitlines():
        pair = re.match(r"(\w+): *(\S.*)$", line)
        if line.startswith("# "):
            comment.append(line[2:])
        elif pair and comment:
            default = re.sub(r"\$\{project:(\w+)\}", r"\1/", pair.group(2))
            entries.append((pair.group(1), default, " ".join(comment)))
            comment = []
        else:
            comment = []
    first = first_comment(file)
    return [(k, v, c.removeprefix(first).strip() or c) for k, v, c in entries if k not in HIDDEN_KEYS]


def first_comment(file: Path) -> str:
    """Return the comment on a file's first line: the description of a choice, in whole sentences.

    Args:
        file: A file of conf/.

    Returns:
        The comment without `# `; a line with `# @package` is skipped.

    Raises:
        StopIteration: The file has no other line.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if not line.startswith("# @package")).removeprefix("# ")


def defaults(file: Path) -> list[tuple[str, str]]:
    """Return the groups of a config's defaults list.

    Args:
        file: A file of conf/.

    Returns:
        Group and default choice (`null` for none), in the order of the list.
    """
    return re.findall(r"^  - (\w+): (\w+)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
