"""pip refuses to install, and CI, hooks and containers match pyproject.toml and the Makefile."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.utils import get_args_parser

from tests.commands import run_process
from tests.repository.test_repository import MAKEFILE, PROJECT, PYPROJECT, read

REFUSAL = "expected `make setup` in a clone, got a request for a package: the project is an application"


def supported() -> list[str]:
    """Return the versions of Python that pyproject.toml allows."""
    limits = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert limits
    return [f"3.{minor}" for minor in range(int(limits[1]), int(limits[2]))]


def recipe(target: str) -> list[str]:
    """Return the commands of a target, as they are typed in the project's folder."""
    match = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert match
    return [line.strip("\t@").replace("$(RUN)", ".venv/bin/python") for line in match[1].splitlines()]


def load(name: str) -> Any:
    return yaml.safe_load(read(name))


@pytest.mark.slow
def test_pip_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--target", str(tmp_path / "site")]
    result = run_process([*command, str(PROJECT)], cwd=tmp_path)
    assert result.rc == 1
    assert "Traceback" not in result.out + result.err
    assert result.err.count("make setup") == 1
    assert REFUSAL in result.err
    assert list(tmp_path.iterdir()) == []
    assert not [*PROJECT.glob("*.egg-info"), *PROJECT.glob("build")]


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
@pytest.mark.parametrize("hook", ["get_requires_for_build_", "build_"])
def test_every_build_hook_refuses(hook: str, kind: str) -> None:
    system = PYPROJECT["build-system"]
    assert (system["requires"], system["backend-path"]) == ([], ["."])  # nothing is downloaded
    with pytest.raises(SystemExit, match=REFUSAL):
        getattr(import_module(system["build-backend"]), hook + kind)("folder")
    assert PYPROJECT["tool"]["uv"]["package"] is False


def test_python_versions_agree() -> None:
    versions = supported()
    first, last = (int(version.partition(".")[2]) for version in (versions[0], versions[-1]))
    assert f"(3, {first}) <= sys.version_info < (3, {last + 1})" in MAKEFILE
    assert f"for p in python3 {' '.join(f'python{version}' for version in versions)} python;" in MAKEFILE
    assert set(re.findall(r"--python-version (\S+)", MAKEFILE)) == {versions[0]}
    assert PYPROJECT["tool"]["mypy"]["python_version"] == versions[0]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{first}"
    listed = f"Python {', '.join(versions[:-1])} or {versions[-1]}"
    for text in (read("README.md"), read("CONTRIBUTING.md"), MAKEFILE):
        assert listed in text
    assert f"Python {versions[0]} to {versions[-1]}" in read("docs/operating.md")
    for name in ("Dockerfile", ".devcontainer/devcontainer.json"):
        (version,) = re.findall(r"python:(3\.\d+)-", read(name))
        assert version == versions[-1], name


def test_python_314_waits_for_hydra() -> None:
    """If this test fails, Hydra's help is text, as Python 3.14 requires: try that version."""
    helps = [action.help for action in get_args_parser()._actions]
    assert not all(isinstance(text, str | None) for text in helps)
    assert supported()[-1] == "3.13"


def test_workflow_runs_make_test_and_lint() -> None:
    workflow = load(".github/workflows/test.yml")
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "${{ matrix.os }}"
    matrix = job["strategy"]["matrix"]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest"], "python": supported()}
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}"
    assert "PYTHON ?=" in MAKEFILE
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == ["make test", "make lint"]
    assert commands == re.findall(r"\bmake \w+", read(".ci/run"))
    assert all(recipe(command.removeprefix("make ")) for command in commands)


def test_hooks_are_the_commands_of_make_lint() -> None:
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == recipe("lint")
    for hook in local["hooks"]:
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)


def test_image_runs_make_reproduce() -> None:
    steps = re.findall(r"^(?:COPY|RUN make|CMD) .*$", read("Dockerfile"), re.MULTILINE)
    assert steps == ["COPY . .", "RUN make setup", 'CMD ["make", "reproduce"]']
    ignored, excluded = (
        {re.sub(r"^(!?)(\*\*)?/|/$", r"\1", line) for line in read(name).splitlines() if line[0] != "#"}
        for name in (".gitignore", ".dockerignore")
    )
    assert ignored == excluded


def test_dev_container_sets_up_the_project() -> None:
    container = json.loads(read(".devcontainer/devcontainer.json"))
    assert container["postCreateCommand"].endswith("&& make dev")
    (volume,) = container["mounts"]
    assert volume["target"] == "${containerWorkspaceFolder}/.venv"
    ports = [load(f"conf/{command}.yaml")["port"] for command in ("ui", "play")]
    assert container["forwardPorts"] == ports
    assert list(container["portsAttributes"]) == [str(port) for port in ports]


def test_issue_forms_are_valid() -> None:
    """GitHub's syntax of issue forms."""
    files = sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").iterdir())
    assert [file.name for file in files] == ["bug_report.yml", "feature_request.yml"]
    for file in files:
        form = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert form.keys() == {"name", "description", "labels", "body"}
        for field in form["body"]:
            assert field.keys() <= {"type", "id", "attributes", "validations"}
            assert field["type"] == "textarea"
            assert field["attributes"]["label"]
        assert len({field["id"] for field in form["body"]}) == len(form["body"])


def test_checklist_and_policies_name_what_exists() -> None:
    targets = set(re.findall(r"`make ([a-z-]+)`", read(".github/pull_request_template.md")))
    assert targets == {"test", "lint", "reproduce", "update-results"}
    assert all(map(recipe, targets))
    assert "Contributor Covenant, version 2.1" in read("CODE_OF_CONDUCT.md")
    assert "docs/operating.md#security" in read("SECURITY.md")
    assert (PROJECT / "src" / "py.typed").read_bytes() == b""
