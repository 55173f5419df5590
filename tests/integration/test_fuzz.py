"""Any prompt and any valid config work or give one error line."""

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from src.common.errors import DivergenceError, UserError
from src.config.schema import ModelConfig
from src.data.batches import build_batches
from src.data.corpus import Corpus, bounds_of
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.generation.sampling import sample
from src.models.serialization import TrainedModel
from src.rnn.parameters import RNNConfig, initialize
from src.training.callbacks import EarlyStopping, NullLogger
from src.training.trainer import Trainer
from tests.small_training import BASE, target

TEXT = "the sun is up and so am i, " * 12
VOCABULARY = Vocabulary.of(TEXT)
PLAIN = Normalization(lowercase=True, letters_only=False, collapse_spaces=False)
CORPUS = Corpus(
    Path("unused"),
    "verse",
    "0" * 64,
    VOCABULARY,
    PLAIN,
    VOCABULARY.encode(TEXT),
    bounds_of(len(TEXT), (0.8, 0.1, 0.1)),
)
SMALL = RNNConfig(len(VOCABULARY), 4)
MODEL = TrainedModel(SMALL, initialize(SMALL, "uniform", np.random.default_rng(0)), VOCABULARY, PLAIN)

PROMPTS = st.one_of(st.text(), st.text(VOCABULARY.characters + VOCABULARY.characters.upper()))


@settings(deadline=None, max_examples=200)
@given(PROMPTS, st.one_of(st.just(0.0), st.floats(0, 1e300)), st.integers(0, 2**63))
def test_any_prompt_is_sampled_or_rejected(prompt: str, temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if set(PLAIN.apply(prompt)) - set(VOCABULARY.characters):
        with pytest.raises(UserError, match=r"\Aprompt: expected only the .*\Z"):
            list(sample(MODEL, prompt, temperature, 5, rng))
        return
    text = "".join(sample(MODEL, prompt, temperature, 5, rng))
    assert len(text) == 5
    assert set(text) <= set(VOCABULARY.characters)


def fractions(least: float = 0.0, below: float = 1.0) -> st.SearchStrategy[float]:
    return st.floats(least, below, exclude_max=True)


POSITIVE = st.floats(0, 1e6, exclude_min=True)
MODELS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    name=st.sampled_from(["rnn", "gru", "lstm"]),
    layers=st.integers(1, 3),
    dropout=fractions(),
    init=st.sampled_from(["uniform", "orthogonal", "identity"]),
    activation=st.sampled_from(["tanh", "relu"]),
)
DECAY = st.floats(0, 1e6)
STEPS = st.integers(0, 10**9)
OPTIMIZERS = st.one_of(
    st.builds(target, st.just("optimizers.SGD"), weight_decay=DECAY),
    st.builds(
        target,
        st.just("optimizers.Momentum"),
        weight_decay=DECAY,
        momentum=fractions(),
        nesterov=st.booleans(),
    ),
    st.builds(target, st.just("optimizers.Adagrad"), weight_decay=DECAY, eps=POSITIVE),
    st.builds(target, st.just("optimizers.RMSprop"), weight_decay=DECAY, decay=fractions(), eps=POSITIVE),
    st.builds(
        target,
        st.just("optimizers.Adam"),
        weight_decay=DECAY,
        beta1=fractions(),
        beta2=fractions(),
        eps=POSITIVE,
    ),
)
SCHEDULES = st.one_of(
    st.builds(target, st.just("schedules.Constant"), warmup_steps=STEPS),
    st.builds(target, st.just("schedules.Cosine"), warmup_steps=STEPS, min_lr_factor=st.floats(0, 1)),
    st.builds(
        target,
        st.just("schedules.Plateau"),
        warmup_steps=STEPS,
        factor=st.floats(0, 1, exclude_min=True, exclude_max=True),
        patience=st.integers(1, 10**9),
        min_lr_factor=st.floats(0, 1),
    ),
)
CONFIGS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    hidden=st.integers(1, 20),
    seq_len=st.integers(1, 20),
    lr=POSITIVE,
    clip=st.one_of(st.none(), POSITIVE),
    clip_mode=st.sampled_from(["norm", "value"]),
    patience=st.one_of(st.none(), st.integers(1, 10**9)),
    min_delta=st.floats(0, 1e6),
    eval_every=st.integers(1, 5),
    log_every=st.integers(1, 5),
    seed=st.integers(0, 2**70),
    batch_size=st.integers(1, 40),
    ema_decay=fractions(),
    batching=st.sampled_from(["shuffled", "contiguous"]),
    stateful=st.booleans(),
    data=st.builds(attrs.evolve, st.just(BASE.data), stride=st.integers(1, 10**9)),
    model=MODELS,
    optimizer=OPTIMIZERS,
    schedule=SCHEDULES,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=120)
@given(CONFIGS)
def test_any_config_trains_three_steps(changes: dict[str, Any]) -> None:
    """Divergence is allowed only if a step changes weights by their own size."""
    try:
        config = attrs.evolve(BASE, **changes | {"model": ModelConfig(**changes["model"])})
    except UserError:  # invalid for this cell
        assume(False)
    per_epoch = build_batches(config, CORPUS, np.random.default_rng(0)).steps_per_epoch
    config = attrs.evolve(config, max_epochs=3 / per_epoch)
    try:
        outcome = Trainer(config, CORPUS).fit(NullLogger(), [EarlyStopping(config.patience)])
    except DivergenceError:
        assert config.lr * (1 + config.optimizer["weight_decay"]) * config.hidden > 0.5
        return
    assert outcome.steps == 3 or outcome.stop_reason == "early stopping"
    assert outcome.params.dtype == np.float32
    assert np.isfinite(outcome.params).all()
