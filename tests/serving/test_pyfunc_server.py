"""`mlflow models serve -m models:/char-rnn@champion` with a registered model."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.models import serialization
from tests.commands import TIME_LIMIT, RunCli, free_port
from tests.conftest import ignore_mlflow_warnings
from tests.processes import start, wait_for

pytestmark = pytest.mark.slow

PostRequest = Callable[[Any], tuple[int, Any]]


@pytest.fixture(scope="module")
def server_url(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server, after it has started."""
    from src.tracking import mlflow_client

    mlflow_client.set_champion(trained.uri, trained.run_id)
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": trained.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # of uvicorn
    }
    address, log = f"http://127.0.0.1:{port}", folder / "log"
    with log.open("w") as file:
        server = start(
            "mlflow", "models", "serve", "-m", "models:/char-rnn@champion", "--env-manager", "local",
            "--host", "127.0.0.1", "--port", str(port),
            cwd=folder, env=environment, stdout=file, stderr=file,
        )  # fmt: skip

    try:
        wait_for(lambda: "Uvicorn running on" in log.read_text(), server)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


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


def test_null_is_prompt_of_run(post_request: PostRequest, trained: Any) -> None:
    prompt = serialization.load(trained.folder / "model").prompt
    params = {"temperature": 0.5, "length": 20, "seed": 2}
    texts = post_request(request(prompt, **params))[1]["predictions"]
    assert post_request({"prompt": None, **params}) == (200, texts)


PAYLOADS = [
    (request("straße"), "prompt: expected only the 27 characters of the model's vocabulary"),
    ({"inputs": {"promt": ["when "]}}, "Model is missing inputs ['prompt']"),
    ({"prompt": 5}, "Can not safely convert int64"),
    ({"inputs": {"prompt": ["when "]}, "params": [1]}, "Parameters must be a dictionary"),
    ({}, "exactly one of the input fields"),
]
# test_pyfunc_package.py has every limit.
PARAMS: list[tuple[dict[str, Any], str]] = [
    ({"temperature": -1}, "temperature: expected a number >= 0, got -1"),
    ({"temperature": float("inf")}, "temperature: expected a number >= 0, got inf"),
    ({"temperature": "hot"}, "'temperature': double"),
    ({"temperature": None}, "temperature: expected a number >= 0, got null"),
    ({"temperature": True}, "'temperature': double"),
    ({"length": 10**9}, "length: expected an integer from 0 to 100000, got 1000000000"),
    ({"length": 1.5}, "'length': long"),
    ({"top_p": float("nan")}, "top_p: expected a number > 0 and <= 1 (1: off), got nan"),
]
NESTED = [(request("when ", **params), expected) for params, expected in PARAMS]
FLAT = [({"prompt": "when ", **params}, expected) for params, expected in PARAMS]


@pytest.mark.parametrize(("payload", "expected"), [*PAYLOADS, *NESTED, *FLAT])
def test_invalid_request_returns_400(post_request: PostRequest, payload: Any, expected: str) -> None:
    status, answer = post_request(payload)
    assert status == 400
    assert expected in answer["message"]
    assert "Traceback" not in json.dumps(answer)
