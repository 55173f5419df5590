from dataclasses import replace

import numpy as np
import pytest

from src.errors import InputError
from src.lab.sampling import characters, choose, sample
from src.lab.weights import Model
from src.rnn.cells import CELLS
from src.rnn.network import Buffers, forward
from src.rnn.parameters import Architecture, unflatten
from src.text.normalisation import Normalisation
from src.text.vocabulary import Vocabulary

LETTERS = " abcdefg"
COARSEST, FINEST = 0.0, 1 - 2**-53  # the ends of what Generator.random gives


@pytest.fixture(
    params=[(*kind, layers) for kind in CELLS for layers in (1, 2)], ids=lambda p: "-".join(map(str, p))
)
def model(request):
    """A random network with a long memory, in double precision."""
    cell, activation, layers = request.param
    architecture = Architecture(8, 16, cell, layers, activation)
    flat = np.random.default_rng(0).standard_normal(architecture.size())
    if activation == "relu":  # or it would grow without bounds
        flat *= 0.5
    normalisation = Normalisation(lowercase=True, letters_only=True, collapse_spaces=True)
    return Model(architecture, flat, Vocabulary(LETTERS), normalisation)


def text(model, prompt, temperature=1.0, length=60, seed=0):
    return "".join(sample(model, prompt, temperature, length, np.random.default_rng(seed)))


def test_same_seed_same_text_another_seed_another(model):
    assert text(model, "bad", seed=4) == text(model, "bad", seed=4)
    assert text(model, "bad", seed=4) != text(model, "bad", seed=5)


def test_temperature_zero_takes_the_argmax_at_every_step(model):
    p = unflatten(model.architecture, model.flat)
    expected, read = "", "bad cafe"
    for _ in range(40):
        ids = np.array([[LETTERS.index(character)] for character in read + expected])
        logits = forward(p, ids, Buffers.allocate(model.architecture, *ids.shape, np.float64))
        expected += LETTERS[np.argmax(logits[:, -1])]
    assert text(model, read, temperature=0, length=40) == expected
    assert text(model, read, temperature=0, length=40, seed=9) == expected


@pytest.mark.parametrize(("typed", "meant"), [("BAD", "bad"), ("bad...  Cab", "bad cab"), ("\nbad", " bad")])
def test_prompt_goes_through_the_normalisation_of_the_corpus(model, typed, meant):
    assert text(model, typed) == text(model, meant)


def test_unknown_character_is_refused_before_the_first_character(model):
    """By the call itself: nothing has been asked of the iterator."""
    with pytest.raises(InputError, match="got 'z'"):
        sample(model, "baz", 1.0, 10, np.random.default_rng(0))


@pytest.mark.parametrize("prompt", ["", "bad"])
@pytest.mark.parametrize("length", [0, 1, 37])
def test_length_counts_the_new_characters_alone(model, prompt, length):
    assert len(text(model, prompt, length=length)) == length


def test_shorter_text_is_the_beginning_of_the_longer(model):
    assert text(model, "bad", length=60).startswith(text(model, "bad", length=25))


def test_other_prompts_with_the_same_last_character_continue_differently(model):
    assert len({text(model, prompt) for prompt in ("a", "ba", "bba", "fade a", "gggga")}) == 5


@pytest.mark.parametrize("read", [0, 1, 30])
def test_reading_what_was_written_continues_it(model, read):
    """The warm-up and the writing loop leave the same state behind the same characters."""
    uniforms = np.random.default_rng(0).random(60)
    ids = model.vocabulary.encode("bad").astype(np.intp)
    whole = "".join(characters(model, ids, 1.0, uniforms))
    ids = model.vocabulary.encode("bad" + whole[:read]).astype(np.intp)
    assert "".join(characters(model, ids, 1.0, uniforms[read:])) == whole[read:]


def test_without_a_prompt_every_first_character_is_equally_likely(model):
    nothing = np.zeros(0, np.intp)
    firsts = [next(characters(model, nothing, 1.0, np.array([(k + 0.5) / 80]))) for k in range(80)]
    assert [firsts.count(letter) for letter in LETTERS] == [10] * 8
    assert next(characters(model, nothing, 1.0, np.array([FINEST]))) == LETTERS[-1]


def test_prompt_of_nothing_but_what_normalisation_removes_still_warms_up(model):
    """ "?" becomes a space, so it is read: another text than without a prompt."""
    assert text(model, "?") == text(model, " ") != text(model, "")


def test_sampling_leaves_the_weights(model):
    before = model.flat.tobytes()
    text(model, "bad")
    assert model.flat.tobytes() == before


def test_single_precision_weights_write_text_too(model):
    single = replace(model, flat=model.flat.astype(np.float32))
    assert text(single, "bad", 0, length=30) == text(model, "bad", 0, length=30)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_choice_follows_softmax_of_logits_over_temperature(temperature):
    logits = np.array([0.5, -1.0, 2.0, 0.0])
    share = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    uniforms = (np.arange(10_000) + 0.5) / 10_000
    chosen = np.bincount([choose(logits, temperature, u) for u in uniforms], minlength=4)
    np.testing.assert_allclose(chosen / 10_000, share, atol=1e-4)


@pytest.mark.parametrize("uniform", [COARSEST, 0.5, FINEST])
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-3, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_next_to_temperature_zero_the_likeliest_is_chosen_without_a_warning(uniform, temperature, dtype):
    assert choose(np.array([-80.0, 3.0, 2.0, -90.0], dtype), temperature, uniform) == 1


@pytest.mark.parametrize("uniform", [COARSEST, FINEST])
def test_impossible_characters_are_never_chosen(uniform):
    assert choose(np.array([-1e5, 0.0, -1e5, 0.0, -1e5]), 1.0, uniform) in (1, 3)


@pytest.mark.parametrize("uniform", [COARSEST, FINEST])
def test_huge_logits_and_temperatures_do_not_overflow(uniform):
    logits = np.array([1e4, -1e4, 1e4])
    assert choose(logits, 1.0, uniform) == (0 if uniform == COARSEST else 2)
    assert choose(logits, 1e300, 0.5) == 1


def test_choosing_leaves_the_logits():
    logits = np.array([1.0, 2.0])
    choose(logits, 0.7, 0.5)
    assert logits.tolist() == [1, 2]
