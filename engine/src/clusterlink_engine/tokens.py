"""Tokens that authenticate the engine: each is fetched once for all who need it, and kept until shortly before its end.

A source belongs to one definition of who the engine is (`source_of`), so that connections and libraries show the same token.
Fetching happens in a thread of its own: the event loop never waits for a token endpoint, and any thread may ask.
"""

import asyncio
import base64
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from clusterlink_engine import msk, token_endpoint
from clusterlink_engine.sasl import AWS_MSK_IAM, OAuth, OAuthFiles, Sasl, secret_in
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.token_endpoint import TokenError

log = logging.getLogger(__name__)

# A token is fetched anew when this much of its life is over; connections authenticate again a little later.
RENEW_AT = 0.6
# Of a token that does not say when it ends.
_ASSUMED_SECONDS = 300.0
# Longest wait for a token; and while the last one is still good.
_PATIENCE_SECONDS = 15.0
_SHORT_PATIENCE_SECONDS = 2.0

# What may stand in a header, and in a SASL message (RFC 6750 section 2.1).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when it was got and ends, in seconds since 1970."""

    value: str = field(repr=False)
    since: float
    until: float

    @property
    def age(self) -> float:
        """How much of its life is over: 0 to 1, and more afterwards."""
        return (time.time() - self.since) / max(self.until - self.since, 0.001)

    def described(self) -> str:
        """Tells what the token says of itself, for whoever wonders why it is refused; empty if it cannot be read."""
        claims = _claims(self.value)
        named = {"issuer": claims.get("iss"), "audience": claims.get("aud"), "subject": claims.get("sub")}
        parts = [f"{name} {_short(value)}" for name, value in named.items() if value]
        expires = claims.get("exp")
        if isinstance(expires, int | float):
            seconds = expires - time.time()
            parts.append(f"expired {-seconds:.0f} s ago" if seconds <= 0 else f"good for {seconds:.0f} s")
        return ", ".join(parts)


class TokenSource:
    """Where the tokens of one definition come from. Any thread may ask it."""

    def __init__(self, fetch: Callable[[], Token], is_current: Callable[[Token], bool] = lambda _: True) -> None:
        """Makes it; nothing is fetched yet.

        Args:
            fetch: Fetches a token, and may take seconds. Raises TokenError.
            is_current: Whether a token that was fetched is still the one to use, whatever its age. Quick.
        """
        self._fetch = fetch
        self._is_current = is_current
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._fetching: Future[Token] | None = None
        self._backoff = Backoff(1.0, 30.0)
        self._failed: TokenError | None = None
        self._not_before = 0.0  # on the monotonic clock, as the next one
        self._forget_at: float | None = None  # set while brokers refuse the token
        self._refusals = Backoff(1.0, 60.0)

    async def token(self) -> Token:
        """Answers a token that is good for a while.

        Raises:
            TokenError: There is none to be had.
        """
        last, fetching = self._current_or_fetching()
        if fetching.done():
            return fetching.result()
        try:
            async with asyncio.timeout(_patience(last)):
                return await asyncio.shield(asyncio.wrap_future(fetching))
        except TimeoutError as error:
            return self._instead(last, fetching, error)

    def token_now(self) -> Token:
        """The same, for threads that may wait.

        Raises:
            TokenError: There is none to be had.
        """
        last, fetching = self._current_or_fetching()
        if fetching.done():
            return fetching.result()
        try:
            return fetching.result(_patience(last))
        except FutureTimeoutError as error:
            return self._instead(last, fetching, error)

    def was_accepted(self) -> None:
        """A broker has accepted the token."""
        with self._lock:
            self._forget_at = None
            self._refusals.reset()

    def was_refused(self, token: Token) -> None:
        """A broker has refused a token, however long it may be good: in a moment another one is fetched."""
        with self._lock:
            if self._token is token and self._forget_at is None:
                self._forget_at = time.monotonic() + self._refusals.next()

    def _current_or_fetching(self) -> "tuple[Token | None, Future[Token]]":
        """Answers the token that will do if there is no other, and what brings the one to use."""
        with self._lock:
            token = self._token
            is_refused = self._forget_at is not None and time.monotonic() >= self._forget_at
            if token is not None and (is_refused or not self._is_current(token)):
                token = self._token = self._forget_at = None
            if token is not None and token.age < RENEW_AT:
                return token, _done(token)
            if self._fetching is None:
                if time.monotonic() < self._not_before:
                    if token is not None and token.age < 1:
                        return token, _done(token)
                    assert self._failed is not None  # noqa: S101 - else there is nothing to wait for
                    raise TokenError(str(self._failed), is_passing=self._failed.is_passing)
                self._fetching = Future()
                # A daemon: an endpoint that hangs must not hold up the end of the process.
                threading.Thread(target=self._run, args=(self._fetching,), name="token", daemon=True).start()
            # Also where the last one is good still: who shows it would soon have to show another one.
            return (token if token is not None and token.age < 1 else None), self._fetching

    def _run(self, future: "Future[Token]") -> None:
        token: Token | None = None
        failed: TokenError | None = None
        try:
            token = self._fetch()
        except TokenError as error:
            failed = error
        except Exception as error:  # whoever waits must not wait for ever
            failed = TokenError(f"fetching a token failed ({type(error).__name__})")
            failed.__cause__ = error
        with self._lock:
            if self._fetching is future:
                self._fetching = None
            if token is not None:
                self._token, self._failed = token, None
                self._backoff.reset()
                self._not_before = 0.0
            else:
                self._failed = failed
                self._not_before = time.monotonic() + self._backoff.next()
                if self._token is not None and self._token.age < 1:
                    log.warning("no new token: %s; the last one is good for a while", failed)
                    token = self._token
        if token is not None:
            future.set_result(token)
        elif failed is not None:
            future.set_exception(failed)
            future.exception()

    def _instead(self, last: Token | None, fetching: "Future[Token]", error: BaseException) -> Token:
        """Answers the last token in the place of one that does not come."""
        if last is not None:
            return last
        with self._lock:
            if self._fetching is fetching:
                self._fetching = None  # the next who asks tries anew
        text = f"the token endpoint did not answer within {_PATIENCE_SECONDS:g} s"
        raise TokenError(text, is_passing=True) from error


def _done(token: Token) -> "Future[Token]":
    future: Future[Token] = Future()
    future.set_result(token)
    return future


def _patience(last: Token | None) -> float:
    return _PATIENCE_SECONDS if last is None else _SHORT_PATIENCE_SECONDS


_sources: WeakValueDictionary[str, TokenSource] = WeakValueDictionary()
_sources_lock = threading.Lock()


def source_of(sasl: Sasl) -> TokenSource:
    """Answers the source of a definition: the same one for all who have it at the same time."""
    key = f"{type(sasl).__name__} {sasl.model_dump_json()}"
    with _sources_lock:
        source = _sources.get(key)
        if source is None:
            source = _sources[key] = _make(sasl)
        return source


def _make(sasl: Sasl) -> TokenSource:
    if sasl.mechanism == AWS_MSK_IAM:
        return TokenSource(lambda: _signed(sasl))
    oauth = sasl.oauth
    assert oauth is not None  # noqa: S101 - OAUTHBEARER has it
    if isinstance(oauth, OAuthFiles) and oauth.token_file is not None:
        path = oauth.token_file

        def in_file() -> Token:
            try:
                return _token(secret_in("token_file", path), None)
            except ValueError as error:
                raise TokenError(str(error)) from error

        def is_in_file(token: Token) -> bool:
            try:
                return secret_in("token_file", path) == token.value
            except ValueError:
                return True  # it is being written, or gone: the last one stays while it is good

        return TokenSource(in_file, is_in_file)
    return TokenSource(lambda: _granted(oauth))


def _granted(oauth: OAuth) -> Token:
    answer = token_endpoint.ask(oauth)
    return _token(answer.token, answer.expires_in)


def _signed(sasl: Sasl) -> Token:
    try:
        password = sasl.secret()
    except ValueError as error:
        raise TokenError(str(error)) from error
    value, until = msk.sign(sasl.aws_region, sasl.username, password)
    return Token(value, time.time(), until)


def _token(value: str, expires_in: float | None) -> Token:
    if not _TOKEN.fullmatch(value):
        raise TokenError("what was got as a token is none")
    now, expires = time.time(), _claims(value).get("exp")
    until = now + expires_in if expires_in is not None else None
    if isinstance(expires, int | float) and not isinstance(expires, bool):
        until = float(expires) if until is None else min(until, float(expires))
    return Token(value, now, now + _ASSUMED_SECONDS if until is None else until)


def _claims(token: str) -> dict[str, Any]:
    """Reads what a token says of itself if it is a JWT (RFC 7519); nobody vouches for it."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(letter for letter in text if letter.isprintable())[:100]
