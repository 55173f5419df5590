"""The public names of src.rnn."""

import sys

import pytest

import src.rnn
from src.rnn import network, optimizers
from tests.commands import run_process


def test_public_names_are_those_of_the_modules() -> None:
    assert dir(src.rnn) == sorted(src.rnn.__all__)
    for name in src.rnn.__all__:
        assert getattr(src.rnn, name).__name__ == name
    assert src.rnn.loss_and_gradient is network.loss_and_gradient
    assert src.rnn.Adam is optimizers.Adam
    with pytest.raises(AttributeError, match=r"^module 'src\.rnn' has no attribute 'adam'$"):
        _ = src.rnn.adam


def test_names_are_listed_without_numpy() -> None:
    line = "import sys, src.rnn; print('Adam' in dir(src.rnn), 'numpy' in sys.modules)"
    assert run_process([sys.executable, "-c", line]).out == "True False\n"
