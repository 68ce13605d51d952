"""Writing to a broker whose answers are lost or make no sense: what was sent is in doubt, and nothing more is sent."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from clusterlink_engine.mirror.partition import Phase, ProbeResult, Producer
from clusterlink_engine.replication.buffers import Budget, Frame, Holding
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.sink import Sink
from clusterlink_engine.wire.batch import split
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.fetch import FetchedPartition
from tests.fake_broker.broker import NODE, PRODUCE, TOPIC, FakeBroker, Handler, Request, answering, frame, sending
from tests.fake_broker.mirroring import PRODUCER_ID, batch, cursor, produce_answer, produced
from tests.support.waiting import until

_LIMIT = 1 << 20


class Running:
    """A sink at work, with a cursor."""

    def __init__(self, cluster: Cluster, *, merges: bool = False) -> None:
        self.moved = 0
        self.budget = Budget(_LIMIT)
        self.sink = Sink(cluster, NODE, 3.0, self.on_moved, Holding())
        self.cursor = cursor(0, merges=merges)
        self.cursor.sink = self.sink
        self.sink.add(self.cursor)

    def on_moved(self) -> None:
        self.moved += 1

    async def bring(self, *offsets: int) -> None:
        """A fetch brings batches of three records."""
        data = bytearray(b"".join(batch(offset) for offset in offsets))
        whole = Frame(self.budget, memoryview(data))
        answer = FetchedPartition(TOPIC, 0, 0, 1000, 1000, 0, memoryview(data))
        await self.cursor.fetched(self.cursor.cut(answer, len(data)), whole, answer)
        whole.release()


@pytest.fixture
async def running(request: pytest.FixtureRequest, cluster: Cluster) -> AsyncIterator[Running]:
    await cluster.metadata([TOPIC])
    made = Running(cluster, merges=getattr(request, "param", False))
    task = asyncio.ensure_future(made.sink.run())
    yield made
    assert not task.done(), "a sink comes back from every fault"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def in_order(start: int = 0) -> Handler:
    """Appends every batch where the last one ended."""
    end = start

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal end
        body = produce_answer(request, {0: end})
        data = produced(request)[0][1]
        end += split(memoryview(data))[0].header.records
        writer.write(frame(request.correlation, body))

    return handle


def sent(broker: FakeBroker) -> list[tuple[int, int, int]]:
    """Producer id, epoch and sequence of each batch that has arrived."""
    headers = [
        split(memoryview(data))[0].header
        for request in broker.requests
        if request.api_key == PRODUCE
        for _, data in produced(request)
    ]
    assert all(header.base_offset == 0 for header in headers)
    return [(header.producer_id, header.producer_epoch, header.base_sequence) for header in headers]


async def test_batches_are_written_in_their_order_with_their_sequences(broker: FakeBroker, running: Running) -> None:
    broker.handlers[PRODUCE] = in_order()
    await running.bring(*range(0, 30, 3))
    await until(lambda: running.cursor.core.log_end == 30, "everything to be acknowledged")
    assert sent(broker) == [(PRODUCER_ID, 0, sequence) for sequence in range(0, 30, 3)]
    assert running.budget.room == _LIMIT


async def test_a_broker_that_is_gone_is_left_alone_until_there_is_something_for_it(running: Running) -> None:
    running.sink.node = 99
    await running.bring(0)
    await until(lambda: running.moved > 0, "the fault to be noticed")
    assert running.cursor.core.phase is Phase.PROBING
    await asyncio.sleep(0.5)  # time for some attempts
    assert running.moved == 1
    running.cursor.apply(running.cursor.core.probed(ProbeResult(0, 0, 0, None, None, True)))
    running.cursor.probe_done()
    await running.bring(0)
    await until(lambda: running.moved == 2, "the next attempt")


@pytest.mark.parametrize(
    "bad",
    [
        sending(lambda _: b"", then_close=True),
        sending(lambda request: frame(request.correlation, produce_answer(request, {0: 0}))[:15], then_close=True),
        answering(b""),
        answering(b"\0\x02" + b"\xff" * 40),
        sending(lambda request: frame(request.correlation, produce_answer(request, {}))),
        sending(lambda request: frame(request.correlation + 1, produce_answer(request, {0: 0}))),
        sending(lambda _: b"\x7f\xff\xff\xff"),
    ],
    ids=["lost", "cut", "empty", "nonsense", "without-the-partition", "another-request", "huge"],
)
async def test_a_batch_without_an_answer_is_in_doubt(broker: FakeBroker, running: Running, bad: Handler) -> None:
    broker.handlers[PRODUCE] = bad
    core = running.cursor.core
    await running.bring(0, 3, 6)
    await until(lambda: core.phase is Phase.PROBING, "the fault to be noticed")
    assert running.cursor.wanted_probe is not None
    assert running.cursor.wanted_probe.settle
    assert core.may_probe
    assert not running.cursor.may_send
    assert sent(broker) == [(PRODUCER_ID, 0, 0)]
    assert running.budget.room == _LIMIT
    # The log is read: the batch had been appended. Copying goes on over a new connection.
    broker.handlers[PRODUCE] = in_order(3)
    running.cursor.apply(core.probed(ProbeResult(3, 3, 0, Producer(0, 2), None, True)))
    running.cursor.probe_done()
    await running.bring(3, 6)
    await until(lambda: core.log_end == 9, "the rest to be acknowledged")
    assert sent(broker) == [(PRODUCER_ID, 0, 0), (PRODUCER_ID, 0, 3), (PRODUCER_ID, 0, 6)]
    assert broker.opened == 3  # metadata, and two for writing
    assert core.failure is None


async def test_a_batch_at_another_offset_fails_the_partition(broker: FakeBroker, running: Running) -> None:
    broker.handlers[PRODUCE] = in_order(5)
    await running.bring(0, 3, 6)
    await until(lambda: running.cursor.core.failure is not None, "the foreign write to be found")
    assert sent(broker) == [(PRODUCER_ID, 0, 0)]
    assert running.budget.room == _LIMIT


async def test_a_moved_leader_is_told(broker: FakeBroker, running: Running) -> None:
    broker.handlers[PRODUCE] = sending(
        lambda request: frame(request.correlation, produce_answer(request, {0: -1}, error=6))
    )
    await running.bring(0, 3)
    await until(lambda: running.moved == 1, "the move to be noticed")
    assert running.cursor.core.phase is Phase.PROBING
    assert sent(broker) == [(PRODUCER_ID, 0, 0)]


async def test_an_answer_after_all_was_given_up_is_ignored(broker: FakeBroker, running: Running) -> None:
    """The leader moves while an answer is under way; the old one's answer must not count for the new one's batches."""
    answer = asyncio.Event()

    async def later(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        writer.write(frame(request.correlation, produce_answer(request, {0: 0})))

    broker.handlers[PRODUCE] = later
    given_up: Cursor = running.cursor
    await running.bring(0)
    await until(lambda: broker.count(PRODUCE) == 1, "the batch to arrive")
    given_up.lost()
    answer.set()
    other = Running(running.sink._cluster)  # anything that is answered after it
    other.cursor.sink = running.sink
    await other.bring(0)
    await until(lambda: other.cursor.core.log_end == 3, "the next answer")
    assert given_up.core.log_end == 0
    assert given_up.core.phase is Phase.PROBING


@pytest.mark.parametrize("running", [True], indirect=True)
async def test_a_merged_batch_that_is_refused_for_good_comes_again_as_its_parts(
    broker: FakeBroker, running: Running
) -> None:
    """Only what the source has itself can be refused for good: the message names the one batch that is."""
    broker.handlers[PRODUCE] = refusing = sending(
        lambda request: frame(request.correlation, produce_answer(request, {0: -1}, error=Code.RECORD_LIST_TOO_LARGE))
    )
    core = running.cursor.core
    await running.bring(0, 3, 6)
    await until(lambda: core.phase is Phase.PROBING, "the refusal to arrive")
    assert [split(memoryview(data))[0].header.records for data in _batches(broker)] == [9]
    assert core.failure is None
    broker.handlers[PRODUCE] = in_order()
    running.cursor.apply(core.probed(ProbeResult(0, 0, 0, None, None, True)))
    running.cursor.probe_done()
    await running.bring(0, 3)
    await until(lambda: core.log_end == 6, "its parts to be acknowledged")
    assert [split(memoryview(data))[0].header.records for data in _batches(broker)] == [9, 3, 3]
    broker.handlers[PRODUCE] = refusing
    await running.bring(6)
    await until(lambda: core.failure is not None, "the refusal to be final")
    assert core.failure is not None
    assert "offsets 6 to 8" in core.failure.message
    assert running.budget.room == _LIMIT


def _batches(broker: FakeBroker) -> list[bytes]:
    return [data for request in broker.requests if request.api_key == PRODUCE for _, data in produced(request)]


def throttling(*throttles_ms: int) -> Handler:
    """Appends like `in_order`, and wants to be left alone after each of its first answers."""
    end, left = 0, list(throttles_ms)

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal end
        body = produce_answer(request, {0: end}, throttle_ms=left.pop(0) if left else 0)
        end += split(memoryview(produced(request)[0][1]))[0].header.records
        writer.write(frame(request.correlation, body))

    return handle


async def test_a_broker_that_wants_to_be_left_alone_is_sent_nothing_meanwhile(
    broker: FakeBroker, running: Running
) -> None:
    """What its answer says is a number of milliseconds; less than none, or weeks, is not believed (KIP-219)."""
    broker.handlers[PRODUCE] = throttling(-1, 2**31 - 1)
    await running.bring(0)
    await until(lambda: running.cursor.core.log_end == 3, "the first batch to be acknowledged")
    assert running.sink.paused_seconds == 0
    await running.bring(3)
    await until(lambda: running.cursor.core.log_end == 6, "the second batch to be acknowledged")
    assert running.sink.paused_seconds == 30
    await running.bring(6)
    await asyncio.sleep(0.3)  # nothing is waited for: it must not come
    assert (broker.count(PRODUCE), running.cursor.core.log_end) == (2, 6)
    assert running.cursor.may_send
