"""Retraining of a logged run, and its comparison with the original: bit-identical, or where they differ."""

from collections.abc import Iterator
from hashlib import sha256

import attrs

from src.common.console import echo_err
from src.common.errors import UserError
from src.config.constraints import evolve
from src.config.schema import NON_SEMANTIC_KEYS, Config
from src.data.sources import find_files
from src.runner import prepare, run
from src.tracking.environment import numerics
from src.tracking.run_record import COMPARED_CURVES, RunRecord
from src.training.data_parallel import effective_workers

ALLOWED_OVERRIDES = ("rerun", "output_dir", "data_dir", "data.path", "tracking")
# Stop reasons that do not follow from the config.
NON_DETERMINISTIC_STOPS = {"interrupted": "was interrupted by Ctrl-C", "pruned": "was pruned by its sweep"}
ALL_EQUAL = "NumPy, its BLAS kernels, the workers and the code are the same: an identical result was expected"
DIGESTS = ("weights_sha256", "job_digest")


def reject_overrides(overrides: list[str]) -> None:
    """Reject an override that changes more than where a rerun reads and writes.

    Args:
        overrides: The overrides as typed.

    Raises:
        UserError: An override has another key than those of ALLOWED_OVERRIDES.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key not in ALLOWED_OVERRIDES and not key.startswith("tracking."):
            expected = (
                "no other keys than output_dir, data_dir, data.path and tracking, because the run's own"
            )
            raise UserError(f"rerun: expected {expected} config is used, got {override}: remove it")


def merge_overrides(original: RunRecord, typed: Config) -> Config:
    """Return the config of a logged run, with the paths and the tracking of the typed config.

    Args:
        original: The logged run.
        typed: The config composed from the command line; its data.path is used where one was typed.

    Returns:
        The validated config of the rerun.

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


def retrain(original: RunRecord, config: Config) -> bool:
    """Train a logged run again as a new run with the tag `rerun_of`, and print a comparison.

    Args:
        original: The logged run.
        config: Its config, with the current output and data folders (`merge_overrides`).

    Returns:
        Whether weights, scores, curves and samples are identical.

    Raises:
        UserError: Before training, for a corpus that is not the run's.
    """
    for line in reproducibility_warnings(original, config):
        echo_err(line)
    if not all(file.exists() for file in find_files(config.data.path)):
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
    name = config.tracking.run_name or original.name
    named = attrs.evolve(config, tracking=attrs.evolve(config.tracking, run_name=name))
    result = run(named, "train", corpus, tags={"rerun_of": original.run_id})
    again = RunRecord.load(result.folder)
    before, after = digests(original), digests(again)
    for name, digest in before.items():
        difference = "" if digest == after[name] else f"not identical: digest {digest}, now {after[name]}"
        print(f"{name:<14}{difference or 'identical'}")
    identical = before == after
    if not identical:
        print(first_difference(original, again))
        print(environment_diff(original, again))
    verdict = "identical" if identical else "not identical"
    print(f"{verdict}: rerun_of={original.run_id} run={result.run_id}", flush=True)
    return identical


def reproducibility_warnings(original: RunRecord, config: Config) -> Iterator[str]:
    """Find the reasons, known before training, why the rerun may differ.

    Args:
        original: The logged run.
        config: Config of the rerun.

    Yields:
        One line per reason: a time limit, other numerics of this machine, or a stop that does not follow from
        the config.
    """
    if config.max_seconds is not None:
        yield (
            f"run {original.run_id} had a time limit (max_seconds={config.max_seconds:g}): its number of "
            "steps depends on the machine, so the result may differ"
        )
    known = original.environment.get("numerics") or {}
    workers = effective_workers(config.workers, config.batch_size)
    for key, now in numerics(workers).items():
        if key in known and known[key] != now:
            yield (
                f"run {original.run_id} was computed with {key}={known[key]}, this machine has {key}={now}: "
                "the result may not be bit-identical"
            )
    if reason := NON_DETERMINISTIC_STOPS.get(original.stop_reason):
        yield f"run {original.run_id} {reason}: the result may differ"


def points(run: RunRecord) -> dict[tuple[int, str], float]:
    """Return the points of the compared curves (COMPARED_CURVES).

    Args:
        run: The run.

    Returns:
        Value by (optimizer step, metric name), sorted by both.
    """
    found = {(step, name): v for name in COMPARED_CURVES for step, v in run.curves.get(name, [])}
    return dict(sorted(found.items()))


def digests(run: RunRecord) -> dict[str, str]:
    """Compute digests of what must be identical: the weights, the final scores, the curves, the samples.

    Args:
        run: A finished run.

    Returns:
        The first 12 hexadecimal digits of a SHA-256 digest, by the name of what it covers.
    """
    texts = {
        "final scores": repr(sorted((name, v) for name, v in run.scores.items() if name not in DIGESTS)),
        "curves": repr(points(run)),
        "samples": repr(sorted((sample["temperature"], sample["text"]) for sample in run.samples)),
    }
    digests = {name: sha256(text.encode("utf-8", "surrogatepass")) for name, text in texts.items()}
    weights = str(run.scores["weights_sha256"])
    return {"weights": weights[:12]} | {name: digest.hexdigest()[:12] for name, digest in digests.items()}


def first_difference(original: RunRecord, again: RunRecord) -> str:
    """Describe the first step at which a curve differs.

    Args:
        original: The logged run.
        again: The rerun.

    Returns:
        A line with the metric, the optimizer step and both values, or the statement that every point is the
        same. NaN counts as equal to NaN.
    """
    before, after = points(original), points(again)
    for step, name in sorted(before | after):
        old, new = before.get((step, name)), after.get((step, name))
        if repr(old) != repr(new):  # nan is identical with nan
            return f"first different point: {name} at step {step}, {old}, now {new}"
    return "every point of the curves is the same"


def environment_diff(original: RunRecord, again: RunRecord) -> str:
    """List the differences between two runs in what must be equal for equal bits.

    Args:
        original: The logged run.
        again: The rerun.

    Returns:
        Lines with the differing values of the code's digest and of `numerics` (`src.tracking.environment`);
        ALL_EQUAL where there is no difference.
    """
    before, after = (
        {"code_sha256": run.environment.get("code_sha256"), **(run.environment.get("numerics") or {})}
        for run in (original, again)
    )
    lines = [
        f"  {key}: {before.get(key, 'unknown')}, now {after.get(key, 'unknown')}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    return "\n".join(["an identical result requires equal values of", *lines]) if lines else ALL_EQUAL
