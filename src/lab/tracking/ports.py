"""Is an address of this machine free for a server, does a server answer there?"""

import socket

from src.errors import InputError


def refuse_busy(host: str, port: int) -> None:
    """Raise InputError for an address that a server could not take."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(
            f"host: expected an address of this machine, got {host} ({error.strerror})"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is none
        try:
            probe.bind(address)
        except OSError as error:
            expected = f"a port that is free on {host}"
            raise InputError(f"port: expected {expected}, got {port} ({error.strerror})") from error


def answers(host: str, port: int) -> bool:
    """Does anything listen there?"""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
