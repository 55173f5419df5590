"""`python -m src.evaluate`: a trained model scored on the final split of its corpus, its texts judged."""

import json
from typing import Any

from src.cli import launch
from src.terminal import say


def body(config: Any) -> None:
    from src.lab.evaluation.evaluation import evaluate
    from src.lab.evaluation.judging import Judge, judged_table, judged_temperatures
    from src.lab.tracking.lookup import lookup

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
        from src.lab.figures.evaluation_figures import temperatures

        found.keep_file("evaluation/temperature.png", lambda file: temperatures(judged, file))


if __name__ == "__main__":
    launch("evaluate", "evaluate", body)
