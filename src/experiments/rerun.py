"""Train a logged run again and compare the two: bit-identical, or where they differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from src.common.console import echo_err
from src.common.errors import UserError
from src.config.schema import NON_SEMANTIC_KEYS, Config
from src.config.validation import evolve
from src.models import serialization
from src.runner import prepare, run
from src.tracking.environment import numerics
from src.tracking.run_record import COMPARED_CURVES, RunRecord
from src.tracking.run_store import RunStore
from src.training.data_parallel import effective_workers

ALLOWED_OVERRIDES = ("rerun", "output_dir", "data_dir", "data.path", "tracking")
# Stop reasons that do not follow from the config.
NON_DETERMINISTIC_STOPS = {"interrupted": "was interrupted by Ctrl-C", "pruned": "was pruned by its sweep"}
ALL_EQUAL = "NumPy, its BLAS kernels, the workers and the code are the same: an identical result was expected"
DIGESTS = ("weights_sha256", "job_digest")
# Of the environment: these change no bit, or are checked before.
IGNORED_ENVIRONMENT = ("command", "cores", "data_digest")


@dataclass(frozen=True)
class Comparison:
    """One thing compared. difference: where and by how much the two differ; "" where they are identical."""

    what: str
    difference: str

    @property
    def line(self) -> str:
        return f"{self.what:<14}" + (f"not identical: {self.difference}" if self.difference else "identical")


def reject_overrides(overrides: list[str]) -> None:
    """Raise UserError for an override that changes more than where a rerun reads and writes."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key not in ALLOWED_OVERRIDES and not key.startswith("tracking."):
            raise UserError(
                "rerun: expected no other keys than output_dir, data_dir, data.path and tracking, because "
                f"the run's own config is used, got {override}: remove it"
            )


def merge_overrides(original: RunRecord, typed: Config) -> Config:
    """Return the config of a logged run, with the paths and the tracking of the typed one.

    Args:
        original: The logged run.
        typed: The config as composed; its data.path counts where one was typed.

    Raises:
        UserError: The logged config is not one of this version, or a value is out of range.
    """
    in_place = {key: value for key, value in attrs.asdict(typed).items() if key in NON_SEMANTIC_KEYS}
    in_place |= {"rerun": None, "register": False}
    source = f"rerun: config.json of run {original.run_id}"
    try:
        config = Config.from_dict({**original.config, **in_place}, source)
    except UserError as error:
        commit = original.environment.get("git_commit")
        hint = f": check out the commit it was made with ({commit})" if commit else ""
        raise UserError(f"{error}{hint}") from error
    return evolve(config, {"data.path": typed.data.path}) if typed.data.path is not None else config


def retrain(original: RunRecord, config: Config, store: RunStore) -> bool:
    """Train a logged run again as a new run with the tag `rerun_of`, and print a comparison.

    Args:
        original: The logged run.
        config: Its config, with the output and data folders of now.
        store: Where the run was found.

    Returns:
        Whether weights, scores, curves and samples are identical.

    Raises:
        UserError: Before training, for a corpus that is not the run's.
    """
    for line in reproducibility_warnings(original, config):
        echo_err(line)
    if config.data.path is not None and not Path(config.data.path).expanduser().exists():
        raise UserError(
            f"data.path: expected the text that run {original.run_id} read, got {config.data.path}, which "
            "does not exist: give its path with data.path=FILE"
        )
    corpus = prepare(config, with_prompt=True)
    known = str(original.environment["data_digest"])
    if corpus.digest != known:
        raise UserError(
            f"data: expected the corpus that run {original.run_id} was trained on (digest {known[:12]}), got "
            f"another (digest {corpus.digest[:12]}): the text has changed; give the original text with "
            "data.path=FILE"
        )
    result = run(config, "train", corpus, tags={"rerun_of": original.run_id})
    again = RunRecord.load(result.folder)
    old, new = ({k: v for k, v in run.scores.items() if k not in DIGESTS} for run in (original, again))
    comparisons = [
        compare_weights(original, again, store, result.folder),
        compare_values("final scores", old, new),
    ]
    for name in COMPARED_CURVES:
        before, after = (dict(run.curves.get(name, [])) for run in (original, again))
        comparisons.append(compare_values(name, before, after, "step "))
    comparisons.append(compare_samples(original, again))
    identical = not any(comparison.difference for comparison in comparisons)
    for comparison in comparisons:
        print(comparison.line)
    if not identical:
        print(environment_diff(original, again))
    verdict = "identical" if identical else "not identical"
    print(f"{verdict}: rerun_of={original.run_id} run={result.run_id}", flush=True)
    return identical


def reproducibility_warnings(original: RunRecord, config: Config) -> Iterator[str]:
    """Yield the reasons, known before training, for a possible difference of the rerun."""
    if config.max_seconds is not None:
        yield (
            f"run {original.run_id} had a time limit (max_seconds={config.max_seconds:g}): its number of "
            "steps depends on the machine, so the result may differ"
        )
    known = flatten(original.environment.get("numerics"))
    workers = effective_workers(config.workers, config.batch_size)
    for key, now in flatten(numerics(workers)).items():
        if key in known and known[key] != now:
            yield (
                f"run {original.run_id} was computed with {key}={known[key]}, this machine has {key}={now}: "
                "the result may not be bit-identical"
            )
    if reason := NON_DETERMINISTIC_STOPS.get(original.stop_reason):
        yield f"run {original.run_id} {reason}: the result may differ"


def compare_weights(original: RunRecord, again: RunRecord, store: RunStore, folder: Path) -> Comparison:
    """Compare the digests of the weights; where they differ, the weights. folder: the new run's directory."""
    if again.scores["weights_sha256"] == original.scores["weights_sha256"]:
        return Comparison("weights", "")
    try:
        before = store.load_model(original).params
    except UserError:
        return Comparison("weights", "different sha256; no weights were logged for a comparison")
    after = serialization.load(folder / "model").params
    if before.shape != after.shape:
        return Comparison("weights", f"{before.size} and {after.size} parameters")
    largest = float(np.abs(before - after).max())
    return Comparison(
        "weights", f"largest difference {largest:.3g}" if largest else "a different sha256 was logged"
    )


def compare_values(
    what: str, before: Mapping[Any, float | str], after: Mapping[Any, float | str], unit: str = ""
) -> Comparison:
    """Compare two mappings of numbers: every point of a curve by its step, every score by its name.

    Args:
        what: Name of the comparison.
        before, after: The numbers.
        unit: Written before a key, like `step `.
    """
    differing = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    if not differing:
        return Comparison(what, "")
    first = differing[0]
    pair = f"{before.get(first, 'nothing')} and {after.get(first, 'nothing')}"
    distances = {key: distance(before.get(key), after.get(key)) for key in differing}
    largest = max(differing, key=distances.__getitem__)
    size = "one has no value" if distances[largest] == inf else f"{distances[largest]:.3g}"
    return Comparison(what, f"first at {unit}{first} ({pair}), largest difference {size} at {unit}{largest}")


def compare_samples(original: RunRecord, again: RunRecord) -> Comparison:
    """Compare the samples, by temperature."""
    first, second = ({row["temperature"]: row["text"] for row in run.samples} for run in (original, again))
    for temperature in sorted({*first, *second}):
        before, after = first.get(temperature), second.get(temperature)
        if before is None or after is None:
            return Comparison("samples", f"one has none at temperature {temperature:g}")
        if before != after:
            pairs = enumerate(zip(before, after, strict=False), 1)
            at = next((k for k, (b, a) in pairs if b != a), min(len(before), len(after)) + 1)
            return Comparison("samples", f"at temperature {temperature:g} first at character {at}")
    return Comparison("samples", "")


def distance(before: Any, after: Any) -> float:
    """Between two numbers; infinite where one of them is missing."""
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    return abs(before - after) if numbers else inf


def environment_diff(original: RunRecord, again: RunRecord) -> str:
    """List the differences between two environments: first those that must be equal for equal bits."""
    before, after = flatten(original.environment), flatten(again.environment)
    needed: list[str] = []
    others: list[str] = []
    for key in sorted({*before, *after} - {*IGNORED_ENVIRONMENT}):
        if before.get(key) != after.get(key):
            lines = needed if key.startswith(("numerics.", "code_sha256")) else others
            lines.append(f"  {key}: {before.get(key, 'unknown')}, now {after.get(key, 'unknown')}")
    first = ["an identical result requires equal values of", *needed] if needed else [ALL_EQUAL]
    return "\n".join(first + (["other differences of the environment", *others] if others else []))


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"packages": {"numpy": ...}}` as `{"packages.numpy": ...}`."""
    if isinstance(tree, dict):
        return {
            key: leaf
            for name, part in tree.items()
            for key, leaf in flatten(part, f"{prefix}{name}.").items()
        }
    return {prefix.removesuffix("."): tree}
