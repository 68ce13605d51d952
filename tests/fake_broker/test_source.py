"""Fetching from a broker that sends damage: nothing of it is used, the others go on, and it ends when the broker is well."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from clusterlink_engine.mirror.partition import Phase, ProbeResult, Producer
from clusterlink_engine.replication import source
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.fetch_sizes import FetchLimits
from clusterlink_engine.replication.source import Source
from clusterlink_engine.replication.throttle import Bucket, Throttle
from clusterlink_engine.wire.cluster import Cluster
from tests.fake_broker.broker import FETCH, NODE, TOPIC, FakeBroker, Handler, Request, answering, frame, sending
from tests.fake_broker.mirroring import batch, cursor, fetch_answer, source_of
from tests.support.waiting import until

_LIMIT = 1 << 20


class Running:
    """A source at work, with cursors of two partitions."""

    def __init__(self, cluster: Cluster) -> None:
        self.moved = 0
        self.budget = Budget(_LIMIT)
        self.throttle = Throttle(Bucket())
        self.source = Source(
            cluster, NODE, self.budget, self.throttle, FetchLimits(1 << 16, 1 << 16, 1, 10), self.on_moved
        )
        self.cursors = [cursor(0), cursor(1)]
        for entry in self.cursors:
            self.source.add(entry)

    def on_moved(self) -> None:
        self.moved += 1


@pytest.fixture
async def running(cluster: Cluster) -> AsyncIterator[Running]:
    await cluster.metadata([TOPIC])
    made = Running(cluster)
    task = asyncio.ensure_future(made.source.run())
    yield made
    assert not task.done(), "a source comes back from every fault"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def good(_: int, offset: int) -> bytes:
    return bytes(batch(offset)) if offset < 30 else b""


def copies(entry: Cursor) -> bool:
    return entry.core.phase is Phase.COPYING and entry.core.failure is None


async def test_both_partitions_are_fetched(broker: FakeBroker, running: Running) -> None:
    broker.handlers[FETCH] = source_of(good)
    await until(lambda: [entry.core.fetch_offset for entry in running.cursors] == [30, 30], "everything to be fetched")
    assert running.moved == 0
    assert running.throttle.fetched_bytes == 2 * sum(len(good(0, offset)) for offset in range(0, 30, 3))


@pytest.mark.parametrize("is_small", [True, False])
async def test_after_a_small_answer_records_may_gather(
    broker: FakeBroker, running: Running, monkeypatch: pytest.MonkeyPatch, is_small: bool
) -> None:
    monkeypatch.setattr(source, "_GATHER_SECONDS", 3600)
    if is_small:
        broker.handlers[FETCH] = source_of(lambda _, offset: bytes(batch(offset)) if offset == 0 else b"")
        await until(lambda: all(entry.core.fetch_offset for entry in running.cursors), "the first answer to be used")
        await asyncio.sleep(0.05)
        assert broker.count(FETCH) == 1
    else:
        broker.handlers[FETCH] = source_of(lambda _, offset: bytes(batch(offset, 3000)) if offset < 6000 else b"")
        await until(lambda: all(entry.core.fetch_offset == 6000 for entry in running.cursors), "all to be fetched")


@pytest.mark.parametrize("at", [17, 40, -1])
async def test_a_damaged_batch_stops_its_partition_only_until_it_is_whole(
    broker: FakeBroker, running: Running, at: int
) -> None:
    damaged = True

    def records(partition: int, offset: int) -> bytes:
        data = bytearray(good(partition, offset))
        if damaged and partition == 0 and data:
            data[at] ^= 1
        return bytes(data)

    broker.handlers[FETCH] = source_of(records)
    first, second = running.cursors
    await until(lambda: second.core.fetch_offset == 30, "the neighbour to go on")
    await until(lambda: first.fetch_not_before > 0, "the damage to be seen")
    assert first.core.fetch_offset == 0
    assert not first.may_send
    assert copies(first)
    assert broker.opened == 2  # metadata, and one for fetching: damage is no reason to reconnect
    damaged = False
    await until(lambda: first.core.fetch_offset == 30, "the partition to go on")


@pytest.mark.parametrize(
    "bad",
    [
        answering(b""),
        answering(b"\0" * 11 + b"\xff" * 30),
        answering(b"\0" + b"\0\0\0\0" + b"\0\x06" + b"\0\0\0\0" + b"\x01\0"),  # refused as a whole: NOT_LEADER
        answering(b"\0" + b"\0\0\0\0" + b"\0\0" + b"\xc5\x39\x8a\x01" + b"\x01\0"),  # of a session below 0
        sending(lambda request: frame(request.correlation + 1, b"\0" * 20)),
        sending(lambda _: b"\xff\xff\xff\xff"),
        sending(lambda request: frame(request.correlation, b"\0" * 2000)[:1000], then_close=True),
    ],
    ids=["empty", "nonsense", "refused", "no-session", "another-request", "negative-size", "cut"],
)
async def test_nonsense_is_met_with_a_new_connection(broker: FakeBroker, running: Running, bad: Handler) -> None:
    broker.handlers[FETCH] = bad
    await until(lambda: running.moved > 0, "the fault to be noticed")
    assert all(copies(entry) and entry.core.fetch_offset == 0 for entry in running.cursors)
    assert running.budget.room == _LIMIT
    broker.handlers[FETCH] = source_of(good)
    await until(lambda: [entry.core.fetch_offset for entry in running.cursors] == [30, 30], "everything to be fetched")


async def test_an_answer_to_an_older_question_is_not_used(broker: FakeBroker, running: Running) -> None:
    """The mirror is read anew while a fetch is under way: what was asked at one offset must not be taken at another."""
    first = running.cursors[0]
    release = asyncio.Event()

    async def held(broker: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        broker.handlers[FETCH] = source_of(good)
        await release.wait()
        # Were it believed at offset 3, it would be a hole, and the end of the partition.
        body = fetch_answer(request, lambda *_: bytes(batch(6)))
        writer.write(frame(request.correlation, body))

    broker.handlers[FETCH] = held
    await until(lambda: broker.handlers[FETCH] is not held, "a fetch to be under way")
    first.apply(first.core.lose())
    first.apply(first.core.probed(ProbeResult(3, 3, 0, Producer(0, 2), None, True)))
    first.probe_done()
    release.set()
    await until(lambda: first.core.fetch_offset == 30, "the partition to go on")
    assert copies(first)
