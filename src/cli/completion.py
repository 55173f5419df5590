"""Completion in bash: the candidates of the TAB key after `python -m src.train`.

    eval "$(python -m src.train -sc install=bash)"

Hydra completes keys, groups and their choices, but its bash function only completes `python file.py` and
programs with a name, not `python -m`. The function in completion.bash calls Hydra for the candidates.
"""

import contextlib
import io
import os
import re
import shlex
from pathlib import Path

from src.cli.help import COMMANDS, NO_SWEEP_COMMANDS, defaults
from src.common.errors import UserError
from src.common.files import CONF

OPTIONS = ("--cfg", "--help", "--multirun")
# Groups that are not completed: the schemas of conf/, and the variants that an experiment selects.
HIDDEN_GROUPS = ("schema", "variant")

SCRIPT = Path(__file__).with_suffix(".bash")
UNINSTALL = "complete -r python python3\nunset -f _char_rnn_complete\n"


def complete(requests: list[str], config_name: str) -> None:
    """Print the bash function, or the candidates for the word at the cursor.

    Args:
        requests: `install=bash`, `uninstall=bash`, or `query=bash`, which prints one candidate per line. For
            `query=bash`, bash sets the environment variable COMP_LINE to the line up to the cursor.
        config_name: Name of the command's config, a file of conf/.

    Raises:
        UserError: For another request.
    """
    if requests == ["install=bash"]:
        known = " ".join(f"src.{command}" for command in sorted(COMMANDS))
        script = SCRIPT.read_text(encoding="utf-8").replace("{modules}", f"{known} src.sync")
        print(script.replace("{commands}", known), end="")
    elif requests == ["uninstall=bash"]:
        print(UNINSTALL, end="")
    elif requests == ["query=bash"]:
        from src.config.resolvers import register_configs

        register_configs()
        print("\n".join(candidates(os.environ.get("COMP_LINE", ""), config_name)))
    else:
        got = " ".join(requests) or "nothing"
        raise UserError(f"--shell-completion: expected install=bash or uninstall=bash, got {got}")


def candidates(line: str, config_name: str) -> list[str]:
    """Return the completions of the last word of a line.

    Overrides with blanks or commas in their values are left out: they do not change which keys exist.

    Args:
        line: The line up to the cursor, from `python -m`.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        The completions in alphabetical order; empty where Hydra rejects the words before the last one.
    """
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    _, _, typed = re.sub(r"\s-m\s+src\.\w+\s", "\0", line, count=1).partition("\0")
    *before, word = split_line(typed)
    if word.startswith("-"):
        sweeps = config_name not in NO_SWEEP_COMMANDS
        return [o for o in OPTIONS if o.startswith(word) and (sweeps or o != "--multirun")]
    chosen = [text for text in before if "=" in text and not re.search(r"[\s,]", text)]
    output = io.StringIO()
    os.environ["COMP_LINE"] = " ".join(["command", *chosen, word])
    with initialize_config_dir(str(CONF), version_base="1.3"), contextlib.redirect_stdout(output):
        BashCompletion(GlobalHydra.instance().config_loader()).query(config_name)
    groups = {group for group, _ in defaults(CONF / f"{config_name}.yaml")} | {"hydra"}
    found = set()
    for text in output.getvalue().split():
        top = re.split(r"[/=.]", text)[0]
        # Hydra offers all of conf/, also the groups of other commands.
        of_command = top in groups or not (CONF / top).is_dir()
        if text.startswith(word) and top not in HIDDEN_GROUPS and of_command:
            found.add(normalize_candidate(text))
    return sorted(found - {""})


def split_line(typed: str) -> list[str]:
    """Split a line into words as a shell does; a quote may still be open.

    Args:
        typed: The line up to the cursor, without `python -m src.COMMAND`.

    Returns:
        The words; the last is the one at the cursor, which may be empty.
    """
    for closing in ("", '"', "'"):
        with contextlib.suppress(ValueError):
            words = shlex.split(typed + closing)
            return words if words and not typed[-1:].isspace() else [*words, ""]
    return [""]


def normalize_candidate(text: str) -> str:
    """Return one of Hydra's candidates as a person types it.

    Args:
        text: A candidate, such as `model.` or `hidden=`.

    Returns:
        The completion; "" for a candidate that is not to be typed.
    """
    path = text[:-1].replace(".", "/")
    if text == "hydra":  # a group of groups
        return "hydra/"
    if text.endswith((".name=", "._target_=")) or (text.startswith("prompt=") and text != "prompt="):
        return ""  # a group's own name; a text with blanks
    if text.endswith(".") and not text.startswith("hydra.") and not (CONF / path).is_dir():
        return text[:-1] + "="  # a list, not a group: its first element alone is no value
    return text if "=" in text or text.endswith((".", "/")) else text + "="  # a group with groups in it
