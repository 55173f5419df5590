"""A logged run trained again, and held against what was logged: the same to the bit, or where they part."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from src.config import Config
from src.errors import InputError
from src.lab.model.weights import load
from src.lab.reproduction.original import CURVES, Original, local
from src.lab.stages.experiment import prepare, run_on
from src.lab.tracking.lookup import lookup
from src.terminal import say

PLACES = ("rerun", "outputs", "data_dir", "data.path", "tracking")
UNTIMELY = {
    "interrupted": "was ended by Ctrl-C",
    "hopeless": "was given up by its sweep",
}  # ends that do not come from the config
DIGESTS = ("weights_sha256", "job_digest")
UNCOMPARED = ("command", "cores")  # of the surroundings: nothing is computed by them


@dataclass(frozen=True)
class Finding:
    """One thing compared. parted: where and by how much the two differ, "" where they do not."""

    what: str
    parted: str

    @property
    def line(self) -> str:
        return f"{self.what:<14}" + (f"not identical: {self.parted}" if self.parted else "identical")


def refuse_overrides(overrides: list[str]) -> None:
    """A rerun takes everything from the run but where it reads and writes."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key not in PLACES and not key.startswith("tracking."):
            raise InputError(
                "rerun: expected no other keys beside it than outputs, data_dir, data.path and tracking, as "
                f"the run's own config is trained again, got {override}: leave it out"
            )


def repeat(original: Original, config: Config) -> bool:
    """Train `original` again as a new run that says `rerun_of`; print what is identical and what is not.

    config: the run's own, in today's places. Returns whether everything is identical. Raises InputError
    for a corpus that is not the run's, before training.
    """
    for line in cautions(original, config):
        say(line)
    if config.data.path is not None and not Path(config.data.path).expanduser().exists():
        raise InputError(
            f"data.path: expected the text that run {original.run_id} read, got {config.data.path}, which is "
            "not there: name it with data.path=FILE"
        )
    corpus = prepare(config, with_prompt=True)
    known = str(original.environment["data_digest"])
    if corpus.digest != known:
        raise InputError(
            f"data: expected the corpus that run {original.run_id} was trained on (digest {known[:12]}), got "
            f"another (digest {corpus.digest[:12]}): the text has changed, name the run's own with "
            "data.path=FILE"
        )
    with threadpool_limits(blas_threads(original), user_api="blas"):  # of the scores and samples at the end
        result = run_on(corpus, config, "train", tags={"rerun_of": original.run_id})
    again = local(result.folder)
    findings = [weights(original, again, result.folder, config), scores(original, again)]
    findings += [curve(name, original, again) for name in CURVES] + [samples(original, again)]
    identical = not any(finding.parted for finding in findings)
    print("\n".join(finding.line for finding in findings))
    if not identical:
        print(surroundings(original, again))
    verdict = "identical" if identical else "not identical"
    print(f"{verdict}: rerun_of={original.run_id} run={result.run_id}", flush=True)
    return identical


def cautions(original: Original, config: Config) -> Iterator[str]:
    """Why a run may come out otherwise, known before it is trained."""
    if config.max_seconds is not None:
        yield (
            f"run {original.run_id} had a budget of time (max_seconds={config.max_seconds:g}): how far it "
            "comes depends on the machine, so its result may not repeat"
        )
    if original.ended in UNTIMELY:
        yield f"run {original.run_id} {UNTIMELY[original.ended]}: its result may not repeat"


def blas_threads(original: Original) -> int | None:
    """As many BLAS threads as the run had; None, as many as there are now, where that is not known."""
    pools = original.environment.get("blas")
    threads = pools[0].get("num_threads") if isinstance(pools, list) and pools else None
    return threads if isinstance(threads, int) and threads > 0 else None


def weights(original: Original, again: Original, folder: Path, config: Config) -> Finding:
    if again.scores["weights_sha256"] == original.scores["weights_sha256"]:
        return Finding("weights", "")
    try:
        before = lookup(original.run_id, config).model.flat
    except InputError:
        return Finding("weights", "another sha256, and no weights were logged to compare with")
    after = load(folder / "model").flat
    if before.shape != after.shape:
        return Finding("weights", f"{before.size} and {after.size} of them")
    largest = float(np.abs(before - after).max())
    return Finding("weights", f"largest difference {largest:.3g}" if largest else "another sha256 was logged")


def scores(original: Original, again: Original) -> Finding:
    parted = []
    for name in sorted({*original.scores, *again.scores} - {*DIGESTS}):
        before, after = original.scores.get(name), again.scores.get(name)
        if before != after:
            parted.append((distance(before, after), f"{name} {before} and {after}"))
    if not parted:
        return Finding("final scores", "")
    largest, words = max(parted)
    return Finding("final scores", f"{len(parted)} of them, largest difference {largest:.3g}: {words}")


def curve(name: str, original: Original, again: Original) -> Finding:
    """Every point of a metric's curve."""
    before, after = original.curves[name], again.curves[name]
    parted = [step for step in sorted({*before, *after}) if before.get(step) != after.get(step)]
    if not parted:
        return Finding(name, "")
    first = parted[0]
    largest, at = max((distance(before.get(step), after.get(step)), -step) for step in parted)
    pair = f"{before.get(first, 'no point')} and {after.get(first, 'no point')}"
    words = "one has no point" if largest == inf else f"{largest:.3g}"
    return Finding(name, f"first at step {first} ({pair}), largest difference {words} at step {-at}")


def samples(original: Original, again: Original) -> Finding:
    for temperature in sorted({*original.samples, *again.samples}):
        before, after = original.samples.get(temperature), again.samples.get(temperature)
        if before is None or after is None:
            return Finding("samples", f"one has none at temperature {temperature:g}")
        if before != after:
            pairs = enumerate(zip(before, after, strict=False))
            at = next((k for k, (b, a) in pairs if b != a), min(len(before), len(after)))
            return Finding("samples", f"at temperature {temperature:g} first at character {at + 1}")
    return Finding("samples", "")


def distance(before: Any, after: Any) -> float:
    """Between two numbers; infinite where one of them is missing."""
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    return abs(before - after) if numbers else inf


def surroundings(original: Original, again: Original) -> str:
    """What the two ran on, where it differs: a line each."""
    before, after = flat(original.environment), flat(again.environment)
    lines = [
        f"  {key}: {before.get(key, 'not known')}, now {after.get(key, 'not known')}"
        for key in sorted({*before, *after} - {*UNCOMPARED})
        if before.get(key) != after.get(key)
    ]
    return "\n".join(["the surroundings differ in", *lines] if lines else ["the surroundings are the same"])


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"packages": {"numpy": ...}}` as `{"packages.numpy": ...}`; lists by position."""
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {key: leaf for name, part in pairs for key, leaf in flat(part, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): tree}
