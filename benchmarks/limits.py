"""The plain limits beside the copy: reading everything once, or writing everything once, and nothing else.

It uses the engine's own wire modules, and no CRC is looked at: what is measured is what moving the bytes through Python costs
at least. The work is done in a process of its own, so that its processor time can be told.
"""

import asyncio
import resource
import struct
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import apart
from clusterlink_engine.errors import Side
from clusterlink_engine.security import Security
from clusterlink_engine.wire import fetch, produce
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.connection import Connection, choose_version

_PLACE = struct.Struct(">qi")
_LAST_OFFSET_DELTA = struct.Struct(">i")

# As the engine asks by default.
_PARTITION_BYTES = 5 << 20
_RESPONSE_BYTES = 10 << 20

_CONNECTIONS = 2
_WINDOW = 5

Batches = dict[int, list[memoryview]]


@dataclass(frozen=True)
class Moved:
    """What was moved: bytes and number of batches; in how many seconds, and processor seconds of the process that did it."""

    size: int
    batches: int
    seconds: float
    cpu: float


class Topic:
    """A topic whose partitions all have one leader."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self.cluster = Cluster(Side.REMOTE, bootstrap.split(","), Security())
        self.topic_id = ""
        self.partitions: list[int] = []
        self.leader = -1

    async def open(self) -> Connection:
        described = (await self.cluster.metadata([self.name])).topics[self.name]
        leaders = {info.leader for info in described.partitions.values()}
        assert len(leaders) == 1, f"the partitions of {self.name} must have one leader, not {leaders}"
        self.leader, self.topic_id = leaders.pop(), described.topic_id
        self.partitions = sorted(described.partitions)
        return await self.cluster.open(self.leader)


def cut(records: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields the offset after each whole batch, and the batch."""
    position = 0
    while position + 61 <= len(records):
        base, length = _PLACE.unpack_from(records, position)
        end = position + 12 + length
        if end > len(records):
            return
        (delta,) = _LAST_OFFSET_DELTA.unpack_from(records, position + 23)
        yield base + delta + 1, records[position:end]
        position = end


async def read(topic: Topic, ends: list[int], keep: Batches | None) -> tuple[int, int]:
    """Fetches all partitions up to their ends and returns bytes and number of the batches."""
    connection = await topic.open()
    version = choose_version(connection, fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST)
    offsets = dict.fromkeys(topic.partitions, 0)
    total = count = 0
    while open_partitions := [p for p in topic.partitions if offsets[p] < ends[p]]:
        wanted = [
            fetch.FetchPartition(topic.name, topic.topic_id, p, offsets[p], _PARTITION_BYTES) for p in open_partitions
        ]
        body = fetch.encode(version, wanted, max_wait_ms=500, min_bytes=1, max_bytes=_RESPONSE_BYTES)
        most = fetch.largest_answer(_RESPONSE_BYTES)
        frame = await connection.send(fetch.API_KEY, version, [body], flexible=True, most=most)
        answer = fetch.decode(version, frame, len(wanted))
        assert answer.error == 0, f"fetch: error {answer.error}"
        for entry in answer.partitions:
            assert entry.error == 0, f"fetch of partition {entry.partition}: error {entry.error}"
            for following, batch in cut(entry.records):
                offsets[entry.partition] = following
                total += len(batch)
                count += 1
                if keep is not None:
                    keep[entry.partition].append(batch)
    connection.close()
    return total, count


async def write(topic: Topic, connection: Connection, partitions: list[int], batches: Batches) -> int:
    """Writes the batches of some partitions over one connection, a batch of each in a request, and returns the bytes."""
    version = choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST)
    window = asyncio.Semaphore(_WINDOW)
    total = 0
    pending: set[asyncio.Task[None]] = set()

    async def acknowledged(future: asyncio.Future[memoryview]) -> None:
        for answer in produce.decode(version, await future).partitions:
            assert answer.error == 0, f"produce to partition {answer.partition}: error {answer.error} {answer.message}"
        window.release()

    for number in range(max(len(batches[p]) for p in partitions)):
        entries = []
        for p in partitions:
            if number < len(batches[p]):
                batch = batches[p][number]
                # The base offset is outside of the checksum, and a broker takes only 0 from a client.
                struct.pack_into(">q", batch, 0, 0)
                entries.append(produce.ProducePartition(topic.name, topic.topic_id, p, batch))
                total += len(batch)
        await window.acquire()
        await connection.drain()
        body = produce.encode(version, entries, timeout_ms=30_000)
        task = asyncio.ensure_future(acknowledged(connection.send(produce.API_KEY, version, body, flexible=True)))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    connection.close()
    return total


def fetch_only(source: str, topic: str, ends: list[int]) -> Moved:
    """Measures reading a topic up to its log ends, by partition."""
    return apart.call(_run, _fetch_only, source, topic, ends)


def produce_only(source: str, topic: str, ends: list[int], destination: str, target: str) -> Moved:
    """Measures writing a topic's batches, from memory, to an empty topic with as many partitions."""
    return apart.call(_run, _produce_only, source, topic, ends, destination, target)


def _run(function: Any, *args: object) -> Moved:
    work: Coroutine[Any, Any, Moved] = function(*args)
    return asyncio.run(work)


async def _fetch_only(source: str, topic: str, ends: list[int]) -> Moved:
    begun, used = time.monotonic(), _processor_seconds()
    size, count = await read(Topic(source, topic), ends, None)
    return Moved(size, count, time.monotonic() - begun, _processor_seconds() - used)


async def _produce_only(source: str, topic: str, ends: list[int], destination: str, target: str) -> Moved:
    batches: Batches = {p: [] for p in range(len(ends))}
    _, count = await read(Topic(source, topic), ends, batches)
    written = Topic(destination, target)
    connections = [await written.open() for _ in range(_CONNECTIONS)]
    shares = [written.partitions[i::_CONNECTIONS] for i in range(_CONNECTIONS)]
    begun, used = time.monotonic(), _processor_seconds()
    sizes = await asyncio.gather(
        *(write(written, c, share, batches) for c, share in zip(connections, shares, strict=True) if share)
    )
    return Moved(sum(sizes), count, time.monotonic() - begun, _processor_seconds() - used)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
