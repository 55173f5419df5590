"""The exercises: their cases (random arguments), the solutions, and typical mistakes with a hint for each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from docs import solutions

STEPS, B, D, H, V = 4, 3, 5, 4, 6  # all sizes differ, so that a wrong axis is noticed (except H and STEPS)
GATES = ("o", "i", "f", "g")

Arguments = dict[str, Any]
Case = tuple[str, Arguments]  # where ("at time step 3"), and the arguments
Function = Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        solution: Correct function.
        results: Names of its results.
        cases: Returns the cases in the order in which they are reported.
        hints: By result, what to think about if the mistake is not a typical one.
        mistakes: Typical mistakes: the hint, the result in which they show, and a function that makes them.
    """

    solution: Function
    results: tuple[str, ...]
    cases: Callable[[np.random.Generator], Iterator[Case]]
    hints: dict[str, str]
    mistakes: list[tuple[str, str, Function]] = field(default_factory=list)


def changed(name: str, **changes: Callable[[Arguments], Any]) -> Function:
    """Return the solution `name` with other arguments: what a mistaken function computes."""

    def mistaken(**arguments: Any) -> Any:
        return getattr(solutions, name)(**arguments | {key: new(arguments) for key, new in changes.items()})

    return mistaken


def predictions(rng: np.random.Generator) -> Iterator[Case]:
    logits, targets = rng.normal(size=(B, V)), rng.integers(V, size=B)
    yield f"for logits {(B, V)}", {"logits": logits, "targets": targets}
    yield "for logits of about 1000", {"logits": 1000 + logits, "targets": targets}


def probabilities(rng: np.random.Generator) -> Iterator[Case]:
    for _, arguments in predictions(rng):
        p, _ = solutions.softmax_cross_entropy(**arguments)
        yield f"for probabilities {(B, V)}", {"probabilities": p, "targets": arguments["targets"]}
        return


def rnn_steps(rng: np.random.Generator) -> Iterator[Case]:
    wx, wh, dh_next = rng.normal(size=(D, H)), rng.normal(size=(H, H)), np.zeros((B, H))
    h = np.tanh(rng.normal(size=(STEPS + 1, B, H)))
    for t in range(STEPS, 0, -1):
        step = {"x": rng.normal(size=(B, D)), "h_prev": h[t - 1], "h": h[t], "wx": wx, "wh": wh}
        step["dh"] = rng.normal(size=(B, H)) + dh_next
        yield f"at time step {t} of {STEPS}", step
        dh_next = solutions.rnn_backward(**step)[1]


def lstm_steps(rng: np.random.Generator) -> Iterator[Case]:
    wx, wh = rng.normal(size=(4, D, H)), rng.normal(size=(4, H, H))
    dh_next, dc = np.zeros((2, B, H))
    c, h = rng.normal(size=(STEPS + 1, B, H)), np.tanh(rng.normal(size=(STEPS + 1, B, H)))
    for t in range(STEPS, 0, -1):
        step = {"x": rng.normal(size=(B, D)), "h_prev": h[t - 1], "c_prev": c[t - 1], "c": c[t]}
        step |= {"wx": wx, "wh": wh, "dc": dc, "dh": rng.normal(size=(B, H)) + dh_next}
        step |= {gate: 1 / (1 + np.exp(-rng.normal(size=(B, H)))) for gate in "oif"}
        step["g"] = np.tanh(rng.normal(size=(B, H)))
        yield f"at time step {t} of {STEPS}", step
        _, dh_next, dc, *_ = solutions.lstm_backward(**step)


def gradients(rng: np.random.Generator) -> Iterator[Case]:
    g = rng.normal(size=7)
    g *= 10 / np.linalg.norm(g)
    for limit in (5.0, 1.0, 20.0):
        yield f"for a norm of 10 and limit={limit:g}", {"g": g, "limit": limit}
    yield "for a gradient of zeros", {"g": np.zeros(7), "limit": 5.0}


def draws(rng: np.random.Generator) -> Iterator[Case]:
    for temperature in (1.0, 0.5, 2.0, 0.0):
        for uniform in (0.0, *rng.random(30), 0.999999):
            where = f"for temperature={temperature:g} and uniform={uniform:.4f}"
            logits = 2 * rng.normal(size=V)
            yield where, {"logits": logits, "temperature": temperature, "uniform": float(uniform)}
    yield "for logits of about 1000", {"logits": logits + 1000, "temperature": 1.0, "uniform": 0.5}


PRODUCT = "the rule of the matrix product y = u w: dw = u^T dy and du = dy w^T"
SUM = "b is used once for each sequence of the batch: sum over the sequences"
SLOPE = "the slope of tanh(a) is 1 - tanh(a)^2"
NOT_TRANSPOSED = "wh is not transposed: the gradient flows back through wh^T"

EXERCISES = {
    "softmax_cross_entropy": Exercise(
        solutions.softmax_cross_entropy,
        ("probabilities", "loss"),
        predictions,
        {
            "probabilities": "subtract the largest logit of each row; divide e^z by its sum over the row",
            "loss": "-ln of the probability of the target, mean over the predictions",
        },
    ),
    "cross_entropy_backward": Exercise(
        solutions.cross_entropy_backward,
        ("d_logits",),
        probabilities,
        {"d_logits": "(p - onehot(target)) / N: only the element of the target gets -1"},
        [("the one-hot vector is missing", "d_logits", lambda probabilities, **_: probabilities / B)],
    ),
    "rnn_backward": Exercise(
        solutions.rnn_backward,
        ("dx", "dh_prev", "dwx", "dwh", "db"),
        rnn_steps,
        {"dx": PRODUCT, "dh_prev": PRODUCT, "dwx": PRODUCT, "dwh": PRODUCT, "db": SUM},
        [
            (NOT_TRANSPOSED, "dh_prev", changed("rnn_backward", wh=lambda a: a["wh"].T)),
            ("dwh uses h_prev, the state that is multiplied by wh", "dwh",
             changed("rnn_backward", h_prev=lambda a: a["h"])),
            *(
                (hint, result, changed("rnn_backward", h=h))
                for result in ("dx", "dh_prev", "dwx", "dwh", "db")
                for hint, h in (
                    (f"the slope is missing: {SLOPE}", lambda a: 0 * a["h"]),
                    ("h is tanh(a): its slope is 1 - h^2, without another tanh", lambda a: np.tanh(a["h"])),
                    ("the slope is that of h, not of h_prev", lambda a: a["h_prev"]),
                )
            ),
        ],
    ),
    "clip_norm": Exercise(
        solutions.clip_norm,
        ("clipped",),
        gradients,
        {"clipped": "g min(1, limit / norm of g)"},
        [
            ("each element is clipped: clipping by norm scales the whole gradient", "clipped",
             lambda g, limit: np.clip(g, -limit, limit)),
            ("a norm below the limit is not changed: the factor is min(1, limit / norm)", "clipped",
             lambda g, limit: g * limit / np.linalg.norm(g)),
            ("the norm is the root of the sum of the squares; the root is missing", "clipped",
             lambda g, limit: g * min(1, limit / (g @ g or 1))),
        ],
    ),
    "lstm_backward": Exercise(
        solutions.lstm_backward,
        ("dx", "dh_prev", "dc_prev", "dwx", "dwh", "db"),
        lstm_steps,
        {
            "dx": "all four gates use x: add their four products da wx^T",
            "dh_prev": "all four gates use h_prev: add their four products da wh^T",
            "dc_prev": "c_prev is used in c = i g + f c_prev: dc_prev = dc f",
            "dwx": "x^T da of each gate, in the order o, i, f, g",
            "dwh": "h_prev^T da of each gate, in the order o, i, f, g",
            "db": "the sum of da over the sequences for each gate, in the order o, i, f, g",
        },
        [
            *(
                (hint, result, changed("lstm_backward", **{name: new}))
                for result in ("dx", "dh_prev", "dc_prev", "dwx", "dwh", "db")
                for hint, name, new in (
                    ("the gradient dc from the next time step is missing: add it to the part through h", "dc",
                     lambda a: 0 * a["dc"]),
                    ("the forget gate scales c_prev, not c", "c_prev", lambda a: a["c"]),
                )
            ),
            (NOT_TRANSPOSED, "dh_prev", changed("lstm_backward", wh=lambda a: a["wh"].swapaxes(1, 2))),
            ("c is used in h = o tanh(c), too: add dh o (1 - tanh(c)^2)", "dc_prev",
             changed("lstm_backward", dh=lambda a: 0 * a["dh"])),
            ("the forget gate is missing: dc_prev = dc f", "dc_prev",
             changed("lstm_backward", f=lambda a: np.ones((B, H)))),
        ],
    ),
    "sample_token": Exercise(
        solutions.sample_token,
        ("id",),
        draws,
        {"id": "the first character with a cumulative probability above u; temperature 0: the largest logit"},
        [
            ("divide the logits by the temperature, do not multiply", "id",
             changed("sample_token", temperature=lambda a: 1 / a["temperature"] if a["temperature"] else 0)),
            ("the temperature is not used", "id",
             changed("sample_token", temperature=lambda a: 1.0 if a["temperature"] else 0.0)),
            ("this is always the most likely character: draw with the number u", "id",
             changed("sample_token", temperature=lambda a: 0.0)),
            ("the first character whose cumulative probability is above u, not the one before it", "id",
             lambda **a: solutions.sample_token(**a) - bool(a["temperature"])),
        ],
    ),
}  # fmt: skip
