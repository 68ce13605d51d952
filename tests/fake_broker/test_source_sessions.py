"""Fetching in a session from a broker that forgets it, refuses it, or has no room for it; and from one whose mirror stalls."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse

from clusterlink_engine.mirror.partition import ProbeResult
from clusterlink_engine.replication import source
from clusterlink_engine.replication.buffers import Budget, Holding
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.fetch_sizes import FetchLimits
from clusterlink_engine.replication.sink import Sink
from clusterlink_engine.replication.source import Source
from clusterlink_engine.replication.throttle import Bucket, Throttle
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.produce import Acknowledgement
from tests.fake_broker.broker import FETCH, NODE, TOPIC, TOPIC_ID, FakeBroker, Request, frame
from tests.fake_broker.mirroring import batch, cursor
from tests.support.waiting import until

_LIMIT = 1 << 20
_ENDS = {"high_watermark": 1000, "last_stable_offset": 1000, "log_start_offset": 0}


class SessionBroker:
    """Answers fetches of one session from logs of 30 records; others' sessions it does not know."""

    def __init__(self) -> None:
        self.session_id = 0
        self.epoch = 0
        self.has_room = True
        self.kept: dict[int, int] = {}  # offsets by partition
        self.told: set[int] = set()  # partitions whose ends were answered
        self.ends = 30
        self.requests: list[Any] = []

    def answer(self, request: Request) -> bytes:
        """Answers the body of an answer."""
        asked = FetchRequest.decode(request.body, version=request.version)
        self.requests.append(asked)
        if asked.session_epoch > 0 and (asked.session_id, asked.session_epoch) != (self.session_id, self.epoch):
            return self._encode(request.version, Code.FETCH_SESSION_ID_NOT_FOUND, [])
        if asked.session_epoch == 0:
            self.session_id, self.epoch = (self.session_id + 1, 0) if self.has_room else (0, 0)
            self.kept, self.told = {}, set()
        self.epoch += 1
        self.kept |= {p.partition: p.fetch_offset for topic in asked.topics for p in topic.partitions}
        for topic in asked.forgotten_topics_data:
            for partition in topic.partitions:
                del self.kept[partition]
                self.told.discard(partition)
        entries = [
            self._entry(partition, bytes(batch(offset)) if offset < self.ends else b"")
            for partition, offset in self.kept.items()
            if offset < self.ends or partition not in self.told
        ]
        self.told = set(self.kept)
        return self._encode(request.version, 0, entries)

    @staticmethod
    def _entry(partition: int, records: bytes) -> Any:
        return FetchResponse.FetchableTopicResponse.PartitionData(
            partition_index=partition,
            error_code=0,
            **_ENDS,
            aborted_transactions=None,
            preferred_read_replica=-1,
            records=records,
        )

    def _encode(self, version: int, error: int, entries: list[Any]) -> bytes:
        topics = [FetchResponse.FetchableTopicResponse(topic=TOPIC, topic_id=TOPIC_ID, partitions=entries)]
        responses = topics if entries else []
        answer = FetchResponse(throttle_time_ms=0, error_code=error, session_id=self.session_id, responses=responses)
        return b"\0" + bytes(answer.encode(version=version))

    async def __call__(self, _: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(frame(request.correlation, self.answer(request)))


class Running:
    """A source at work, with cursors of two partitions."""

    def __init__(self, cluster: Cluster, max_wait_ms: int = 10) -> None:
        self.budget = Budget(_LIMIT)
        limits = FetchLimits(1 << 16, 1 << 16, 1, max_wait_ms)
        self.source = Source(cluster, NODE, self.budget, Throttle(Bucket()), limits, lambda: None)
        self.cursors = [cursor(0), cursor(1)]
        for entry in self.cursors:
            self.source.add(entry)


@pytest.fixture
async def sessions(broker: FakeBroker) -> SessionBroker:
    made = SessionBroker()
    broker.handlers[FETCH] = made
    return made


@pytest.fixture
async def running(cluster: Cluster, sessions: SessionBroker) -> AsyncIterator[Running]:
    await cluster.metadata([TOPIC])
    made = Running(cluster)
    task = asyncio.ensure_future(made.source.run())
    yield made
    assert not task.done(), "a source comes back from every fault"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def offsets(running: Running) -> list[int]:
    return [entry.core.fetch_offset for entry in running.cursors]


async def test_idle_partitions_are_in_no_request(broker: FakeBroker, sessions: SessionBroker, running: Running) -> None:
    await until(lambda: offsets(running) == [30, 30], "everything to be fetched")
    begun = len(sessions.requests) + 1
    await until(lambda: len(sessions.requests) > begun + 2, "more requests")
    idle = sessions.requests[begun:]
    assert not any(request.topics or request.forgotten_topics_data for request in idle)
    assert {request.session_id for request in idle} == {1}
    sessions.ends = 33
    await until(lambda: offsets(running) == [33, 33], "what is new")
    assert broker.opened == 2  # metadata, and one for fetching


async def test_a_session_that_the_broker_forgot_is_begun_anew(
    broker: FakeBroker, sessions: SessionBroker, running: Running
) -> None:
    await until(lambda: offsets(running) == [30, 30], "everything to be fetched")
    sessions.session_id = 7
    sessions.ends = 60
    await until(lambda: offsets(running) == [60, 60], "the rest")
    assert broker.opened == 2
    assert [request.session_id for request in sessions.requests if request.session_epoch == 0] == [0, 1]


async def test_without_a_session_everything_is_asked_each_time(sessions: SessionBroker, running: Running) -> None:
    sessions.has_room = False
    await until(lambda: offsets(running) == [30, 30], "everything to be fetched")
    assert {request.session_epoch for request in sessions.requests[2:]} == {0}
    assert {len(request.topics[0].partitions) for request in sessions.requests[2:]} == {2}
    sessions.has_room = True
    await until(lambda: sessions.requests[-1].session_epoch > 2, "a session")


async def test_a_cursor_that_was_reset_while_idle_hears_the_ends_again(
    sessions: SessionBroker, running: Running
) -> None:
    first = running.cursors[0]
    sessions.ends = 0
    await until(first.settled.is_set, "the ends to be answered")
    await until(lambda: sessions.requests[-1].session_epoch > 3, "a session")
    first.core.source_high_watermark = -1
    first.apply(first.core.lose())
    first.apply(first.core.probed(ProbeResult(0, 0, 0, None, None, True)))
    first.probe_done()
    await until(lambda: first.core.source_high_watermark == 1000, "the ends to be answered again")


@pytest.mark.parametrize(("seconds", "wait_ms"), [(3600.0, 10), (0.0, 20)], ids=["a-moment-ago", "long-ago"])
async def test_whoever_comes_is_not_kept_waiting_by_those_who_have_everything(
    cluster: Cluster, sessions: SessionBroker, monkeypatch: pytest.MonkeyPatch, seconds: float, wait_ms: int
) -> None:
    """A request is under way when the end of another mirror's log is known: the broker has nothing for those in it."""
    monkeypatch.setattr(source, "_COMING_SECONDS", seconds)
    await cluster.metadata([TOPIC])
    running = Running(cluster, max_wait_ms=20)
    idle, coming = running.cursors
    coming.apply(coming.core.lose())
    task = asyncio.ensure_future(running.source.run())
    try:
        await until(lambda: idle.core.fetch_offset == 30, "everything to be fetched")
        begun = len(sessions.requests) + 1
        await until(lambda: len(sessions.requests) > begun + 2, "requests for nothing new")
        assert {request.max_wait_ms for request in sessions.requests[begun:]} == {wait_ms}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_cursor_that_came_in_anothers_place_is_asked_anew(sessions: SessionBroker, running: Running) -> None:
    """It is the same topic and partition at the same offset, and yet nobody has told it anything."""
    sessions.ends = 0
    await until(running.cursors[0].settled.is_set, "the ends to be answered")
    await until(lambda: sessions.requests[-1].session_epoch > 3, "a session")
    running.source.remove(running.cursors[0])
    successor = cursor(0)
    running.source.add(successor)
    await until(successor.settled.is_set, "the ends to be answered to the successor")


async def test_what_must_wait_for_others_takes_one_batch_of_memory(
    sessions: SessionBroker, running: Running, cluster: Cluster
) -> None:
    """All partitions of a topic that is seeded wait for the last one, and must leave it the memory."""
    held, goes_on = running.cursors
    sessions.ends = 300
    held.hold_until(4)
    task = asyncio.ensure_future(Mirror(cluster, [held, goes_on], stalls=False).run())
    try:
        await until(lambda: (held.core.log_end, goes_on.core.log_end) == (3, 300), "the other one to go on")
        assert (held.waits_at, held.core.fetch_offset) == (6, 6)
        assert running.budget.room == _LIMIT
        held.hold_until(None)
        await until(lambda: held.core.log_end == 300, "it to go on")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# A broker of the mirror's that stalls.


class Mirror:
    """A local broker that answers each batch at once, or none at all; by calls, without a connection."""

    def __init__(self, cluster: Cluster, cursors: list[Cursor], *, stalls: bool) -> None:
        self.sink = Sink(cluster, NODE, 3.0, lambda: None, Holding())
        self._cursors = cursors
        self._stalls = stalls
        for entry in cursors:
            entry.sink = self.sink

    async def run(self) -> None:
        while True:
            for entry in self._cursors:
                while entry.may_send:
                    at = entry.core.next_offset
                    entry.next()
                    if not self._stalls:
                        entry.acknowledged(Acknowledgement(TOPIC, entry.index, 0, at, ""))
            await asyncio.sleep(0.001)


async def test_a_broker_that_stalls_takes_half_of_the_memory_and_the_others_go_on(
    cluster: Cluster, sessions: SessionBroker
) -> None:
    """Each answer has something for all, and is held whole by those that stall."""
    await cluster.metadata([TOPIC])
    sessions.ends = 1 << 30
    limit = 1 << 15
    budget = Budget(limit)
    reader = Source(cluster, NODE, budget, Throttle(Bucket()), FetchLimits(1 << 16, 1 << 16, 1, 10), lambda: None)
    goes_on, stalled = cursor(0), [cursor(index) for index in range(1, 30)]
    mirrors = [Mirror(cluster, [goes_on], stalls=False), Mirror(cluster, stalled, stalls=True)]
    for entry in (*stalled, goes_on):
        reader.add(entry)
    tasks = [asyncio.ensure_future(task) for task in (reader.run(), *(mirror.run() for mirror in mirrors))]
    try:
        await until(lambda: len(reader._crowded) == len(stalled), "those that stall to be left out")
        await until(lambda: goes_on.core.log_end > goes_on.core.began_at + 1000, "the other one to go on")
        assert mirrors[1].sink.held.bytes < limit * 0.7  # half, and the answer that was under way
        assert not any(entry.core.log_end for entry in stalled)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
