"""Train a logged run again and compare the two: bit-identical, or where they differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from src.common.errors import UserError, echo_err
from src.config.schema import NON_SEMANTIC_KEYS, Config
from src.config.validation import evolve
from src.models import serialization
from src.runner import prepare, run
from src.tracking.environment import numerics
from src.tracking.run_record import COMPARED_CURVES, RunRecord
from src.tracking.run_store import RunStore
from src.training.data_parallel import effective_workers

ALLOWED_OVERRIDES = ("rerun", "output_dir", "data_dir", "data.path", "tracking")
NON_DETERMINISTIC_STOPS = {
    "interrupted": "was ended by Ctrl-C",
    "pruned": "was given up by its sweep",
}  # stop reasons that do not follow from the config
ALL_EQUAL = "NumPy, its BLAS kernels, the workers and the code are the same: equal bits were expected"
DIGESTS = ("weights_sha256", "job_digest")
IGNORED_ENVIRONMENT = (
    "command",
    "cores",
    "data_digest",
)  # of the environment: they change no bit, or are checked before


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
                "rerun: expected no other keys than output_dir, data_dir, data.path and tracking, as "
                f"the run's own config is trained again, got {override}: leave it out"
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
            f"data.path: expected the text that run {original.run_id} read, got {config.data.path}, which is "
            "not there: name it with data.path=FILE"
        )
    corpus = prepare(config, with_prompt=True)
    known = str(original.environment["data_digest"])
    if corpus.digest != known:
        raise UserError(
            f"data: expected the corpus that run {original.run_id} was trained on (digest {known[:12]}), got "
            f"another (digest {corpus.digest[:12]}): the text has changed, name the run's own with "
            "data.path=FILE"
        )
    result = run(config, "train", corpus, tags={"rerun_of": original.run_id})
    again = RunRecord.load(result.folder)
    comparisons = [weights(original, again, store, result.folder), scores(original, again)]
    comparisons += [curve(name, original, again) for name in COMPARED_CURVES] + [samples(original, again)]
    identical = not any(comparison.difference for comparison in comparisons)
    print("\n".join(comparison.line for comparison in comparisons))
    if not identical:
        print(environment_diff(original, again))
    verdict = "identical" if identical else "not identical"
    print(f"{verdict}: rerun_of={original.run_id} run={result.run_id}", flush=True)
    return identical


def reproducibility_warnings(original: RunRecord, config: Config) -> Iterator[str]:
    """Yield why a rerun may differ, as known before training."""
    if config.max_seconds is not None:
        yield (
            f"run {original.run_id} had a budget of time (max_seconds={config.max_seconds:g}): how far it "
            "comes depends on the machine, so its result may not repeat"
        )
    known = flatten(original.environment.get("numerics"))
    workers = effective_workers(config.workers, config.batch_size)
    for key, now in flatten(numerics(workers)).items():
        if key in known and known[key] != now:
            yield (
                f"run {original.run_id} was computed with {key}={known[key]}, this machine has {key}={now}: "
                "equal bits cannot be expected"
            )
    if reason := NON_DETERMINISTIC_STOPS.get(original.stop_reason):
        yield f"run {original.run_id} {reason}: its result may not repeat"


def weights(original: RunRecord, again: RunRecord, store: RunStore, folder: Path) -> Comparison:
    if again.scores["weights_sha256"] == original.scores["weights_sha256"]:
        return Comparison("weights", "")
    try:
        before = store.load_model(original).params
    except UserError:
        return Comparison("weights", "another sha256, and no weights were logged to compare with")
    after = serialization.load(folder / "model").params
    if before.shape != after.shape:
        return Comparison("weights", f"{before.size} and {after.size} of them")
    largest = float(np.abs(before - after).max())
    return Comparison(
        "weights", f"largest difference {largest:.3g}" if largest else "another sha256 was logged"
    )


def scores(original: RunRecord, again: RunRecord) -> Comparison:
    differing = []
    for name in sorted({*original.scores, *again.scores} - {*DIGESTS}):
        before, after = original.scores.get(name), again.scores.get(name)
        if before != after:
            differing.append((distance(before, after), f"{name} {before} and {after}"))
    if not differing:
        return Comparison("final scores", "")
    largest, words = max(differing)
    return Comparison("final scores", f"{len(differing)} of them, largest difference {largest:.3g}: {words}")


def curve(name: str, original: RunRecord, again: RunRecord) -> Comparison:
    """Every point of a metric's curve."""
    before, after = (dict(run.curves.get(name, [])) for run in (original, again))
    differing = [step for step in sorted({*before, *after}) if before.get(step) != after.get(step)]
    if not differing:
        return Comparison(name, "")
    first = differing[0]
    largest, at = max((distance(before.get(step), after.get(step)), -step) for step in differing)
    pair = f"{before.get(first, 'no point')} and {after.get(first, 'no point')}"
    words = "one has no point" if largest == inf else f"{largest:.3g}"
    return Comparison(name, f"first at step {first} ({pair}), largest difference {words} at step {-at}")


def samples(original: RunRecord, again: RunRecord) -> Comparison:
    first, second = ({row["temperature"]: row["text"] for row in run.samples} for run in (original, again))
    for temperature in sorted({*first, *second}):
        before, after = first.get(temperature), second.get(temperature)
        if before is None or after is None:
            return Comparison("samples", f"one has none at temperature {temperature:g}")
        if before != after:
            pairs = enumerate(zip(before, after, strict=False))
            at = next((k for k, (b, a) in pairs if b != a), min(len(before), len(after)))
            return Comparison("samples", f"at temperature {temperature:g} first at character {at + 1}")
    return Comparison("samples", "")


def distance(before: Any, after: Any) -> float:
    """Between two numbers; infinite where one of them is missing."""
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    return abs(before - after) if numbers else inf


def environment_diff(original: RunRecord, again: RunRecord) -> str:
    """List the differences between two environments: first those that equal bits do not allow."""
    before, after = flatten(original.environment), flatten(again.environment)
    lines = {
        key: f"  {key}: {before.get(key, 'not known')}, now {after.get(key, 'not known')}"
        for key in sorted({*before, *after} - {*IGNORED_ENVIRONMENT})
        if before.get(key) != after.get(key)
    }
    needed = [line for key, line in lines.items() if key.startswith(("numerics.", "code_sha256"))]
    others = [line for key, line in lines.items() if line not in needed]
    return "\n".join(
        [
            *(["equal bits require equal values of", *needed] if needed else [ALL_EQUAL]),
            *(["other differences of the environment", *others] if others else []),
        ]
    )


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"packages": {"numpy": ...}}` as `{"packages.numpy": ...}`."""
    if isinstance(tree, dict):
        return {
            key: leaf
            for name, part in tree.items()
            for key, leaf in flatten(part, f"{prefix}{name}.").items()
        }
    return {prefix.removesuffix("."): tree}
