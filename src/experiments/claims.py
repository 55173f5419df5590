"""Claims of the experiments, checked against their measurements."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Literal, NotRequired

from src.common.console import pluralize
from src.common.errors import UserError
from src.common.files import read_json, record_schema

Measures = dict[str, float]
Preset = Literal["quick", "full"]
CLAIM = record_schema(
    claim=str, measure=str, source=str, min=NotRequired[float], max=NotRequired[float],
    preset=NotRequired[Preset],
)  # fmt: skip
FILE = record_schema(command=NotRequired[str], claims=list[CLAIM])  # type: ignore[valid-type]
WORDS = {True: "reproduced", False: "NOT reproduced", None: "not run"}


@dataclass(frozen=True)
class Claim:
    """A claim and its bounds, an entry of an experiment's expected.json.

    Attributes:
        claim: The claim in words.
        measure: Name of a metric, or the difference of two or more (`a - b`), which must lie in [min, max].
        source: Where the bounds come from.
        min: Lower bound, in the unit of the metric; -inf for none.
        max: Upper bound, in the unit of the metric; inf for none.
        preset: `quick` or `full` where the claim concerns one preset of the experiment; "" for both.
    """

    claim: str
    measure: str
    source: str
    min: float = -inf
    max: float = inf
    preset: str = ""

    @property
    def expected(self) -> str:
        """The bounds in words, such as `>= 0.1 and <= 0.2`."""
        bounds = [f">= {self.min:g}"] if self.min > -inf else []
        bounds += [f"<= {self.max:g}"] if self.max < inf else []
        return " and ".join(bounds)


@dataclass(frozen=True)
class ClaimResult(Claim):
    """A claim with its measured value.

    Attributes:
        value: The measured value; None for a part of the experiment that was not run.
    """

    value: float | None = None

    @property
    def passed(self) -> bool | None:
        """True if the value is finite and within the bounds; None for a claim without a value."""
        if self.value is None:
            return None
        return isfinite(self.value) and self.min <= self.value <= self.max

    @property
    def word(self) -> str:
        """The verdict: `reproduced`, `NOT reproduced` or `not run`."""
        return WORDS[self.passed]

    def line(self) -> str:
        """Format the result for a terminal.

        Returns:
            The verdict and the claim; on a second line, where there is a value, the value with its bounds and
            their source.
        """
        first = f"{self.word:<14}  {self.claim}"
        if self.value is None:
            return first
        bounds = f"expected {self.expected} ({self.source})"
        return f"{first}\n                {self.measure} = {self.value:.4f}, {bounds}"


def read_claims(file: Path, preset: str = "") -> list[Claim]:
    """Read the claims of an experiment from its expected.json.

    Args:
        file: Path of the expected.json.
        preset: `quick` or `full`: also read the claims of this preset; "": only the claims of every preset.

    Returns:
        The claims, in the order of the file.

    Raises:
        UserError: The file is missing or damaged.
    """
    claims = [Claim(**entry) for entry in read_json(file, FILE, "experiments")["claims"]]
    return [claim for claim in claims if claim.preset in ("", preset)]


def check_claims(claims: Iterable[Claim], metrics: Measures, partly: bool = False) -> list[ClaimResult]:
    """Check each claim against the measured metrics.

    Args:
        claims: The claims.
        metrics: Measured value by name of the metric.
        partly: Whether only a part of the experiment was run, so that missing metrics are no error.

    Returns:
        The result of each claim, in the same order.

    Raises:
        UserError: A metric is missing, and `partly` is False.
    """
    results = []
    for claim in claims:
        first, *others = names = claim.measure.split(" - ")
        missing = [name for name in names if name not in metrics]
        if missing and not partly:
            raise UserError(f"claim {claim.claim!r}: expected the metric {missing[0]}, got none")
        value = None if missing else metrics[first] - sum(metrics[name] for name in others)
        results.append(ClaimResult(**asdict(claim), value=value))
    return results


def tally(passed: Iterable[bool | None]) -> str:
    """Count the claims by their verdict.

    Args:
        passed: `ClaimResult.passed` of each claim.

    Returns:
        A phrase such as `3 claims reproduced, 1 not reproduced, 2 not run`.
    """
    counts = Counter(passed)
    reproduced = pluralize(counts[True], "claim")
    return f"{reproduced} reproduced, {counts[False]} not reproduced, {counts[None]} not run"
