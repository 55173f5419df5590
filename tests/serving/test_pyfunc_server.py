"""`mlflow models serve -m models:/char-rnn@champion` with a registered model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import TIME_LIMIT, RunCli, free_port
from tests.conftest import ignore_mlflow_warnings

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent

PostRequest = Callable[[Any], tuple[int, Any]]


@pytest.fixture(scope="module")
def server_url(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server, after it answers a ping."""
    if not (BIN / "mlflow").exists() or not shutil.which("uvicorn", path=str(BIN)):
        pytest.skip("needs mlflow and uvicorn in the environment")
    from src.tracking import mlflow_client

    mlflow_client.set_champion(trained.uri, trained.run_id)
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": trained.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(BIN / "mlflow"), "models", "serve", "-m", "models:/char-rnn@champion",
             "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(f"{address}/ping", server, folder / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for_server(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + TIME_LIMIT
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server does not answer: {log.read_text()}")


@pytest.fixture(scope="module")
def post_request(server_url: str) -> PostRequest:
    """Post a payload and return status and body of the response."""

    def post(payload: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{server_url}/invocations",
            data=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIME_LIMIT) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return post


def request(*prompts: str, **params: Any) -> dict[str, Any]:
    return {"inputs": {"prompt": list(prompts)}, "params": params}


@ignore_mlflow_warnings
def test_model_output_equals_sample_command(post_request: PostRequest, run_cli: RunCli, trained: Any) -> None:
    params = {"temperature": 0.8, "length": 50, "seed": 3, "top_k": 6, "top_p": 0.9}
    status, answer = post_request(request("when ", **params))
    assert status == 200
    arguments = [f"{name}={value}" for name, value in params.items()]
    result = run_cli("sample", "run=champion", "prompt=when ", *arguments, *trained.path_overrides)
    assert result.out == f"when {answer['predictions'][0]}\n"
    assert f"run=champion: {trained.run_id}" in result.err


def test_flat_payload_is_accepted(post_request: PostRequest) -> None:
    params = {"temperature": 0.5, "length": 20, "seed": 2}
    status, texts = post_request({"prompt": "when ", **params})
    assert status == 200
    assert texts == post_request(request("when ", **params))[1]["predictions"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"temperature": -1}, "temperature: expected a number >= 0, got -1"),
        ({"temperature": float("inf")}, "temperature: expected a number >= 0, got inf"),
        ({"temperature": "hot"}, "'temperature': double"),
        ({"temperature": None}, "temperature: expected a number >= 0, got null"),
        ({"temperature": True}, "'temperature': double"),
        ({"length": -5}, "length: expected an integer from 0 to 100000, got -5"),
        ({"length": 10**9}, "length: expected an integer from 0 to 100000, got 1000000000"),
        ({"length": 1.5}, "'length': long"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        ({"top_k": -1}, "top_k: expected an integer >= 0 (0: off), got -1"),
        ({"top_p": 2}, "top_p: expected a number > 0 and <= 1 (1: off), got 2"),
        ({"top_p": float("nan")}, "top_p: expected a number > 0 and <= 1 (1: off), got nan"),
    ],
)
def test_invalid_param_returns_400(post_request: PostRequest, params: dict[str, Any], expected: str) -> None:
    for payload in (request("when ", **params), {"prompt": "when ", **params}):
        status, answer = post_request(payload)
        assert status == 400
        assert expected in answer["message"]
        assert "Traceback" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (request("straße"), "prompt: expected only the 27 characters of the model's vocabulary"),
        ({"inputs": {"promt": ["when "]}}, "Model is missing inputs ['prompt']"),
        ({"prompt": None}, "prompt: expected a text, got None"),
        ({"inputs": {"prompt": ["when "]}, "params": [1]}, "Parameters must be a dictionary"),
        ({}, "exactly one of the input fields"),
    ],
)
def test_invalid_request_returns_400(post_request: PostRequest, payload: Any, expected: str) -> None:
    status, answer = post_request(payload)
    assert status == 400
    assert expected in answer["message"]
    assert "Traceback" not in json.dumps(answer)
