"""Where processes of one engine meet: at a socket of their user on one machine, over TLS between machines."""

import os
import secrets
import stat
import tempfile
from pathlib import Path

from grpc import aio

from clusterlink_engine.api.certificates import Certificates
from clusterlink_engine.api.listening import is_listened_on
from clusterlink_engine.control.membership import Member
from clusterlink_engine.errors import NotLeadingError
from clusterlink_engine.settings import Peers, SettingsError, parse_address

# A record of a link or topic is small; a snapshot holds all of them. A machine that is lost says nothing.
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.max_pings_without_data", 0),
]

_PORTS = 64
_SOCKET = "unix:"


class Meeting:
    """Where this process is reached by the others, and how it reaches them.

    Attributes:
        socket: For processes of this user on this machine; empty before `listen`.
        address: `host:port` for those of other machines; empty if they cannot, or before `listen`.
    """

    def __init__(self, directory: str, peers: Peers) -> None:
        """Prepares.

        Args:
            directory: The setting `api.peer_directory`.
            peers: The settings of that name.

        Raises:
            SettingsError: A certificate cannot be used.
        """
        self.socket = self.address = ""
        self._directory = directory
        self._peers = peers
        self._certificates = Certificates(peers.tls) if peers.tls is not None else None
        self._channels: dict[str, tuple[object, aio.Channel]] = {}

    def listen(self, server: aio.Server) -> None:
        """Has a server listen for other processes; everybody who reaches it there is one of them.

        Raises:
            SettingsError: There is no place for a socket of this user alone, or no port.
        """
        self.socket = _new_socket(self._directory)
        try:
            server.add_insecure_port(self.socket)
        except RuntimeError as error:
            raise SettingsError(f"api.peer_directory: no socket can be made at {self.socket}") from error
        if self._peers.listen and self._certificates is not None:
            host, _ = parse_address(self._peers.listen)
            port = self._take_port(server, self._certificates)
            self.address = _joined(self._peers.advertised or host, port)

    def _take_port(self, server: aio.Server, certificates: Certificates) -> int:
        host, first = parse_address(self._peers.listen)
        for port in range(first, min(first + _PORTS, 1 << 16) if first else 1):
            try:
                return int(server.add_secure_port(_joined(host, port), certificates.for_server()))
            except RuntimeError:
                continue
        raise SettingsError(
            f"peers.listen: {self._peers.listen} cannot be listened on, nor any of the {_PORTS} ports from it on"
        )

    def place_of(self, member: Member) -> str:
        """Answers where another process is reached from here; empty if it is not: it is on another machine, without `peers`."""
        if os.access(member.address.removeprefix(_SOCKET), os.W_OK):  # its name is nobody else's
            return member.address
        return member.remote if self._certificates is not None else ""

    def open(self, place: str) -> aio.Channel:
        """Opens a channel of the caller's own to another process.

        Raises:
            NotLeadingError: The certificate that this one shows cannot be used at the moment.
        """
        if place.startswith(_SOCKET) or self._certificates is None:
            return aio.insecure_channel(place, options=_OPTIONS)
        try:
            credentials = self._certificates.for_client()
        except SettingsError as error:
            raise NotLeadingError(f"The engine that leads cannot be reached: {error}") from error
        return aio.secure_channel(place, credentials, options=_OPTIONS)

    def channel(self, place: str) -> aio.Channel:
        """Answers the channel that all calls to another process share; another one when the certificate has changed.

        Raises:
            NotLeadingError: As `open`.
        """
        stamp = self._certificates.stamp() if self._certificates is not None else None
        known = self._channels.get(place)
        if known is None or known[0] != stamp:
            known = self._channels[place] = stamp, self.open(place)  # calls on the old one finish
        return known[1]

    async def close(self) -> None:
        """Closes the channels that are shared."""
        for _, channel in self._channels.values():
            await channel.close(None)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _new_socket(directory: str) -> str:
    """Answers a new address that only this user can reach.

    Raises:
        SettingsError: There is no directory for it that belongs to this user alone.
    """
    private = Path(directory or tempfile.gettempdir()) / f"clusterlink-{os.getuid()}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        status = private.lstat()
    except OSError as error:
        raise SettingsError(f"api.peer_directory: {private} cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise SettingsError(f"api.peer_directory: {private} is not a directory that only this user may enter")
    for left in private.glob("*.sock"):
        if not is_listened_on(left):
            left.unlink(missing_ok=True)  # of a process that was killed
    return f"{_SOCKET}{private / f'{os.getpid()}-{secrets.token_hex(4)}.sock'}"
