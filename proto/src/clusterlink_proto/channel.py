"""How callers reach an engine: encrypted or not, and with what they show of themselves."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

# A proxy of the environment would be asked even for 127.0.0.1.
_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)
_LOCAL: Final = re.compile(r"unix:.*|(127\.0\.0\.1|localhost|\[::1\]):\d+")
# What a header can carry, and grpc would print if it cannot.
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")

# What gRPC says of connections that failed.
_NOT_TRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_OTHER_NAME: Final = "Hostname Verification"
_NO_TLS: Final = "WRONG_VERSION_NUMBER"


class CredentialsError(ValueError):
    """A token or a certificate cannot be used as it is; the text says why, and does not contain it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to encrypt, and whom to trust.

    Attributes:
        ca_pem: Whose certificates are trusted; None: whom the system trusts.
        certificate_pem: The caller's own certificate, if it has one.
        key_pem: Its private key.
        server_name: The name that the engine's certificate must have, if it is not the endpoint's.
    """

    ca_pem: str | None = None
    certificate_pem: str | None = None
    key_pem: str | None = field(default=None, repr=False)
    server_name: str | None = None


class _Authorization(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg] # the class itself has none
    """Puts the token on each call, on channels without encryption too."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=(*(details.metadata or ()), self._header)), request)


def open_channel(
    endpoint: str, *, token: str = "", tls: Tls | None = None, options: Sequence[tuple[str, Any]] = ()
) -> grpc.Channel:
    """Makes a channel to an engine; nothing is contacted yet.

    Args:
        endpoint: `host:port`, or `unix:///path`.
        token: Shown with each call; empty: none.
        tls: None: nothing is encrypted.
        options: Further ones of gRPC.

    Raises:
        CredentialsError: The token would be readable on its way, or something is no token or no PEM.
    """
    if token and not _TOKEN.fullmatch(token):
        raise CredentialsError("The token has spaces, line ends or signs that no token has.")
    if token and tls is None and not _LOCAL.fullmatch(endpoint):
        raise CredentialsError(f"Without TLS everybody on the way to {endpoint} could read the token.")
    arguments = [*_OPTIONS, *options]
    if tls is None:
        channel = grpc.insecure_channel(endpoint, options=arguments)
    else:
        if tls.server_name:
            arguments.append(("grpc.ssl_target_name_override", tls.server_name))
        channel = grpc.secure_channel(endpoint, _credentials(tls), options=arguments)
    return grpc.intercept_channel(channel, _Authorization(token)) if token else channel


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    if (tls.certificate_pem is None) != (tls.key_pem is None):
        raise CredentialsError("A certificate of one's own needs its key, and a key its certificate.")
    parts = {"CA": tls.ca_pem, "certificate": tls.certificate_pem, "key": tls.key_pem}
    for what, pem in parts.items():
        if pem is not None and "-----BEGIN " not in pem:
            raise CredentialsError(f"The {what} is no PEM.")
    ca, key, certificate = (
        pem.encode() if pem is not None else None for pem in (tls.ca_pem, tls.key_pem, tls.certificate_pem)
    )
    return grpc.ssl_channel_credentials(ca, key, certificate)


def is_distrust(details: str) -> bool:
    """Tells whether a connection failed for good: the two ends do not trust, or understand, each other."""
    return any(sign in details for sign in (_NOT_TRUSTED, _OTHER_NAME, _NO_TLS))


def why_refused(details: str, tls: Tls | None) -> str:
    """Answers what a failed connection to an engine was about, as far as certificates are; empty if they are not.

    Args:
        details: What gRPC says.
        tls: How it was tried.
    """
    if _NOT_TRUSTED in details:
        reason = details.partition(f"{_NOT_TRUSTED}:")[2].strip().removesuffix(": OK")
        return f"the engine's certificate is not trusted ({reason})"
    if _OTHER_NAME in details:
        return "the engine's certificate is for another name"
    if _NO_TLS in details:
        return "the engine does not speak TLS there"
    if "Socket closed" in details or "onnection reset" in details:
        if tls is None:
            return "the connection was closed at once; the engine may speak TLS only"
        if tls.certificate_pem is None:
            return "the connection was closed at once; the engine may want a certificate of the caller"
        return "the connection was closed at once; the engine may not trust the caller's certificate"
    return ""
