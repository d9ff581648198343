"""Finds free ports, and names who holds one that is needed."""

import random
import socket

_ATTEMPTS = 200
# Below the ranges from which Linux (32768) and macOS (49152) take the ports of outgoing
# connections: one of those could otherwise sit on a database's port while it restarts.
_FIRST_FREE, _LAST_FREE = 20_000, 32_000
_PROBE_TIMEOUT_S = 0.2
# What this process was given and may not have bound yet: two of its programs must not get the same.
_given: set[int] = set()
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def is_free(port: int) -> bool:
    """True where nobody listens on the port on loopback and we could.

    Looks at ::1 as well, because browsers try it first for `localhost`.
    """
    return not any(_accepts(family, host, port) for family, host in _LOOPBACK) and _binds(port)


def find_free_port(preferred: int | None = None) -> int:
    """A port that is free now, and another with each call; the preferred one where it is free.

    Raises OSError where none is found.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    chooser = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chooser.randrange(_FIRST_FREE, _LAST_FREE)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no free port between {_FIRST_FREE} and {_LAST_FREE}")


def _accepts(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            return probe.connect_ex((host, port)) == 0
    except OSError:
        # The machine has no IPv6.
        return False


def _binds(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As our servers do, so that connections that linger after a stop do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
