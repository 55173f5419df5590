"""Invalid command lines. (tests/cli/test_main.py has more, in its own process.)"""

from tests.invalid_inputs.case import PATHS, Case
from tests.invalid_inputs.files import named_pipe

INVALID_COMMAND_LINES = [
    *(
        Case("train", (*arguments.split(), *PATHS), expected)
        for arguments, expected in (
            ("experiment=none_of_these", ("experiment", "none_of_these")),
            ("data=../../etc/passwd", ("data", "passwd")),
            ("max_eval_chars=-1", ("max_eval_chars", "integer >= 1")),
            ("rollback_lr_factor=nan", ("rollback_lr_factor", "a number > 0 and < 1", "got nan")),
            ("max_rollbacks=null", ("max_rollbacks", "got null")),
            ("on_divergence=true", ("on_divergence", "stop, rollback")),
            ("temperatures=[0.7,-0.1]", ("temperatures", "one or more numbers >= 0")),
            ("temperatures=[nan]", ("temperatures", "one or more numbers >= 0")),
            ("temperatures=[0.7,0.7]", ("temperatures", "one or more numbers >= 0")),
            ("temperatures=null", ("temperatures", "one or more numbers >= 0")),
            ("model=gru model.activation=relu", ("model.activation", "relu")),
            ("model=lstm model.init=identity", ("model.init", "identity")),
            ("model.dropout=0.5", ("model.dropout", "0.5")),
            ("register=true tracking=none", ("register", "true")),
        )
    ),
    *(
        Case("reproduce", (argument, *PATHS), expected)
        for argument, expected in (
            ("preset=huge", ("preset", "quick, full", "huge")),
            ("experiments=cells", ("experiments", "karpathy2015", "cells")),
            ("experiments=[cells,cells]", ("experiments", "each once")),
            ("experiments=[karpathy2015]", ("warandpeace", "null")),
            ("warandpeace=none.txt", ("warandpeace", "none.txt")),
            ("warandpeace=text.txt", ("warandpeace", "sha256", "text.txt")),
            ("tinyshakespeare=text.txt", ("tinyshakespeare", "sha256", "text.txt")),
            ("tinyshakespeare=.", ("tinyshakespeare", "got another text")),
        )
    ),
    Case("reproduce", ("warandpeace=text.txt", *PATHS), ("warandpeace", "regular file"), named_pipe,
         name="reproduce: a pipe"),
    Case("evaluate", ("temperatures=[inf]", *PATHS), ("temperatures", "one or more numbers >= 0")),
    Case("train", ("rerun=first", "hidden=3", "tracking=none", *PATHS), ("rerun", "hidden=3"), has_run=True),
    Case("preprocess", ("rerun=first", *PATHS), ("rerun", "first")),
]  # fmt: skip
