"""Every config key is used, and only keys of the schema are used.

The source is analyzed as text. Configs are found by annotations (`config: Config`), by the schema
(`config.data`), by assignments, and by the return and attribute types of functions and classes. mypy finds
misspelt keys elsewhere, but the commands receive their config as `Any` and Hydra's callbacks a DictConfig.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import attrs
import pytest

from src.config import schema

PROJECT = Path(__file__).resolve().parents[2]
CLASSES = {name: kind for name, kind in vars(schema).items() if isinstance(kind, type) and attrs.has(kind)}
del CLASSES["Constraint"]
# Modules that iterate over all keys.
EXCLUDED_MODULES = {
    "config.schema", "config.constraints", "cli.help", "cli.main", "cli.error_messages"
}  # fmt: skip
HYDRA_KEYS = {"hydra"}  # config of a Hydra callback
# All commands accept the same path keys; these do not use data_dir.
ACCEPTED = {(f"{name}Config", "data_dir") for name in ("Sample", "Ui", "Server", "Play")}
KEYS = [
    (name, f.name)
    for name, kind in CLASSES.items()
    for f in attrs.fields(kind)
    if (name, f.name) not in ACCEPTED
]

ConfigRead = tuple[str, str, str]  # class, key, location


class Source:
    """Config types of the functions, attributes and classes in src."""

    def __init__(self, files: dict[str, ast.Module]) -> None:
        self.returns: dict[str, str] = {}
        self.attributes: dict[tuple[str, str], str] = {}
        nodes = [node for tree in files.values() for node in ast.walk(tree)]
        self.classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
        for node in nodes:
            if isinstance(node, ast.FunctionDef) and node.returns:
                self.returns[node.name] = class_in(node.returns, self.classes)
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                self.record_attributes(node)

    def record_attributes(self, kind: ast.ClassDef) -> None:
        """Record annotated fields, and `self.x = config` in methods with a config argument."""
        for node in kind.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.attributes[kind.name, node.target.id] = class_in(node.annotation, self.classes)
            if isinstance(node, ast.FunctionDef):
                if any(ast.unparse(d) in ("property", "cached_property") for d in node.decorator_list):
                    self.attributes[kind.name, node.name] = self.returns.get(node.name, "")
                argument_classes = arguments(node, self.classes)
                for inner in ast.walk(node):
                    for target, value in assignments(inner) if isinstance(inner, ast.Assign) else []:
                        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                            self.attributes[kind.name, target.attr] = argument_classes.get(
                                ast.unparse(value), ""
                            )


def class_in(annotation: ast.expr | None, classes: set[str]) -> str:
    """Return the only project class in an annotation (`Config | None` is Config), else ""."""
    text = "" if annotation is None else ast.unparse(annotation).replace("'", "")
    found = {part.strip() for part in text.split("|")} & (classes | CLASSES.keys())
    return found.pop() if len(found) == 1 else ""


def assignments(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield target and value of each assignment; `a, b = c, d` gives two."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def arguments(function: ast.FunctionDef, classes: set[str]) -> dict[str, str]:
    return {a.arg: class_in(a.annotation, classes) for a in (*function.args.args, *function.args.kwonlyargs)}


class Reader(ast.NodeVisitor):
    """Record the config keys that one file reads."""

    def __init__(self, module: str, source: Source) -> None:
        self.module, self.source = module, source
        self.names: dict[str, str] = {}
        self.within = ""  # class that is visited
        self.found: list[ConfigRead] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.within = self.within, node.name
        self.generic_visit(node)
        self.within = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.names = self.names, dict(self.names)
        self.names |= arguments(node, self.source.classes) | {"self": self.within}
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
            self.found.append((owner, node.attr, f"src/{self.module.replace('.', '/')}.py:{node.lineno}"))

    def visit_Call(self, node: ast.Call) -> None:
        """getattr(config, key) may read every key whose name is a string constant of the file."""
        self.generic_visit(node)
        if ast.unparse(node.func) == "getattr" and (owner := self.kind_of(node.args[0])) in CLASSES:
            names = {f.name for f in attrs.fields(CLASSES[owner])}
            for text in string_constants(FILES[self.module]) & names:
                self.found.append((owner, text, f"src/{self.module.replace('.', '/')}.py:{node.lineno}"))

    def kind_of(self, node: ast.expr) -> str:
        """Return the project class of an expression, "" if unknown."""
        match node:
            case ast.Name():
                return self.names.get(node.id, "")
            case ast.Attribute():
                owner = self.kind_of(node.value)
                if owner in CLASSES:
                    hint = get_type_hints(CLASSES[owner]).get(node.attr)
                    return hint.__name__ if isinstance(hint, type) and attrs.has(hint) else ""
                return self.source.attributes.get((owner, node.attr), "")
            case ast.Call(func=ast.Name(id=name)):
                return name if name in self.source.classes else self.source.returns.get(name, "")
            case ast.IfExp():
                return self.kind_of(node.body) or self.kind_of(node.orelse)
        return ""


def string_constants(tree: ast.Module) -> set[str]:
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((PROJECT / "src").rglob("*.py")):
        name = ".".join(file.relative_to(PROJECT / "src").with_suffix("").parts)
        if name not in EXCLUDED_MODULES:
            yield name, ast.parse(file.read_text(encoding="utf-8"))


FILES = dict(modules())


def reads() -> list[ConfigRead]:
    source, found = Source(FILES), []
    for module, tree in FILES.items():
        reader = Reader(module, source)
        reader.visit(tree)
        found += reader.found
    return found


READS = reads()


def read(kind: str, key: str) -> bool:
    """Return whether a key is read from a config of this class or of a base class."""
    return any(name == key and issubclass(CLASSES[kind], CLASSES[owner]) for owner, name, _ in READS)


@pytest.mark.parametrize(("kind", "key"), KEYS, ids=str)
def test_every_config_key_is_used(kind: str, key: str) -> None:
    subclasses = [name for name, other in CLASSES.items() if issubclass(other, CLASSES[kind])]
    assert any(read(name, key) for name in subclasses), f"{key} of {kind} is not read in src"


def test_only_schema_keys_are_read() -> None:
    unknown = [
        f"{location}: {owner} has no {key}"
        for owner, key, location in READS
        if key not in {f.name for f in attrs.fields(CLASSES[owner])} | HYDRA_KEYS
        and not isinstance(getattr(CLASSES[owner], key, None), property)
    ]
    assert not unknown


def test_source_analysis_finds_known_reads() -> None:
    """Otherwise the tests above would check nothing."""
    found = {(owner, key, location.partition(":")[0]) for owner, key, location in READS}
    assert ("SampleConfig", "top_p", "src/sample.py") in found  # config of a command, typed Any
    assert ("Config", "register", "src/sweeps/hydra_callback.py") in found  # config of a Hydra callback
    assert len(found) > 100
