"""Authentication of connections: SaslHandshake (API key 17, KIP-43) and SaslAuthenticate (API key 36, KIP-152).

A broker may end sessions (KIP-368, SaslAuthenticate version 1): then a connection authenticates again, by the same messages,
before it is used near the session's end. A broker takes no other request between them, and answers those before them first.
"""

import logging
import random
from typing import Protocol

from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from clusterlink_engine import tokens
from clusterlink_engine.errors import AuthenticationFailedError, Side, TokenMissingError
from clusterlink_engine.sasl import OAUTHBEARER, Sasl
from clusterlink_engine.token_endpoint import TokenError
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.oauthbearer import OAuthBearer

log = logging.getLogger(__name__)

_HANDSHAKE = (1, 1)  # version 1: what follows are SaslAuthenticate messages, not bare bytes
_AUTHENTICATE = (0, 2)

# Which part of a session may pass before a connection authenticates again. Requests that were sent before are still to be
# read by the broker within the rest. Not the same for all, so that they do not come together.
_EARLIEST, _LATEST = 0.7, 0.8
# A broker takes no second authentication within a second.
_LEAST_SECONDS = 1.05
# Rounds of an exchange; no mechanism has more than three.
_MOST_ROUNDS = 5


class _Mechanism(Protocol):
    """One authentication: what to send, what was answered."""

    def auth_bytes(self) -> bytes: ...

    def receive(self, data: bytes) -> object: ...

    def is_done(self) -> bool: ...

    def is_authenticated(self) -> bool: ...


class Authenticator:
    """Authenticates connections to one cluster, with the password or token of the moment."""

    def __init__(self, sasl: Sasl, side: Side) -> None:
        """Takes who the engine is there; nothing is read or fetched yet."""
        self._sasl = sasl
        self._side = side
        self._tokens = tokens.source_of(sasl) if sasl.uses_tokens else None
        self._password: str | None = None
        # Tokens of MSK go by the mechanism for tokens, which its brokers have beside the one of that name.
        self._mechanism = OAUTHBEARER if sasl.uses_tokens else sasl.mechanism

    async def authenticate(self, connection: Connection) -> None:
        """Authenticates a connection that has just been opened, or whose session is about to end.

        Raises:
            AuthenticationFailedError: There is no token, the broker does not offer the mechanism, or does not accept us.
            KafkaError: The broker could not be asked.
        """
        # First: a connection that is in the middle of this is of no use to anybody.
        token = await self._token(connection) if self._tokens is not None else None
        mechanism = self._bearer(token) if token is not None else self._user()
        request = SaslHandshakeRequest(mechanism=self._mechanism)
        version = choose_version(connection, request.API_KEY, *_HANDSHAKE)
        offered = await connection.exchange(request, SaslHandshakeResponse, version)
        if offered.error_code:
            known = ", ".join(sorted(offered.mechanisms))
            why = (
                f"the broker does not offer the mechanism; it has {known}" if known else "nobody is authenticated there"
            )
            raise self._refused(connection, why)
        version = choose_version(connection, SaslAuthenticateRequest.API_KEY, *_AUTHENTICATE)
        for _ in range(_MOST_ROUNDS):
            asked = connection.now()
            request = SaslAuthenticateRequest(auth_bytes=mechanism.auth_bytes())
            answer = await connection.exchange(request, SaslAuthenticateResponse, version)
            if answer.error_code:
                if token is not None and self._tokens is not None:
                    self._tokens.was_refused(token)
                why = answer.error_message or "the broker gives no reason"
                raise self._refused(connection, _why_no_token(mechanism, token, why))
            try:
                mechanism.receive(bytes(answer.auth_bytes))
            except (ValueError, KeyError) as error:
                why = f"the broker's answer is not what {self._mechanism} asks for"
                raise self._refused(connection, why) from error
            if mechanism.is_done():
                break
        if not mechanism.is_authenticated():
            raise self._refused(connection, "the broker's answer is not what the mechanism asks for")
        if self._tokens is not None:
            self._tokens.was_accepted()
        # The time counts from before the asking: the broker's begins later.
        seconds = (answer.session_lifetime_ms or 0) / 1000 if version >= 1 else 0.0
        renew_at = asked + max(_LEAST_SECONDS, seconds * random.uniform(_EARLIEST, _LATEST)) if seconds > 0 else None
        connection.authenticated(self.authenticate, renew_at)

    async def _token(self, connection: Connection) -> tokens.Token:
        assert self._tokens is not None  # noqa: S101 - the caller looked
        try:
            return await self._tokens.token()
        except TokenError as error:
            text = f"There is no token for {connection.address} of the {self._side} cluster: {error}."
            raise TokenMissingError(text, side=self._side, is_passing=error.is_passing) from error

    def _bearer(self, token: tokens.Token) -> _Mechanism:
        return OAuthBearer(token.value, self._sasl.oauth.extensions if self._sasl.oauth is not None else {})

    def _user(self) -> _Mechanism:
        sasl = self._sasl
        try:
            self._password = sasl.secret()
        except ValueError as error:
            text = f"The password for the {self._side} cluster cannot be used: {error}."
            if self._password is None:
                raise AuthenticationFailedError(text, side=self._side) from error
            log.warning("%s The last one stays in use.", text)
        # In SCRAM, "=" and "," of a name stand for something else (RFC 5802).
        is_scram = sasl.mechanism.startswith("SCRAM")
        username = sasl.username.replace("=", "=3D").replace(",", "=2C") if is_scram else sasl.username
        found: _Mechanism = get_sasl_mechanism(sasl.mechanism)(
            sasl_mechanism=sasl.mechanism, sasl_plain_username=username, sasl_plain_password=self._password
        )
        return found

    def _refused(self, connection: Connection, why: str) -> AuthenticationFailedError:
        sasl = self._sasl
        whom = f'the user "{sasl.principal}"'
        if sasl.uses_tokens:
            whom = f'the token of the client "{sasl.principal}"' if sasl.principal else "the engine's token"
        where = f"{connection.address} of the {self._side} cluster"
        text = f"{where} refused {whom} ({sasl.mechanism}): {why.rstrip('.')}."
        return AuthenticationFailedError(text, side=self._side)


def _why_no_token(mechanism: _Mechanism, token: tokens.Token | None, why: str) -> str:
    """Answers why a token was refused, as far as it can be told: a broker says little, and the token more."""
    if token is None or not isinstance(mechanism, OAuthBearer):
        return why
    said = f"{mechanism.status}: {why}" if mechanism.status and mechanism.status not in why else why
    described = token.described()
    return f"{said.rstrip('.')}; the token has {described}" if described else said
