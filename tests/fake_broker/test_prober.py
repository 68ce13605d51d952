"""Reading log ends at a broker that refuses a part of what it is asked."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from kafka.protocol.admin.transactions import DescribeProducersRequest, DescribeProducersResponse
from kafka.protocol.consumer.fetch import FetchRequest

from clusterlink_engine.mirror.partition import Partition, Phase
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.prober import Prober
from clusterlink_engine.wire.batch import patch
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from tests.fake_broker.broker import FETCH, LIST_OFFSETS, NODE, TOPIC, FakeBroker, Request, frame
from tests.fake_broker.mirroring import PRODUCER_ID, batch, cursor, fetch_answer, offsets_answer
from tests.support.waiting import until

_DESCRIBE_PRODUCERS = 61


async def nothing_remembered(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
    """No partition knows any producer: only the last batch says whose a log is."""
    asked = DescribeProducersRequest.decode(request.body, version=request.version)
    topic = DescribeProducersResponse.TopicResponse
    topics = [
        topic(
            name=each.name,
            partitions=[
                topic.PartitionResponse(partition_index=index, error_code=0, error_message=None, active_producers=[])
                for index in each.partition_indexes
            ],
        )
        for each in asked.topics
    ]
    answer = DescribeProducersResponse(throttle_time_ms=0, topics=topics)
    writer.write(frame(request.correlation, b"\0" + bytes(answer.encode(version=request.version))))


async def list_offsets(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
    (timestamp,) = struct.unpack_from(">q", request.body, len(request.body) - 11)
    end = 0 if timestamp == -2 else 3
    writer.write(frame(request.correlation, offsets_answer(request, {0: end, 1: end})))


async def damaged_partition_0(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
    """Its last batch cannot be read; that of any other partition is the link's own."""
    data = batch(0)
    patch(memoryview(data), PRODUCER_ID, 0, 0)
    (topic,) = FetchRequest.decode(request.body, version=request.version).topics
    error = Code.CORRUPT_MESSAGE if topic.partitions[0].partition == 0 else 0
    records = b"" if error else bytes(data)
    writer.write(frame(request.correlation, fetch_answer(request, lambda *_: records, error_code=error)))


def begun(index: int, prober: Prober) -> Cursor:
    """A partition whose mirror was never looked at."""
    made = cursor(index)
    made.core = Partition(f"mirror-{TOPIC}-{index}", PRODUCER_ID)
    made.wanted_probe = made.core.first_probe
    prober.add(made)
    return made


@pytest.fixture
async def prober(broker: FakeBroker, cluster: Cluster) -> AsyncIterator[Prober]:
    broker.offered |= {_DESCRIBE_PRODUCERS: (0, 0), FETCH: (12, 12)}
    broker.handlers |= {
        _DESCRIBE_PRODUCERS: nothing_remembered,
        LIST_OFFSETS: list_offsets,
        FETCH: damaged_partition_0,
    }
    await cluster.metadata([TOPIC])
    made = Prober(cluster, NODE, grace=0.01, watch_interval=3600, on_moved=lambda: None)
    task = asyncio.ensure_future(made.run())
    yield made
    assert not task.done(), "a prober comes back from everything"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_log_that_cannot_be_read_holds_up_no_other(broker: FakeBroker, prober: Prober) -> None:
    damaged, other = begun(0, prober), begun(1, prober)
    await until(lambda: other.core.phase is Phase.COPYING, "the other partition to be read")
    assert other.core.log_end == 3
    seen = broker.count(FETCH)
    await until(lambda: broker.count(FETCH) > seen + 1, "the damaged one to be looked at again, and again")
    assert damaged.core.phase is Phase.PROBING
    assert damaged.wanted_probe is not None
