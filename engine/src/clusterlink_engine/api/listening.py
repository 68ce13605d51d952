"""Where the API listens: addresses, sockets that belong to one user, and certificates that change."""

import logging
import os
import secrets
import socket
import ssl
import stat
import tempfile
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.settings import Api, ApiTls, SettingsError

log = logging.getLogger(__name__)

_ONLY_ITS_USER = 0o177


class Certificates:
    """The certificate of the API, and the CAs of its clients, as the files have them."""

    def __init__(self, tls: ApiTls) -> None:
        """Reads the files.

        Raises:
            SettingsError: One of them cannot be used; the text names it.
        """
        self._tls = tls
        self._stamp = self._look()
        self._first = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Answers what a server needs; it asks for each connection whether the files have changed."""
        changed: Any = self._changed  # the stubs do not know that it may answer None
        return grpc.dynamic_ssl_server_credentials(self._first, changed, self._tls.client_ca_file is not None)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Answers the new certificate, or None for the one in use. Called in threads of gRPC."""
        stamp = self._look()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            configuration = self._read()
        except SettingsError as error:
            log.warning("the certificate that was in use stays: %s", error)
            return None
        log.info("the API has a new certificate from %s", self._tls.certificate_file)
        return configuration

    def _look(self) -> tuple[object, ...]:
        found: list[object] = []
        for file in (self._tls.certificate_file, self._tls.key_file, self._tls.client_ca_file):
            try:
                status = file.stat() if file is not None else None
            except OSError:
                status = None
            found.append(status and (status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        certificate = _read_file("certificate_file", tls.certificate_file)
        key = _read_file("key_file", tls.key_file)
        clients = _read_file("client_ca_file", tls.client_ca_file) if tls.client_ca_file is not None else None
        # gRPC would take anything, and fail at each connection without a word.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"api.tls.key_file: {tls.key_file} and {tls.certificate_file} are no key and certificate that belong "
                f"together, both in PEM, the key not encrypted: {error}"
            ) from error
        if clients is not None:
            try:
                context.load_verify_locations(cadata=clients.decode("ascii", errors="replace"))
            except (ssl.SSLError, ValueError) as error:
                raise SettingsError(f"api.tls.client_ca_file: {tls.client_ca_file} is no PEM: {error}") from error
        return grpc.ssl_server_certificate_configuration([(key, certificate)], clients)


def _read_file(key: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"api.tls.{key}: {file} cannot be read: {error.strerror}") from error


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
            else server.add_secure_port(api.listen, certificates.credentials())
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


def peer_address(directory: str) -> str:
    """Answers a new address for the other processes of this engine: a socket that only this user can reach.

    Args:
        directory: The setting `api.peer_directory`.

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
    return f"unix:{private / f'{os.getpid()}-{secrets.token_hex(4)}.sock'}"
