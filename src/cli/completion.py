"""Completion in bash: the candidates of the TAB key after `python -m src.train`.

    eval "$(python -m src.train -sc install=bash)"

Hydra completes keys, groups and their choices, but its bash function only completes `python file.py` and
programs with a name, neither `python -m` nor a sweep's commas. This function calls Hydra for the candidates.
"""

import contextlib
import io
import os
import re
import shlex

from src.cli.help import COMMANDS, NO_SWEEP_COMMANDS, defaults
from src.common.errors import UserError
from src.common.files import CONF

OPTIONS = ("--cfg", "--help", "--multirun")
# Groups that are not completed: the schemas of conf/, and the variants that an experiment selects.
HIDDEN_GROUPS = ("schema", "variant")

# {modules}: candidates after -m. {commands}: the modules that support -sc; any other module would run its
# command at the TAB key. Readline treats = and : as the end of a word, so the text up to the last of them is
# removed from each candidate. compgen -W is not used: it would run the text between $( ) in a file name.
SCRIPT = r"""_char_rnn_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word head python choices choice
    COMPREPLY=()
    if [[ $line =~ ^[[:space:]]*([^[:space:]]*)[[:space:]]+-m[[:space:]]+(src\.[a-z]+)[[:space:]] ]]; then
        [[ " {commands} " == *" ${BASH_REMATCH[2]} "* ]] || return
        python="${BASH_REMATCH[1]/#\~/$HOME}"
        choices=$(COMP_LINE="$line" "$python" -m "${BASH_REMATCH[2]}" -sc query=bash 2>/dev/null)
    elif [[ $line =~ [[:space:]]-m[[:space:]]+[^[:space:]]*$ ]]; then
        choices=$(printf '%s\n' {modules})
    else
        return
    fi
    word="${line##*[[:space:]]}"
    head="${word%"${word##*[=:]}"}"
    while IFS= read -r choice; do
        [[ -n $choice && $choice == "$word"* ]] && COMPREPLY+=("${choice#"$head"}")
    done <<< "$choices"
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} != *[=./,] ]]; then
        compopt +o nospace 2>/dev/null
    fi
}
complete -o nospace -o bashdefault -o default -F _char_rnn_complete python python3
"""
UNINSTALL = "complete -r python python3\nunset -f _char_rnn_complete\n"


def complete(requests: list[str], config_name: str) -> None:
    """Print the bash function, or the candidates for the word at the cursor.

    Args:
        requests: `install=bash`, `uninstall=bash`, or `query=bash`, which prints one candidate a line; the
            line up to the cursor is in COMP_LINE, as bash has it.
        config_name: A file of conf/.

    Raises:
        UserError: For another request.
    """
    if requests == ["install=bash"]:
        known = " ".join(f"src.{command}" for command in sorted(COMMANDS))
        print(SCRIPT.replace("{modules}", f"{known} src.sync").replace("{commands}", known), end="")
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
    """Return the completions of the last word of `line`; none where Hydra refuses the words before it."""
    _, _, typed = re.sub(r"\s-m\s+src\.\w+\s", "\0", line, count=1).partition("\0")
    *before, word = [*split_line(typed)[:-1], split_line(typed)[-1]]
    if word.startswith("-"):
        known = [
            option for option in OPTIONS if option != "--multirun" or config_name not in NO_SWEEP_COMMANDS
        ]
        return [option for option in known if option.startswith(word)]
    key, _, value = word.partition("=")
    earlier, comma, last = value.rpartition(",")
    if not comma or re.search(r"[(\[]", value):
        return hydra_candidates(before, word, config_name)
    choices = [choice.partition("=")[2] for choice in hydra_candidates(before, f"{key}=", config_name)]
    typed_values = earlier.split(",")
    return [f"{key}={earlier},{c}" for c in choices if c.startswith(last) and c not in typed_values]


def split_line(typed: str) -> list[str]:
    """Return the words of a line, the one at the cursor last (maybe empty); a quote may still be open."""
    for closing in ("", '"', "'"):
        with contextlib.suppress(ValueError):
            words = shlex.split(typed + closing)
            return words if words and not typed[-1:].isspace() else [*words, ""]
    return [""]


def hydra_candidates(before: list[str], word: str, config_name: str) -> list[str]:
    """Return Hydra's candidates for a word, given the overrides before it.

    Overrides with blanks or commas in their values are left out: they change no key that exists.
    """
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    chosen = [text for text in before if "=" in text and not re.search(r"[\s,]", text)]
    line, output = os.environ.get("COMP_LINE", ""), io.StringIO()
    os.environ["COMP_LINE"] = " ".join(["command", *chosen, word])
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"), contextlib.redirect_stdout(output):
            BashCompletion(GlobalHydra.instance().config_loader()).query(config_name)
    finally:
        os.environ["COMP_LINE"] = line
    groups = {group for group, _ in defaults(CONF / f"{config_name}.yaml")} | {"hydra"}
    words = [normalize_candidate(text) for text in output.getvalue().split() if text.startswith(word)]
    return sorted({text for text in words if text and belongs_to_command(text, groups)})


def normalize_candidate(text: str) -> str:
    """Return one of Hydra's candidates as it is typed; "" for what is not to be typed."""
    path = text[:-1].replace(".", "/")
    if text == "hydra":  # a group of groups
        return "hydra/"
    if text.endswith((".name=", "._target_=")) or text.startswith(
        "prompt="
    ):  # a group's own name; a text with blanks
        return "prompt=" if text == "prompt=" else ""
    if text.endswith(".") and not text.startswith("hydra.") and not (CONF / path).is_dir():
        return text[:-1] + "="  # a list, not a group: its first element alone is no value
    return text if "=" in text or text.endswith((".", "/")) else text + "="  # a group with groups in it


def belongs_to_command(text: str, groups: set[str]) -> bool:
    """Return whether a candidate is a key of the command or of its groups: Hydra offers all of conf/."""
    top = re.split(r"[/=.]", text)[0]
    return top not in HIDDEN_GROUPS and (top in groups or not (CONF / top).is_dir())
