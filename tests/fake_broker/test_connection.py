"""One connection to a broker that misbehaves: which error, that the connection ends, and that nothing hangs."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from kafka.protocol.metadata.metadata import MetadataRequest, MetadataResponse

from clusterlink_engine.errors import (
    ClusterTimeoutError,
    ClusterUnavailableError,
    KafkaError,
    ProtocolViolationError,
    Side,
    UnresolvableBootstrapError,
)
from clusterlink_engine.wire.connection import MOST_ANSWER_BYTES, Connection
from tests.fake_broker.broker import FETCH, METADATA, FakeBroker, Request, answering, frame, sending, silent
from tests.support.waiting import wait_until_async

_PATIENCE = 10.0  # for what must not hang; nothing here takes nearly as long


@asynccontextmanager
async def connected(broker: FakeBroker, timeout: float = 5.0) -> AsyncIterator[Connection]:
    connection = await Connection.open(Side.REMOTE, "127.0.0.1", broker.port, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection, body: bytes = b"x", timeout: float | None = None) -> "asyncio.Future[memoryview]":
    return connection.send(FETCH, 12, [body], flexible=True, timeout=timeout)


async def failure(future: "asyncio.Future[memoryview]") -> KafkaError:
    with pytest.raises(KafkaError) as caught:
        await asyncio.wait_for(future, _PATIENCE)
    return caught.value


async def ended(broker: FakeBroker) -> None:
    async def closed() -> bool:
        return broker.closed == broker.opened

    await wait_until_async(closed, _PATIENCE, "the client to close the connection")


async def test_answers_come_whole_whatever_the_pieces(broker: FakeBroker) -> None:
    """Torn frames, joined frames: a stream has no bounds."""

    async def torn(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        data = frame(request.correlation, b"first") if request.correlation == 1 else b""
        if request.correlation == 3:
            data = frame(2, b"second") + frame(3, b"t" * 70_000)
        for at in range(min(len(data), 20)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(data[20:])

    broker.handlers[FETCH] = torn
    async with connected(broker) as connection:
        futures = [ask(connection) for _ in range(3)]
        answers = await asyncio.wait_for(asyncio.gather(*futures), _PATIENCE)
        assert [bytes(answer) for answer in answers] == [b"first", b"second", b"t" * 70_000]
        assert not any(answer.readonly for answer in answers)
        assert connection.is_open
        assert connection.pending == 0


async def test_requests_arrive_whole_however_many_parts_they_have(broker: FakeBroker) -> None:
    """More parts than the system takes at once, more bytes than a socket takes, and others behind them."""
    requests = [
        [bytes([number % 251]) * size for number in range(parts)] for parts, size in ((5000, 3000), (3, 7), (1500, 900))
    ]
    may_read = asyncio.Event()

    async def late(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, b""))
        if request.correlation == 1:
            await may_read.wait()  # until then nothing more is read

    broker.handlers[FETCH] = late
    async with connected(broker, timeout=_PATIENCE) as connection:
        first = ask(connection)
        await first
        futures = [connection.send(FETCH, 12, parts, flexible=True) for parts in requests]
        may_read.set()
        await asyncio.gather(*futures)
        assert [request.body for request in broker.requests[1:]] == [b"".join(parts) for parts in requests]


@pytest.mark.parametrize("size", [-1, -(2**31), 0, 3, MOST_ANSWER_BYTES + 1, 2**31 - 1])
async def test_a_frame_of_impossible_size_ends_the_connection(broker: FakeBroker, size: int) -> None:
    broker.handlers[FETCH] = sending(lambda _: struct.pack(">i", size) + b"\0" * 100)
    async with connected(broker) as connection:
        first, second = ask(connection), ask(connection)
        for future in (first, second):
            error = await failure(future)
            assert isinstance(error, ProtocolViolationError)
            assert f"{broker.address} announced an answer of {size} bytes" in str(error)
        assert not connection.is_open
        await ended(broker)


@pytest.mark.parametrize("other", [0, 2, -1])
async def test_an_answer_to_another_request_ends_the_connection(broker: FakeBroker, other: int) -> None:
    broker.handlers[FETCH] = sending(lambda _: frame(other, b"answer"))
    async with connected(broker) as connection:
        error = await failure(ask(connection))
        assert isinstance(error, ProtocolViolationError)
        assert f"{broker.address} answered request {other} where 1 was due" in str(error)
        assert not connection.is_open
        await ended(broker)


async def test_an_answer_to_nobody_ends_the_connection(broker: FakeBroker) -> None:
    broker.greeting = frame(1, b"hello")
    async with connected(broker) as connection:
        await ended(broker)
        with pytest.raises(ProtocolViolationError, match=f"{broker.address} sent an answer that nobody asked for"):
            ask(connection)


async def test_no_answer_is_an_error_at_the_deadline(broker: FakeBroker) -> None:
    async with connected(broker, timeout=0.1) as connection:
        first, second = ask(connection), ask(connection)
        for future in (first, second):
            error = await failure(future)
            assert isinstance(error, ClusterTimeoutError)
            assert broker.address in str(error)
        assert not connection.is_open
        await ended(broker)


async def test_the_shorter_deadline_counts_behind_a_longer_one(broker: FakeBroker) -> None:
    async with connected(broker, timeout=600) as connection:
        ask(connection)
        assert isinstance(await failure(ask(connection, timeout=0.1)), ClusterTimeoutError)


async def test_an_answered_requests_deadline_does_not_hide_a_shorter_one(broker: FakeBroker) -> None:
    broker.handlers[FETCH] = answering(b"\0")
    async with connected(broker, timeout=600) as connection:
        await asyncio.wait_for(ask(connection), _PATIENCE)
        broker.handlers[FETCH] = silent
        assert isinstance(await failure(ask(connection, timeout=0.1)), ClusterTimeoutError)


async def test_an_answer_in_time_is_no_timeout(broker: FakeBroker) -> None:
    """The timer of an answered request finds nothing to complain about."""
    broker.handlers[FETCH] = answering(b"\0")
    async with connected(broker, timeout=0.2) as connection:
        deadline = asyncio.get_running_loop().time() + 0.5
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.wait_for(ask(connection), _PATIENCE)
        assert connection.is_open


@pytest.mark.parametrize("part", [0, 2, 4, 7, 8, 11])
async def test_a_connection_cut_in_an_answer_fails_what_is_pending(broker: FakeBroker, part: int) -> None:
    broker.handlers[FETCH] = sending(lambda request: frame(request.correlation, b"body")[:part], then_close=True)
    async with connected(broker) as connection:
        first, second = ask(connection), ask(connection)
        for future in (first, second):
            error = await failure(future)
            assert type(error) is ClusterUnavailableError
            assert f"{broker.address} closed the connection" in str(error)
        with pytest.raises(ClusterUnavailableError, match=broker.address):
            ask(connection)
        with pytest.raises(ClusterUnavailableError, match=broker.address):
            await connection.drain()


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0", b"\0" + b"\xff" * 40, b"\0" * 5 + b"\xff\xff\xff\xff\x0f"])
async def test_an_answer_that_cannot_be_decoded_ends_the_connection(broker: FakeBroker, body: bytes) -> None:
    broker.handlers[METADATA] = answering(body)
    request = MetadataRequest(topics=[], allow_auto_topic_creation=False, include_topic_authorized_operations=False)
    async with connected(broker) as connection:
        with pytest.raises(
            ProtocolViolationError, match=f"{broker.address} answered MetadataRequest with what cannot be"
        ):
            await asyncio.wait_for(connection.call(request, MetadataResponse, 12), _PATIENCE)
        assert not connection.is_open
        await ended(broker)


async def test_closing_fails_what_is_pending(broker: FakeBroker) -> None:
    async with connected(broker) as connection:
        future = ask(connection)
        connection.close()
        assert "was closed" in str(await failure(future))
        await ended(broker)


async def test_a_cancelled_request_does_not_confuse_the_next(broker: FakeBroker) -> None:
    released = asyncio.Event()

    async def later(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(frame(request.correlation, b"%d" % request.correlation))

    broker.handlers[FETCH] = later
    async with connected(broker) as connection:
        first, second = ask(connection), ask(connection)
        first.cancel()
        released.set()
        assert bytes(await asyncio.wait_for(second, _PATIENCE)) == b"2"
        assert connection.is_open


async def test_a_port_where_nobody_listens_is_unavailable(unused_tcp_port_factory: Callable[[], int]) -> None:
    port = unused_tcp_port_factory()
    with pytest.raises(ClusterUnavailableError, match=f"127.0.0.1:{port} cannot be reached: ") as caught:
        await Connection.open(Side.LOCAL, "127.0.0.1", port, timeout=5)
    assert caught.value.side is Side.LOCAL


@pytest.mark.parametrize("host", ["no such host", "a..b", "x" * 64 + ".example"])
async def test_a_name_that_cannot_be_one_is_unresolvable(host: str) -> None:
    with pytest.raises(UnresolvableBootstrapError, match=host):
        await Connection.open(Side.LOCAL, host, 9092, timeout=5)
