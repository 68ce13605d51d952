"""Certificates by which the engine's servers are known, and their callers: files that may change while it runs."""

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from clusterlink_engine.settings import ApiTls, PeerTls, SettingsError

log = logging.getLogger(__name__)


class Certificates:
    """A certificate, its key, and the authorities of those who call or are called, as the files have them."""

    def __init__(self, tls: ApiTls | PeerTls) -> None:
        """Reads the files.

        Raises:
            SettingsError: One of them cannot be used; the text names it.
        """
        if isinstance(tls, ApiTls):
            section, authorities = "api.tls", ("client_ca_file", tls.client_ca_file)
        else:
            section, authorities = "peers.tls", ("ca_file", tls.ca_file)
        self._section = section
        self._certificate, self._key = tls.certificate_file, tls.key_file
        self._authorities_key, self._authorities = authorities
        self._stamp = self.stamp()
        self._first = grpc.ssl_server_certificate_configuration(*self._read())

    def for_server(self) -> grpc.ServerCredentials:
        """Answers what a server needs; it asks for each connection whether the files have changed.

        Who calls has to show a certificate if there are authorities for that.
        """
        changed: Any = self._changed  # the stubs do not know that it may answer None
        return grpc.dynamic_ssl_server_credentials(self._first, changed, self._authorities is not None)

    def for_client(self) -> grpc.ChannelCredentials:
        """Answers what a client needs that shows the same certificate, as the files are now.

        Raises:
            SettingsError: One of them cannot be used.
        """
        ((key, certificate),), authorities = self._read()
        return grpc.ssl_channel_credentials(authorities, key, certificate)

    def stamp(self) -> tuple[object, ...]:
        """Answers what is another one when a file has changed."""
        found: list[object] = []
        for file in (self._certificate, self._key, self._authorities):
            try:
                status = file.stat() if file is not None else None
            except OSError:
                status = None
            found.append(status and (status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Answers the new certificate, or None for the one in use. Called in threads of gRPC."""
        stamp = self.stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            configuration = grpc.ssl_server_certificate_configuration(*self._read())
        except SettingsError as error:
            log.warning("the certificate that was in use stays: %s", error)
            return None
        log.info("there is a new certificate in %s", self._certificate)
        return configuration

    def _read(self) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        certificate = self._read_file("certificate_file", self._certificate)
        key = self._read_file("key_file", self._key)
        authorities = None
        # gRPC would take anything, and fail at each connection without a word.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"{self._section}.key_file: {self._key} and {self._certificate} are no key and certificate that belong "
                f"together, both in PEM, the key not encrypted: {error}"
            ) from error
        if self._authorities is not None:
            authorities = self._read_file(self._authorities_key, self._authorities)
            try:
                context.load_verify_locations(cadata=authorities.decode("ascii", errors="replace"))
            except (ssl.SSLError, ValueError) as error:
                text = f"{self._section}.{self._authorities_key}: {self._authorities} is no PEM: {error}"
                raise SettingsError(text) from error
        return [(key, certificate)], authorities

    def _read_file(self, key: str, file: Path) -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise SettingsError(f"{self._section}.{key}: {file} cannot be read: {error.strerror}") from error
