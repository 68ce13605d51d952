"""Free ports on loopback that stay free."""

import random
import socket
import threading

# Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 elsewhere): a broker
# that is down for a while would lose its port to some client there, and a client that connects to a closed port of that
# range may be given the same one and reach itself.
_RANGE = range(20_000, 32_000)

_lock = threading.Lock()
_given: set[int] = set()
_mine = _RANGE


def keep_to_share(index: int, shares: int) -> None:
    """Takes ports of one share of the range from now on: processes that start brokers side by side get a share each.

    Args:
        index: Of the share, from 0.
        shares: How many there are.
    """
    global _mine  # noqa: PLW0603 - ports are the machine's, so this belongs to the process
    _mine = _RANGE[index::shares]


def free_port() -> int:
    """Returns a port nobody listens on, never the same one twice in this process."""
    with _lock:
        for port in random.sample(_mine, k=len(_mine)):
            if port not in _given and is_free(port):
                _given.add(port)
                return port
    raise RuntimeError(f"no port is free between {_RANGE.start} and {_RANGE.stop}")


def is_free(port: int) -> bool:
    """Returns whether nobody listens on a port of loopback."""
    with socket.socket() as probe:
        # As the Java server does: a port that only has closed connections lingering is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
