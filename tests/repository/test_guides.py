"""docs/pipeline.md says what is so: commands, groups, files, names. The commands of every page compose."""

import re
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.cli.main import quote_override
from src.common.files import CONF
from src.config.resolvers import register_configs
from tests.conftest import CONFIG_NAMES, PROJECT, Trained
from tests.doc_pages import DOCS, commands, in_the_code, named, page, rows

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies

PIPELINE = page("pipeline.md")
PAGES = {file.name: file.read_text(encoding="utf-8") for file in [PROJECT / "README.md", *DOCS.glob("*.md")]}
HYDRAS = {"preprocess", "train", "pipeline", "evaluate", "sample", "ui", "server", "play", "reproduce"}


# --- commands ---


def test_every_command_is_on_the_page_and_every_command_of_a_page_exists() -> None:
    there = {file.stem for file in (PROJECT / "src").glob("*.py") if '"__main__"' in file.read_text()}
    on_page = {words[0].removeprefix("src.") for words in commands(PIPELINE)}
    assert on_page == there
    for name, text in PAGES.items():
        assert {words[0].removeprefix("src.") for words in commands(text)} <= there, name


@pytest.fixture
def hydra_ready() -> Iterator[None]:
    GlobalHydra.instance().clear()
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def typed_commands() -> list[tuple[str, tuple[str, ...]]]:
    """Those that compose a config. What extending.md adds has a test of its own."""
    found = {
        (words[0].removeprefix("src."), tuple(word for word in words[1:] if word != "..."))
        for name, text in PAGES.items()
        if name != "extending.md"
        for words in commands(text)
    }
    return sorted(pair for pair in found if pair[0] in HYDRAS)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "arguments"), typed_commands(), ids=lambda value: str(value)[:60])
@pytest.mark.usefixtures("hydra_ready")
def test_every_command_of_every_page_composes_and_lies_within_its_ranges(
    command: str, arguments: tuple[str, ...]
) -> None:
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
    composed = compose(CONFIG_NAMES.get(command, command), first)
    OmegaConf.to_object(composed)


# --- the configuration ---


def test_every_group_and_every_choice_is_on_the_page() -> None:
    folders = {file.parent for file in CONF.rglob("*.yaml")} - {CONF}
    groups = {str(folder.relative_to(CONF)) for folder in folders if "variant" not in folder.parts}
    told = {group: names for first, choices, _ in rows(PIPELINE, "groups") for group, names in
            ((each, named(choices)) for each in named(first))}  # fmt: skip
    assert told.keys() - {"variant"} == groups
    for group in groups - {"experiment"}:
        assert told[group] == {file.stem for file in (CONF / group).glob("*.yaml")}, group
    quick = {file.stem.removesuffix("_quick") for file in (CONF / "experiment").glob("*.yaml")}
    assert told["experiment"] - {"_quick"} == quick
    arms = {f"{folder.name}/" for folder in (CONF / "variant").iterdir()}
    assert told["variant"] == arms


# --- files, and what lands in MLflow ---


def told(mark: str, column: int = 0) -> set[str]:
    return {name for row in rows(PIPELINE, mark) for name in named(row[column])}


@pytest.mark.slow
def test_every_file_of_a_run_is_explained(trained: Trained) -> None:
    there = {file.name + "/" * file.is_dir() for file in trained.folder.iterdir()}
    on_page = told("run")
    assert there <= on_page
    owners = {"run.lock.owner", "sync.lock.owner"}  # the owner notes of locks
    assert on_page - there <= {"sweep.json", *owners}
    assert all(in_the_code(name.rstrip("/")) for name in on_page - there - owners), on_page - there
    assert (trained.folder / "model" / "weights.safetensors").exists()
    assert (trained.folder / "model" / "model.json").exists()


@pytest.mark.slow
def test_every_file_beside_the_runs_and_of_a_corpus_is_explained(trained: Trained) -> None:
    there = {file.name + "/" * file.is_dir() for file in trained.outputs.iterdir()}
    assert {"mlflow.db", "mlflow.db.lock", "artifacts/", "runs/"} <= there
    assert all(f"`{name}`" in PIPELINE for name in there)
    (corpus,) = (folder for folder in (trained.root / "data").iterdir() if folder.is_dir())
    assert {file.name for file in corpus.iterdir()} == told("corpus")
    assert re.fullmatch(r"smallshake-[0-9a-f]{12}", corpus.name)


def patterns() -> dict[str, str]:
    """Each metric of the page as a regular expression."""
    places = {r"\.\.\.": ".*", "GATE": "[a-z]", "MATRIX": r"w\w+", "N": r"\d"}
    found = {name: re.escape(name) for name in told("metrics")}
    for place, means in places.items():
        found = {name: pattern.replace(place, means) for name, pattern in found.items()}
    return found


@pytest.mark.slow
def test_every_metric_of_a_run_is_on_the_page_and_every_metric_of_the_page_exists(trained: Trained) -> None:
    there = {name for record in trained.journal if record["kind"] == "metrics" for name in record["values"]}
    known = patterns()
    for name in there:
        assert any(re.fullmatch(pattern, name) for pattern in known.values()), name
    missing = {n for n, pattern in known.items() if not any(re.fullmatch(pattern, each) for each in there)}
    elsewhere = {  # of other cells, of what is not the default, of a sweep
        *("diagnostics/grad_norm_first_over_last_c", "diagnostics/saturation_GATE", "diagnostics/dead_units"),
        *("diagnostics/spectral_radiusN", "final_val/...", "rollbacks", "sweep/jobs", "sweep/failed"),
    }
    assert missing <= elsewhere
    assert all(in_the_code(re.sub(r"(_c|_GATE|N|/\.\.\.)$", "", name)) for name in missing)


@pytest.mark.slow
def test_what_lands_in_mlflow_is_on_the_page(trained: Trained) -> None:
    from src.tracking.mlflow_client import connect

    client = connect(trained.uri)
    run = client.get_run(trained.run_id)
    files = {f"{file.path}/" if file.is_dir else file.path for file in client.list_artifacts(trained.run_id)}
    assert files <= told("artifacts")
    assert told("artifacts") - files <= {"evaluation/", "comparison.html"}
    tags = {name for name in run.data.tags if not name.startswith("mlflow.")}
    assert tags <= told("tags")
    own = {name for row in rows(PIPELINE, "tags") for name in named(row[0])} - tags
    assert own == {*("sweep.ID", "sweep.keys", "sweep.overrides", "sweep.best", "sweep.best_run", "rerun_of")}
    assert all(in_the_code(name.removesuffix("ID")) for name in own)
    assert {"model", "model.layers", "optimizer", "parameters"} <= run.data.params.keys()
    assert not {"output_dir", "data.path"} & run.data.params.keys()
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "smallshake"
    (reasons,) = (row[1] for row in rows(PIPELINE, "tags") if "`stop_reason`" in row[0])
    assert all(in_the_code(reason) for reason in named(reasons))


def test_the_addresses_of_a_sweep_are_those_that_are_printed() -> None:
    from src.tracking.mlflow_links import sweep_links

    lines = sweep_links("http://127.0.0.1:5000", "1", "0123abcd", ["a", "b"]).lines()
    assert [line.split()[0] for line in lines] == [
        name for row in rows(PIPELINE, "addresses") for name in named(row[0]) if not name.endswith(":")
    ]
    assert in_the_code("comparison: ")
