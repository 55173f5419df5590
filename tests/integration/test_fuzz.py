"""Any prompt and any valid config work or give one error line."""

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from src.common.errors import DivergenceError, UserError
from src.config.schema import ModelConfig
from src.data.batches import build_batches
from src.data.normalization import Normalization
from src.generation.sampling import sample
from src.models.serialization import TrainedModel
from src.rnn.parameters import RNNConfig, initialize
from src.training.callbacks import EarlyStopping, NullLogger
from src.training.trainer import Trainer
from tests.small_training import BASE, VERSE, corpus_of, target

CORPUS = corpus_of(VERSE * 12)
VOCABULARY = CORPUS.vocabulary
PLAIN = Normalization(lowercase=True, letters_only=False, collapse_spaces=False)
SMALL = RNNConfig(len(VOCABULARY), 4)
MODEL = TrainedModel(SMALL, initialize(SMALL, "uniform", np.random.default_rng(0)), VOCABULARY, PLAIN)

PROMPTS = st.one_of(st.text(), st.text(VOCABULARY.characters + VOCABULARY.characters.upper()))


@settings(deadline=None, max_examples=60)
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


FRACTION = st.floats(0, 1, exclude_max=True)
POSITIVE = st.floats(0, 1e6, exclude_min=True)
MODELS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    name=st.sampled_from(["rnn", "gru", "lstm"]),
    layers=st.integers(1, 3),
    dropout=FRACTION,
    init=st.sampled_from(["uniform", "orthogonal", "identity"]),
    activation=st.sampled_from(["tanh", "relu"]),
)
DECAY = st.floats(0, 1e6)
STEPS = st.integers(0, 10**9)
FACTOR = st.floats(0, 1, exclude_min=True, exclude_max=True)
MIN_FACTOR = st.floats(0, 1)
OPTIMIZER_KEYS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "SGD": {},
    "Momentum": {"momentum": FRACTION, "nesterov": st.booleans()},
    "Adagrad": {"eps": POSITIVE},
    "RMSprop": {"decay": FRACTION, "eps": POSITIVE},
    "Adam": {"beta1": FRACTION, "beta2": FRACTION, "eps": POSITIVE},
}
SCHEDULE_KEYS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Constant": {},
    "Cosine": {"min_lr_factor": MIN_FACTOR},
    "Plateau": {"factor": FACTOR, "patience": st.integers(1, 10**9), "min_lr_factor": MIN_FACTOR},
}
OPTIMIZERS = st.one_of(
    *(
        st.builds(target, st.just(f"optimizers.{name}"), weight_decay=DECAY, **keys)
        for name, keys in OPTIMIZER_KEYS.items()
    )
)
SCHEDULES = st.one_of(
    *(
        st.builds(target, st.just(f"schedules.{name}"), warmup_steps=STEPS, **keys)
        for name, keys in SCHEDULE_KEYS.items()
    )
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
    ema_decay=FRACTION,
    batching=st.sampled_from(["shuffled", "contiguous"]),
    stateful=st.booleans(),
    data=st.builds(attrs.evolve, st.just(BASE.data), stride=st.integers(1, 10**9)),
    model=MODELS,
    optimizer=OPTIMIZERS,
    schedule=SCHEDULES,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
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
