"""docs/pipeline.md matches the software, and the commands of every page compose."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.cli.main import quote_override
from src.common.files import CONF
from tests.commands import PROJECT
from tests.compose import composed
from tests.conftest import CONFIG_NAMES, Trained, ignore_mlflow_warnings
from tests.doc_pages import DOCS, commands, in_source, names_in_backticks, page, rows
from tests.mlflow_queries import connect

pytestmark = ignore_mlflow_warnings

PIPELINE = page("pipeline.md")
PAGES = {file.name: file.read_text(encoding="utf-8") for file in [PROJECT / "README.md", *DOCS.glob("*.md")]}
HYDRA_COMMANDS = {
    "preprocess", "train", "pipeline", "evaluate", "sample", "export", "ui", "server", "play", "reproduce"
}  # fmt: skip


def test_commands_of_pages_exist() -> None:
    existing = {file.stem for file in (PROJECT / "src").glob("*.py") if '"__main__"' in file.read_text()}
    on_page = {words[0].removeprefix("src.") for words in commands(PIPELINE)}
    assert on_page == existing
    for name, text in PAGES.items():
        assert {words[0].removeprefix("src.") for words in commands(text)} <= existing, name


def documented_commands() -> list[tuple[str, tuple[str, ...]]]:
    """Return the commands that compose a config, except those of extending.md."""
    found = {
        (words[0].removeprefix("src."), tuple(word for word in words[1:] if word != "..."))
        for name, text in PAGES.items()
        if name != "extending.md"
        for words in commands(text)
    }
    return sorted(pair for pair in found if pair[0] in HYDRA_COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "arguments"), documented_commands(), ids=lambda value: str(value)[:60])
def test_documented_command_composes(command: str, arguments: tuple[str, ...]) -> None:
    sweep = "--multirun" in arguments
    overrides = [text for text in arguments if "=" in text and not text.startswith("--")]
    options = set(arguments) - set(overrides)
    assert options <= {"--multirun", "--help", "--help=all", "--cfg", "job"}
    first: list[str] = []
    for parsed in OverridesParser.create().parse_overrides([quote_override(text) for text in overrides]):
        if not parsed.is_sweep_override():
            first.append(parsed.input_line or "")
            continue
        assert sweep, f"{parsed.input_line} is swept without --multirun"
        if parsed.is_discrete_sweep():
            first.append(f"{parsed.key_or_group}={next(parsed.sweep_string_iterator())}")
    composed(CONFIG_NAMES.get(command, command), *first)


def test_groups_and_choices_are_documented() -> None:
    folders = {file.parent.relative_to(CONF) for file in CONF.glob("*/**/*.yaml")}
    groups = {str(folder) for folder in folders if "variant" not in folder.parts}
    table = [[names_in_backticks(cell) for cell in row] for row in rows(PIPELINE, "groups")]
    documented = {group: choices for groups, choices, _ in table for group in groups}
    assert documented.keys() - {"variant"} == groups
    for group in groups - {"experiment"}:
        assert documented[group] == {file.stem for file in (CONF / group).glob("*.yaml")}, group
    experiments = {file.stem.removesuffix("_quick") for file in (CONF / "experiment").glob("*.yaml")}
    assert documented["experiment"] == experiments | {"_quick"}
    assert documented["variant"] == {f"{folder.name}/" for folder in (CONF / "variant").iterdir()}


def documented(mark: str, column: int = 0) -> set[str]:
    return {name for row in rows(PIPELINE, mark) for name in names_in_backticks(row[column])}


@pytest.mark.slow
def test_files_are_documented(trained: Trained) -> None:
    existing = {file.name + "/" * file.is_dir() for file in trained.folder.iterdir()}
    owners = {"run.lock.owner", "sync.lock.owner"}  # owner files of locks
    assert existing <= documented("run") <= existing | {"sweep.json", "evaluation/"} | owners
    assert in_source("sweep.json")
    model = {file.name for file in (trained.folder / "model").iterdir()}
    assert {"weights.safetensors", "model.json"} <= model
    existing = {file.name + "/" * file.is_dir() for file in trained.outputs.iterdir()}
    assert {"mlflow.db", "mlflow.db.lock", "artifacts/", "runs/"} <= existing
    assert all(f"`{name}`" in PIPELINE for name in existing)
    (corpus,) = (folder for folder in (trained.root / "data").iterdir() if folder.is_dir())
    assert {file.name for file in corpus.iterdir()} == documented("corpus")
    assert re.fullmatch(r"smallshake-[0-9a-f]{12}", corpus.name)


@pytest.mark.slow
def test_metrics_are_documented(trained: Trained) -> None:
    existing = {name for record in trained.events if record["kind"] == "metrics" for name in record["values"]}
    matched = {}
    for name in documented("metrics"):
        pattern = re.escape(name).replace(r"\.\.\.", ".*").replace("GATE", "[a-z]")
        pattern = pattern.replace("MATRIX", r"w\w+").replace("N", r"\d")
        matched[name] = {each for each in existing if re.fullmatch(pattern, each)}
    assert set().union(*matched.values()) == existing
    missing = {name for name, found in matched.items() if not found}
    other = {  # metrics of other cells, non-default options and sweeps
        *("diagnostics/grad_norm_first_over_last_c", "diagnostics/saturation_GATE", "diagnostics/dead_units"),
        *("diagnostics/spectral_radiusN", "final_val/...", "rollbacks", "sweep/jobs", "sweep/failed"),
    }
    assert missing <= other
    assert all(in_source(re.sub(r"(_c|_GATE|N|/\.\.\.)$", "", name)) for name in missing)


@pytest.mark.slow
def test_mlflow_content_is_documented(trained: Trained) -> None:
    client = connect(trained.uri)
    run = client.get_run(trained.run_id)
    files = {f"{file.path}/" if file.is_dir else file.path for file in client.list_artifacts(trained.run_id)}
    assert files <= documented("artifacts") <= files | {"evaluation/", "comparison.html"}
    tags = {name for name in run.data.tags if not name.startswith("mlflow.")}
    other = {"sweep.ID", "sweep.keys", "sweep.overrides", "sweep.best", "sweep.best_run", "rerun_of"}
    assert tags | other == documented("tags")
    assert tags & other == set()
    assert all(in_source(name.removesuffix("ID")) for name in other)
    assert {"model", "model.layers", "optimizer", "parameters"} <= run.data.params.keys()
    assert not {"output_dir", "data.path"} & run.data.params.keys()
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "smallshake"
    (reasons,) = (row[1] for row in rows(PIPELINE, "tags") if "`stop_reason`" in row[0])
    assert all(in_source(reason) for reason in names_in_backticks(reasons))


def test_sweep_links_are_documented() -> None:
    from src.tracking.mlflow_links import sweep_links

    lines = sweep_links("http://127.0.0.1:5000", "1", "0123abcd", ["a", "b"]).lines()
    names = [name for row in rows(PIPELINE, "addresses") for name in names_in_backticks(row[0])]
    assert [line.split()[0] for line in lines] == [name for name in names if not name.endswith(":")]
    assert in_source("comparison: ")
