"""Invalid command lines. (tests/cli/test_main.py has more, in its own process.)"""

from tests.invalid_inputs.case import PATHS, TINY, Case
from tests.invalid_inputs.texts import named_pipe

INVALID_COMMAND_LINES = [
    Case("train", ("experiment=none_of_these", *PATHS), ("experiment", "none_of_these")),
    Case("train", ("data=../../etc/passwd", *PATHS), ("data", "passwd")),
    Case("train", (*TINY, *PATHS, "max_eval_chars=-1"), ("max_eval_chars", "integer >= 1")),
    Case("train", (*TINY, *PATHS, "rollback_lr_factor=0"), ("rollback_lr_factor", "a number > 0 and < 1")),
    Case("train", (*TINY, *PATHS, "rollback_lr_factor=nan"), ("rollback_lr_factor", "got nan")),
    Case("train", (*TINY, *PATHS, "max_rollbacks=null"), ("max_rollbacks", "got null")),
    Case("train", (*TINY, *PATHS, "on_divergence=null"), ("on_divergence", "stop, rollback")),
    Case("train", (*TINY, *PATHS, "on_divergence=true"), ("on_divergence", "stop, rollback")),
    Case("train", (*TINY, *PATHS, "data.max_vocabulary=1"), ("data.max_vocabulary", ">= 2 and <= 65536")),
    *(
        Case(command, (f"temperatures={value}", *PATHS), ("temperatures", "one or more numbers >= 0"))
        for command in ("train", "evaluate")
        for value in ("[0.7,-0.1]", "[nan]", "[inf]", "[0.7,0.7]", "null")
    ),
    Case("reproduce", ("preset=huge", *PATHS), ("preset", "quick, full", "huge")),
    Case("reproduce", ("experiments=cells", *PATHS), ("experiments", "karpathy2015", "cells")),
    Case("reproduce", ("experiments=[cells,cells]", *PATHS), ("experiments", "each once")),
    Case("reproduce", ("experiments=[karpathy2015]", *PATHS), ("warandpeace", "null")),
    Case("reproduce", ("warandpeace=none.txt", *PATHS), ("warandpeace", "none.txt")),
    Case("reproduce", ("warandpeace=text.txt", *PATHS), ("warandpeace", "sha256", "text.txt")),
    Case("reproduce", ("tinyshakespeare=text.txt", *PATHS), ("tinyshakespeare", "sha256", "text.txt")),
    Case("reproduce", ("tinyshakespeare=.", *PATHS), ("tinyshakespeare", "readable text file")),
    Case(
        "reproduce",
        ("warandpeace=text.txt", *PATHS),
        ("warandpeace", "regular file"),
        named_pipe,
        name="reproduce: a pipe",
    ),
    Case("train", ("rerun=first", "hidden=3", "tracking=none", *PATHS), ("rerun", "hidden=3"), has_run=True),
    Case("preprocess", ("rerun=first", *PATHS), ("rerun", "first")),
    Case("train", ("model=gru", "model.activation=relu", *PATHS), ("model.activation", "relu")),
    Case("train", ("model=lstm", "model.init=identity", *PATHS), ("model.init", "identity")),
    Case("train", ("model.dropout=0.5", *PATHS), ("model.dropout", "0.5")),
    Case("train", ("register=true", "tracking=none", *PATHS), ("register", "true")),
]
