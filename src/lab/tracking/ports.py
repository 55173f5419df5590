"""Is an address of this machine free for a server, does a server answer there, and how is it reached?"""

import errno
import socket

from src.errors import InputError


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
