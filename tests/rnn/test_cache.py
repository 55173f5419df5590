"""What a layer's forward pass leaves behind."""

import numpy as np
import pytest

from src.rnn.cache import Tape
from src.rnn.parameters import Architecture, Array


@pytest.mark.parametrize(("cell", "gates", "cells"), [("rnn", 1, 0), ("gru", 3, 0), ("lstm", 4, 8)])
def test_a_tape_holds_the_gates_the_states_and_one_block_more(cell: str, gates: int, cells: int) -> None:
    tape = Tape.allocate(Architecture(6, 5, cell), 7, 3)
    assert tape.blocks.shape == (gates + 1, 7, 3, 5)
    assert tape.gates.shape == (gates, 7, 3, 5)
    assert tape.kept.shape == (7, 3, 5)
    assert tape.h.shape == (8, 3, 5)
    assert tape.c.shape == (cells, 3, 5)
    assert tape.product.shape == tape.looked_up.shape == (gates, 3, 5)
    arrays = (tape.blocks, tape.h, tape.c, tape.product, tape.looked_up, tape.scratch)
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    assert not tape.h.any()  # the state before the first piece is zero
    assert not tape.c.any()
    tape.blocks[...] = 0
    tape.kept[...] = 1
    assert not tape.gates.any()


def test_views_are_made_once_of_an_array_and_again_of_another() -> None:
    tape = Tape.allocate(Architecture(6, 5), 7, 3)
    made: list[Array] = []

    def make(of_tape: Tape, of: Array) -> list[Array]:
        assert of_tape is tape
        made.append(of)
        return list(of)

    first, second = np.zeros((2, 3)), np.zeros((2, 3))
    views = tape.once(make, first)
    assert [view.base is first for view in views] == [True, True]
    assert tape.once(make, first) is views
    assert [a is first for a in made] == [True]
    assert [view.base is second for view in tape.once(make, second)] == [True, True]
    assert len(made) == 2


def test_views_of_two_kinds_are_kept_beside_each_other() -> None:
    tape = Tape.allocate(Architecture(6, 5), 7, 3)
    shapes, sizes = tape.once(shape_of, tape.h), tape.once(size_of, tape.h)
    assert (shapes, sizes) == ((8, 3, 5), 120)
    assert tape.once(shape_of, tape.h) is shapes


def shape_of(tape: Tape, a: Array) -> tuple[int, ...]:
    return a.shape


def size_of(tape: Tape, a: Array) -> int:
    return a.size
