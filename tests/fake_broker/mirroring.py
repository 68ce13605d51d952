"""Cursors as the replication has them, and a fake broker's answers to Fetch and Produce."""

import asyncio
from collections.abc import Callable
from typing import Any

from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse
from kafka.protocol.consumer.offsets import ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.producer.produce import ProduceRequest, ProduceResponse
from kafka.record.default_records import DefaultRecordBatchBuilder

from clusterlink_engine.mirror.partition import Partition, ProbeResult
from clusterlink_engine.replication.cursor import Cursor, Watcher
from clusterlink_engine.replication.tenure import Lease, Tenure, clock
from clusterlink_engine.wire.cutting import cutter
from tests.fake_broker.broker import TOPIC, TOPIC_ID, FakeBroker, Request, frame

PRODUCER_ID = 7
Records = Callable[[int, int], bytes]  # of a partition at an offset


def batch(base_offset: int, records: int = 3) -> bytearray:
    """A record batch of a source."""
    builder: Any = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for number in range(records):
        builder.append(number, 1000 + number, b"key", b"value %d" % (base_offset + number), [])
    data = bytearray(builder.build())
    data[:8] = base_offset.to_bytes(8, "big")
    return data


def cursor(index: int, *, merges: bool = False, compiled: bool = True) -> Cursor:
    """A cursor whose mirror is empty: it copies from offset 0, and each batch as it is, unless it merges tiny ones."""
    lease = Lease()
    lease.extend(clock() + 3600)
    tenure = Tenure(lease, 1, settled=True)
    made = Cursor(
        Partition(f"mirror-{TOPIC}-{index}", PRODUCER_ID),
        topic=f"mirror-{TOPIC}",
        topic_id=TOPIC_ID,
        index=index,
        source_topic=TOPIC,
        source_topic_id=TOPIC_ID,
        producer_id=PRODUCER_ID,
        tenure=tenure,
        watcher=Watcher(
            failed=lambda *_: None,
            epochs_changed=lambda cursor: cursor.epochs_stored(list(cursor.core.source_epochs)),
            overtaken=lambda *_: None,
        ),
        cutter=cutter(compiled=compiled),
        merges=merges,
    )
    made.apply(made.core.probed(ProbeResult(0, 0, 0, None, None, True)))
    made.probe_done()
    return made


def fetch_answer(request: Request, records: Records, **ends: int) -> bytes:
    """What a source with these records answers; the ends of its logs, and its error code, may be others than usual."""
    asked = FetchRequest.decode(request.body, version=request.version)
    topic = FetchResponse.FetchableTopicResponse
    topics = [
        topic(
            topic=entry.topic,
            topic_id=entry.topic_id,
            partitions=[
                topic.PartitionData(
                    partition_index=p.partition,
                    **{
                        "error_code": 0,
                        "high_watermark": 1000,
                        "last_stable_offset": 1000,
                        "log_start_offset": 0,
                        **ends,
                    },
                    aborted_transactions=None,
                    preferred_read_replica=-1,
                    records=bytes(records(p.partition, p.fetch_offset)),
                )
                for p in entry.partitions
            ],
        )
        for entry in asked.topics
    ]
    answer = FetchResponse(throttle_time_ms=0, error_code=0, session_id=0, responses=topics)
    return b"\0" + bytes(answer.encode(version=request.version))


def source_of(records: Records) -> Callable[[FakeBroker, Request, asyncio.StreamWriter], Any]:
    """Answers fetches from these records, and takes its time when there are none."""

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(frame(request.correlation, fetch_answer(request, records)))

    return handle


def produced(request: Request) -> list[tuple[int, bytes]]:
    """The batches in a Produce request, by partition."""
    asked = ProduceRequest.decode(request.body, version=request.version)
    return [(p.index, bytes(p.records)) for topic in asked.topic_data for p in topic.partition_data]


def produce_answer(request: Request, base_offsets: dict[int, int], error: int = 0, throttle_ms: int = 0) -> bytes:
    """What a broker answers that has appended at these offsets."""
    asked = ProduceRequest.decode(request.body, version=request.version)
    topic = ProduceResponse.TopicProduceResponse
    topics = [
        topic(
            name=entry.name,
            topic_id=entry.topic_id,
            partition_responses=[
                topic.PartitionProduceResponse(
                    index=p.index,
                    error_code=error,
                    base_offset=base_offsets[p.index],
                    log_append_time_ms=-1,
                    log_start_offset=0,
                    record_errors=[],
                    error_message=None,
                )
                for p in entry.partition_data
                if p.index in base_offsets
            ],
        )
        for entry in asked.topic_data
    ]
    return b"\0" + bytes(
        ProduceResponse(responses=topics, throttle_time_ms=throttle_ms).encode(version=request.version)
    )


def offsets_answer(request: Request, offsets: dict[int, int], error: int = 0) -> bytes:
    """What a broker answers to ListOffsets that has these offsets by partition; 0 where nothing is said."""
    asked = ListOffsetsRequest.decode(request.body, version=request.version)
    topic = ListOffsetsResponse.ListOffsetsTopicResponse
    topics = [
        topic(
            name=entry.name,
            partitions=[
                topic.ListOffsetsPartitionResponse(
                    partition_index=p.partition_index,
                    error_code=error,
                    timestamp=-1,
                    offset=offsets.get(p.partition_index, 0),
                    leader_epoch=-1,
                )
                for p in entry.partitions
            ],
        )
        for entry in asked.topics
    ]
    return b"\0" + bytes(ListOffsetsResponse(throttle_time_ms=0, topics=topics).encode(version=request.version))
