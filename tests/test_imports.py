"""The rules of which part may look at which (design, section 3), read from the source itself."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.pages import rows

PROJECT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "preprocess", "train", "evaluate", "sample", "pipeline", "ui", "server", "play", "deliver", "reproduce"
}  # fmt: skip
FINDINGS = "src.lab.reproduction.findings"
# The packages of the laboratory, from the lowest: each imports itself and those before it.
ORDER = (
    "model",
    "learning",
    "runs",
    "tracking",
    "evaluation",
    "figures",
    "resume",
    "inside",
    "stages",
    "sweeps",
    "reproduction",
    "play",
)


def name_of(file: Path) -> str:
    """src/rnn/cells.py is src.rnn.cells, src/rnn/__init__.py is src.rnn."""
    dotted = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted((PROJECT / "src").rglob("*.py"))}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Dotted names of every import, those inside functions too; a name of ours down to its module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            base = node.module or ""
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) or {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            pytest.fail(f"{module} imports by string: {ast.unparse(node)}")
    return frozenset(found)


def top(name: str) -> str:
    return name.partition(".")[0]


def packages_of(module: str) -> set[str]:
    return {top(name) for name in imports_of(module)}


def importers(package: str) -> set[str]:
    """Modules of src that import a package of others."""
    return {module for module in FILES if package in packages_of(module)}


def ours(module: str) -> set[str]:
    return {name for name in imports_of(module) if top(name) == "src"}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_the_source_was_found() -> None:
    """Else every rule below would hold of nothing."""
    assert {"src.cli", "src.rnn.vanilla", "src.lab.tracking.delivering"} <= FILES.keys()
    assert "src.config" in imports_of("src.lab.learning.training")
    inside_a_function = imports_of("src.lab.tracking.lookup")  # as `from PACKAGE import MODULE`
    assert "src.lab.tracking.runs" in inside_a_function
    assert "numpy" in packages_of("src.rnn.vanilla")
    assert {f"src.{command}" for command in COMMANDS} <= FILES.keys()


@pytest.mark.parametrize("module", [m for m in FILES if within(m, "src.rnn")])
def test_the_mathematics_imports_numpy_and_nothing_else(module: str) -> None:
    others = {name for name in imports_of(module) if not within(name, "src.rnn", "numpy")}
    assert {top(name) for name in others} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", [m for m in FILES if within(m, "src.text")])
def test_the_text_knows_no_laboratory_and_no_config(module: str) -> None:
    allowed = ("src.text", "src.errors", "src.files")
    assert all(within(name, *allowed) for name in ours(module))
    assert "hydra" not in packages_of(module)


@pytest.mark.parametrize("module", [m for m in FILES if within(m, "src.lab")])
def test_the_laboratory_imports_no_command_and_no_hydra(module: str) -> None:
    allowed = (
        "src.lab",
        "src.rnn",
        "src.text",
        "src.config",
        "src.checks",
        "src.allowed",
        "src.blas",
        "src.errors",
        "src.files",
        "src.terminal",
    )
    assert all(within(name, *allowed) for name in ours(module))
    assert not {"hydra", "omegaconf"} & packages_of(module)


@pytest.mark.parametrize("module", [m for m in FILES if within(m, "src.lab") and m != "src.lab"])
def test_the_packages_of_the_laboratory_look_downward(module: str) -> None:
    part = module.split(".")[2]
    below = [f"src.lab.{p}" for p in ORDER[: ORDER.index(part) + 1]]
    assert all(within(name, *below) for name in ours(module) if within(name, "src.lab"))


def test_the_packages_are_on_the_contributors_page_in_their_order_each_in_its_own_words() -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = [tuple(row) for row in rows(page, "packages")]
    own = [ast.get_docstring(ast.parse(FILES[f"src.lab.{p}"].read_text(encoding="utf-8"))) for p in ORDER]
    assert told == [(f"`{p}`", text) for p, text in zip(ORDER, own, strict=True)]


@pytest.mark.parametrize(
    ("package", "where"),
    [
        (
            "mlflow",
            {
                "src.lab.tracking.mlflow_client",
                "src.lab.tracking.delivering",
                "src.lab.tracking.runs",
                "src.lab.model.serving",  # where a logged model is loaded, MLflow is at work already
                "src.lab.tracking.sweep_store",
                "src.lab.tracking.telling",
            },
        ),
        (
            "matplotlib",
            {
                "src.lab.figures.evaluation_figures",
                "src.lab.reproduction.experiments",
                "src.lab.figures.curves",
                "src.lab.figures.inside_figures",
                "src.lab.reproduction.recording",
                "src.lab.figures.sweep_figures",
                *(name for name in FILES if within(name, FINDINGS) and not name.endswith("arms")),
            }
            - {FINDINGS},
        ),
        ("jinja2", {"src.lab.sweeps.comparison", "src.lab.inside.neurons", "src.lab.reproduction.report"}),
        ("safetensors", {"src.lab.resume.checkpoint", "src.lab.model.weights"}),
        ("pooch", {"src.text.sources"}),
        ("rich", {"src.lab.learning.progress", "src.lab.sweeps.end"}),
        (
            "hydra",
            {
                "src.callbacks",
                "src.cli",
                "src.complaints",
                "src.completion",
                "src.pipeline",
                "src.resolvers",
                "src.train",
            },
        ),
        ("optuna", {"src.lab.sweeps.search"}),
        (
            "omegaconf",
            {
                "src.allowed",
                "src.callbacks",
                "src.cli",
                "src.complaints",
                "src.config",
                "src.launchers",
                "src.resolvers",
                "src.restore",
            },
        ),
        ("nicegui", {"src.lab.play.playground"}),
        ("torch", set()),
        ("pickle", set()),
    ],
)
def test_each_package_is_imported_in_its_own_place(package: str, where: set[str]) -> None:
    assert importers(package) == where


def test_no_torch_anywhere_not_even_by_name() -> None:
    for module, file in FILES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "torch" not in names, module


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_do_not_import_one_another(command: str) -> None:
    others = {f"src.{other}" for other in COMMANDS}
    assert not imports_of(f"src.{command}") & others


def test_nothing_below_imports_a_command() -> None:
    commands = {f"src.{command}" for command in COMMANDS}
    for module in FILES.keys() - commands:
        assert not imports_of(module) & commands, module


def test_the_config_imports_nothing_of_ours_but_the_error() -> None:
    assert ours("src.config") == {"src.allowed"}
    assert ours("src.checks") == {"src.allowed", "src.config", "src.errors"}


def test_no_import_cycle() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for name in sorted(ours(module) & FILES.keys()):
            visit(name, (*path, module))
        finished.add(module)

    for module in FILES:
        visit(module, ())
    assert finished == FILES.keys()


SLOW = {
    "src.lab.tracking.mlflow_client": "mlflow",
    "src.lab.tracking.telling": "mlflow",
    "src.lab.tracking.delivering": "mlflow",
    "src.lab.tracking.runs": "mlflow",
    "src.lab.tracking.sweep_store": "mlflow",
    "src.lab.figures.evaluation_figures": "matplotlib",
    "src.lab.figures.curves": "matplotlib",
    "src.lab.figures.inside_figures": "matplotlib",
    "src.lab.figures.sweep_figures": "matplotlib",
}


@pytest.mark.parametrize("slow", sorted(SLOW))
def test_what_is_slow_to_import_is_imported_inside_functions(slow: str) -> None:
    """MLflow takes some 4 seconds, matplotlib one: training waits for neither."""
    package = SLOW[slow]
    for module, file in FILES.items():
        if package in packages_of(module):
            continue
        at_once = [
            n for n in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(n, ast.ImportFrom)
        ]
        names = {f"{n.module}.{alias.name}" for n in at_once for alias in n.names} | {
            n.module for n in at_once
        }
        assert slow not in names, f"{module} imports {slow}, and with it {package}, at once"
