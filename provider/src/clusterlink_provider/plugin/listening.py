"""The socket of a plugin process: in a directory that only its user can enter, since that is its access control."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

# The kernel's limit for the path of a Unix socket is 108 bytes with the closing zero, 104 on macOS.
_PATH_LIMIT = 103
_SOCKET = "plugin.sock"


def candidates() -> list[str]:
    """Names the places for the socket's directory, in the order they are tried."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [tempfile.gettempdir(), "/tmp", *([runtime] if runtime else [])]  # noqa: S108 - the directory made there is private


def make_socket_path(places: Iterable[str] | None = None) -> Path:
    """Makes a private directory and gives the path of the socket in it.

    Raises:
        OSError: No place can be used, or all have too long a path.
    """
    tried: list[str] = []
    for place in candidates() if places is None else places:
        try:
            folder = Path(tempfile.mkdtemp(prefix="clusterlink-", dir=place))
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
            continue
        if len(os.fsencode(folder / _SOCKET)) <= _PATH_LIMIT:
            return folder / _SOCKET
        folder.rmdir()
        tried.append(f"{place}: path too long for a socket")
    raise OSError(f"no directory for the plugin's socket ({'; '.join(tried)})")


def remove(path: Path) -> None:
    """Removes the socket and its directory; what is gone already does not matter."""
    for removal in (path.unlink, path.parent.rmdir):
        try:
            removal()
        except OSError:
            continue
