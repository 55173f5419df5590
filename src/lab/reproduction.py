"""Whether a run reproduces what the project claims: the claims, the repeated training, the report."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from src.config import Config, ReproduceConfig
from src.files import write_json
from src.lab.claims import Verdict, read_claims, verdicts
from src.lab.environment import PROJECT, environment
from src.lab.experiment import architecture_of, prepare
from src.lab.finishing import Result
from src.lab.report import Section, question
from src.lab.rundir import absolute, store_of
from src.lab.training import train

EXPECTED = PROJECT / "experiments" / "sonnets" / "expected.json"
FIGURES = "reproduction.json"  # under outputs/


def repeated_digest(config: Config) -> str:
    """sha256 of the weights that a second training with the same config comes to."""
    corpus = prepare(config, with_prompt=False)
    architecture = architecture_of(config, corpus)
    rng = np.random.default_rng(config.seed)
    outcome = train(config, architecture, corpus, rng, lambda step, metrics: None, lambda step, flat: None)
    return hashlib.sha256(outcome.flat.tobytes()).hexdigest()


def check_claims(result: Result, config: Config) -> bool:
    """Train again, hold every claim of the sonnets experiment against the figures; True when all hold.

    Writes outputs/reproduction.json: the figures without anything that depends on the clock.
    """
    print("\ntraining once more, for the claim that the weights come out the same", file=sys.stderr)
    identical = repeated_digest(config) == result.weights_sha256
    metrics = {**result.evaluation.metrics(), "val/loss": result.outcome.val_loss}
    metrics["repeat/identical"] = float(identical)
    found = verdicts(read_claims(EXPECTED), metrics)
    print("\n" + "\n".join(v.line() for v in found))
    report: dict[str, Any] = {
        "metrics": metrics,
        "best_step": result.outcome.best_step,
        "steps": result.outcome.steps,
        "weights_sha256": result.weights_sha256,
        "samples": {f"{t:g}": config.prompt + text for t, text in result.samples.items()},
    }
    file = absolute(config.outputs) / FIGURES
    write_json(file, report)
    held = sum(v.held for v in found)
    print(f"\n{held} of {len(found)} claims reproduced; the figures are in {file}")
    return held == len(found)


def differs_from_default(overrides: list[str]) -> list[str]:
    """The overrides that change what is computed, not merely where it is put."""
    places = ("outputs", "data_dir", "tracking", "register")
    return [o for o in overrides if o.split("=")[0].split(".")[0] not in places]


def recorded() -> dict[str, Any]:
    """The figures of the committed run, experiments/sonnets/measured.json."""
    file: Path = EXPECTED.with_name("measured.json")
    measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def places(config: ReproduceConfig) -> list[str]:
    """Where the commands that it starts are to keep things."""
    found = [f"outputs={absolute(config.outputs)}", f"data_dir={absolute(config.data_dir)}"]
    found.append(f"tracking={config.tracking.name}")
    if config.tracking.name != "none":
        found += [f"tracking.uri={store_of(config)['uri']}"] if config.tracking.uri else []
        found.append(f"tracking.experiment={config.tracking.experiment}")
    return found


def sonnets(places: list[str], outputs: Path) -> list[Verdict]:
    """Run the pipeline in a process of its own; what its claims came to, none where it did not end."""
    file = outputs / FIGURES
    file.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "src.pipeline", *places], cwd=PROJECT, check=False)
    return held_against(file)


def held_against(file: Path) -> list[Verdict]:
    if not file.exists():
        return []
    return verdicts(read_claims(EXPECTED), json.loads(file.read_text(encoding="utf-8"))["metrics"])


def sonnets_section(outputs: Path) -> Section:
    """The pipeline's run as the report shows it."""
    file, line = outputs / FIGURES, "python -m src.pipeline"
    if not file.exists():
        return Section("sonnets", question("sonnets"), line, "not run: it did not end", [], "", "", [])
    told = json.loads(file.read_text(encoding="utf-8"))
    samples = [
        {"name": f"temperature {t}", "settings": "", "prompt": "", "text": text}
        for t, text in told["samples"].items()
    ]
    note = f"{told['steps']} steps; the weights of step {told['best_step']} were kept."
    return Section("sonnets", question("sonnets"), line, note, held_against(file), "", "Samples.", samples)


def facts(size: str) -> dict[str, Any]:
    """What the report says it ran on."""
    around = environment()
    commit = (around["git_commit"] or "none")[:12] + (" with changes" if around["git_dirty"] else "")
    return {
        "size": size,
        "commit": commit,
        "processor": f"{around['processor']}, {around['cores']} cores",
        "Python": around["python"],
        "NumPy": around["packages"]["numpy"],
    }
