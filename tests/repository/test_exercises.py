"""The exercises of docs/: solutions are right, typical mistakes are reported, questions have answers."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs import exercises, solutions
from docs.build import DOCS, LESSONS
from docs.check import check, main
from docs.exercise_cases import EXERCISES
from src.common.errors import UserError
from src.generation import sampling
from src.rnn import optimizers, reference
from src.rnn.loss import cross_entropy_and_gradient
from src.rnn.parameters import RNNConfig, unflatten

Function = Callable[..., Any]
LSTM = ("dh", "dc", "x", "h_prev", "c_prev", "o", "i", "f", "g", "c", "wx", "wh")


def answer(name: str, function: Function) -> Function:
    function.__name__ = name
    return function


def edited(name: str, old: str, new: str) -> Function:
    """Return the solution with one edit of its code."""
    code = inspect.getsource(getattr(solutions, name))
    assert code.count(old) == 1
    namespace: dict[str, Any] = {"np": np, "Array": np.ndarray}
    exec(code.replace(old, new), namespace)
    found: Function = namespace[name]
    return found


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_is_right(name: str) -> None:
    exercise = EXERCISES[name]
    assert check(exercise.solution).startswith(f"{name}: right ({', '.join(exercise.results)} in ")
    stub = getattr(exercises, name)
    assert list(inspect.signature(stub).parameters) == list(inspect.signature(exercise.solution).parameters)
    described = re.findall(r"^ {8}([\w, ]+):", (stub.__doc__ or "").partition("Returns:")[2], re.MULTILINE)
    assert ", ".join(described) == ", ".join(exercise.results)
    assert exercise.hints.keys() == set(exercise.results)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_backward_solutions_match_reference(cell: str) -> None:
    for _, a in EXERCISES[f"{cell}_backward"].cases(np.random.default_rng(1)):
        d, h = a["wx"].shape[-2:]
        layer, g = (
            unflatten(RNNConfig(d, h, cell), values).layers[0]
            for values in np.zeros((2, RNNConfig(d, h, cell).size()))
        )
        layer.wx[...], layer.wh[...] = a["wx"], a["wh"]
        cache = tuple(a[name] for name in LSTM[2:10]) if cell == "lstm" else (a["x"], a["h_prev"], a["h"])
        d_state = (a["dh"], a["dc"]) if cell == "lstm" else (a["dh"],)
        dx, before = reference.CELLS[cell][1](layer, g, cache, d_state)
        expected = (dx, *before, g.wx, g.wh, g.b)
        for one, other in zip(getattr(solutions, f"{cell}_backward")(**a), expected, strict=True):
            np.testing.assert_allclose(one, other.reshape(one.shape), rtol=1e-12, atol=1e-14)


def test_other_solutions_match_the_engine() -> None:
    rng = np.random.default_rng(1)
    logits, targets, g = rng.normal(size=(5, 4)), rng.integers(4, size=5), rng.normal(size=9)
    probabilities, loss = solutions.softmax_cross_entropy(logits, targets)
    z = np.ascontiguousarray(logits.T)
    assert float(cross_entropy_and_gradient(z, targets)) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(solutions.cross_entropy_backward(probabilities, targets), z.T, atol=1e-14)
    for uniform in rng.random(20):
        for temperature in (0, 0.7):
            token = sampling.sample_token(logits[0], temperature, uniform)
            assert solutions.sample_token(logits[0], temperature, uniform) == token
    clipped = g.copy()
    optimizers.clip_norm(clipped, optimizers.global_norm(g), 1.5)
    np.testing.assert_allclose(solutions.clip_norm(g, 1.5), clipped, rtol=1e-12)


MISTAKES = [  # exercise, correct code, mistake, wrong results, part of the report
    ("softmax_cross_entropy", ".mean()", ".sum()", "loss", "this is the sum over the predictions"),
    ("softmax_cross_entropy", "-np.log", "np.log", "loss", "the sign is wrong"),
    ("softmax_cross_entropy", "-np.log", "-np.log2", "loss", "these are bits"),
    ("softmax_cross_entropy", " - logits.max(axis=1, keepdims=True)", "", "probabilities loss",
     "probabilities for logits of about 1000: expected "),
    ("softmax_cross_entropy", "e.sum(axis=1, keepdims=True)", "e.sum()", "probabilities loss", "sum over"),
    ("cross_entropy_backward", " / len(targets)", "", "d_logits", "this is the sum over the predictions"),
    ("cross_entropy_backward", "return ", "return -", "d_logits", "the sign is wrong"),
    ("cross_entropy_backward", " -= 1", " -= 0", "d_logits", "the one-hot vector is missing"),
    ("cross_entropy_backward", "probabilities.copy()", "probabilities", "", "was changed in place"),
    ("rnn_backward", "da @ wh.T", "da @ wh", "dh_prev", "wh is not transposed"),
    ("rnn_backward", "da @ wx.T", "da @ wx", "", "at time step 4 of 4: ValueError: matmul: "),
    ("rnn_backward", "x.T @ da", "da.T @ x", "dwx", "shape (5, 4), got (4, 5)\n    hint: transpose"),
    ("rnn_backward", "h_prev.T @ da", "h.T @ da", "dwh", "dwh uses h_prev"),
    ("rnn_backward", "(1 - h**2)", "1", "dx dh_prev dwx dwh db", "the slope is missing"),
    ("rnn_backward", "(1 - h**2)", "(1 - np.tanh(h)**2)", "dx dh_prev dwx dwh db", "without another tanh"),
    ("rnn_backward", "da.sum(axis=0)", "da.sum(axis=1)", "db", "expected the shape (4,), got (3,)"),
    ("rnn_backward", ", da.sum(axis=0)", "", "", "expected 5 results (dx, dh_prev, dwx, dwh, db), got 4"),
    ("rnn_backward", "da.sum(axis=0)", "None", "db", "db: expected numbers, got NoneType"),
    ("clip_norm", "g if norm <= limit else ", "", "clipped", "a norm below the limit is not changed"),
    ("clip_norm", "g * (limit / norm)", "np.clip(g, -limit, limit)", "clipped", "each element is clipped"),
    ("clip_norm", "np.sqrt(g @ g)", "(g @ g)", "clipped", "the root is missing"),
    ("clip_norm", "limit / norm", "1 / norm", "clipped", "limit=5: expected "),
    ("lstm_backward", "dc = dc + dh", "dc = dh", "dx dh_prev dc_prev dwx dwh db",
     "dc_prev at time step 3 of 4: expected "),
    ("lstm_backward", "dc = dc + dh", "dc = dh", "dx dh_prev dc_prev dwx dwh db",
     "the gradient dc from the next time step is missing"),
    ("lstm_backward", "dc = dc + dh", "dc += dh", "", "at time step 4 of 4: dc was changed in place"),
    ("lstm_backward", "dc * f, x.T", "dc, x.T", "dc_prev", "the forget gate is missing: dc_prev = dc f"),
    ("lstm_backward", "dc * c_prev * f", "dc * c * f", "dx dh_prev dwx dwh db", "scales c_prev, not c"),
    ("lstm_backward", "da[k] @ wh[k].T", "da[k] @ wh[k]", "dh_prev", "wh is not transposed"),
    ("lstm_backward", "da.sum(axis=1)", "da.sum(axis=1)[[1, 2, 3, 0]]", "db", "another order than o, i"),
    ("lstm_backward", "dc * i * (1 - g**2)", "-dc * i * (1 - g**2)", "dx dh_prev dwx dwh db", "order o, i"),
    ("sample_token", " / temperature)", " * temperature)", "id", "do not multiply"),
    ("sample_token", " / temperature)", ")", "id", "the temperature is not used"),
    ("sample_token", "> uniform))", "> uniform)) - 1", "id", "not the one before it"),
    ("sample_token", "if temperature == 0:", "if True:", "id", "always the most likely character"),
    ("sample_token", " - logits.max()", "", "id", "for logits of about 1000: expected "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "wrong", "expected"), MISTAKES, ids=lambda value: value[:30] if value else "-"
)
def test_typical_mistake_is_reported(name: str, old: str, new: str, wrong: str, expected: str) -> None:
    report = check(edited(name, old, new))
    assert expected in report
    assert re.findall(r"^  (\w+)(?= |:)", report, re.MULTILINE) == wrong.split()
    if wrong:
        of = len(EXERCISES[name].results)
        assert report.startswith(f"{name}: {len(wrong.split())} of {of} result{'s' * (of > 1)} wrong\n")


def test_unwritten_and_failing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    def unwritten(**_: Any) -> None:
        raise NotImplementedError

    def failing(**_: Any) -> None:
        return 1 / 0  # type: ignore[return-value]

    assert check(answer("clip_norm", unwritten)) == "clip_norm: not written yet"
    line = failing.__code__.co_firstlineno + 1
    report = check(answer("clip_norm", failing))
    where = f"(line {line} of {__file__})"
    assert report == f"clip_norm for a norm of 10 and limit=5: ZeroDivisionError: division by zero {where}"
    with pytest.raises(UserError, match=r"expected an exercise of softmax_cross_entropy, .*, got adam"):
        check(answer("adam", unwritten))


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in EXERCISES:
        monkeypatch.setattr(exercises, name, getattr(solutions, name))
    monkeypatch.setattr("sys.argv", ["check", "all"])
    assert main() == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [*EXERCISES]
    monkeypatch.setattr(exercises, "clip_norm", edited("clip_norm", "limit / norm", "1"))
    monkeypatch.setattr("sys.argv", ["check", "rnn_backward", "clip_norm"])
    assert main() == 1
    assert "\nclip_norm: 1 of 1 result wrong\n" in capsys.readouterr().out
    monkeypatch.delattr(exercises, "clip_norm")
    assert main() == 2
    assert "check: expected docs/exercises.py to be importable, got Attribute" in capsys.readouterr().err
    for names in ([], ["adam"]):
        monkeypatch.setattr("sys.argv", ["check", *names])
        assert main() == 2
        assert f"sample_token, got {''.join(names) or 'nothing'}\n" in capsys.readouterr().err


def plain(text: str) -> str:
    return " ".join(text.replace("*", "").split())


@pytest.mark.parametrize(("number", "name"), list(enumerate(LESSONS, start=1)))
def test_every_question_has_an_answer(number: int, name: str) -> None:
    page, answers = ((DOCS / file).read_text(encoding="utf-8") for file in (name, "solutions.md"))
    lesson = page.partition("## For a lesson")[2]
    questions = [plain(text) for text in re.findall(r"^- ((?:.+\n)+?)(?=- |\n)", lesson, re.MULTILINE)]
    heading = re.findall(rf"^## (Page {number}: .*)$", answers, re.MULTILINE)[0]
    anchor = heading.lower().replace(":", "").replace(" ", "-")
    assert f"](solutions.md#{anchor})" in lesson
    section = answers.partition(f"## {heading}")[2].partition("\n## ")[0]
    answered = [
        plain(text) for text in re.findall(r"^\d\. \*(.+?)\*(?= |\n)", section, re.MULTILINE | re.DOTALL)
    ]
    assert len(questions) == len(answered) >= 5
    for question, quoted in zip(questions, answered, strict=True):
        assert question.startswith(quoted.rstrip(".?:"))


def test_every_exercise_is_on_a_page() -> None:
    asked = [
        name
        for page in LESSONS
        for line in re.findall(r"python -m docs\.check (.*)$", (DOCS / page).read_text("utf-8"), re.MULTILINE)
        for name in line.split()
    ]
    assert sorted(asked) == sorted(EXERCISES)
    quoted = re.findall(
        r"<!-- code: docs/solutions.py (\w+) -->", Path(DOCS / "solutions.md").read_text("utf-8")
    )
    assert quoted == sorted(EXERCISES, key=asked.index)
