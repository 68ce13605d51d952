"""A broker that does what it is told: for faults that a real one cannot be made to have.

It answers ApiVersions and Metadata by itself; what it answers to other requests, and how, is each test's own.
"""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self
from uuid import UUID

from kafka.protocol.metadata.api_versions import ApiVersionsResponse
from kafka.protocol.metadata.metadata import MetadataResponse

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 0, 1, 2, 3, 18
NODE = 1
CLUSTER_ID = "fake-cluster"
TOPIC = "orders"
TOPIC_ID = "0123456789abcdef" * 2

OFFERED = {PRODUCE: (3, 13), FETCH: (4, 13), LIST_OFFSETS: (1, 7), METADATA: (0, 12), API_VERSIONS: (0, 3), 61: (0, 0)}


class Request(NamedTuple):
    """What arrived; `body` is what comes after the header."""

    api_key: int
    version: int
    correlation: int
    body: bytes


Handler = Callable[["FakeBroker", Request, asyncio.StreamWriter], Awaitable[None]]


def frame(correlation: int, body: bytes) -> bytes:
    """An answer as it is on the wire."""
    return struct.pack(">ii", len(body) + 4, correlation) + body


def answering(body: bytes) -> Handler:
    """Answers with these bytes, tagged fields of the header included."""

    async def handle(_: "FakeBroker", request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, body))

    return handle


def sending(data: Callable[[Request], bytes], *, then_close: bool = False) -> Handler:
    """Sends bytes as they are, and closes the connection after them if asked."""

    async def handle(_: "FakeBroker", request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data(request))
        if then_close:
            await writer.drain()
            writer.close()

    return handle


async def silent(_: "FakeBroker", request: Request, writer: asyncio.StreamWriter) -> None:
    """Never answers."""


class FakeBroker:
    """A broker on loopback, for `async with`.

    Attributes:
        handlers: What it does with a request, by API key; for Fetch and Produce, as for all others, nothing at first.
        greeting: Sent on each new connection, unasked.
        offered: Lowest and highest versions by API key.
        requests: What has arrived, in order.
        closed: Connections that the client has ended.
    """

    def __init__(self) -> None:
        self.handlers: dict[int, Handler] = {API_VERSIONS: api_versions, METADATA: metadata}
        self.greeting = b""
        self.offered = dict(OFFERED)
        self.cluster_id = CLUSTER_ID
        self.partitions = 2
        self.requests: list[Request] = []
        self.opened = 0
        self.closed = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, api_key: int) -> int:
        """How many requests of an API have arrived."""
        return sum(request.api_key == api_key for request in self.requests)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._writers.add(writer)
        writer.write(self.greeting)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                await self._handle(await reader.readexactly(size), writer)
        except (asyncio.IncompleteReadError, OSError):
            self.closed += 1
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _handle(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        api_key, version, correlation, client = struct.unpack_from(">hhih", data)
        request = Request(api_key, version, correlation, data[10 + client + 1 :])  # all requests here are flexible
        self.requests.append(request)
        await self.handlers.get(api_key, silent)(self, request, writer)
        if not writer.is_closing():
            await writer.drain()


async def api_versions(broker: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
    """Offers what the broker offers; the answer's header has no tagged fields (KIP-511)."""
    keys = [
        ApiVersionsResponse.ApiVersion(api_key=key, min_version=lowest, max_version=highest)
        for key, (lowest, highest) in broker.offered.items()
    ]
    answer = ApiVersionsResponse(error_code=0, api_keys=keys, throttle_time_ms=0)
    writer.write(frame(request.correlation, bytes(answer.encode(version=request.version))))


async def metadata(broker: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
    """Describes a cluster of this one broker with one topic."""
    topic = MetadataResponse.MetadataResponseTopic
    partitions = [
        topic.MetadataResponsePartition(
            error_code=0,
            partition_index=index,
            leader_id=NODE,
            leader_epoch=0,
            replica_nodes=[NODE],
            isr_nodes=[NODE],
            offline_replicas=[],
        )
        for index in range(broker.partitions)
    ]
    answer = MetadataResponse(
        throttle_time_ms=0,
        brokers=[MetadataResponse.MetadataResponseBroker(node_id=NODE, host="127.0.0.1", port=broker.port, rack=None)],
        cluster_id=broker.cluster_id,
        controller_id=NODE,
        topics=[topic(error_code=0, name=TOPIC, topic_id=UUID(TOPIC_ID), is_internal=False, partitions=partitions)],
    )
    writer.write(frame(request.correlation, b"\0" + bytes(answer.encode(version=request.version))))
