"""Descriptions of runs, sweeps and models in Markdown, as MLflow shows them.

A link in a description is relative to MLflow's page, so it works at every address of the server.
"""

import textwrap
from collections.abc import Callable
from urllib.parse import urlsplit

from src.tracking.run_record import RunRecord

NOTE = "mlflow.note.content"  # tag of a run or of a logged model: its description
# A description that lacks this line was edited by a person and is kept.
FOOTER = "*Written when the run ended. To keep your own text here, delete this line.*"
CONFIG = (
    "data", "model", "model.layers", "hidden", "seq_len", "batch_size", "optimizer", "lr", "schedule", "clip",
    "max_epochs", "seed",
)  # fmt: skip
SCORES = {  # metric: its unit
    "val/loss": " nats per character",
    "test/bpc": " bits per character",
    "final_val/bpc": " bits per character",
    "test/bpc_minus_ngram": "",
    "final_val/bpc_minus_ngram": "",
    "test/accuracy": "",
    "final_val/accuracy": "",
}
PAGES = {  # file of a run or sweep: what it shows
    "comparison.html": "the jobs compared, with samples",
    "neurons.html": "the text, colored by the activation of each hidden unit",
    "samples.json": "samples at each temperature",
    "figures/losses.png": "train/loss and val/loss",
    "figures/gradient_norms.png": "gradient norms",
    "figures/temperature.png": "samples and temperature",
    "environment.json": "versions, processor and digests",
}
SAMPLE_LENGTH = 500  # characters of the sample that are shown
LINE_LENGTH = 90


def run_description(run: RunRecord, link: Callable[[str], str]) -> str:
    """Describe a run or a sweep: config, scores, a sample, and links to its files.

    Args:
        run: The run as it was logged, with its directory.
        link: Function from the path of an artifact to its link.

    Returns:
        Markdown.
    """
    parts = [score_line(run), config_line(run), sample_block(run)]
    parts += [f"The run ended as {run.status}: {run.stop_reason}"] if run.status != "FINISHED" else []
    files = [(name, about) for name, about in PAGES.items() if run.folder and (run.folder / name).exists()]
    if "samples.json" not in dict(files) and run.samples:
        files.append(("samples.json", PAGES["samples.json"]))
    parts += ["\n".join(f"- [{name}]({link(name)}): {about}" for name, about in files), FOOTER]
    return "\n\n".join(part for part in parts if part)


def model_description(run: RunRecord, uri: str, model_uri: str) -> str:
    """Describe the model of a run: config, scores, and the code that loads it.

    Args:
        run: The run as it was logged.
        uri: URI of the store; a user name and a password in it are left out.
        model_uri: Address of the model, like `models:/char-rnn@champion`.

    Returns:
        Markdown.
    """
    return "\n\n".join(
        part for part in (score_line(run), config_line(run), load_code(uri, model_uri)) if part
    )


def load_code(uri: str, model_uri: str) -> str:
    """Return the code that loads a model, and a call that generates text.

    Args:
        uri: URI of the store; a user name and a password in it are left out.
        model_uri: Address of the model, like `models:/char-rnn@champion`.

    Returns:
        Markdown with three lines of Python.
    """
    parts = urlsplit(uri)
    uri = uri.replace(parts.netloc, parts.netloc.rpartition("@")[2]) if parts.netloc else uri
    return (
        f'```python\nimport mlflow\nmlflow.set_tracking_uri("{uri}")\n'
        f'model = mlflow.pyfunc.load_model("{model_uri}")\n```\n\n'
        'It writes text: `model.predict({"prompt": ["..."]}, params={"temperature": 0.7, "length": 300})[0]`'
    )


def config_line(run: RunRecord) -> str:
    """Return the most important keys of the config, as they are typed.

    Args:
        run: The run; the parent run of a sweep has no params, but the overrides of the sweep.

    Returns:
        One line of Markdown; "" where nothing is known.
    """
    typed = run.tags.get("sweep.overrides") or " ".join(
        f"{key}={run.params[key]}" for key in CONFIG if key in run.params
    )
    return f"`{typed}`" if typed else ""


def score_line(run: RunRecord) -> str:
    """Return the scores that the run has.

    Args:
        run: The run.

    Returns:
        One line of Markdown; "" where there is no score.
    """
    return ", ".join(
        f"{name} **{run.metrics[name]:.4f}**{unit}" for name, unit in SCORES.items() if name in run.metrics
    )


def sample_block(run: RunRecord) -> str:
    """Return the beginning of the sample at the temperature of the run.

    Args:
        run: The run, with its table of samples.

    Returns:
        A block of code in Markdown, in which no character of the text is markup; "" for no sample.
    """
    rows = {str(row.get("temperature")): row for row in run.samples}
    row = rows.get(run.params.get("temperature", ""), next(iter(run.samples), None))
    if row is None:
        return ""
    text = f"{row['prompt']}{row['text']}"[:SAMPLE_LENGTH]
    lines = [each for line in text.splitlines() for each in textwrap.wrap(line, LINE_LENGTH) or [""]]
    return "\n".join([f"Sample at temperature {row['temperature']}:", "", *(f"    {line}" for line in lines)])
