"""The pipeline's run on the sonnets, as `make reproduce` starts it and its report shows it."""

import json
from pathlib import Path
from typing import Any

from src.config import ReproduceConfig
from src.lab.reproduction.claims import Verdict, read_claims, verdicts
from src.lab.reproduction.report import Section, question
from src.lab.reproduction.sonnets import EXPECTED, FIGURES
from src.lab.runs.environment import environment
from src.lab.runs.rundir import absolute, store_of
from src.lab.runs.started import run_to_its_end
from src.terminal import counted


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
    run_to_its_end("src.pipeline", *places)
    return held_against(file)


def held_against(file: Path) -> list[Verdict]:
    """The claims against the figures of the pipeline's run, none where it left none."""
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
    note = f"{counted(told['steps'], 'step')}; weights kept: those of step {told['best_step']}."
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
