"""One connection to one broker: frames in and out, nothing about their content.

Frames are received straight into a buffer of their own, which is handed to the caller without a copy; record bytes are
cut from it, patched in place and sent on. Requests are answered in the order they were sent (a broker guarantees that for
a connection), so pending requests are a queue.

A connection whose session ends authenticates again before it is written to (KIP-368): whoever sends waits for `drain` first,
and awaits nothing between the two. `call` does so itself.

All methods belong to one event loop. A connection that broke is never used again: open a new one.
"""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from clusterlink_engine.errors import (
    ClusterTimeoutError,
    ClusterUnavailableError,
    KafkaError,
    ProtocolViolationError,
    Side,
    UnresolvableBootstrapError,
)
from clusterlink_engine.printable import printable
from clusterlink_engine.wire import answers
from clusterlink_engine.wire.frames import FramePool
from clusterlink_engine.wire.framing import SIZE, Framing
from clusterlink_engine.wire.output import Buffer, Output
from clusterlink_engine.wire.tls import explained

CLIENT_ID = "clusterlink"

# The largest answer that is believed where the caller does not know better: metadata of a million partitions have as much.
MOST_ANSWER_BYTES = 64 * 1024 * 1024

_API_VERSIONS = 18

# What is asked before it is known who answers: SaslHandshake, ApiVersions, SaslAuthenticate.
_FIRST_CALLS = frozenset({17, _API_VERSIONS, 36})
_MOST_FIRST_BYTES = 1024 * 1024

# Larger answers are decoded in a thread: other links have the event loop meanwhile.
_DECODED_AT_ONCE_BYTES = 128 * 1024

# Requests whose bytes wait in the process beyond this amount make `drain` wait.
_HIGH_WATER_BYTES = 8 * 1024 * 1024

Authenticate = Callable[["Connection"], Awaitable[None]]

# SaslHandshake and SaslAuthenticate.
_AUTHENTICATING = (17, 36)

# How the size of a first frame begins that is no frame but an alert: the broker expects TLS.
_TLS_ALERT = 0x1503

# A name has 253 characters at most.
_LONGEST_ADDRESS = 270

_HEADER = struct.Struct(">hhih")  # api key, api version, correlation id, length of the client id
_CLIENT_ID = CLIENT_ID.encode()


class _Pending(NamedTuple):
    """A request without an answer; the deadline is on the loop's clock, `most` the size of an answer that is believed."""

    correlation: int
    deadline: float
    most: int
    future: asyncio.Future[memoryview]


class _Protocol(asyncio.BufferedProtocol):
    """Hands what comes to the framing, and tells the connection what becomes of the transport."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._framing = Framing(connection.begins, connection.received)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the signature is asyncio's
        return self._framing.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._framing.filled(nbytes)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost(exc)

    def pause_writing(self) -> None:
        self._connection.writable.clear()

    def resume_writing(self) -> None:
        self._connection.writable.set()


class Connection:
    """A connection that is open until it broke or was closed.

    Attributes:
        side: The cluster it leads to, for errors.
        address: `host:port` of the broker.
        versions: (lowest, highest) version by API key, set once by `wire.handshake`.
        writable: Cleared while too many bytes wait to be sent.
        answer_began_at: When the first bytes of the last answer were there, on the clock of `now`.
        frames: Where answers are received into; who gave the pool may give their buffers back to it.
    """

    def __init__(self, side: Side, address: str, timeout: float, frames: FramePool | None = None) -> None:
        self.side = side
        self.frames = frames if frames is not None else FramePool()
        self.address = address
        self.versions: dict[int, tuple[int, int]] = {}
        self.answer_began_at = 0.0
        self.writable = asyncio.Event()
        self.writable.set()
        self._timeout = timeout
        self._transport: asyncio.Transport | None = None
        self._output: Output | None = None
        self._error: KafkaError | None = None
        self._correlation = 0
        # In the order of sending; answered from the left.
        self._pending: deque[_Pending] = deque()
        self._timer: asyncio.TimerHandle | None = None
        # When to authenticate again, on the loop's clock, and how; and the task that is about it.
        self._renew_at: float | None = None
        self._authenticate: Authenticate | None = None
        self._renewing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "OPEN" if self.is_open else f"CLOSED: {self._error}"
        return f"<Connection {self.side} {self.address} {state}, {len(self._pending)} pending>"

    @classmethod
    async def open(
        cls,
        side: Side,
        host: str,
        port: int,
        *,
        timeout: float,
        frames: FramePool | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "Connection":
        """Connects to a broker.

        Args:
            side: Which cluster it is, for errors.
            host: Name or address.
            port: 1 to 65535, unless a broker said something else.
            timeout: Seconds, for connecting and then for each answer.
            frames: Where answers are received into; None for a pool of its own.
            tls: Whom to trust, and what to show; None for no TLS.

        Raises:
            CertificateRefusedError: The certificate of one side is not accepted by the other.
            UnresolvableBootstrapError: The name has no address.
            ClusterTimeoutError: No connection within the timeout.
            ClusterUnavailableError: The connection was refused or broke, or there can be no such address.
        """
        address = printable(f"{host}:{port}", _LONGEST_ADDRESS)
        if not host or not 0 < port < 1 << 16:
            raise ClusterUnavailableError(f"{address} is no address of a broker.", side=side)
        connection = cls(side, address, timeout, frames)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                transport, _ = await loop.create_connection(lambda: _Protocol(connection), host, port, ssl=tls)
        except TimeoutError as error:
            raise ClusterTimeoutError(
                f"{address} did not accept a connection within {timeout:g} s.", side=side
            ) from error
        except ssl.SSLError as error:  # of which some are ValueErrors
            raise explained(error, address, side) from error
        except (socket.gaierror, ValueError) as error:  # the latter for what can be no name at all
            reason = getattr(error, "strerror", None) or "it is no host name"
            raise UnresolvableBootstrapError(
                f"The name in {address} cannot be resolved: {reason}.", side=side
            ) from error
        except OSError as error:
            if tls is not None and isinstance(error, ConnectionResetError):
                raise explained(error, address, side) from error
            reason = error.strerror or str(error)
            raise ClusterUnavailableError(f"{address} cannot be reached: {reason}.", side=side) from error
        connection._transport, connection._output = transport, Output(transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._transport is not None and self._error is None

    @property
    def pending(self) -> int:
        """Requests without an answer."""
        return len(self._pending)

    def send(
        self,
        api_key: int,
        api_version: int,
        body: Sequence[Buffer],
        *,
        flexible: bool,
        most: int = MOST_ANSWER_BYTES,
        timeout: float | None = None,
    ) -> asyncio.Future[memoryview]:
        """Sends a request; the future gets the answer's body, a view into a frame that nobody else uses.

        The future fails with a KafkaError when the connection breaks or the deadline passes; the request may have been
        carried out then.

        Only after `drain`, with nothing awaited in between: while a connection authenticates, a broker takes nothing else.

        Args:
            api_key: Of the request.
            api_version: Of the request.
            body: Buffers that together are the body.
            flexible: Whether the request has a header with tagged fields (version 2; the answer's is version 1 then).
            most: Bytes of the largest answer that is believed; nothing is received of a larger one.
            timeout: Seconds; None for the connection's.

        Raises:
            KafkaError: The connection is not open any more.
        """
        assert self._renewing is None or api_key in _AUTHENTICATING, "not drained"  # noqa: S101
        if self._output is None or self._error is not None:
            raise self._error or ClusterUnavailableError(f"{self.address}: the connection is closed.", side=self.side)
        self._correlation = (self._correlation + 1) & 0x7FFFFFFF
        header = _HEADER.pack(api_key, api_version, self._correlation, len(_CLIENT_ID)) + _CLIENT_ID
        if flexible:
            header += b"\0"
        size = len(header) + sum(len(part) for part in body)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[memoryview] = loop.create_future()
        deadline = loop.time() + (timeout or self._timeout)
        most = _MOST_FIRST_BYTES if api_key in _FIRST_CALLS else most
        self._pending.append(_Pending(self._correlation, deadline, most, future))
        if self._timer is None or deadline < self._timer.when():
            self._watch_deadlines()
        self._output.write([SIZE.pack(size) + header, *body])
        return future

    async def call(self, request: Any, response: Any, version: int, *, timeout: float | None = None) -> Any:
        """Sends a message of kafka-python when the connection may be written to, and answers the decoded response.

        Raises:
            KafkaError: See `send`; or the answer could not be decoded.
        """
        await self.drain()
        return await self.exchange(request, response, version, timeout=timeout)

    async def exchange(self, request: Any, response: Any, version: int, *, timeout: float | None = None) -> Any:
        """The same at once, for messages that authenticate.

        Raises:
            KafkaError: As `call`.
        """
        return await self.decoded(response, await self.ask(request, version, timeout=timeout), version)

    async def ask(self, request: Any, version: int, *, timeout: float | None = None) -> memoryview:
        """Sends a message of kafka-python at once, and answers the body of the response as it came.

        Raises:
            KafkaError: See `send`.
        """
        flexible = bool(request.flexible_version_q(version))
        body = await self.send(
            request.API_KEY, version, [request.encode(version=version)], flexible=flexible, timeout=timeout
        )
        if flexible and request.API_KEY != _API_VERSIONS:  # whose answer's header is version 0, always (KIP-511)
            body = body[1:]  # no tagged fields are defined for the response header
        return body

    async def decoded(self, response: Any, body: memoryview, version: int) -> Any:
        """Decodes the body of a response that came over this connection.

        Raises:
            ProtocolViolationError: It could not be decoded; the connection has ended.
        """
        try:
            if len(body) <= _DECODED_AT_ONCE_BYTES:
                return answers.decode(response, body, version)
            return await asyncio.to_thread(answers.decode, response, body, version)
        except Exception as error:
            request = response.__name__.replace("Response", "Request")
            raise self.violated(f"answered {request} with what cannot be decoded ({error})") from error

    async def drain(self) -> None:
        """Waits while too many bytes wait to be sent, and authenticates again if it is time.

        Raises:
            AuthenticationFailedError: That was refused; the connection is lost.
            KafkaError: The connection broke.
        """
        while True:
            await self.writable.wait()
            if self._error is not None:
                raise self._error
            if self._renewing is None and self._renew_at is not None and self.now() >= self._renew_at:
                # A task of its own: whoever waits may be cancelled, and half an authentication makes a connection useless.
                self._renewing = asyncio.get_running_loop().create_task(self._renew(), name=f"session {self.address}")
            if self._renewing is None:
                return
            await asyncio.shield(self._renewing)

    async def touch(self) -> None:
        """Asks for the versions again, of which nothing is wanted but that nobody takes the connection for idle.

        Raises:
            KafkaError: As `call`.
        """
        await self.drain()
        await self.send(_API_VERSIONS, 0, [], flexible=False)

    def authenticated(self, again: Authenticate, at: float | None) -> None:
        """Notes how to authenticate again, and when, on the clock of `now`; None: never, the session does not end."""
        self._authenticate, self._renew_at = again, at

    @staticmethod
    def now() -> float:
        """Answers the time of the loop's clock, in seconds."""
        return asyncio.get_running_loop().time()

    async def _renew(self) -> None:
        """Authenticates again; what is in flight is answered before. Tells those who wait by the connection's state."""
        try:
            if self._authenticate is not None:
                await self._authenticate(self)
        except KafkaError as error:
            self._fail(error)
        except Exception as error:
            self._fail(
                ClusterUnavailableError(f"{self.address}: authenticating again failed: {error!r}.", side=self.side)
            )
        finally:
            self._renewing = None

    def close(self) -> None:
        """Closes the connection; pending requests fail."""
        self._fail(ClusterUnavailableError(f"{self.address}: the connection was closed.", side=self.side))

    # What the protocol tells.

    def begins(self, size: int) -> memoryview | None:
        """Answers where an answer of so many bytes goes; None if it may not come now, and the connection has ended."""
        self.answer_began_at = self.now()
        if size >> 16 == _TLS_ALERT and not self.versions:
            self._met_tls()
        elif not self._pending:
            self.violated("sent an answer that nobody asked for")
        elif size < SIZE.size:
            self.violated(f"announced an answer of {size} bytes")
        elif size > self._pending[0].most:
            self.violated(f"announced an answer of {size} bytes, where {self._pending[0].most} are believed at most")
        return memoryview(self.frames.take(size))[:size] if self._error is None else None

    def received(self, frame: memoryview) -> None:
        """Matches an answer with the oldest request."""
        due = self._pending[0]
        (correlation,) = SIZE.unpack_from(frame)
        if correlation != due.correlation:
            self.violated(f"answered request {correlation} where {due.correlation} was due")
            return
        self._pending.popleft()
        if not due.future.done():
            due.future.set_result(frame[4:])

    def violated(self, what: str) -> ProtocolViolationError:
        """Ends the connection because the broker broke the protocol; answers the error to raise."""
        error = ProtocolViolationError(f"{self.address} {what}; the connection was closed.", side=self.side)
        self._fail(error)
        return error

    def _met_tls(self) -> None:
        """Ends the connection because what answers expects TLS."""
        text = f"{self.address} speaks TLS; set the security protocol of the {self.side} cluster to SSL or SASL_SSL."
        self._fail(ClusterUnavailableError(text, side=self.side))

    def lost(self, cause: Exception | None) -> None:
        """Ends the connection because the transport did."""
        if (
            isinstance(cause, ssl.SSLError) and not self.versions
        ):  # what a broker of TLS 1.3 finds out after the handshake
            self._fail(explained(cause, self.address, self.side))
            return
        reason = f" ({cause})" if cause else ""
        self._fail(ClusterUnavailableError(f"{self.address} closed the connection{reason}.", side=self.side))

    def _watch_deadlines(self) -> None:
        """Fails the connection if a request is overdue, else looks again when one can be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pending:
            return
        loop = asyncio.get_running_loop()
        deadline = min(pending.deadline for pending in self._pending)
        if loop.time() >= deadline:
            self._fail(ClusterTimeoutError(f"{self.address} did not answer in time.", side=self.side))
        else:
            self._timer = loop.call_at(deadline, self._watch_deadlines)

    def _fail(self, error: KafkaError) -> None:
        if self._error is not None:
            return
        self._error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self.writable.set()
        pending, self._pending = self._pending, deque()
        for request in pending:
            if not request.future.done():
                request.future.set_exception(error)
                request.future.exception()  # a caller that went away must not cause "exception was never retrieved"


def choose_version(connection: Connection, api_key: int, lowest: int, highest: int) -> int:
    """Answers the highest version of an API that both sides have.

    Raises:
        ProtocolViolationError: There is none; the broker is older or newer than this engine can work with.
    """
    least, most = connection.versions.get(api_key, (0, -1))
    if most < lowest or least > highest:
        raise ProtocolViolationError(
            f"{connection.address} offers API {api_key} in versions {least} to {most}; {lowest} to {highest} are needed. The "
            f"{connection.side} cluster runs a Kafka version that this engine cannot work with.",
            side=connection.side,
        )
    return min(most, highest)
