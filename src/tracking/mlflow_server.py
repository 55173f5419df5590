"""A process that runs `mlflow server`, from its start to its end.

Is an address of this machine free for a server, does a server answer there, and how is it reached?
"""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from src.common.errors import InputError

Server = subprocess.Popen[bytes]
PATIENCE = 8.0  # seconds for requests at work when the server is to end


def check_database(backend: str) -> None:
    """Raises InputError for what is no database's URL, or one whose driver is not installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(backend)
        dialect = url.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(
            "backend_store_uri: expected a database's URL such as postgresql://USER:PASSWORD@HOST/NAME, got "
            f"{backend}"
        ) from error
    try:
        dialect.import_dbapi()
    except ImportError as error:
        shown = url.render_as_string(hide_password=True)
        raise InputError(
            f"backend_store_uri: expected a database whose driver is installed, got {shown}, for which "
            f"{error.name} is missing: make cluster installs that of PostgreSQL"
        ) from error


@contextmanager
def running(options: list[str], host: str, port: int, log: Path, backend: str) -> Iterator[Server]:
    """`mlflow server` with these options, while the context lasts, which begins once the server answers.

    log: file for what it prints. backend: handed on in the environment, where no other user sees the
    password. Raises InputError when the server ends before it answers.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), *options]
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "MLFLOW_BACKEND_STORE_URI": backend}
    env.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight processes for what we do not use
    with log.open("wb") as file:  # a process group of its own: Ctrl-C is for us, who end it in order
        server = subprocess.Popen(command, stdout=file, stderr=file, env=env, process_group=0)
    try:
        while server.poll() is None and not healthy(host, port):
            time.sleep(0.2)
        if server.poll() is not None:
            raise ended(log)
        yield server
    finally:
        end(server)


def ended(log: Path) -> InputError:
    """The one line for a server that ended by itself."""
    return InputError(f"expected an MLflow server that runs, got one that ended: the reason is in {log}")


def end(server: Server) -> None:
    """End the server and the processes that it has started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE)


def healthy(host: str, port: int) -> bool:
    """Does the server answer?"""
    try:
        with urlopen(f"http://{reachable(host)}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def check_free(host: str, port: int) -> None:
    """Raises InputError where something listens already, or where this machine cannot listen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise no_address(host, error) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is none
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise no_address(host, error) from error
            busy = error.errno == errno.EADDRINUSE
            reason = "where something answers already" if busy else error.strerror
            raise InputError(f"port: expected a free port, got {port}, {reason}") from error


def no_address(host: str, error: OSError) -> InputError:
    """The one line for an address at which this machine cannot listen."""
    return InputError(f"host: expected an address of this machine, got {host} ({error.strerror})")


def answers(host: str, port: int) -> bool:
    """Does anything listen there?"""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def reachable(host: str) -> str:
    """As a URL holds it: an address by which this machine reaches what listens on `host`.

    >>> [reachable(host) for host in ("127.0.0.1", "0.0.0.0", "::", "::1")]
    ['127.0.0.1', '127.0.0.1', '[::1]', '[::1]']
    """
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    address = loopback.get(host, host)
    return f"[{address}]" if ":" in address else address
