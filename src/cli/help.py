"""The `--help` page, built from the comments in conf/: each key, its default and the reason for it.

No import of Hydra or of anything slow: the page is there at once.
"""

import re
import textwrap
from pathlib import Path

from src.common.files import CONF

WIDTH = 100
KEY = 16  # column of the explanations

COMMANDS = {
    "preprocess": (
        "corpus -> token file, vocabulary and manifest, in data_dir",
        ["data=shakespeare", "data=file data.path=book.txt data.split=[0.9,0.05,0.05]"],
    ),
    "train": (
        "one tracked run: preprocess if needed, train, evaluate on the test split, sample",
        [
            "hidden=128 clip=5",
            "--multirun hidden=64,128,256 clip=1,5",
            "data=shakespeare max_seconds=120",
            "rerun=RUN_ID",
        ],
    ),
    "evaluate": (
        "score a trained model on the test split beside baselines, and judge what it writes",
        ["run=best", "run=RUN_ID temperatures=[0.5,1] length=5000"],
    ),
    "sample": (
        "write text with a trained model, to the terminal and to its run",
        [
            'run=best prompt="shall i" temperature=0.7 length=400',
            "run=champion top_p=0.9 num_samples=8",
            "temperature=0 length=100",
        ],
    ),
    "ui": ("serve the MLflow UI on this machine and print the address to open", ["", "port=5001"]),
    "server": (
        "run an MLflow server with a database, to which the jobs of many machines report",
        [
            "",
            "backend_store_uri=postgresql://USER:PASSWORD@HOST/NAME",
            "host=10.0.0.5 allowed_hosts=lab.example:5000",
        ],
    ),
    "play": (
        "serve a page on this machine on which two trained runs write side by side",
        ["", "left=best right=RUN_ID port=8081"],
    ),
    "reproduce": (
        "run the sonnets and the experiments, check every claim, write one page with what came out",
        ["", "experiments=[clipping]", "preset=full warandpeace=warpeace_input.txt"],
    ),
    "pipeline": (
        "the four stages as one tracked run, then the claims of experiments/, checked one by one",
        ["", "data=file data.path=book.txt"],
    ),
}
# They serve until they are ended, or run over everything by themselves: there is no sweep of them.
NO_SWEEP_COMMANDS = ("ui", "server", "play", "reproduce")
# All that a command reads of the keys that it shares with others.
VISIBLE_KEYS = {"preprocess": ("seq_len", "output_dir", "data_dir", "data")}


def render_help(command: str, config_name: str) -> str:
    """Return the page of one command, whose keys are in conf/<config_name>.yaml."""
    purpose, examples = COMMANDS[command]
    reads = VISIBLE_KEYS.get(command)
    lines = [f"{command}: {purpose}", "", f"usage: python -m src.{command} [key=value ...] [options]", ""]
    lines += [f"  python -m src.{command} {example}".rstrip() for example in examples]
    lines += ["", "Keys (all of them with their values: --cfg job)", ""]
    for file in (CONF / f"{config_name}.yaml", CONF / "common.yaml"):
        for key, value, comment in parse_entries(file):
            if reads is None or key in reads:
                lines += format_entry(f"{key}={value}", comment)
    lines += ["", "Groups: group=choice, and group.key=value for what a choice holds", ""]
    groups = defaults(CONF / f"{config_name}.yaml")
    for group, chosen in groups:
        if reads is None or group in reads:
            lines += render_group(group, chosen)
    if reads is not None:
        lines += ["", "The other keys of train may stand here, too, and change nothing."]
    elif any(group == "experiment" for group, _ in groups):
        lines += ["", "Sweeps (with --multirun): where the jobs run, and how they are chosen", ""]
        for group in ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler"):
            lines += render_group(group, "null")
    lines += ["", "Options", ""]
    if command not in NO_SWEEP_COMMANDS:
        lines += format_entry("--multirun", "sweep: key=a,b,c runs every combination; -m for short.")
    lines += format_entry("--cfg job", "print the composed config and do nothing.")
    lines += format_entry("--hydra-help", "what Hydra itself can do: launchers and sweepers.")
    lines += format_entry(
        "-sc install=bash", f'TAB completes: eval "$(python -m src.{command} -sc install=bash)"'
    )
    return "\n".join(lines)


def render_group(group: str, chosen: str) -> list[str]:
    """Format the choices of a group, and the keys of the one that is chosen (`null`: of none)."""
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
    """Format a key and its explanation, wrapped in a column of its own."""
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
    """Return the comment on a file's first line, whole sentences: what this choice is."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if not line.startswith("# @package")).removeprefix("# ")


def defaults(file: Path) -> list[tuple[str, str]]:
    """Return group and default choice (`null` for none), from a config's defaults list."""
    return re.findall(r"^  - (\w+): (\w+)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
