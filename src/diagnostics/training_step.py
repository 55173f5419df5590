"""One training step of a tiny network, with every array that it computes, as a page.

The arrays come from the reference implementation, `src.rnn.reference`, with one sequence (B = 1) and one
layer. The page shows the equation of each array (`src.diagnostics.equations`). Every gradient is compared
with a derivative by complex steps (`src.rnn.gradient_check`): those by the parameters come from the engine
that trains, those by the activations from the reference implementation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from src.common.page import render_template
from src.data.vocabulary import Vocabulary
from src.diagnostics.equations import blocks, equations, gate_suffixes, mathml, meaning, symbol
from src.rnn.gradient_check import EPS, Case
from src.rnn.parameters import Array, RNNConfig, initialize, unflatten
from src.rnn.reference import CELLS, softmax

AXES = {"V": "character", "H": "unit", "T": "time step", "1": ""}
VISIBLE = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}

# What each forward function of the reference implementation stores for the way back, in its order.
CACHES = {
    "rnn": ("x", "h_prev", "h"),
    "gru": ("x", "h_prev", "r", "z", "q", "n"),
    "lstm": ("x", "h_prev", "c_prev", "o", "i", "f", "g", "c"),
}


@dataclass(frozen=True)
class TrainingStep:
    """All arrays of one training step of a network with one layer.

    Attributes:
        text: The text; the network reads all characters but the last.
        vocabulary: Its distinct characters.
        case: The network, the ids and a state of zeros.
        lr: Learning rate of the update.
        forward: Arrays of the forward pass by name, for each time step.
        backward: Arrays of the backward pass by name, for each time step; those of the parameters are the sum
            from the last time step to this one.
        gradient: Gradient of the loss, a flat vector, shape (n,).
        complex_step: The same by complex steps.
        checks: Derivatives by the activations, by complex steps: `checks[t]["dh"]` belongs to
            `backward[t]["dh"]`.
    """

    text: str
    vocabulary: str
    case: Case
    lr: float
    forward: list[dict[str, Array]]
    backward: list[dict[str, Array]]
    gradient: Array
    complex_step: Array
    checks: list[dict[str, Array]]

    @classmethod
    def of(cls, text: str, cell: str, hidden: int, lr: float, seed: int) -> "TrainingStep":
        """Compute a training step.

        Args:
            text: At least two characters; the network reads all but the last.
            cell: `rnn`, `gru` or `lstm`.
            hidden: Hidden units H.
            lr: Learning rate of the update.
            seed: Random seed of the initial weights, which have the default initialization.

        Returns:
            The training step, in double precision.
        """
        vocabulary = Vocabulary.of(text)
        ids = vocabulary.encode(text).astype(np.intp)[:, None]
        architecture = RNNConfig(len(vocabulary.characters), hidden, cell)
        params = initialize(architecture, "orthogonal", np.random.default_rng(seed), np.float64)
        state = np.zeros((1, architecture.states, 1, hidden))
        case = Case(architecture, params, ids[:-1], ids[1:], state, None)
        forward, caches = forward_arrays(case)
        backward, gradient = backward_arrays(case, forward, caches)
        return cls(
            text, vocabulary.characters, case, lr, forward, backward, gradient, case.complex_step(),
            activation_derivatives(case),
        )  # fmt: skip

    def losses(self) -> tuple[float, float]:
        """Compute the mean loss before and after the update.

        Returns:
            Both losses, in nats per character.
        """
        before, after = self.case.params, self.case.params - self.lr * self.gradient
        return float(self.case.loss(before)), float(self.case.loss(after))


def forward_arrays(case: Case) -> tuple[list[dict[str, Array]], list[Any]]:
    """Compute the forward pass with the reference implementation.

    Args:
        case: A network with one layer, and one sequence.

    Returns:
        Arrays by name and activation cache of each time step.
    """
    step, _ = CELLS[case.architecture.cell]
    p, one_hot = unflatten(case.architecture, case.params), np.eye(case.architecture.vocab)
    state, steps, caches = tuple(case.state[0]), [], []
    for k, target in zip(case.ids, case.targets, strict=True):
        state, cache = step(p.layers[0], one_hot[k], state)
        logits = state[0] @ p.wy + p.by
        probabilities = softmax(logits)
        loss = -np.log(probabilities[:, target])  # (1, 1)
        predicted = {"logits": logits, "p": probabilities, "y": one_hot[target], "loss": loss}
        names = CACHES[case.architecture.cell]
        steps.append(dict(zip(names, cache, strict=True)) | {"h": state[0]} | predicted)
        caches.append(cache)
    return steps, caches


def backward_arrays(
    case: Case, forward: list[dict[str, Array]], caches: list[Any]
) -> tuple[list[dict[str, Array]], Array]:
    """Compute the backward pass with the reference implementation.

    Args:
        case: A network with one layer, and one sequence.
        forward: Arrays of the forward pass.
        caches: Activation caches of the forward pass.

    Returns:
        Arrays of each time step by name, and the gradient, a flat vector, shape (n,).
    """
    architecture = case.architecture
    _, step = CELLS[architecture.cell]
    p, gradient = unflatten(architecture, case.params), np.zeros_like(case.params)
    d_state = tuple(np.zeros_like(array) for array in case.state[0])
    steps: list[dict[str, Array]] = []
    for arrays, cache in zip(forward[::-1], caches[::-1], strict=True):
        part = np.zeros_like(gradient)
        g = unflatten(architecture, part)
        dlogits = (arrays["p"] - arrays["y"]) / len(forward)
        g.wy[...], g.by[...] = arrays["h"].T @ dlogits, dlogits[0]
        dh_next, *dc_next = d_state
        dh = dlogits @ p.wy.T + dh_next
        dx, d_state = step(p.layers[0], g.layers[0], cache, (dh, *dc_next))
        gradient += part
        # With one sequence, the gradient by a bias at one time step is the gradient by its pre-activation.
        biases = blocks(architecture, part)
        found = {"dlogits": dlogits, "dh_next": dh_next, "dh": dh}
        if dc_next:
            through_h = dh * arrays["o"] * (1 - np.tanh(arrays["c"]) ** 2)
            found |= {"dc_next": dc_next[0], "dc": dc_next[0] + through_h, "dc_prev": d_state[1]}
        found |= {f"da{suffix}": biases[f"b{suffix}"] for suffix in gate_suffixes(architecture)}
        found |= {"dq": biases["bh"]} if "bh" in biases else {}
        found |= {"dx": dx, "dh_prev": d_state[0]}
        steps.insert(0, found | {f"d{k}": v for k, v in blocks(architecture, gradient.copy()).items()})
    return steps, gradient


def activation_derivatives(case: Case) -> list[dict[str, Array]]:
    """Compute the derivative of the loss with respect to every activation, by complex steps.

    Every number that is moved has its own sequence of the batch, so one forward pass gives all derivatives. A
    pre-activation is moved by the bias of its time step, h_{t-1} and c_{t-1} only where step t reads them.

    Args:
        case: A network with one layer, and one sequence.

    Returns:
        For each time step, derivatives by the name of the gradient (`dh`, `da_r`, ...), shape (1, D).
    """
    architecture, steps = case.architecture, len(case.ids)
    step, _ = CELLS[architecture.cell]
    p, one_hot = unflatten(architecture, case.params), np.eye(architecture.vocab)
    layer, suffixes, units = p.layers[0], gate_suffixes(architecture), architecture.hidden
    names = ["h_prev", "h", *(f"a{suffix}" for suffix in suffixes)]
    names += ["q"] if layer.bh.size else []
    names += ["c_prev", "c"] if architecture.states > 1 else []
    widths = dict.fromkeys(names, units) | {"x": architecture.vocab, "logits": architecture.vocab}
    ends = list(accumulate(widths.values()))
    count = steps * ends[-1]
    moves = EPS * 1j * np.eye(count).reshape(count, steps, ends[-1])
    state, loss = [np.zeros((count, units), complex) for _ in case.state[0]], np.zeros(count, complex)
    for t, (k, target) in enumerate(zip(case.ids, case.targets, strict=True)):
        move = dict(zip(widths, np.split(moves[:, t], ends[:-1], axis=1), strict=True))
        before = tuple(s + move[name] for s, name in zip(state, ("h_prev", "c_prev"), strict=False))
        b = np.stack([b + move[f"a{suffix}"] for b, suffix in zip(layer.b, suffixes, strict=True)])
        bh = layer.bh + move["q"] if layer.bh.size else layer.bh
        (h, *c), cache = step(layer._replace(b=b, bh=bh), one_hot[k] + move["x"], before)
        if c:  # h_t = o tanh(c_t) reads the cell state that is moved
            c = [c[0] + move["c"]]
            h = cache[CACHES["lstm"].index("o")] * np.tanh(c[0])
        state = [h + move["h"], *c]
        probabilities = softmax(state[0] @ p.wy + p.by + move["logits"])
        loss -= np.log(probabilities[:, target[0]]) / steps
    derivatives = np.split((loss.imag / EPS).reshape(steps, ends[-1]), ends[:-1], axis=1)
    by_name = [(f"d{name}", values) for name, values in zip(widths, derivatives, strict=True)]
    return [{name: values[t : t + 1] for name, values in by_name} for t in range(steps)]


def page_steps(step: TrainingStep) -> Iterator[dict[str, Any]]:
    """Describe what the page shows, one step after the other.

    Args:
        step: The training step.

    Yields:
        A mapping for JSON for each step of the page: forward pass, loss, backward pass and update. An array
            has its name, values, shape, labels of rows and columns, and the key of its gradient check.
    """
    architecture, last, checks = step.case.architecture, len(step.forward), gradient_checks(step)
    characters, units = visible(step.vocabulary), [str(unit) for unit in range(architecture.hidden)]
    times = [str(t + 1) for t in range(last)]
    before, gradient = blocks(architecture, step.case.params), blocks(architecture, step.gradient)
    losses = [np.array([[loss]]) for loss in step.losses()]
    text = [f"\u201c{character}\u201d" for character in visible(step.text)]

    def array(name: str, values: Array, t: int | None) -> dict[str, Any]:
        base = name.removeprefix("d").partition("_")[0]
        axes = {"wx": ("V", "H"), "wh": ("H", "H"), "wy": ("H", "V"), "loss": ("1", "1"), "L": ("1", "1")}
        rows, columns = axes.get(base, ("1", "V" if base in ("x", "y", "logits", "p", "by") else "H"))
        rows = "T" if len(values) > 1 and base in ("p", "y", "loss") else rows
        labels = {"V": characters, "H": units, "T": times, "1": [""]}
        return {
            "name": name,
            "values": values.tolist(),
            "rows": labels[rows],
            "columns": labels[columns],
            "row_axis": AXES[rows],
            "column_axis": AXES[columns],
            "shape": f"({rows}, {columns}) = {values.shape}",
            "check": check_key(checks, name, t),
        }

    def describe(
        kind: str, t: int | None, sentence: str, selected: str, groups: dict[str, dict[str, Array]]
    ) -> dict[str, Any]:
        return {
            "pass": kind,
            "t": None if t is None else t + 1,
            "title": kind if t is None else f"{kind} pass, time step {t + 1} of {last}",
            "sentence": sentence,
            "selected": selected,
            "groups": [
                {"title": title, "arrays": [array(name, values, t) for name, values in arrays.items()]}
                for title, arrays in groups.items()
            ],
        }

    for t, arrays in enumerate(step.forward):
        groups = {
            "Input and state": select(arrays, "x h_prev c_prev"),
            "Cell": select(arrays, "r z q n o i f g c h"),
            "Prediction and loss": select(arrays, "logits p y loss"),
            "Parameters, the same at every time step": before,
        }
        sentence = f"The network reads {text[t]}. The target is {text[t + 1]}."
        yield describe("Forward", t, sentence, "h", groups)
    stacked = {name: np.concatenate([arrays[name] for arrays in step.forward]) for name in ("p", "y", "loss")}
    groups = {"All time steps": stacked, "Mean": {"L": losses[0]}}
    yield describe("Loss", None, "The loss is the mean over all time steps.", "L", groups)
    for t in reversed(range(last)):
        arrays = step.backward[t]
        groups = {
            "Gradient of the state": select(arrays, "dlogits dh_next dh dc_next dc"),
            "Cell": select(arrays, "da da_r da_z da_n dq da_o da_i da_f da_g"),
            "To the step before and to the input": select(arrays, "dh_prev dc_prev dx"),
            f"Parameters: sum of time steps {t + 1} to {last}": {f"d{k}": arrays[f"d{k}"] for k in before},
            "Stored by the forward pass": step.forward[t],
        }
        sentence = f"Back through the step that read {text[t]} and predicted {text[t + 1]}."
        yield describe("Backward", t, sentence, "dh", groups)
    groups = {"Loss": dict(zip(("L", "L_new"), losses, strict=True))} | {
        meaning(k).capitalize(): {k: w, f"d{k}": gradient[k], f"{k}_new": w - step.lr * gradient[k]}
        for k, w in before.items()
    }
    sentence = f"Gradient descent with the learning rate lr = {step.lr:g}."
    yield describe("Update", None, sentence, "L_new", groups)


def visible(text: str) -> list[str]:
    """Return the characters of a text as a reader sees them.

    Args:
        text: The text.

    Returns:
        Its characters; a space, a tab and a line end have their own signs.
    """
    return [VISIBLE.get(character, character) for character in text]


def select(arrays: dict[str, Array], names: str) -> dict[str, Array]:
    """Select arrays in a given order.

    Args:
        arrays: Arrays by name.
        names: The names, separated by spaces; those that the cell does not have are skipped.

    Returns:
        The selected arrays by name.
    """
    return {name: arrays[name] for name in names.split() if name in arrays}


def gradient_checks(step: TrainingStep) -> dict[str, dict[str, Any]]:
    """Compare every gradient with its derivative by complex steps.

    Args:
        step: The training step.

    Returns:
        By key (`dwh` for a parameter, `dh@2` for an activation at the time step with index 2): name of the
            gradient, its values, the derivatives, and the relative errors, as lists.
    """
    gradients, derivatives = (
        blocks(step.case.architecture, flat) for flat in (step.gradient, step.complex_step)
    )
    pairs = {f"d{name}": (gradients[name], derivatives[name]) for name in gradients}
    for t, found in enumerate(step.checks):
        pairs |= {f"{name}@{t}": (step.backward[t][name], exact) for name, exact in found.items()}
    return {
        key: {
            "name": key.partition("@")[0],
            "t": int(key.partition("@")[2] or -1) + 1,
            "values": values.tolist(),
            "complex_step": exact.tolist(),
            "error": relative_error(values, exact).tolist(),
        }
        for key, (values, exact) in pairs.items()
    }


def check_key(checks: dict[str, Any], name: str, t: int | None) -> str | None:
    """Find the gradient check that belongs to an array.

    Args:
        checks: The gradient checks by key.
        name: Name of the array.
        t: Index of the time step; None for an array of the whole text.

    Returns:
        The key; None for an array without a derivative.
    """
    base = name.removesuffix("_new").removeprefix("d")
    if t is not None and base.endswith("_next"):  # what the step after this one sends back
        base, t = base.replace("next", "prev"), t + 1
    elif t and name in ("h_prev", "c_prev"):
        base, t = name[0], t - 1
    candidates = f"d{base}", f"d{base}@{t}", f"da_{base}@{t}", f"dlogits@{t}" if base == "p" else ""
    return next((key for key in candidates if key in checks), None)


def relative_error(values: Array, exact: Array) -> Array:
    """Compute the relative error of each number.

    Args:
        values: Numbers that are checked.
        exact: The correct numbers, same shape.

    Returns:
        |values - exact| / max(|values|, |exact|), same shape; 0 where both are 0.
    """
    larger = np.maximum(abs(values), abs(exact))
    error: Array = abs(values - exact) / np.where(larger > 0, larger, 1)
    return error


def render_page(step: TrainingStep) -> str:
    """Render the page of a training step.

    Args:
        step: The training step.

    Returns:
        The page as HTML, with all data in it.
    """
    architecture, steps, checks = step.case.architecture, list(page_steps(step)), gradient_checks(step)
    names = {array["name"] for each in steps for group in each["groups"] for array in group["arrays"]}
    names |= {check["name"] for check in checks.values()}
    return render_template(
        "diagnostics/training_step.html",
        title=f"One training step on \u201c{step.text}\u201d",
        cell={"rnn": "a vanilla RNN", "gru": "a GRU", "lstm": "an LSTM"}[architecture.cell],
        architecture=architecture,
        num_steps=len(step.forward),
        size=architecture.size(),
        data={
            "steps": steps,
            "equations": {k: {"math": mathml(v), "code": v} for k, v in equations(architecture).items()},
            "symbols": {name: symbol(name) for name in sorted(names)},
            "meanings": {name: meaning(name) for name in sorted(names)},
            "checks": checks,
        },
    )
