"""Every config key is used, and only keys of the schema are used.

The source is analyzed as text. Configs are found by annotations (`config: Config`), by the schema
(`config.data`), by assignments, and by the attribute types of classes. mypy finds
misspelt keys elsewhere, but the commands receive their config as `Any` and Hydra's callbacks a DictConfig.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import attrs

from src.config import schema

PROJECT = Path(__file__).resolve().parents[2]
CLASSES = {name: kind for name, kind in vars(schema).items() if isinstance(kind, type) and attrs.has(kind)}
del CLASSES["Constraint"]
# Modules that iterate over all keys.
EXCLUDED_MODULES = {"config.schema", "config.constraints", "cli.help", "cli.main", "cli.error_messages"}
# All commands accept the same path keys; these do not use data_dir.
ACCEPTED = {(f"{name}Config", "data_dir") for name in ("Sample", "Export", "Ui", "Server", "Play")}

ConfigRead = tuple[str, str, str]  # class, key, location


def load_files() -> dict[str, ast.Module]:
    """Return the modules of src that can read a config, by name without `src.`."""
    names = {
        ".".join(file.relative_to(PROJECT / "src").with_suffix("").parts): file
        for file in sorted((PROJECT / "src").rglob("*.py"))
    }
    return {
        name: ast.parse(file.read_text(encoding="utf-8"))
        for name, file in names.items()
        if name not in EXCLUDED_MODULES
    }


FILES = load_files()
NODES = [node for tree in FILES.values() for node in ast.walk(tree)]
PROJECT_CLASSES = {node.name for node in NODES if isinstance(node, ast.ClassDef)} | CLASSES.keys()


def class_in(annotation: ast.expr | None) -> str:
    """Return the only project class in an annotation (`Config | None` is Config), else ""."""
    text = "" if annotation is None else ast.unparse(annotation).replace("'", "")
    found = {part.strip() for part in text.split("|")} & PROJECT_CLASSES
    return found.pop() if len(found) == 1 else ""


def assignments(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield target and value of each assignment; `a, b = c, d` gives two."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def arguments(function: ast.FunctionDef) -> dict[str, str]:
    return {a.arg: class_in(a.annotation) for a in (*function.args.args, *function.args.kwonlyargs)}


def attribute_classes() -> dict[tuple[str, str], str]:
    """Return the project classes of annotated fields, properties, and `self.x = config` in methods."""
    found: dict[tuple[str, str], str] = {}
    for kind in (node for node in NODES if isinstance(node, ast.ClassDef)):
        for node in kind.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[kind.name, node.target.id] = class_in(node.annotation)
            if isinstance(node, ast.FunctionDef):
                if any(ast.unparse(d) in ("property", "cached_property") for d in node.decorator_list):
                    found[kind.name, node.name] = class_in(node.returns)
                assigned = [inner for inner in ast.walk(node) if isinstance(inner, ast.Assign)]
                for target, value in (pair for inner in assigned for pair in assignments(inner)):
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                        found[kind.name, target.attr] = arguments(node).get(ast.unparse(value), "")
    return found


ATTRIBUTES = attribute_classes()


class Reader(ast.NodeVisitor):
    """Record the config keys that one file reads."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.names: dict[str, str] = {}
        self.within = ""  # class that is visited
        self.found: list[ConfigRead] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.within = self.within, node.name
        self.generic_visit(node)
        self.within = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.names = self.names, dict(self.names)
        self.names |= arguments(node) | {"self": self.within}
        for argument in node.args.args:
            annotation = argument.annotation and ast.unparse(argument.annotation)
            if argument.arg == "config" and annotation == "DictConfig":
                self.names["config"] = "Config"  # only `train` is swept
            if argument.arg == "config" and annotation == "Any" and "." not in self.module:
                primary = self.module if self.module in schema.COMMANDS else "config"
                self.names["config"] = schema.COMMANDS[primary].__name__
        self.generic_visit(node)
        self.names = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target, value in assignments(node):
            if isinstance(target, ast.Name):
                self.names[target.id] = self.kind_of(value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self.kind_of(node.value)
        if owner in CLASSES and isinstance(node.ctx, ast.Load) and not node.attr.startswith("__"):
            self.record(owner, node.attr, node)

    def visit_Call(self, node: ast.Call) -> None:
        """getattr(config, key) may read every key whose name is a string constant of the file."""
        self.generic_visit(node)
        if ast.unparse(node.func) == "getattr" and (owner := self.kind_of(node.args[0])) in CLASSES:
            constants = {n.value for n in ast.walk(FILES[self.module]) if isinstance(n, ast.Constant)}
            for key in {f.name for f in attrs.fields(CLASSES[owner])} & constants:
                self.record(owner, key, node)

    def record(self, owner: str, key: str, node: ast.expr) -> None:
        self.found.append((owner, key, f"src/{self.module.replace('.', '/')}.py:{node.lineno}"))

    def kind_of(self, node: ast.expr) -> str:
        """Return the project class of an expression, "" if unknown."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if not isinstance(node, ast.Attribute):
            return ""
        owner = self.kind_of(node.value)
        if owner in CLASSES:
            hint = get_type_hints(CLASSES[owner]).get(node.attr)
            return hint.__name__ if isinstance(hint, type) and attrs.has(hint) else ""
        return ATTRIBUTES.get((owner, node.attr), "")


def reads() -> list[ConfigRead]:
    readers = {module: Reader(module) for module in FILES}
    for module, reader in readers.items():
        reader.visit(FILES[module])
    return [read for reader in readers.values() for read in reader.found]


READS = reads()


def test_every_config_key_is_used() -> None:
    """A key is read from a config of its class, of a subclass, or of a base class of one of them."""
    keys = {(name, f.name) for name, kind in CLASSES.items() for f in attrs.fields(kind)} - ACCEPTED
    used = {
        (name, key)
        for owner, key, _ in READS
        for subclass in CLASSES.values()
        if issubclass(subclass, CLASSES[owner])
        for name, kind in CLASSES.items()
        if issubclass(subclass, kind)
    }
    assert keys - used == set()


def test_only_schema_keys_are_read() -> None:
    unknown = [
        f"{location}: {owner} has no {key}"
        for owner, key, location in READS
        if key not in {f.name for f in attrs.fields(CLASSES[owner])} | {"hydra"}  # in a Hydra callback
        and not isinstance(getattr(CLASSES[owner], key, None), property)
    ]
    assert not unknown


def test_source_analysis_finds_known_reads() -> None:
    """Otherwise the tests above would check nothing."""
    found = {(owner, key, location.partition(":")[0]) for owner, key, location in READS}
    assert ("SampleConfig", "top_p", "src/sample.py") in found  # config of a command, typed Any
    assert ("Config", "register", "src/sweeps/hydra_callback.py") in found  # config of a Hydra callback
    assert len(found) > 100
