"""Authentication of a connection: SaslHandshake (API key 17, KIP-43) and SaslAuthenticate (API key 36, KIP-152)."""

from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from clusterlink_engine.errors import AuthenticationFailedError
from clusterlink_engine.security import Sasl
from clusterlink_engine.wire.connection import Connection, choose_version

_HANDSHAKE = (1, 1)  # version 1: what follows are SaslAuthenticate messages, not bare bytes
_AUTHENTICATE = (0, 2)


async def authenticate(connection: Connection, sasl: Sasl) -> None:
    """Authenticates a connection that has just been opened.

    Raises:
        AuthenticationFailedError: The broker does not offer the mechanism, or does not know this user with this password.
        KafkaError: The broker could not be asked.
    """
    request = SaslHandshakeRequest(mechanism=sasl.mechanism)
    version = choose_version(connection, request.API_KEY, *_HANDSHAKE)
    offered = await connection.call(request, SaslHandshakeResponse, version)
    if offered.error_code:
        known = ", ".join(sorted(offered.mechanisms))
        why = f"the broker does not offer the mechanism; it has {known}" if known else "nobody is authenticated there"
        raise _failed(connection, sasl, why)
    # In SCRAM, "=" and "," of a name stand for something else (RFC 5802).
    is_scram = sasl.mechanism.startswith("SCRAM")
    username = sasl.username.replace("=", "=3D").replace(",", "=2C") if is_scram else sasl.username
    mechanism = get_sasl_mechanism(sasl.mechanism)(
        sasl_mechanism=sasl.mechanism, sasl_plain_username=username, sasl_plain_password=sasl.password
    )
    version = choose_version(connection, SaslAuthenticateRequest.API_KEY, *_AUTHENTICATE)
    while not mechanism.is_done():
        request = SaslAuthenticateRequest(auth_bytes=mechanism.auth_bytes())
        answer = await connection.call(request, SaslAuthenticateResponse, version)
        if answer.error_code:
            raise _failed(connection, sasl, answer.error_message or "the broker gives no reason")
        try:
            mechanism.receive(bytes(answer.auth_bytes))
        except (ValueError, KeyError) as error:
            raise _failed(connection, sasl, f"the broker's answer is not what {sasl.mechanism} asks for") from error
    if not mechanism.is_authenticated():
        raise _failed(connection, sasl, "the broker's answer is not what the mechanism asks for")


def _failed(connection: Connection, sasl: Sasl, why: str) -> AuthenticationFailedError:
    return AuthenticationFailedError(
        f'{connection.address} of the {connection.side} cluster refused the user "{sasl.username}" ({sasl.mechanism}): '
        f"{why.rstrip('.')}.",
        side=connection.side,
    )
