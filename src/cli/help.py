"""The `--help` page, built from the comments in conf/: each key, its default and the reason for it.

It does not import Hydra or any other slow package, so that the page appears at once.
"""

import re
import textwrap
from pathlib import Path

from src.common.files import CONF

WIDTH = 100
KEY = 16  # column of the explanations

COMMANDS = {
    "preprocess": (
        "prepare a corpus: write its token file, vocabulary and manifest to data_dir",
        ["data=shakespeare", "data=file data.path=book.txt data.split=[0.9,0.05,0.05]"],
    ),
    "train": (
        "train a network in one tracked run: preprocess if needed, train, evaluate, sample",
        [
            "hidden=128 clip=5",
            "--multirun hidden=64,128,256 clip=1,5",
            "data=shakespeare max_seconds=120",
            "rerun=RUN_ID",
        ],
    ),
    "evaluate": (
        "score a trained model and baselines on the test split, and score generated texts",
        ["run=best", "run=RUN_ID temperatures=[0.5,1] length=5000"],
    ),
    "sample": (
        "generate text with a trained model; print it and log it to the model's run",
        [
            'run=best prompt="shall i" temperature=0.7 length=400',
            "run=champion top_p=0.9 num_samples=8",
            "temperature=0 length=100",
        ],
    ),
    "ui": ("serve the MLflow UI on this machine and print the address to open", ["", "port=5001"]),
    "server": (
        "run an MLflow server with a database, for the jobs of several machines",
        [
            "",
            "backend_store_uri=postgresql://USER:PASSWORD@HOST/NAME",
            "host=10.0.0.5 allowed_hosts=lab.example:5000",
        ],
    ),
    "play": (
        "serve a page on this machine that shows text of two trained runs side by side",
        ["", "left=best right=RUN_ID port=8081"],
    ),
    "reproduce": (
        "run the sonnets and the experiments, check every claim, write one page with the results",
        ["", "experiments=[clipping]", "preset=full warandpeace=warpeace_input.txt"],
    ),
    "pipeline": (
        "run the four stages as one tracked run, then check the claims of experiments/ one by one",
        ["", "data=file data.path=book.txt"],
    ),
}
# Commands that serve until they are stopped, or that start sweeps themselves: they accept no --multirun.
NO_SWEEP_COMMANDS = ("ui", "server", "play", "reproduce")
# Keys that a command uses, where it shares its schema with other commands.
VISIBLE_KEYS = {"preprocess": ("seq_len", "output_dir", "data_dir", "data")}


def render_help(command: str, config_name: str) -> str:
    """Return the help page of a command, whose keys are in conf/<config_name>.yaml."""
    purpose, examples = COMMANDS[command]
    reads = VISIBLE_KEYS.get(command)
    lines = [f"{command}: {purpose}", "", f"usage: python -m src.{command} [key=value ...] [options]", ""]
    lines += [f"  python -m src.{command} {example}".rstrip() for example in examples]
    lines += ["", "Keys (--cfg job prints all of them with their values)", ""]
    for file in (CONF / f"{config_name}.yaml", CONF / "common.yaml"):
        for key, value, comment in parse_entries(file):
            if reads is None or key in reads:
                lines += format_entry(f"{key}={value}", comment)
    lines += ["", "Groups: group=choice selects a choice, group.key=value changes one of its keys", ""]
    groups = defaults(CONF / f"{config_name}.yaml")
    for group, chosen in groups:
        if reads is None or group in reads:
            lines += render_group(group, chosen)
    if reads is not None:
        lines += ["", "Other `train` keys are accepted and ignored."]
    elif any(group == "experiment" for group, _ in groups):
        lines += ["", "Sweeps (with --multirun): the launcher runs the jobs, the sweeper chooses them", ""]
        for group in ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler"):
            lines += render_group(group, "null")
    lines += ["", "Options", ""]
    if command not in NO_SWEEP_COMMANDS:
        lines += format_entry("--multirun", "sweep: key=a,b,c runs every combination; -m for short.")
    lines += format_entry("--cfg job", "print the composed config and exit.")
    lines += format_entry("--hydra-help", "print the help of Hydra itself: launchers and sweepers.")
    lines += format_entry(
        "-sc install=bash", f'completion with TAB: eval "$(python -m src.{command} -sc install=bash)"'
    )
    return "\n".join(lines)


def render_group(group: str, chosen: str) -> list[str]:
    """Format the choices of a group and the keys of the default choice (`null`: no default)."""
    lines = []
    for file in sorted((CONF / group).glob("*.yaml")):
        mark = "  (default)" if file.stem == chosen else ""
        lines += format_entry(f"{group}={file.stem}", first_comment(file) + mark)
    if chosen == "null":
        return lines
    for key, value, comment in parse_entries(CONF / group / f"{chosen}.yaml"):
        if key != "name":
            lines += format_entry(f"  {group}.{key}={value}", comment)
    return lines


def format_entry(head: str, comment: str) -> list[str]:
    """Format a key and its explanation in two columns."""
    body = textwrap.wrap(comment, WIDTH - KEY - 2, break_on_hyphens=False)
    if len(head) < KEY:
        return [f"  {head:<{KEY}}{body[0]}"] + [" " * (KEY + 2) + line for line in body[1:]]
    return [f"  {head}"] + [" " * (KEY + 2) + line for line in body]


def parse_entries(file: Path) -> list[tuple[str, str, str]]:
    """Return key, default and comment of every top-level key that has a comment above it."""
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
    return [(k, v, c.removeprefix(first).strip() or c) for k, v, c in entries if k != "name"]


def first_comment(file: Path) -> str:
    """Return the comment on a file's first line: the description of a choice, in whole sentences."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if not line.startswith("# @package")).removeprefix("# ")


def defaults(file: Path) -> list[tuple[str, str]]:
    """Return group and default choice (`null` for none), from a config's defaults list."""
    return re.findall(r"^  - (\w+): (\w+)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
