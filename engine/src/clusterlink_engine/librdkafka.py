"""How clients of librdkafka connect to a cluster: by the same definition as the raw path."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from clusterlink_engine import pem, tokens
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security

Settings = dict[str, Any]

# Which part of a token's time the library lets pass before it asks for another one.
_LIBRARY_RENEWS_AT = 0.8


def librdkafka_settings(bootstrap_servers: Sequence[str], security: Security) -> Settings:
    """Answers how a client of librdkafka connects to a cluster; files are read now, tokens when they are needed.

    Raises:
        ValueError: A file cannot be read, or is no PEM text.
    """
    settings: Settings = {
        "bootstrap.servers": ",".join(bootstrap_servers),
        "security.protocol": security.security_protocol,
        "log.connection.close": False,
    }
    if security.sasl is not None:
        settings.update(_sasl_settings(security.sasl))
    if security.tls is not None:
        pems = security.tls.pems()
        texts = {"ssl.ca.pem": pems.ca, "ssl.certificate.pem": pems.certificate, "ssl.key.pem": pems.key}
        settings.update({name: text for name, text in texts.items() if text})
        if security.tls.accept_any_server_name:
            settings["ssl.endpoint.identification.algorithm"] = "none"
    return settings


def changed_settings(
    bootstrap_servers: Sequence[str], security: Security, present: Mapping[str, Any]
) -> Settings | None:
    """Answers how a client of librdkafka connects, if that is not by the present settings any more: files are read again.

    Raises:
        ValueError: A file cannot be read, or what is in them does not go together: one of a new pair may still be missing.
    """
    settings = librdkafka_settings(bootstrap_servers, security)
    if settings == present:
        return None
    if security.tls is not None:
        pem.client_context(security.tls.pems(), accept_any_server_name=security.tls.accept_any_server_name)
    return settings


class _Bearer:
    """Gives the library its tokens, in whatever thread of it; equal to another one of the same source."""

    def __init__(self, sasl: Sasl) -> None:
        self._source = tokens.source_of(sasl)
        self._extensions = dict(sasl.oauth.extensions) if sasl.oauth is not None else {}

    def __call__(self, _: str) -> tuple[str, float, str, dict[str, str]]:
        token = self._source.token_now()
        # The library asks anew when four fifths of the time are over; by then there is to be a new one. With one that is about
        # to end it would get a session that ends with it.
        ends = token.since + (token.until - token.since) * min(1.0, tokens.RENEW_AT / _LIBRARY_RENEWS_AT)
        return token.value, max(ends, time.time() + 1), "clusterlink", self._extensions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bearer) and (self._source, self._extensions) == (other._source, other._extensions)

    __hash__ = None  # type: ignore[assignment]


def _sasl_settings(sasl: Sasl) -> Settings:
    if sasl.uses_tokens:
        return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": _Bearer(sasl)}
    return {"sasl.mechanism": sasl.mechanism, "sasl.username": sasl.username, "sasl.password": sasl.secret()}
