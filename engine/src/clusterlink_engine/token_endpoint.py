"""Asking a token endpoint for a token: the client credentials grant of RFC 6749 section 4.4, over HTTP/1.1."""

import http
import http.client
import json
import ssl
import time
from base64 import b64encode
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit

from clusterlink_engine import pem
from clusterlink_engine.sasl import OAuth

_SECONDS = 10.0  # for everything together
_MOST_BYTES = 256 * 1024
_MOST_LETTERS = 200


class TokenError(Exception):
    """No token is to be had; the text says why and whom to ask, without a secret.

    Attributes:
        is_passing: Whether that may change without anybody's help: the endpoint is away.
    """

    def __init__(self, message: str, *, is_passing: bool = False) -> None:
        super().__init__(message)
        self.is_passing = is_passing


class _AnswerError(Exception):
    """The answer is not to be read."""


class Granted(NamedTuple):
    """A token as it was answered, and for how many seconds it is good; None if that was not said."""

    token: str
    expires_in: float | None


def ask(oauth: OAuth) -> Granted:
    """Asks for a token, and waits for it.

    The client shows its secret in the header (RFC 6749 section 2.3.1), as Kafka's own clients do (KIP-768).

    Raises:
        TokenError: The endpoint does not answer, is not to be trusted, or refuses.
    """
    url = urlsplit(oauth.token_endpoint_url)
    where = f"the token endpoint {url.scheme}://{url.netloc}{url.path}"
    try:
        secret = oauth.secret()
        connection = _connection(oauth)
    except ValueError as error:
        raise TokenError(f"{error}") from error
    fields = {"grant_type": "client_credentials", **oauth.parameters}
    if oauth.scope:
        fields["scope"] = oauth.scope
    shown = b64encode(f"{quote_plus(oauth.client_id)}:{quote_plus(secret)}".encode()).decode()
    headers = {
        "Authorization": f"Basic {shown}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "Connection": "close",
    }
    try:
        connection.request(
            "POST", f"{url.path or '/'}{'?' + url.query if url.query else ''}", urlencode(fields), headers
        )
        status, body = _answer(connection)
    except ssl.SSLCertVerificationError as error:
        raise TokenError(f"the certificate of {where} is not accepted: {error.verify_message.rstrip('.')}") from error
    except TimeoutError as error:
        raise TokenError(f"{where} did not answer in time", is_passing=True) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TokenError(f"{where} cannot be reached: {reason}", is_passing=True) from error
    except _AnswerError as error:
        raise TokenError(f"{where} cannot be reached: {error}") from error
    except http.client.HTTPException as error:
        raise TokenError(f"{where} cannot be reached: it speaks no HTTP ({type(error).__name__})") from error
    finally:
        connection.close()
    return _granted(where, status, body, secret)


def _connection(oauth: OAuth) -> http.client.HTTPConnection:
    url = urlsplit(oauth.token_endpoint_url)
    host = url.hostname or ""
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port, timeout=_SECONDS)
    context = pem.client_context(oauth.authorities(), accept_any_server_name=False)
    return http.client.HTTPSConnection(host, url.port, timeout=_SECONDS, context=context)


def _answer(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    """Reads status and body, of which no more than is believed, in no more than the time that there is."""
    deadline = time.monotonic() + _SECONDS
    response = connection.getresponse()
    body = b""
    while len(body) <= _MOST_BYTES:
        if time.monotonic() > deadline:
            raise TimeoutError
        piece = response.read1(64 * 1024)
        if not piece:
            return response.status, body
        body += piece
    raise _AnswerError("the answer is too long")


def _granted(where: str, status: int, body: bytes, secret: str) -> Granted:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    answer: dict[str, Any] = found if isinstance(found, dict) else {}
    if 300 <= status < 400:
        raise TokenError(
            f"{where} answers with a redirect (status {status}), which is not followed; give the address itself"
        )
    if status != 200:
        words = [str(answer[name]) for name in ("error", "error_description") if isinstance(answer.get(name), str)]
        said = ": ".join(words).replace(secret, "***")
        said = "".join(letter for letter in said if letter.isprintable())[:_MOST_LETTERS]
        text = f"{where} refused the client (status {status}{'; ' + said if said else ''})"
        raise TokenError(text, is_passing=status >= 500 or status == http.HTTPStatus.TOO_MANY_REQUESTS)
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or not token:
        raise TokenError(f"{where} answered without an access_token")
    if str(answer.get("token_type", "bearer")).lower() != "bearer":
        raise TokenError(f"{where} answered a token of another type than Bearer")
    try:
        expires_in = float(seconds) if seconds is not None else None  # some send the number as a text
    except (TypeError, ValueError):
        expires_in = None
    return Granted(token, expires_in)
