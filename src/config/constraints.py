"""What a key of the configuration may hold, and fields that say so."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import MISSING

KINDS: dict[str, Any] = {
    "an integer": int | float,  # 5.0 is what a page in a browser sends
    "a number": int | float,
    "numbers": int | float,
    "true or false": bool,
    "a text": str,
}


@dataclass(frozen=True)
class Allowed:
    """What a key may hold. `above` excludes its end, `least` and `most` include theirs."""

    kind: str  # "an integer", "a number", "true or false", "a text", "one of ..."
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    several: bool = False  # a list of such
    optional: str = ""  # what null means

    def describe(self) -> str:
        """In words: `a number > 0, or null for no clipping`."""
        ends = {">=": self.least, ">": self.above, "<=": self.most, "<": self.below}
        bounds = " and ".join(f"{sign} {end:g}" for sign, end in ends.items() if end is not None)
        words = "one of " + ", ".join(self.choices) if self.choices else f"{self.kind} {bounds}".rstrip()
        if self.several:
            words = f"one or more {words.removeprefix('one ')}, each once, in brackets"
        return words + (f", or null for {self.optional}" if self.optional else "")

    def accepts(self, value: Any) -> bool:
        """Whether a value is of the kind and within the ends."""
        if value == MISSING:  # what ~key leaves
            return False
        if value is None:
            return bool(self.optional)
        if self.several:
            one = replace(self, several=False)
            listed = isinstance(value, list) and 0 < len(value) == len(set(value))
            return listed and all(one.accepts(each) for each in value)
        if self.choices:
            return value in self.choices
        kind = KINDS.get(self.kind, object)  # of a config that was read, and not composed
        if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
            return False
        if isinstance(value, str | bool) or not isinstance(value, int | float):
            return True
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )


def integer(least: float, **limits: Any) -> Any:
    """A field of a config: an integer. limits: further arguments of Allowed, here and below."""
    return field(default=MISSING, metadata={"allowed": Allowed("an integer", least=least, **limits)})


def number(**limits: Any) -> Any:
    """A field of a config: a number."""
    return field(default=MISSING, metadata={"allowed": Allowed("a number", **limits)})


def choice(*choices: str) -> Any:
    """A field of a config: one of these words."""
    return field(default=MISSING, metadata={"allowed": Allowed("a text", choices=choices)})


def text(optional: str = "") -> Any:
    """A field of a config: a text."""
    return field(default=MISSING, metadata={"allowed": Allowed("a text", optional=optional)})


def flag() -> Any:
    """A field of a config: true or false."""
    return field(default=MISSING, metadata={"allowed": Allowed("true or false")})
