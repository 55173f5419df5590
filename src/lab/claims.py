"""Claims that the project makes, checked against what a run measured: reproduced or not, one by one."""

import json
from dataclasses import dataclass
from pathlib import Path

from src.errors import InputError


@dataclass(frozen=True)
class Claim:
    """measure: a metric's name, or the difference of two (`a - b`). It must lie in [least, most]."""

    claim: str
    measure: str
    source: str
    least: float | None = None
    most: float | None = None

    def value(self, metrics: dict[str, float]) -> float:
        """What was measured. Raises InputError for a metric that there is not."""
        first, _, second = self.measure.partition(" - ")
        try:
            return metrics[first] - (metrics[second] if second else 0.0)
        except KeyError as error:
            raise InputError(
                f"claim {self.claim!r}: expected the metric {error}, which was not measured"
            ) from error

    def holds(self, metrics: dict[str, float]) -> bool:
        value = self.value(metrics)
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def expected(self) -> str:
        bounds = [f">= {self.least:g}"] if self.least is not None else []
        bounds += [f"<= {self.most:g}"] if self.most is not None else []
        return " and ".join(bounds)


def read_claims(file: Path) -> list[Claim]:
    """The claims of one experiment, from its expected.json."""
    return [Claim(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))["claims"]]


def verdicts(claims: list[Claim], metrics: dict[str, float]) -> list[tuple[bool, str]]:
    """For each claim whether it held, and a line that says so with the numbers."""
    lines = []
    for claim in claims:
        held = claim.holds(metrics)
        word = "reproduced    " if held else "NOT reproduced"
        lines.append(
            (
                held,
                f"{word}  {claim.claim}\n                {claim.measure} = "
                f"{claim.value(metrics):.4f}, expected {claim.expected()} ({claim.source})",
            )
        )
    return lines
