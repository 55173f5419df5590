"""Claims of the experiments, checked against their measurements."""

import json
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

from src.common.errors import UserError


@dataclass(frozen=True)
class Claim:
    """A claim and its bounds, an entry of an experiment's expected.json.

    Attributes:
        claim: In words.
        measure: A metric's name, or the difference of two (`a - b`), which must lie in [min, max].
        source: Where the bounds come from.
        size: `quick` or `full` where the claim concerns one preset of the experiment; "" for both.
    """

    claim: str
    measure: str
    source: str
    min: float | None = None
    max: float | None = None
    size: str = ""

    def measured(self, metrics: dict[str, float]) -> bool:
        """Whether its metrics were measured."""
        return all(name in metrics for name in self.measure.split(" - "))

    def value(self, metrics: dict[str, float]) -> float:
        """The measured value. Raises UserError for a missing metric."""
        first, _, second = self.measure.partition(" - ")
        try:
            return metrics[first] - (metrics[second] if second else 0.0)
        except KeyError as error:
            raise UserError(f"claim {self.claim!r}: expected the metric {error.args[0]}, got none") from error

    def passes(self, metrics: dict[str, float]) -> bool:
        """Whether the value lies within the bounds; false for inf and nan."""
        value = self.value(metrics)
        above = self.min is None or value >= self.min
        return isfinite(value) and above and (self.max is None or value <= self.max)

    def expected(self) -> str:
        bounds = [f">= {self.min:g}"] if self.min is not None else []
        bounds += [f"<= {self.max:g}"] if self.max is not None else []
        return " and ".join(bounds)


@dataclass(frozen=True)
class ClaimResult:
    """Result of a claim.

    Attributes:
        passed: Whether the value lies within the bounds.
        executed: False for a claim whose part of the experiment was not run; its value is nan.
    """

    claim: str
    passed: bool
    measure: str
    value: float
    expected: str
    source: str
    executed: bool = True

    @property
    def word(self) -> str:
        """`reproduced`, `NOT reproduced` or `not run`."""
        if not self.executed:
            return "not run"
        return "reproduced" if self.passed else "NOT reproduced"

    def line(self) -> str:
        """Lines for the terminal."""
        if not self.executed:
            return f"{self.word:<14}  {self.claim}"
        return (
            f"{self.word:<14}  {self.claim}\n                {self.measure} = {self.value:.4f}, expected "
            f"{self.expected} ({self.source})"
        )


def read_claims(file: Path, size: str = "") -> list[Claim]:
    """Read the claims of an experiment from its expected.json: those of `size` and of every size."""
    claims = [Claim(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))["claims"]]
    return [claim for claim in claims if claim.size in ("", size)]


def check_claims(claims: list[Claim], metrics: dict[str, float], partly: bool = False) -> list[ClaimResult]:
    """Check each claim against the measured metrics.

    Args:
        claims: The claims.
        metrics: What was measured.
        partly: Whether only a part of the experiment was run, so that missing metrics are no error.
    """
    return [
        ClaimResult(c.claim, False, c.measure, nan, c.expected(), c.source, executed=False)
        if partly and not c.measured(metrics)
        else ClaimResult(c.claim, c.passes(metrics), c.measure, c.value(metrics), c.expected(), c.source)
        for c in claims
    ]


def tally(found: list[ClaimResult]) -> str:
    """`3 of 4 claims reproduced`, and how many were not run."""
    ran = [v for v in found if v.executed]
    left = f", {len(found) - len(ran)} not run" if len(ran) < len(found) else ""
    return f"{sum(v.passed for v in ran)} of {len(ran)} claims reproduced{left}"


def all_passed(found: list[ClaimResult]) -> bool:
    """Whether every executed claim has passed."""
    return all(v.passed for v in found if v.executed)
