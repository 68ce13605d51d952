"""A broker that wants harm: what it says of itself, of others and of logs is not simply believed."""

import asyncio
import random
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from kafka.protocol.consumer.fetch import FetchResponse

from clusterlink_engine.errors import ClusterUnavailableError, KafkaError, ProtocolViolationError, WrongClusterError
from clusterlink_engine.mirror.partition import ProbeResult, Producer
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.fetch_sizes import FetchLimits
from clusterlink_engine.replication.metadata import MetadataWatch
from clusterlink_engine.replication.source import Source
from clusterlink_engine.replication.throttle import Bucket, Throttle
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import fetch, logs, records
from clusterlink_engine.wire.batch import crc32c
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from tests.fake_broker.broker import (
    API_VERSIONS,
    FETCH,
    LIST_OFFSETS,
    METADATA,
    NODE,
    TOPIC,
    FakeBroker,
    Handler,
    Request,
    frame,
    sending,
)
from tests.fake_broker.mirroring import batch, cursor, fetch_answer, offsets_answer, source_of
from tests.support import waiting

_PATIENCE = 20.0
until = partial(waiting.until, deadline=_PATIENCE)
_LIMIT = 1 << 24


# Addresses and clusters.


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1", 0),
        ("127.0.0.1", 99999),
        ("127.0.0.1", -1),
        ("", 9092),
        ("a\x00b", 9092),
        ("\x1b[2J\n", 1),
        ("x" * 9000, 1),
    ],
)
async def test_an_address_that_there_is_not_is_an_error_that_can_be_printed(
    broker: FakeBroker, cluster: Cluster, host: str, port: int
) -> None:
    await cluster.metadata([])
    cluster._brokers = {NODE: (host, port)}
    with pytest.raises(ClusterUnavailableError) as caught:
        await cluster.open(NODE)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


async def test_a_broker_of_another_cluster_is_noticed_before_anything_is_asked(
    broker: FakeBroker, cluster: Cluster
) -> None:
    await cluster.metadata([])
    broker.cluster_id = "another"
    with pytest.raises(WrongClusterError):
        await cluster.open(NODE)
    assert broker.count(FETCH) == 0


async def test_nothing_is_read_while_another_cluster_answers(broker: FakeBroker, cluster: Cluster) -> None:
    told: list[str] = []
    watch = MetadataWatch(cluster, 0.01, lambda _: told.append("here"), lambda: told.append("another"))
    task = asyncio.ensure_future(watch.run())
    await until(lambda: told[-1:] == ["here"], "a reading")
    broker.cluster_id = "another"
    await until(lambda: told[-1:] == ["another"], "the other cluster to be seen")
    assert isinstance(watch.error, WrongClusterError)
    broker.cluster_id = "fake-cluster"
    await until(lambda: told[-1:] == ["here"], "the cluster to be back")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cluster_of_very_many_brokers_is_not_asked_one_after_the_other(
    broker: FakeBroker, cluster: Cluster
) -> None:
    await cluster.metadata([])
    cluster.ask_another()
    cluster._brokers = dict.fromkeys(range(2, 100000), ("127.0.0.1", 1)) | {
        node: (f"127.0.0.{node}", 1) for node in range(2, 200)
    }
    await cluster.metadata([])  # the bootstrap server is always among those that are tried


async def test_connections_to_brokers_that_are_no_more_are_closed(broker: FakeBroker, cluster: Cluster) -> None:
    await cluster.metadata([])
    cluster._brokers = {**cluster._brokers, 7: ("127.0.0.1", broker.port)}
    connection = await cluster.controlled(7)
    await cluster.metadata([])
    assert not connection.is_open
    assert not cluster._control.keys() | cluster._locks.keys()


# Sizes.


@pytest.mark.parametrize(("api", "size"), [(API_VERSIONS, 2 << 20), (METADATA, 65 << 20), (FETCH, 200 << 20)])
async def test_an_answer_that_is_too_large_is_not_received(
    broker: FakeBroker, cluster: Cluster, api: int, size: int
) -> None:
    broker.handlers[api] = sending(lambda _: struct.pack(">i", size))

    async def ask() -> None:
        await cluster.metadata([TOPIC])
        await logs.batches_at(cluster, NODE, [logs.LogOffset(TOPIC, "0" * 32, 0, 0)])

    with pytest.raises(ProtocolViolationError, match=f"{broker.address} announced an answer of {size} bytes"):
        await ask()


# Logs.


class Running:
    """A source at work for one partition."""

    def __init__(self, cluster: Cluster) -> None:
        self.source = Source(
            cluster, NODE, Budget(_LIMIT), Throttle(Bucket()), FetchLimits(1 << 16, 1 << 20, 1, 100), lambda: None
        )
        self.cursor = cursor(0)
        self.source.add(self.cursor)


@pytest.fixture
async def running(broker: FakeBroker, cluster: Cluster) -> AsyncIterator[Running]:
    await cluster.metadata([TOPIC])
    made = Running(cluster)
    task = asyncio.ensure_future(made.source.run())
    yield made
    assert not task.done(), "a source comes back from everything"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def fetched(partition: dict[str, Any], data: bytes = b"") -> Handler:
    """Answers each fetch with a partition that has some other values than a good one."""

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(frame(request.correlation, fetch_answer(request, lambda *_: data, **partition)))

    return handle


async def test_a_broker_that_has_nothing_and_does_not_wait_is_asked_less_and_less(
    broker: FakeBroker, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Watched(Backoff):
        async def wait(self) -> None:
            waits.append(self.next())
            await asyncio.sleep(0)

    monkeypatch.setattr(running.source, "_haste", Watched(0.005, 1.0))
    broker.handlers[FETCH] = source_of(lambda *_: b"")
    await until(lambda: len(waits) > 12, "waits")
    assert waits[0] < 0.01
    assert waits[-1] > 0.5


@pytest.mark.parametrize(
    "ends",
    [
        {"log_start_offset": 2**62},
        {"log_start_offset": -1},
        {"log_start_offset": 1},  # the fetch at 0 would have been out of range
        {"high_watermark": -5},
        {"last_stable_offset": -1},
    ],
)
async def test_ends_of_a_log_that_do_not_fit_together_are_damage(
    broker: FakeBroker, running: Running, ends: dict[str, int]
) -> None:
    broker.handlers[FETCH] = fetched(ends, bytes(batch(0)))
    await until(lambda: running.cursor.fetch_error == Code.CORRUPT_MESSAGE, "the damage to be seen")
    assert running.cursor.core.fetch_offset == 0
    broker.handlers[FETCH] = fetched({}, bytes(batch(0)))
    await until(lambda: running.cursor.core.fetch_offset == 3, "the partition to go on")


async def test_a_last_stable_offset_beyond_the_high_watermark_is_a_moment_later_not_damage(
    broker: FakeBroker, running: Running
) -> None:
    """A broker reads the high watermark first, and both may move before it reads the other one."""
    broker.handlers[FETCH] = fetched({"high_watermark": 3, "last_stable_offset": 6}, bytes(batch(0)))
    await until(lambda: running.cursor.core.fetch_offset == 3, "the records to be taken")
    assert running.cursor.fetch_error == 0
    assert (running.cursor.core.source_high_watermark, running.cursor.core.source_last_stable) == (3, 3)


@pytest.mark.parametrize(("said", "expected"), [(0, None), (5, 5), (9, 6)])
async def test_records_of_the_mirror_are_deleted_only_if_the_source_says_twice_that_they_are_gone(
    broker: FakeBroker, running: Running, said: int, expected: int | None
) -> None:
    async def starts(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, offsets_answer(request, {0: said})))

    broker.handlers[LIST_OFFSETS] = starts
    core = running.cursor.core
    running.cursor.apply(core.lose())
    running.cursor.apply(core.probed(ProbeResult(10, 10, 0, Producer(0, 9), None, True)))
    running.cursor.probe_done()
    broker.handlers[FETCH] = fetched({"log_start_offset": 6}, bytes(batch(10)))
    await until(lambda: core.fetch_offset == 13, "the fetch")
    assert broker.count(LIST_OFFSETS) > 0
    assert running.cursor.trim_to == expected


@pytest.mark.parametrize(("each", "is_refused"), [(1, False), (2, True)])
def test_aborted_transactions_of_all_partitions_are_bounded_together(
    monkeypatch: pytest.MonkeyPatch, each: int, is_refused: bool
) -> None:
    """Many partitions with as many as one may have would keep the process from its heartbeats."""
    monkeypatch.setattr(fetch, "_MOST_ABORTED", 3)
    topic = FetchResponse.FetchableTopicResponse
    aborted = [topic.PartitionData.AbortedTransaction(producer_id=9, first_offset=5)] * each
    partitions = [
        topic.PartitionData(
            partition_index=index,
            error_code=0,
            high_watermark=9,
            last_stable_offset=9,
            log_start_offset=0,
            aborted_transactions=aborted,
            preferred_read_replica=-1,
            records=b"",
        )
        for index in range(2)
    ]
    answer = FetchResponse(
        throttle_time_ms=0, error_code=0, session_id=0, responses=[topic(topic=TOPIC, partitions=partitions)]
    )
    body = memoryview(b"\0" + bytes(answer.encode(version=12)))
    if is_refused:
        with pytest.raises(ValueError, match="more aborted transactions"):
            fetch.decode(12, body, 2)
    else:
        assert [entry.aborted for entry in fetch.decode(12, body, 2).partitions] == [[(9, 5)]] * 2


async def test_two_batches_at_one_offset_are_damage(broker: FakeBroker, running: Running) -> None:
    """The first would be taken for the second one."""
    broker.handlers[FETCH] = fetched({}, bytes(batch(0, 1)) + bytes(batch(0, 3)))
    await until(lambda: running.cursor.fetch_error == Code.CORRUPT_MESSAGE, "the damage to be seen")
    assert running.cursor.core.fetch_offset == 0


async def test_a_fault_that_lasts_makes_the_source_unreadable(broker: FakeBroker, running: Running) -> None:
    broker.handlers[FETCH] = sending(lambda _: b"\xff" * 8)
    await until(lambda: running.cursor.fetch_error == Code.CORRUPT_MESSAGE, "the fault to be told")
    broker.handlers[FETCH] = fetched({}, bytes(batch(0)))
    await until(lambda: running.cursor.core.fetch_offset == 3, "the partition to go on")
    assert not running.cursor.fetch_error


def with_hole(count: int) -> bytes:
    """A batch of many records that has to be encoded again."""
    made = bytearray(records.tombstones(0, count, b"key", 1).view)
    struct.pack_into(">i", made, 23, count)
    struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return bytes(made)


def encoding_waits(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Lets an encoding say that it has begun, and go on when it may."""
    began, release, real = threading.Event(), threading.Event(), records.recode

    def slow(*arguments: Any) -> Any:
        began.set()
        assert release.wait(_PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(records, "recode", slow)
    return began, release


async def test_much_to_encode_holds_up_nobody_and_is_dropped_if_it_is_not_wanted_any_more(
    broker: FakeBroker, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, release = encoding_waits(monkeypatch)
    broker.handlers[FETCH] = fetched({}, with_hole(2000))
    await until(began.is_set, "the encoding to begin")  # in a thread, or this would not come
    target: Cursor = running.cursor
    assert not target.may_fetch(asyncio.get_running_loop().time())
    target.apply(target.core.lose())
    broker.handlers[FETCH] = fetched({})
    release.set()
    await until(lambda: not target._planning, "the encoding to end")
    assert not target._queue
    target.apply(target.core.probed(ProbeResult(0, 0, 0, None, None, True)))
    target.probe_done()
    broker.handlers[FETCH] = fetched({}, with_hole(2000))
    await until(lambda: len(target._queue) == 2, "the runs and the gap")


async def test_a_source_that_ends_while_much_is_encoded_leaves_nothing_out(
    broker: FakeBroker, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its broker is not among those of the metadata any more: another one goes on where the mirror is."""
    await cluster.metadata([TOPIC])
    began, release = encoding_waits(monkeypatch)
    broker.handlers[FETCH] = fetched({}, with_hole(2000))
    made = Running(cluster)
    task = asyncio.ensure_future(made.source.run())
    target = made.cursor
    try:
        await until(began.is_set, "the encoding to begin")
        assert target.core.fetch_offset == 2001
        made.source.remove(target)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        release.set()
        task.cancel()
    assert not target._queue
    assert not target.may_fetch(asyncio.get_running_loop().time())
    assert target.wanted_probe is not None
    target.apply(target.core.probed(ProbeResult(0, 0, 0, None, None, True)))
    target.probe_done()
    assert target.core.fetch_offset == 0


async def test_a_bomb_of_records_is_not_decoded(broker: FakeBroker, running: Running) -> None:
    bomb = bytearray(with_hole(10))
    struct.pack_into(">i", bomb, 57, records.MOST_RECORDS + 1)
    struct.pack_into(">i", bomb, 23, records.MOST_RECORDS + 1)
    struct.pack_into(">I", bomb, 17, crc32c(bytes(bomb[21:])))
    broker.handlers[FETCH] = fetched({}, bytes(bomb))
    await until(lambda: running.cursor.fetch_error == Code.CORRUPT_MESSAGE, "the bomb to be refused")


async def test_a_log_that_goes_back_is_not_read_for_ever(broker: FakeBroker, cluster: Cluster) -> None:
    await cluster.metadata([TOPIC])
    broker.handlers[FETCH] = fetched({}, bytes(batch(0)))
    with pytest.raises(ProtocolViolationError, match="what lies before it"):
        await asyncio.wait_for(logs.has_key(cluster, NODE, logs.LogOffset(TOPIC, "0" * 32, 0, 0), 10, b"?"), _PATIENCE)


@pytest.mark.parametrize("seed", range(20))
async def test_noise_is_an_error_that_names_the_broker(broker: FakeBroker, cluster: Cluster, seed: int) -> None:
    noise = random.Random(seed)

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, noise.randbytes(noise.choice((0, 1, 40, 3000)))))

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: cluster.metadata([TOPIC]),
        cluster.topic_names,
        lambda: logs.log_ends(cluster, NODE, [(TOPIC, 0)]),
    ]
    await cluster.metadata([])
    broker.handlers[noise.choice((METADATA, LIST_OFFSETS))] = handle
    errors: list[str] = []
    for call in calls:
        try:
            await call()
        except KafkaError as error:
            errors.append(str(error))
    assert errors
    assert all(broker.address in error or "remote cluster" in error for error in errors)
