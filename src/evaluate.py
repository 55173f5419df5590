"""`python -m src.evaluate`: score a trained model and its generated texts on the final split."""

from typing import TYPE_CHECKING, Any

from src.cli.main import Invocation, run_command
from src.common.console import echo_err

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from src.config.schema import Config
    from src.data.corpus import Corpus
    from src.evaluation.evaluate import Evaluation
    from src.models.serialization import TrainedModel


def evaluate(
    run_id: str, model: "TrainedModel", config: "Config", data_dir: "Path"
) -> "tuple[Evaluation, Corpus]":
    """Score a trained model on the final split of the corpus that it was trained on.

    Args:
        run_id: Id of the run, for error messages.
        model: The trained model.
        config: Config of the run.
        data_dir: Folder for prepared corpora.

    Returns:
        The scores, and the corpus.

    Raises:
        UserError: The corpus cannot be prepared again, or its characters are not the model's.
    """
    import numpy as np

    from src.common.errors import UserError
    from src.data.corpus import load_corpus
    from src.evaluation.evaluate import evaluate_network

    corpus, _ = load_corpus(config.data, config.seq_len, data_dir)
    if corpus.vocabulary != model.vocabulary:
        raise UserError(
            f"run: expected the corpus that run {run_id} was trained on, got a {corpus.name} with "
            "other characters: has the text changed?"
        )
    rng, most = np.random.default_rng(config.seed), config.max_eval_chars
    return evaluate_network(model.architecture, model.params, corpus, config.seq_len, rng, most), corpus


def main(config: Any, _: Invocation) -> None:
    """Print the scores of a model and the metrics of its texts, and save them to its run.

    Args:
        config: Validated config, a `src.config.schema.EvaluateConfig`.

    Raises:
        UserError: The run is unknown, or its model cannot be loaded or scored.
    """
    from src.common.files import absolute, write_json
    from src.config.schema import Config
    from src.evaluation.text_quality import TextQuality, metrics_table, temperature_metrics
    from src.tracking.run_store import open_attended_store

    store = open_attended_store(config)
    run = store.find(config.run)
    model = store.load_model(run)
    logged = Config.from_dict(store.load_config(run), f"run: config.json of run {run.run_id}")
    evaluation, corpus = evaluate(run.run_id, model, logged, absolute(config.data_dir))
    echo_err(run.describe(config.run))
    print(evaluation.table(full=True), flush=True)
    metrics = []
    if config.length:
        temperatures, quality = sorted(config.temperatures), TextQuality(corpus)
        metrics = temperature_metrics(model, quality, model.prompt, temperatures, config.length, config.seed)
        print("\n" + metrics_table(metrics), flush=True)
    scores, report = evaluation.metrics(), evaluation.report(metrics)
    files: dict[str, Callable[[Path], object]] = {
        "evaluation/scores.json": lambda file: write_json(file, scores),
        "evaluation/evaluation.json": lambda file: write_json(file, report),
    }
    if len(metrics) > 2:  # two texts and the held-out one: a curve
        from src.plots.run import plot_quality

        files["evaluation/temperature.png"] = lambda file: plot_quality(metrics, file)
    store.save_files(run, files)


if __name__ == "__main__":
    run_command("evaluate", "evaluate", main)
