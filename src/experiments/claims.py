"""Claims that the project makes, checked against what was measured: reproduced or not, one by one."""

import json
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

from src.common.errors import InputError


@dataclass(frozen=True)
class Claim:
    """measure: a metric's name, or the difference of two (`a - b`). It must lie in [least, most]. size:
    `quick` or `full` where the claim speaks of that setting of the experiment alone."""

    claim: str
    measure: str
    source: str
    least: float | None = None
    most: float | None = None
    size: str = ""

    def measured(self, metrics: dict[str, float]) -> bool:
        """Whether there is what it speaks of."""
        return all(name in metrics for name in self.measure.split(" - "))

    def value(self, metrics: dict[str, float]) -> float:
        """What was measured. Raises InputError for a metric that there is not."""
        first, _, second = self.measure.partition(" - ")
        try:
            return metrics[first] - (metrics[second] if second else 0.0)
        except KeyError as error:
            raise InputError(
                f"claim {self.claim!r}: expected the metric {error.args[0]}, got none"
            ) from error

    def holds(self, metrics: dict[str, float]) -> bool:
        """Of nothing, and of what is no number, no claim holds."""
        value = self.value(metrics)
        above = self.least is None or value >= self.least
        return isfinite(value) and above and (self.most is None or value <= self.most)

    def expected(self) -> str:
        bounds = [f">= {self.least:g}"] if self.least is not None else []
        bounds += [f"<= {self.most:g}"] if self.most is not None else []
        return " and ".join(bounds)


@dataclass(frozen=True)
class Verdict:
    """A claim, whether it held, and the numbers. ran: false for a claim of what has not been run, which has
    neither held nor failed and whose value is no number."""

    claim: str
    held: bool
    measure: str
    value: float
    expected: str
    source: str
    ran: bool = True

    @property
    def word(self) -> str:
        if not self.ran:
            return "not run"
        return "reproduced" if self.held else "NOT reproduced"

    def line(self) -> str:
        """For a terminal."""
        if not self.ran:
            return f"{self.word:<14}  {self.claim}"
        return (
            f"{self.word:<14}  {self.claim}\n                {self.measure} = {self.value:.4f}, expected "
            f"{self.expected} ({self.source})"
        )


def read_claims(file: Path, size: str = "") -> list[Claim]:
    """The claims of one experiment, from its expected.json: those of every size and those of this one."""
    claims = [Claim(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))["claims"]]
    return [claim for claim in claims if claim.size in ("", size)]


def verdicts(claims: list[Claim], metrics: dict[str, float], partly: bool = False) -> list[Verdict]:
    """Each claim held against what was measured. partly: what was not measured was not run."""
    return [
        Verdict(c.claim, False, c.measure, nan, c.expected(), c.source, ran=False)
        if partly and not c.measured(metrics)
        else Verdict(c.claim, c.holds(metrics), c.measure, c.value(metrics), c.expected(), c.source)
        for c in claims
    ]


def tally(found: list[Verdict]) -> str:
    """`3 of 4 claims reproduced`, and how many were not run."""
    ran = [v for v in found if v.ran]
    left = f", {len(found) - len(ran)} not run" if len(ran) < len(found) else ""
    return f"{sum(v.held for v in ran)} of {len(ran)} claims reproduced{left}"


def all_held(found: list[Verdict]) -> bool:
    """Whether every claim that was run has held."""
    return all(v.held for v in found if v.ran)
