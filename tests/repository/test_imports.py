"""Import rules between packages, checked in the source."""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.doc_pages import rows

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "preprocess", "train", "evaluate", "sample", "export", "explain", "pipeline", "ui", "server", "play",
    "sync", "reproduce"
}  # fmt: skip
# Packages and top-level modules, from the lowest.
ORDER = (
    "common", "rnn", "config", "data", "models", "generation", "evaluation", "diagnostics", "plots",
    "serving", "tracking", "training", "final_evaluation", "runner", "sweeps", "experiments",
    "playground", "cli", "api",
)  # fmt: skip


def name_of(file: Path) -> str:
    """Return the module name: src/rnn/cells.py is src.rnn.cells, src/rnn/__init__.py is src.rnn."""
    return ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted((PROJECT / "src").rglob("*.py"))}


def imports_for_types(module: str, tree: ast.Module) -> set[ast.AST]:
    """Return the imports from the module's own package for the type checker; they form no cycle."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imports = [n for block in blocks for n in ast.walk(block) if isinstance(n, ast.ImportFrom)]
    return {n for n in imports if (n.module or "").rpartition(".")[0] == module.rpartition(".")[0]}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the names of all imports, including those inside functions."""
    found: set[str] = set()
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in set(ast.walk(tree)) - imports_for_types(module, tree):
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


def test_rnn_imports_only_numpy() -> None:
    imported = {name for module in FILES if is_below(module, "src.rnn") for name in imports_of(module)}
    others = {top_package(name) for name in imported if not is_below(name, "src.rnn", "numpy")}
    assert others <= sys.stdlib_module_names


@pytest.mark.parametrize("package", ORDER)
def test_packages_import_only_lower_packages(package: str) -> None:
    allowed = [f"src.{part}" for part in ORDER[: ORDER.index(package) + 1]]
    for module in FILES:
        if package_of(module) == package:
            assert not {name for name in project_imports(module) if not is_below(name, *allowed)}, module


def test_top_level_modules_are_commands() -> None:
    assert {package_of(module) for module in FILES} - {"", *ORDER} == COMMANDS | {"gradcheck", "src"}


def test_package_table_matches_docstrings() -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    documented = [tuple(row) for row in rows(page, "packages")]
    docstrings = [ast.get_docstring(ast.parse(FILES[f"src.{p}"].read_text(encoding="utf-8"))) for p in ORDER]
    summaries = [(text or "").partition("\n\n")[0] for text in docstrings]
    assert documented == [(f"`{p}`", text) for p, text in zip(ORDER, summaries, strict=True)]


# Large packages, and the modules of src that may import them.
IMPORTERS = {
    "mlflow": "tracking.mlflow_client tracking.mlflow_store tracking.mlflow_writer tracking.sync"
    " serving.pyfunc",
    "matplotlib": "experiments.cell_analyses experiments.training_analyses experiments.runner"
    " experiments.results plots.run plots.diagnostics plots.sweep",
    "pandas": "sweeps.seed_stats",
    "jinja2": "common.page",
    "safetensors": "training.checkpoint models.serialization models.torch_export",
    "pooch": "data.sources",
    "pydantic": "common.files tracking.event_log tracking.sync_state",
    "rich": "common.console training.callbacks sweeps.summary",
    "hydra": "cli.main cli.error_messages cli.completion config.resolvers config.constraints"
    " sweeps.hydra_callback sweeps.job api",
    "omegaconf": "cli.main cli.error_messages config.resolvers config.constraints config.schema"
    " sweeps.hydra_callback sweeps.launchers api",
    "optuna": "sweeps.optuna_search",
    "sqlalchemy": "common.files tracking.mlflow_client tracking.mlflow_server sweeps.optuna_search",
    "nicegui": "playground.app",
    "torch": "",
    "pickle": "",
}


@pytest.mark.parametrize("package", IMPORTERS)
def test_large_packages_are_imported_only_by(package: str) -> None:
    importing = {module for module in FILES if package in packages_of(module)}
    assert importing == {f"src.{module}" for module in IMPORTERS[package].split()}


def test_commands_are_not_imported() -> None:
    commands = {f"src.{command}" for command in COMMANDS}
    assert not {module: found for module in FILES if (found := imports_of(module) & commands)}


def test_schema_imports_no_slow_module() -> None:
    inside_function = {"src.rnn.optimizers", "src.rnn.schedules"}
    common = {"src.common.errors", "src.common.files"}
    assert project_imports("src.config.constraints") <= common | inside_function
    assert project_imports("src.config.schema") <= common | {"src.config.constraints", "src.rnn.cells"}
    assert project_imports("src.rnn.cells") <= {"src.rnn.cache", "src.rnn.parameters"}  # only for types


def test_no_import_cycle() -> None:
    TopologicalSorter({module: project_imports(module) & FILES.keys() for module in FILES}).prepare()


def top_level_imports(file: Path) -> set[str]:
    """Return the modules that are imported with this one."""
    nodes = [n for n in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(n, ast.ImportFrom)]
    return {f"{n.module}{name}" for n in nodes for name in ("", *(f".{alias.name}" for alias in n.names))}


def test_slow_modules_are_imported_inside_functions() -> None:
    """MLflow takes 4 seconds to import, matplotlib one."""
    for package, folders in (("mlflow", ("src.tracking",)), ("matplotlib", ("src.plots",))):
        slow = {m for m in FILES if package in packages_of(m) and is_below(m, *folders)}
        assert len(slow) >= 3
        for module, file in FILES.items():
            if package not in packages_of(module):
                assert not top_level_imports(file) & slow, f"{module} imports {package}"
