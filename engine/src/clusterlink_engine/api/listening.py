"""Where the API listens for users."""

import os
import socket
from pathlib import Path

from grpc import aio

from clusterlink_engine.api.certificates import Certificates
from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.settings import Api

_ONLY_ITS_USER = 0o177


def add_address(server: aio.Server, api: Api, certificates: Certificates | None) -> int:
    """Has a server listen where the settings say; answers the port, which means nothing for a socket.

    Raises:
        InvalidArgumentError: That is not possible, for example because another process listens there.
    """
    if api.socket is not None and is_listened_on(api.socket):
        raise InvalidArgumentError(f"api.listen: {api.listen} cannot be listened on; is it in use?")
    before = os.umask(_ONLY_ITS_USER) if api.socket is not None else None
    try:
        port: int = (
            server.add_insecure_port(api.listen)
            if certificates is None
            else server.add_secure_port(api.listen, certificates.for_server())
        )
    except RuntimeError as error:
        raise InvalidArgumentError(f"api.listen: {api.listen} cannot be listened on; is it in use?") from error
    finally:
        if before is not None:
            os.umask(before)
    return port


def is_listened_on(path: Path) -> bool:
    """Tells whether a process listens on a socket. gRPC does not ask: it would take the socket from that process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
