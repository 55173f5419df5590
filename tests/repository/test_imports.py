"""Import rules between packages, checked in the source."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.doc_pages import rows

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "preprocess", "train", "evaluate", "sample", "pipeline", "ui", "server", "play", "sync", "reproduce"
}  # fmt: skip
# Packages and top-level modules, from the lowest.
ORDER = (
    "common",
    "rnn",
    "config",
    "data",
    "models",
    "generation",
    "evaluation",
    "diagnostics",
    "plots",
    "serving",
    "tracking",
    "training",
    "final_evaluation",
    "runner",
    "sweeps",
    "experiments",
    "playground",
    "cli",
)


def name_of(file: Path) -> str:
    """Return the module name: src/rnn/cells.py is src.rnn.cells, src/rnn/__init__.py is src.rnn."""
    dotted = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted((PROJECT / "src").rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    """Return whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def stays_in_package(module: str, node: ast.AST) -> bool:
    """Return whether a node imports from the module's own package."""
    if not isinstance(node, ast.ImportFrom):
        return False
    return (node.module or "").split(".")[:-1] == module.split(".")[:-1]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the names of all imports, including those inside functions."""
    found: set[str] = set()
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    # Imports for the type checker within a package form no cycle.
    type_checking_nodes = {n for node in ast.walk(tree) if is_type_checking(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if node in type_checking_nodes and stays_in_package(module, node):
            continue
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


def top_package(name: str) -> str:
    return name.partition(".")[0]


def packages_of(module: str) -> set[str]:
    return {top_package(name) for name in imports_of(module)}


def importers(package: str) -> set[str]:
    """Return the modules of src that import a third-party package."""
    return {module for module in FILES if package in packages_of(module)}


def project_imports(module: str) -> set[str]:
    return {name for name in imports_of(module) if top_package(name) == "src"}


def package_of(module: str) -> str:
    """Return the package: src.rnn.cells is in rnn, src.runner in runner, src itself in none."""
    return f"{module}.".split(".")[1]


def is_below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_source_analysis_finds_known_imports() -> None:
    """Otherwise the tests below would check nothing."""
    assert {"src.cli.main", "src.rnn.vanilla", "src.tracking.sync"} <= FILES.keys()
    assert "src.config.schema" in imports_of("src.training.trainer")
    inside_a_function = imports_of("src.tracking.run_store")  # as `from PACKAGE import MODULE`
    assert "src.tracking.mlflow_store" in inside_a_function
    assert "numpy" in packages_of("src.rnn.vanilla")
    assert {f"src.{command}" for command in COMMANDS} <= FILES.keys()


@pytest.mark.parametrize("module", [m for m in FILES if is_below(m, "src.rnn")])
def test_rnn_imports_only_numpy(module: str) -> None:
    others = {name for name in imports_of(module) if not is_below(name, "src.rnn", "numpy")}
    assert {top_package(name) for name in others} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", [m for m in FILES if package_of(m) in ORDER])
def test_packages_import_only_lower_packages(module: str) -> None:
    allowed = [f"src.{part}" for part in ORDER[: ORDER.index(package_of(module)) + 1]]
    assert not {name for name in project_imports(module) if not is_below(name, *allowed)}


def test_top_level_modules_are_commands() -> None:
    assert {package_of(module) for module in FILES} - {"", *ORDER} == COMMANDS | {"gradcheck"}


def test_package_table_matches_docstrings() -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    documented = [tuple(row) for row in rows(page, "packages")]
    docstrings = [ast.get_docstring(ast.parse(FILES[f"src.{p}"].read_text(encoding="utf-8"))) for p in ORDER]
    assert documented == [(f"`{p}`", text) for p, text in zip(ORDER, docstrings, strict=True)]


@pytest.mark.parametrize(
    ("package", "importing_modules"),
    [
        (
            "mlflow",
            {
                "src.tracking.mlflow_client",
                "src.tracking.sync",
                "src.tracking.mlflow_store",
                "src.serving.pyfunc",  # where a logged model is loaded, MLflow is at work already
                "src.tracking.mlflow_writer",
            },
        ),
        (
            "matplotlib",
            {
                "src.experiments.cell_analyses",
                "src.experiments.training_analyses",
                "src.experiments.runner",
                "src.plots.run",
                "src.plots.diagnostics",
                "src.experiments.results",
                "src.plots.sweep",
            },
        ),
        ("pandas", {"src.sweeps.seed_stats"}),
        ("jinja2", {"src.common.page"}),
        ("safetensors", {"src.training.checkpoint", "src.models.serialization"}),
        ("pooch", {"src.data.sources"}),
        ("pydantic", {"src.common.files", "src.tracking.event_log", "src.tracking.sync_state"}),
        ("rich", {"src.common.console", "src.training.callbacks", "src.sweeps.summary"}),
        (
            "hydra",
            {
                "src.sweeps.hydra_callback",
                "src.cli.main",
                "src.cli.error_messages",
                "src.cli.completion",
                "src.config.resolvers",
                "src.config.constraints",
                "src.sweeps.job",
            },
        ),
        ("optuna", {"src.sweeps.optuna_search"}),
        (
            "omegaconf",
            {
                "src.config.constraints",
                "src.sweeps.hydra_callback",
                "src.cli.main",
                "src.cli.error_messages",
                "src.config.schema",
                "src.sweeps.launchers",
                "src.config.resolvers",
            },
        ),
        ("nicegui", {"src.playground.app"}),
        ("torch", set()),
        ("pickle", set()),
    ],
)
def test_large_packages_are_imported_only_by(package: str, importing_modules: set[str]) -> None:
    assert importers(package) == importing_modules


def test_torch_is_not_referenced() -> None:
    for module, file in FILES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "torch" not in names, module


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_do_not_import_each_other(command: str) -> None:
    others = {f"src.{other}" for other in COMMANDS}
    assert not imports_of(f"src.{command}") & others


def test_packages_do_not_import_commands() -> None:
    commands = {f"src.{command}" for command in COMMANDS}
    for module in FILES.keys() - commands:
        assert not imports_of(module) & commands, module


def test_schema_imports_no_slow_module() -> None:
    optimizers = {"src.rnn.optimizers", "src.rnn.schedules"}  # imported inside a function
    assert project_imports("src.config.constraints") - optimizers == {"src.common.errors"}
    assert project_imports("src.config.schema") - {"src.common.errors", "src.common.files"} == {
        "src.config.constraints",
        "src.rnn.cells",
    }
    assert not project_imports("src.rnn.cells") - {"src.rnn.cache", "src.rnn.parameters"}  # only for types


def test_no_import_cycle() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for name in sorted(project_imports(module) & FILES.keys()):
            visit(name, (*path, module))
        finished.add(module)

    for module in FILES:
        visit(module, ())
    assert finished == FILES.keys()


SLOW = {
    "src.tracking.mlflow_client": "mlflow",
    "src.tracking.mlflow_writer": "mlflow",
    "src.tracking.sync": "mlflow",
    "src.tracking.mlflow_store": "mlflow",
    "src.plots.run": "matplotlib",
    "src.plots.diagnostics": "matplotlib",
    "src.plots.sweep": "matplotlib",
}


@pytest.mark.parametrize("slow", sorted(SLOW))
def test_slow_modules_are_imported_inside_functions(slow: str) -> None:
    """MLflow takes 4 seconds to import, matplotlib one."""
    package = SLOW[slow]
    for module, file in FILES.items():
        if package in packages_of(module):
            continue
        top_level_imports = [
            n for n in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(n, ast.ImportFrom)
        ]
        names = {f"{n.module}.{alias.name}" for n in top_level_imports for alias in n.names} | {
            n.module for n in top_level_imports
        }
        assert slow not in names, f"{module} imports {slow}, and with it {package}, at once"
