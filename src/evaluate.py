"""`python -m src.evaluate`: a trained model scored on the final split of its corpus, its texts judged."""

import json
from typing import TYPE_CHECKING, Any

from src.cli.main import launch
from src.common.console import say

if TYPE_CHECKING:
    from src.config.schema import PlacesConfig
    from src.data.corpus import Corpus
    from src.evaluation.evaluate import Evaluation
    from src.tracking.run_lookup import Found


def evaluate(found: "Found", places: "PlacesConfig") -> "tuple[Evaluation, Corpus]":
    """Score a trained model on the final split of the corpus that it was trained on.

    Raises InputError when that corpus cannot be made again, or its characters are not the model's.
    """
    import numpy as np

    from src.common.errors import InputError
    from src.common.paths import absolute
    from src.config.schema import DataConfig
    from src.data.corpus import corpus_of
    from src.data.vocabulary import LARGEST
    from src.evaluation.evaluate import evaluate_network

    seq_len = found.config["seq_len"]
    # Runs of earlier versions had no limits.
    data = DataConfig(**{"max_vocabulary": LARGEST, **found.config["data"]})
    corpus, _ = corpus_of(data, seq_len, absolute(places.data_dir))
    if corpus.vocabulary != found.model.vocabulary:
        raise InputError(
            f"run: expected the corpus that run {found.run_id} was trained on, got a {corpus.name} with "
            "other characters: has the text changed?"
        )
    network, rng = found.model, np.random.default_rng(found.config["seed"])
    most = found.config.get("max_eval_chars")
    return evaluate_network(network.architecture, network.flat, corpus, seq_len, rng, most), corpus


def body(config: Any) -> None:
    from src.evaluation.text_quality import Judge, judged_table, judged_temperatures
    from src.tracking.run_lookup import lookup

    found = lookup(config.run, config)
    evaluation, corpus = evaluate(found, config)
    say(found.describe())
    print(evaluation.table(full=True), flush=True)
    judged = []
    if config.length:
        prompt, asked = found.config["prompt"], sorted(config.temperatures)
        judged = judged_temperatures(found.model, Judge(corpus), prompt, asked, config.length, config.seed)
        print("\n" + judged_table(judged), flush=True)
    found.keep("evaluation/scores.json", json.dumps(evaluation.metrics(), indent=2) + "\n")
    found.keep("evaluation/evaluation.json", json.dumps(evaluation.report(judged), indent=2) + "\n")
    if len(judged) > 2:  # two texts and the held-out one: a curve
        from src.plots.evaluation import temperatures

        found.keep_file("evaluation/temperature.png", lambda file: temperatures(judged, file))


if __name__ == "__main__":
    launch("evaluate", "evaluate", body)
