"""`init_from=`: the weights with which another run ended, as initial weights of a new run."""

import re
from dataclasses import asdict

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.files import absolute
from src.config.schema import Config
from src.data.corpus import Corpus
from src.models import serialization
from src.models.serialization import TrainedModel
from src.rnn.parameters import Array, RNNConfig
from src.tracking.run_store import find_folder, open_attended_store
from src.training import checkpoint


def initial_weights(config: Config, architecture: RNNConfig, corpus: Corpus) -> Array:
    """Load the initial weights that `init_from` names.

    Args:
        config: Validated config of the run; its `init_from` is not None.
        architecture: Sizes and cell type that the model must have.
        corpus: Prepared corpus, whose characters the model must have.

    Returns:
        Flat vector of the weights, float32, shape (n,).

    Raises:
        UserError: There is no such model, or it has other sizes or other characters.
    """
    assert config.init_from is not None
    vocabulary = corpus.vocabulary
    model = _load_from_run(config.init_from, config, corpus.digest)
    ours, theirs = asdict(architecture), asdict(model.architecture)
    if model.vocabulary != vocabulary:
        raise UserError(
            f"init_from: expected a model that was trained on the same {len(vocabulary)} characters, got "
            f"{config.init_from} with {len(model.vocabulary)}: {model.vocabulary.listed()}"
        )
    differ = [f"{key}={theirs[key]}, not {ours[key]}" for key in ours if theirs[key] != ours[key]]
    if differ:
        raise UserError(
            f"init_from: expected a model of the configured sizes, got {config.init_from} with "
            + "; ".join(differ)
        )
    return model.params


def _load_from_run(name: str, config: Config, data_digest: str) -> TrainedModel:
    """Return the model of a checkpoint, of a run directory, or of a run in the tracking store.

    A run directory gives the model that the run logged at its end; before its end, the best weights of its
    newest checkpoint. `data_digest` is the corpus to which `best` is limited.

    Raises:
        UserError: There is no such model, or it is damaged.
    """
    path = absolute(name)
    try:
        if path.is_file():
            return checkpoint.load(path).model
        try:
            folder = find_folder(name, absolute(config.output_dir), "init_from")
        except UserError:
            if path.exists():
                raise
            store = open_attended_store(config)  # the name is a run of another machine, `best` or an alias
            run = store.find(name, data_digest=data_digest)
            echo_err(f"init_from: {run.describe(name)}")
            return store.load_model(run)
        if (folder / "model" / "model.json").exists():
            return serialization.load(folder / "model")
        return checkpoint.newest(folder, "init_from").model
    except ValueError as error:
        raise UserError(f"init_from: expected a whole checkpoint, got {path} ({error})") from error
    except UserError as error:  # its message may begin with the key `run`
        raise UserError("init_from: " + re.sub(r"\A(run|init_from): ", "", str(error))) from error
