"""The messages of SASL OAUTHBEARER (RFC 7628), as one of kafka-python's mechanisms would have them."""

import json
from collections.abc import Mapping


class OAuthBearer:
    """One authentication by a token.

    Attributes:
        status: What the broker says against the token; empty while it says nothing.
    """

    def __init__(self, token: str, extensions: Mapping[str, str]) -> None:
        """Takes the token, and what goes beside it."""
        pairs = {"auth": f"Bearer {token}", **extensions}
        fields = "".join(f"\x01{name}={value}" for name, value in pairs.items())
        self._first: bytes | None = f"n,,{fields}\x01\x01".encode()
        self.status = ""
        self._done = False

    def auth_bytes(self) -> bytes:
        """Answers what to send: the token first; after an error the byte that ends the exchange (section 3.2.3)."""
        first, self._first = self._first, None
        return first if first is not None else b"\x01"

    def receive(self, data: bytes) -> None:
        """Takes the answer: nothing for a token that is accepted, else a JSON object (section 3.2.2).

        Raises:
            ValueError: It is neither.
        """
        if not data and not self.status:
            self._done = True
            return
        found = json.loads(data)
        status = found.get("status") if isinstance(found, dict) else None
        if not isinstance(status, str) or self.status:
            raise ValueError("neither acceptance nor status")
        self.status = "".join(letter for letter in status if letter.isprintable())[:100] or "invalid_token"

    def is_done(self) -> bool:
        """Tells whether the token was accepted."""
        return self._done

    def is_authenticated(self) -> bool:
        """Tells the same: there is no other end than that, or an error of SaslAuthenticate."""
        return self._done
