"""Command lines that mean nothing. (tests/cli/test_main.py has more of them, in its own process.)"""

from tests.invalid_inputs.case import PLACES, TINY, Case
from tests.invalid_inputs.texts import pipe

SYNTAX = [
    Case("train", ("hiden=3", *PLACES), ("hiden", "did you mean hidden?")),
    Case("train", ("hidden", *PLACES), ("hidden",)),
    Case("train", ("hidden=1,2", *PLACES), ("hidden", "--multirun")),
    Case("train", ("hidden={", *PLACES), ("hidden",)),
    Case("train", ("+new=1", *PLACES), ("new",)),
    Case("train", ("~lr", *PLACES), ("lr",)),
    Case("train", ("--nonsense", *PLACES), ("--nonsense",)),
    Case("train", ("experiment=none_of_these", *PLACES), ("experiment", "none_of_these")),
    Case("train", ("data=../../etc/passwd", *PLACES), ("data", "passwd")),
    Case("train", (*TINY, *PLACES, "max_eval_chars=-1"), ("max_eval_chars", "integer >= 1")),
    Case("train", (*TINY, *PLACES, "rollback_lr_factor=0"), ("rollback_lr_factor", "a number > 0 and < 1")),
    Case("train", (*TINY, *PLACES, "rollback_lr_factor=nan"), ("rollback_lr_factor", "got nan")),
    Case("train", (*TINY, *PLACES, "max_rollbacks=null"), ("max_rollbacks", "got null")),
    Case("train", (*TINY, *PLACES, "on_divergence=null"), ("on_divergence", "stop, rollback")),
    Case("train", (*TINY, *PLACES, "on_divergence=true"), ("on_divergence", "stop, rollback")),
    Case("train", (*TINY, *PLACES, "data.max_vocabulary=1"), ("data.max_vocabulary", ">= 2 and <= 65536")),
    *(
        Case(command, (f"temperatures={given}", *PLACES), ("temperatures", "one or more numbers >= 0"))
        for command in ("train", "evaluate")
        for given in ("[0.7,-0.1]", "[nan]", "[inf]", "[0.7,0.7]", "null")
    ),
    Case("reproduce", ("preset=huge", *PLACES), ("preset", "quick, full", "huge")),
    Case("reproduce", ("experiments=cells", *PLACES), ("experiments", "karpathy2015", "cells")),
    Case("reproduce", ("experiments=[cells,cells]", *PLACES), ("experiments", "each once")),
    Case("reproduce", ("experiments=[karpathy2015]", *PLACES), ("warandpeace", "null")),
    Case("reproduce", ("warandpeace=none.txt", *PLACES), ("warandpeace", "none.txt")),
    Case("reproduce", ("warandpeace=text.txt", *PLACES), ("warandpeace", "sha256", "text.txt")),
    Case("reproduce", ("tinyshakespeare=text.txt", *PLACES), ("tinyshakespeare", "sha256", "text.txt")),
    Case("reproduce", ("tinyshakespeare=.", *PLACES), ("tinyshakespeare", "readable text file")),
    Case(
        "reproduce",
        ("warandpeace=text.txt", *PLACES),
        ("warandpeace", "regular file"),
        pipe,
        name="reproduce: a pipe",
    ),
    Case("train", ("rerun=first", "hidden=3", "tracking=none", *PLACES), ("rerun", "hidden=3"), run=True),
    Case("preprocess", ("rerun=first", *PLACES), ("rerun", "first")),
    Case("train", ("model=gru", "model.activation=relu", *PLACES), ("model.activation", "relu")),
    Case("train", ("model=lstm", "model.init=identity", *PLACES), ("model.init", "identity")),
    Case("train", ("model.dropout=0.5", *PLACES), ("model.dropout", "0.5")),
    Case("train", ("register=true", "tracking=none", *PLACES), ("register", "true")),
]
