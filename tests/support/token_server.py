"""A token server on the loopback: the client credentials grant at /token, its keys at /keys."""

import json
import ssl
import tempfile
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from clusterlink_engine.devkit.settings import TokenIssuer
from tests.support.certificates import Certificate

AUDIENCE = "kafka-of-the-tests"


@dataclass
class TokenServer:
    """Grants tokens to clients that show their secret; everything may be changed while it runs.

    Attributes:
        clients: Secret by client id.
        lifetime: Of the tokens, in seconds.
        asked: The form fields of each request, and the client that was let in.
        answer: Status and body that everybody gets instead; None for what is right.
        delay: Seconds before an answer.
    """

    clients: dict[str, str] = field(default_factory=dict)
    lifetime: float = 300.0
    certificate: Certificate | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    answer: tuple[int, dict[str, str], bytes] | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where tokens are granted."""
        return f"{'https' if self.certificate is not None else 'http'}://127.0.0.1:{self.port}/token"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begins to listen, on the same port as before."""
        server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        server.daemon_threads = True
        self.port = server.server_port
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "pair.pem"
                path.write_text(self.certificate.certificate + self.certificate.key)
                context.load_cert_chain(path)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.05,), name="token server", daemon=True).start()

    def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def issuer(self, directory: Path) -> TokenIssuer:
        """What brokers need to know, with the keys in a file of a directory."""
        path = directory / "jwks.json"
        path.write_text(json.dumps(self.keys()))
        return TokenIssuer(path.resolve().as_uri().replace("file:///", "file:/"), AUDIENCE)

    def keys(self) -> dict[str, Any]:
        """The public keys, as JWKS (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        parts = {"n": numbers.n, "e": numbers.e}
        encoded = {name: _base64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for name, value in parts.items()}
        return {"keys": [{"kty": "RSA", "kid": "tests", "use": "sig", "alg": "RS256", **encoded}]}

    def token(self, subject: str, *, audience: str = AUDIENCE, lifetime: float | None = None) -> str:
        """Signs a token (RS256)."""
        now = time.time()
        ends = now + (self.lifetime if lifetime is None else lifetime)
        claims = {"iss": "https://issuer.example", "sub": subject, "aud": audience, "iat": now - 60, "exp": ends}
        if ends < now:
            claims["iat"] = ends - 60
        parts = [{"alg": "RS256", "kid": "tests", "typ": "JWT"}, claims]
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def respond(self, shown: str, fields: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Answers status, headers and body for what a client shows and asks."""
        time.sleep(self.delay)
        client, _, secret = b64decode(shown.removeprefix("Basic ")).decode().partition(":")
        client, secret = unquote_plus(client), unquote_plus(secret)
        json_type = {"Content-Type": "application/json"}
        if self.answer is not None:
            return self.answer
        if self.clients.get(client) != secret:
            return 401, json_type, json.dumps({"error": "invalid_client", "error_description": "Who is it?"}).encode()
        self.asked.append({"client": client, **fields})
        token = self.token(client, audience=fields.get("audience", AUDIENCE))
        return (
            200,
            json_type,
            json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime)}).encode(),
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                fields = {name: values[0] for name, values in parse_qs(body).items()}
                status, headers, answer = owner.respond(self.headers["Authorization"], fields)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
                pass

        return Handler


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
