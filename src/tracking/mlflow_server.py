"""`mlflow server` as a child process, and the checks of addresses before it starts."""

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

from src.common.errors import UserError

Server = subprocess.Popen[bytes]
STOP_TIMEOUT = 8.0  # seconds for requests in progress when the server is stopped


def check_database(backend: str) -> None:
    """Check the URL of a database.

    Args:
        backend: URL as SQLAlchemy reads it, like postgresql://USER:PASSWORD@HOST/NAME.

    Raises:
        UserError: It is not the URL of a database, or the driver is not installed.
    """
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        create_engine(backend)
    except (ArgumentError, NoSuchModuleError) as error:
        raise UserError(
            "backend_store_uri: expected a database's URL such as postgresql://USER:PASSWORD@HOST/NAME, "
            f"got {backend}"
        ) from error
    except ImportError as error:
        raise UserError(
            f"backend_store_uri: expected a database whose driver is installed, got {make_url(backend)!r}, "
            f"for which {error.name} is missing: make cluster installs that of PostgreSQL"
        ) from error


@contextmanager
def run_server(options: list[str], host: str, port: int, log: Path, backend: str) -> Iterator[Server]:
    """Run `mlflow server` while the context lasts; the context begins when the server listens.

    Args:
        options: More options of its command line.
        host: Address to listen on.
        port: TCP port to listen on.
        log: File for its output, overwritten.
        backend: URL of the database, passed in the environment, where other users cannot read the password.

    Yields:
        The process, which may have ended by itself.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), *options]
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "MLFLOW_BACKEND_STORE_URI": backend}
    env.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # starts eight unused processes
    with log.open("wb") as file:  # its own process group: Ctrl-C reaches only this process
        server = subprocess.Popen(command, stdout=file, stderr=file, env=env, process_group=0)
    try:
        while server.poll() is None and not is_listening(host, port):
            time.sleep(0.2)
        yield server
    finally:
        stop(server)


def serve(options: list[str], host: str, port: int, log: Path, backend: str, message: str) -> None:
    """Run `mlflow server` (`run_server`) until Ctrl-C or SIGTERM.

    Args:
        options: More options of its command line.
        host: Address to listen on.
        port: TCP port to listen on.
        log: File for its output, overwritten.
        backend: URL of the database.
        message: Text that is printed on standard output when the server listens.

    Raises:
        UserError: The server ended by itself.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        with run_server(options, host, port, log, backend) as server:
            if server.poll() is None:
                print(message, flush=True)
            server.wait()
        raise UserError(f"expected a running MLflow server, got one that exited: see {log}")


def stop(server: Server) -> None:
    """End the server and the processes that it has started: first by SIGTERM, then by SIGKILL.

    Each signal is followed by a wait of at most STOP_TIMEOUT seconds.

    Args:
        server: The process, which may have ended.
    """
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT)


def check_free(host: str, port: int) -> None:
    """Check that this process can listen on an address.

    Args:
        host: Name or number of the address.
        port: TCP port.

    Raises:
        UserError: The port is in use, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a stopped server's port is free
            probe.bind(address)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            expected = f"host: expected an address of this machine, got {host} ({error.strerror})"
        else:
            busy = error.errno == errno.EADDRINUSE
            reason = "which is already in use" if busy else error.strerror
            expected = f"port: expected a free port, got {port}, {reason}"
        raise UserError(expected) from error


def is_listening(host: str, port: int) -> bool:
    """Return whether a process accepts connections at an address.

    Args:
        host: Name or number of the address.
        port: TCP port.

    Returns:
        True if a connection was accepted within one second.
    """
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def url_host(host: str) -> str:
    """Return the host part of the URL under which this machine reaches a server.

    Args:
        host: Address on which the server listens; 0.0.0.0 and :: stand for all addresses of the machine.

    Returns:
        The host, an IPv6 address in brackets.

    Example:
        >>> [url_host(host) for host in ("127.0.0.1", "0.0.0.0", "::", "::1")]
        ['127.0.0.1', '127.0.0.1', '[::1]', '[::1]']
    """
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{address}]" if ":" in address else address
