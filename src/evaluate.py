"""`python -m src.evaluate`: the scores of a trained model on the final split of its corpus."""

import json
import sys
from typing import Any

from src.cli import launch


def body(config: Any) -> None:
    from src.lab.evaluation import evaluate
    from src.lab.lookup import lookup

    found = lookup(config.run, config)
    evaluation = evaluate(found, config)
    print(found.describe(), file=sys.stderr, flush=True)
    print(evaluation.table(), flush=True)
    found.keep("evaluation/scores.json", json.dumps(evaluation.metrics(), indent=2) + "\n")


if __name__ == "__main__":
    launch("evaluate", "evaluate", body)
