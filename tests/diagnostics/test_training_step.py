"""The page of one training step: its numbers, its equations, and its behavior in a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from src.common.files import write_text
from src.diagnostics.equations import blocks, equations
from src.diagnostics.training_step import TrainingStep, relative_error, render_page
from src.rnn.network import Buffers, loss_and_gradient
from src.rnn.parameters import Array, unflatten
from src.rnn.reference import CELLS
from tests.commands import RunCli
from tests.page_checks import check_layout

BROWSER_TIMEOUT_MS = 600_000  # milliseconds
TEXT, HIDDEN, LR = "to be", 3, 0.5
TOLERANCE = 1e-12  # relative to the largest number of an array
Data = dict[str, Any]


@pytest.fixture(scope="module", params=list(CELLS))
def step(request: pytest.FixtureRequest) -> TrainingStep:
    return TrainingStep.of(TEXT, request.param, HIDDEN, LR, seed=1)


@pytest.fixture(scope="module")
def data(step: TrainingStep) -> Data:
    return data_of(render_page(step))


def data_of(html: str) -> Data:
    """Return the data of the page's script."""
    (line,) = re.findall(r"^const data = (.*);$", html, re.MULTILINE)
    found: Data = json.loads(line)
    return found


def arrays(data: Data, of: str, t: int | None = None) -> dict[str, Array]:
    """Return the arrays of one step of the page by name."""
    (step,) = (step for step in data["steps"] if (step["pass"], step["t"]) == (of, t))
    found = [
        (array["name"], np.array(array["values"])) for group in step["groups"] for array in group["arrays"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def assert_close(found: Array, expected: Array, name: str) -> None:
    assert found.shape == expected.shape, name
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * abs(expected).max(), err_msg=name)


def test_numbers_equal_those_of_the_engine(step: TrainingStep, data: Data) -> None:
    case, architecture = step.case, step.case.architecture
    steps = len(TEXT) - 1
    buffers = Buffers.allocate(architecture, steps, 1, np.float64, training=True)
    gradient = np.full_like(case.params, np.nan)
    p, g = unflatten(architecture, case.params), unflatten(architecture, gradient)
    loss = loss_and_gradient(p, g, case.ids, case.targets, buffers)
    assert [s["pass"] for s in data["steps"]] == ["Forward"] * 4 + ["Loss"] + ["Backward"] * 4 + ["Update"]
    assert [s["t"] for s in data["steps"]] == [1, 2, 3, 4, None, 4, 3, 2, 1, None]
    assert arrays(data, "Loss")["L"].item() == pytest.approx(loss, rel=TOLERANCE)
    for t in range(steps):
        assert_close(arrays(data, "Forward", t + 1)["h"], buffers.caches[0].h[t + 1], "h")
    update, last = arrays(data, "Update"), arrays(data, "Backward", 1)
    parameters = blocks(architecture, case.params)
    for name, expected in blocks(architecture, gradient).items():
        assert_close(last[f"d{name}"], expected, name)
        assert_close(update[f"d{name}"], expected, name)
        assert_close(np.array(data["checks"][f"d{name}"]["values"]), expected, name)
        assert_close(update[f"{name}_new"], parameters[name] - LR * expected, name)
    assert step.losses()[1] < step.losses()[0]
    assert update["L_new"].item() == pytest.approx(
        float(case.loss(case.params - LR * gradient)), rel=TOLERANCE
    )


def namespaces(data: Data, step: TrainingStep) -> Iterator[tuple[dict[str, Array], dict[str, Any]]]:
    """Yield the arrays of each step of the page, and what their equations read."""
    functions = {
        **{name: getattr(np, name) for name in ("exp", "log", "sum", "tanh")},
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
        "onehot": lambda character: np.eye(len(step.vocabulary))[[step.vocabulary.index(character)]],
    }
    constants: dict[str, Any] = functions | {"T": len(TEXT) - 1, "lr": LR}
    parameters = blocks(step.case.architecture, step.case.params)
    sums = {f"d{name}": 0 * value for name, value in parameters.items()}
    for t in range(1, len(TEXT)):
        read = {"input": TEXT[t - 1], "target": TEXT[t]}
        yield arrays(data, "Forward", t), constants | read | arrays(data, "Forward", t)
    yield {"L": arrays(data, "Loss")["L"]}, constants | arrays(data, "Loss")
    for t in reversed(range(1, len(TEXT))):
        found = arrays(data, "Backward", t)
        computed = {name: value for name, value in found.items() if name.startswith("d")}
        yield computed, constants | parameters | found | sums
        sums = {name: found[name] for name in sums}
    found = arrays(data, "Update")
    yield {name: value for name, value in found.items() if name.endswith("_new")}, constants | found


def test_every_equation_computes_its_array(step: TrainingStep, data: Data) -> None:
    table, evaluated = equations(step.case.architecture), set()
    for computed, names in namespaces(data, step):
        for name in computed.keys() & table.keys():
            value = eval(table[name], {"__builtins__": {}}, names)
            assert_close(np.atleast_2d(value), computed[name], name)
            evaluated.add(name)
    assert evaluated == table.keys()
    assert data["equations"].keys() == table.keys()


def test_gradients_pass_on_to_the_step_before(data: Data) -> None:
    for t in (4, 3, 2):
        later, earlier = arrays(data, "Backward", t), arrays(data, "Backward", t - 1)
        for name in {"dh_prev", "dc_prev"} & later.keys():
            assert_close(earlier[name.replace("prev", "next")], later[name], name)
    assert not arrays(data, "Backward", 4)["dh_next"].any()


def test_gradient_checks_agree(step: TrainingStep, data: Data) -> None:
    """The derivative of every gradient of the page by complex steps, and its relative error."""
    checks = data["checks"]
    for key, check in checks.items():
        values, exact = np.array(check["values"]), np.array(check["complex_step"])
        assert_close(values, exact, key)
        np.testing.assert_array_equal(check["error"], relative_error(values, exact))
    for t in range(1, len(TEXT)):
        activations = {
            name
            for name in arrays(data, "Backward", t)
            if name.startswith("d") and not name.endswith("_next") and name not in checks
        }
        assert activations == {key.partition("@")[0] for key in checks if key.endswith(f"@{t - 1}")}
        for name in activations:
            assert_close(
                np.array(checks[f"{name}@{t - 1}"]["values"]), arrays(data, "Backward", t)[name], name
            )
    assert {f"d{name}" for name in blocks(step.case.architecture, step.gradient)} <= checks.keys()


def test_every_number_has_the_check_of_its_derivative(data: Data) -> None:
    keys = {
        (s["pass"], s["t"], array["name"]): array["check"]
        for s in data["steps"]
        for group in s["groups"]
        for array in group["arrays"]
    }
    shapes = {key: np.shape(check["values"]) for key, check in data["checks"].items()}
    for s in data["steps"]:
        for array in (array for group in s["groups"] for array in group["arrays"]):
            assert np.shape(array["values"]) == (len(array["rows"]), len(array["columns"]))
            if array["check"]:
                assert shapes[array["check"]] == np.shape(array["values"])
    assert keys["Forward", 2, "h"] == keys["Backward", 2, "dh"] == keys["Forward", 3, "h_prev"] == "dh@1"
    assert keys["Backward", 2, "dh_next"] == keys["Backward", 3, "dh_prev"] == "dh_prev@2"
    assert keys["Forward", 1, "p"] == keys["Forward", 1, "logits"] == "dlogits@0"
    assert keys["Forward", 1, "wy"] == keys["Backward", 3, "dwy"] == keys["Update", None, "wy_new"] == "dwy"
    without = {name for (_, _, name), key in keys.items() if key is None}
    assert without - {"dc_next"} == {"y", "loss", "L", "L_new", "p", "dh_next"}  # p of all time steps


def test_relative_error_of_zeros() -> None:
    error = relative_error(np.array([0.0, 1.0, -2.0]), np.array([0.0, 2.0, -2.0]))
    assert error.tolist() == [0, 0.5, 0]


def test_mathml_is_well_formed(data: Data) -> None:
    for content in [*data["symbols"].values(), *(e["math"] for e in data["equations"].values())]:
        ElementTree.fromstring(f"<math>{content}</math>")
    text = "".join(ElementTree.fromstring(f"<math>{data['equations']['dh']['math']}</math>").itertext())
    assert text == "dlogits{t}\u2062wy\u22a4+dh{t}next"
    assert all(data["meanings"].values())


def test_page_is_self_contained_and_escaped() -> None:
    html = render_page(TrainingStep.of("</b>\n<b", "rnn", 2, LR, seed=0))
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert html.count("</script>") == 1
    assert "&lt;/b&gt;" in html
    assert "</b>" not in html


def test_command_writes_page(run_cli: RunCli, tmp_path: Path) -> None:
    arguments = ("text=to be, or", "cell=gru", "hidden=2", "lr=1", f"output_dir={tmp_path}")
    result = run_cli("explain", *arguments).check()
    file = tmp_path / "explain" / "to_be__or-gru-2-seed0-lr1.html"
    assert result.out == f"{file}\n"
    losses = r"from 1\.\d+ to 1\.\d+ nats"
    assert re.match(rf"The update changes the loss {losses}\. Open the page in a browser:\n", result.err)
    page = file.read_text(encoding="utf-8")
    assert "A GRU with 2 hidden units" in page
    run_cli("explain", *arguments, f"path={tmp_path}/a, b.html").check()
    assert (tmp_path / "a, b.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("text=a", "text: expected 2 to 20 characters, not all equal, got a"),
        ("text=aaa", "text: expected 2 to 20 characters, not all equal, got aaa"),
        ("text=abcdefghijklmnopqrstu", "text: expected 2 to 20 characters"),
        ("text=null", "text: expected 2 to 20 characters"),
        ("cell=lstn", "cell: expected one of rnn, gru, lstm, got lstn"),
        ("hidden=9", "hidden: expected an integer >= 1 and <= 8, got 9"),
        ("lr=0", "lr: expected a number > 0, got 0"),
    ],
)
def test_invalid_input_is_one_line(argument: str, expected: str, run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli("explain", argument, f"output_dir={tmp_path}")
    assert result.error_line.startswith(f"explain: {expected}")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of a vanilla RNN on "hello", opened from disk."""
    write_text(tmp_path / "page.html", render_page(TrainingStep.of("hello", "rnn", 4, LR, seed=0)))
    page = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
    page.set_default_timeout(BROWSER_TIMEOUT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    yield page
    page.context.close()
    assert errors == []


@pytest.mark.slow
def test_page_in_browser(page: Any, tmp_path: Path) -> None:
    data = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))

    def text(id: str) -> str:
        content: str = page.locator(f"#{id}").text_content()
        return content.replace("\u2212", "-").replace("\u2062", "")

    def cell(name: str, row: int, column: int) -> Any:
        return page.locator(f'table[data-name="{name}"] td[data-row="{row}"][data-column="{column}"]')

    titles = [text("title")]
    for _ in data["steps"][1:]:
        page.keyboard.press("ArrowRight")
        titles.append(text("title"))
    assert titles == [step["title"] for step in data["steps"]]
    assert page.locator("#next").is_disabled()
    page.locator("#previous").click()
    assert text("title") == "Backward pass, time step 1 of 4"
    page.get_by_role("button", name="Backward pass, time step 3 of 4").click()
    assert page.locator("#steps [aria-current]").text_content() == "3"
    page.keyboard.press("ArrowLeft")
    assert text("sentence") == "Back through the step that read \u201cl\u201d and predicted \u201co\u201d."

    cell("dh", 0, 2).hover()
    assert text("equation") == "dh4=dlogits4wy\u22a4+dh4next"
    assert text("code") == "dh = dlogits @ wy.T + dh_next"
    cell("dwh", 1, 2).hover()
    assert text("equation") == "dwh\u2190dwh+h3\u22a4da4"
    assert text("checked") == "Gradient check of dwh (sum of all time steps)"
    found = page.locator("#check dd").all_text_contents()
    values = [float(value.replace("\u2212", "-")) for value in found]
    check = data["checks"]["dwh"]
    assert values[:2] == pytest.approx([check["values"][1][2], check["complex_step"][1][2]], rel=1e-11)
    assert values[2] == pytest.approx(check["error"][1][2], rel=0.05)
    assert text("number").startswith("unit 1 to unit 2")

    cell("dh", 0, 0).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("unit 1: ")
    assert text("number").startswith("unit 1")
    assert text("title") == "Backward pass, time step 4 of 4"
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    assert text("title") == "Forward pass, time step 1 of 4"
    assert text("equation") == "h1=tanh(x1wx+h0wh+b)"  # the array of the gradient dh
    assert cell("h", 0, 1).get_attribute("class") == "selected"

    for _ in data["steps"]:  # of all kinds
        if text("title") in ("Forward pass, time step 2 of 4", "Loss", "Update"):
            check_layout(page)
        page.keyboard.press("ArrowRight")
