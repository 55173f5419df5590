"""What each kind of cell needs to be allocated, before anything is computed: gates, states, scratch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """gates: a letter for each block of pre-activations of a step, in the order of the arrays' first axis;
    those between 0 and 1 come first, the candidate last. sigmoids: how many are between 0 and 1. states:
    arrays carried from step to step, h, and the LSTM's c. scratch: arrays (B, H) of one step that the passes
    write to. inner_bias: whether there is bh, the GRU's bias inside the reset gate's product. open: the gates
    whose bias begins at 1."""

    gates: str
    sigmoids: int = 0
    states: int = 1
    scratch: int = 0
    inner_bias: bool = False
    open: str = ""


KINDS = {
    "rnn": Kind("n"),
    "gru": Kind("rzn", sigmoids=2, scratch=6, inner_bias=True),
    "lstm": Kind("oifg", sigmoids=3, states=2, scratch=10, open="f"),
}
