"""Filling gaps at a broker whose answers are late, lost or make no sense: only the log end says that a marker is there."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Iterator

import pytest
from kafka.protocol.consumer.offsets import ListOffsetsRequest
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest, WriteTxnMarkersResponse
from kafka.record.util import calc_crc32c

from clusterlink_engine.mirror.partition import Phase, ProbeResult
from clusterlink_engine.replication import outlet
from clusterlink_engine.replication.buffers import Budget, Frame
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.gaps import MarkerWriter
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.fetch import FetchedPartition
from tests.fake_broker.broker import (
    API_VERSIONS,
    LIST_OFFSETS,
    NODE,
    TOPIC,
    FakeBroker,
    Handler,
    Request,
    answering,
    frame,
    sending,
)
from tests.fake_broker.mirroring import batch, cursor, offsets_answer
from tests.support.waiting import until

MARKERS = 27
_ABORTING = 9

Partitions = list[int]


class Log:
    """The ends of a broker's logs, and its answers."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self.error = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def mark(self, _: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        """Appends a marker for each entry, if there is no error; the answer waits until it may go on."""
        await self.go_on.wait()
        for index in marked(request):
            self.ends[index] = self.ends.get(index, 0) + (not self.error)
        writer.write(frame(request.correlation, marked_answer(request, self.error)))

    async def list_ends(self, _: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, offsets_answer(request, self.ends)))


def marked(request: Request) -> Partitions:
    """The partition of each entry of a request for markers."""
    asked = WriteTxnMarkersRequest.decode(request.body, version=request.version)
    return [index for marker in asked.markers for topic in marker.topics for index in topic.partition_indexes]


def marked_answer(request: Request, error: int = 0) -> bytes:
    result = WriteTxnMarkersResponse.WritableTxnMarkerResult
    topic = result.WritableTxnMarkerTopicResult
    partition = topic.WritableTxnMarkerPartitionResult
    partitions = [partition(partition_index=index, error_code=error) for index in sorted(set(marked(request)))]
    answer = WriteTxnMarkersResponse(
        markers=[result(producer_id=7, topics=[topic(name=f"mirror-{TOPIC}", partitions=partitions)])]
    )
    return b"\0" + bytes(answer.encode(version=request.version))


class Running:
    """A marker writer at work."""

    def __init__(self, cluster: Cluster) -> None:
        self.moved = self.forbidden = 0
        self.writer = MarkerWriter(cluster, NODE, 3.0, on_moved=self._moved, on_forbidden=self._forbid)

    def _moved(self) -> None:
        self.moved += 1

    def _forbid(self) -> None:
        self.forbidden += 1

    async def begin(self, index: int, size: int = 1) -> Cursor:
        """A partition that begins with the records of an aborted transaction."""
        made = cursor(index)
        made.gap_writer = self.writer
        self.writer.add(made)
        await self.feed(made, size)
        return made

    async def feed(self, made: Cursor, size: int) -> None:
        """Gives a partition what its source has from offset 0 on."""
        data = batch(0, size)
        struct.pack_into(">h", data, 21, 0x10)
        struct.pack_into(">q", data, 43, _ABORTING)
        struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
        answer = FetchedPartition(TOPIC, made.index, 0, 1000, 1000, 0, memoryview(data), [(_ABORTING, 0)])
        whole = Frame(Budget(1 << 20), memoryview(data))
        await made.fetched(made.cut(answer, len(data)), whole, answer)
        whole.release()


@pytest.fixture
def log(broker: FakeBroker) -> Iterator[Log]:
    made = Log()
    broker.offered[MARKERS] = (0, 1)
    broker.handlers |= {MARKERS: made.mark, LIST_OFFSETS: made.list_ends}
    yield made
    made.go_on.set()


@pytest.fixture
async def running(log: Log, cluster: Cluster) -> AsyncIterator[Running]:
    await cluster.metadata([TOPIC])
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    made = Running(cluster)
    task = asyncio.ensure_future(made.writer.run())
    yield made
    assert not task.done(), "a writer comes back from every fault"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    assert not unheard, "every error is taken up"


def asked(broker: FakeBroker) -> list[tuple[int, Partitions]]:
    """API key and partitions of each request that wants something of a log."""
    found = []
    for request in broker.requests:
        if request.api_key == MARKERS:
            found.append((MARKERS, marked(request)))
        elif request.api_key == LIST_OFFSETS:
            topics = ListOffsetsRequest.decode(request.body, version=request.version).topics
            found.append((LIST_OFFSETS, [p.partition_index for topic in topics for p in topic.partitions]))
    return found


async def test_the_log_end_is_asked_for_right_behind_the_markers(
    broker: FakeBroker, log: Log, running: Running
) -> None:
    """One round is on its way at most; who comes meanwhile shares the next one."""
    log.go_on.clear()
    cursors = [await running.begin(0, 3)]
    await until(lambda: len(asked(broker)) == 1, "the first request to arrive")
    for index in (1, 2, 3):
        cursors.append(await running.begin(index, index))
        await asyncio.sleep(0.05)  # each would have time to go alone
    assert not any(each.is_filling for each in cursors[1:])
    log.go_on.set()
    await until(lambda: [each.core.log_end for each in cursors] == [3, 1, 2, 3], "all gaps to be filled")
    assert asked(broker) == [
        (MARKERS, [0, 0, 0]),
        (LIST_OFFSETS, [0]),
        (MARKERS, [1, 2, 3, 2, 3, 3]),
        (LIST_OFFSETS, [1, 2, 3]),
    ]
    assert broker.opened == 2  # metadata, and one for all of these


async def test_nothing_lies_unread_behind_a_round_that_hangs(broker: FakeBroker, log: Log, running: Running) -> None:
    """A partition that is given up, looked at and begun again meanwhile would get its marker twice."""
    log.go_on.clear()
    first = await running.begin(0)
    await until(lambda: len(asked(broker)) == 1, "the first request to arrive")
    other = await running.begin(1)
    await asyncio.sleep(0.05)
    other.lost()  # its other connection broke
    assert other.wanted_probe is not None
    other.apply(other.core.probed(ProbeResult(0, 0, 0, None, None, settled=True)))
    other.probe_done()
    assert other.core.phase is Phase.COPYING
    await running.feed(other, 1)
    log.go_on.set()
    await until(lambda: (first.core.log_end, other.core.log_end) == (1, 1), "both gaps to be filled")
    assert log.ends == {0: 1, 1: 1}


@pytest.mark.parametrize(
    ("api_key", "bad"),
    [
        (MARKERS, sending(lambda _: b"", then_close=True)),
        (MARKERS, answering(b"")),
        (MARKERS, answering(b"\0\x01\0")),
        (MARKERS, answering(b"\0\x02" + b"\xff" * 40)),
        (LIST_OFFSETS, sending(lambda _: b"", then_close=True)),
        (LIST_OFFSETS, answering(b"\0" * 6)),
        (LIST_OFFSETS, answering(b"\xff" * 40)),
        (LIST_OFFSETS, sending(lambda request: frame(request.correlation + 1, offsets_answer(request, {0: 1})))),
    ],
)
async def test_a_gap_without_an_answer_is_in_doubt(
    broker: FakeBroker, log: Log, running: Running, api_key: int, bad: Handler
) -> None:
    broker.handlers[api_key] = bad
    gap = await running.begin(0)
    await until(lambda: gap.core.phase is Phase.PROBING, "the fault to be noticed")
    assert gap.wanted_probe is not None
    assert gap.wanted_probe.settle
    assert gap.core.may_probe
    assert not gap.is_filling
    await until(lambda: running.moved > 0, "the leader to be looked for")
    # Whoever comes later has a new connection.
    broker.handlers |= {MARKERS: log.mark, LIST_OFFSETS: log.list_ends}
    other = await running.begin(1, 2)
    await until(lambda: other.core.log_end == 2, "another partition's gap to be filled")
    assert [key for key, partitions in asked(broker) if key == MARKERS and 0 in partitions] == [MARKERS]


@pytest.mark.parametrize("end", [0, 1, 3])
async def test_a_good_answer_proves_nothing(broker: FakeBroker, log: Log, running: Running, end: int) -> None:
    async def elsewhere(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, offsets_answer(request, {0: end})))

    broker.handlers[LIST_OFFSETS] = elsewhere
    gap = await running.begin(0, 2)
    await until(lambda: gap.core.phase is Phase.PROBING, "the log end to be doubted")
    assert gap.wanted_probe is not None
    assert gap.wanted_probe.settle
    assert log.ends == {0: 2}
    assert gap.offsets_filled == 0


@pytest.mark.parametrize("key", [MARKERS, LIST_OFFSETS])
async def test_a_refusal_is_in_doubt(broker: FakeBroker, log: Log, running: Running, key: int) -> None:
    """That others of the same answer were good does not change it; and the connection stays."""

    async def refused(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(request.correlation, offsets_answer(request, log.ends, Code.NOT_LEADER_OR_FOLLOWER)))

    if key == MARKERS:
        log.error = Code.CLUSTER_AUTHORIZATION_FAILED
    else:
        broker.handlers[LIST_OFFSETS] = refused
    gap = await running.begin(0)
    await until(lambda: gap.core.phase is Phase.PROBING, "the refusal to be taken")
    assert running.forbidden == (key == MARKERS)
    assert gap.offsets_filled == 0
    log.error = 0
    broker.handlers[LIST_OFFSETS] = log.list_ends
    other = await running.begin(1)
    await until(lambda: other.core.log_end == 1, "another partition's gap to be filled")
    assert broker.opened == 2


async def test_an_idle_connection_is_kept(
    broker: FakeBroker, log: Log, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker ends one that says nothing for long; markers that come later would put all its partitions in doubt."""
    monkeypatch.setattr(outlet, "_QUIET_SECONDS", 0.05)
    first = await running.begin(0)
    await until(lambda: first.core.log_end == 1, "the gap to be filled")
    greeted = broker.count(API_VERSIONS)
    await until(lambda: broker.count(API_VERSIONS) >= greeted + 3, "the connection to be used all the same")
    other = await running.begin(1)
    await until(lambda: other.core.log_end == 1, "another partition's gap to be filled")
    assert first.core.phase is Phase.COPYING
    assert (broker.opened, running.moved) == (2, 0)
    assert log.ends == {0: 1, 1: 1}


async def test_that_an_idle_connection_has_ended_is_found_out(
    broker: FakeBroker, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may have begun anew, with a shorter log: that is looked at before the next record comes."""
    monkeypatch.setattr(outlet, "_QUIET_SECONDS", 0.05)
    gap = await running.begin(0)
    await until(lambda: gap.core.log_end == 1, "the gap to be filled")
    broker.handlers[API_VERSIONS] = sending(lambda _: b"", then_close=True)
    await until(lambda: gap.core.phase is Phase.PROBING, "the log to be looked at")
    assert gap.wanted_probe is not None
    assert not gap.wanted_probe.settle, "nothing was on its way"
    assert running.moved == 1
