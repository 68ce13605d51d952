"""Reads record batches as the broker keeps them: a small Kafka client that shares no code with the product."""

import itertools
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.metadata import MetadataRequest, MetadataResponse
from kafka.protocol.producer.produce import ProduceRequest, ProduceResponse
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

# Positions in the header of a record batch.
_LENGTH = struct.Struct(">qi")
_ATTRIBUTES = 21
_PRODUCER = slice(43, 57)

TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40


class Connection:
    """One request at a time on one socket."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=30)
        self._ids = itertools.count(1)

    def call(self, request: Any, response: Any, version: int) -> Any:
        number = next(self._ids)
        request.with_header(number, "compare")
        self._socket.sendall(request.encode(version=version, header=True, framed=True))
        frame = self._receive(*struct.unpack(">i", self._receive(4)))
        answer = response.decode(frame, version=version, header=True)
        assert struct.unpack_from(">i", frame) == (number,), "an answer to another request"
        return answer

    def _receive(self, length: int) -> bytes:
        frame = bytearray(length)
        view, received = memoryview(frame), 0
        while received < length:
            count = self._socket.recv_into(view[received:])
            assert count, "the broker closed the connection"
            received += count
        return bytes(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def _any(bootstrap: str) -> Connection:
    """Returns a connection to the first broker that takes one: some may have been killed."""
    failure: OSError | None = None
    for address in bootstrap.split(","):
        host, _, port = address.rpartition(":")
        try:
            return Connection(host, int(port))
        except OSError as error:
            failure = error
    raise AssertionError(f"no broker of {bootstrap} can be reached") from failure


def leaders(bootstrap: str, topic: str) -> dict[int, tuple[str, int]]:
    """Returns the address of each partition's leader."""
    request = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=topic)], allow_auto_topic_creation=False
    )
    with _any(bootstrap) as connection:
        answer = connection.call(request, MetadataResponse, 5)
    brokers = {broker.node_id: (broker.host, broker.port) for broker in answer.brokers}
    (found,) = answer.topics
    assert found.error_code == 0, f"metadata of {topic}: error {found.error_code}"
    return {p.partition_index: brokers[p.leader_id] for p in found.partitions}


def batches(
    leader: tuple[str, int], topic: str, partition: int, start: int, end: int
) -> Iterator[tuple[int, memoryview]]:
    """Yields (base offset, bytes) of the batches from the one that holds `start` up to offset `end`."""
    offset = start
    with Connection(*leader) as connection:
        while offset < end:
            records = _fetch(connection, topic, partition, offset)
            following = offset
            for base, batch in split(records):
                yield base, batch
                following = last_offset(batch) + 1
            assert following > offset, f"no whole batch at {topic}-{partition} offset {offset}"
            offset = following


def split(records: bytes) -> Iterator[tuple[int, memoryview]]:
    """Cuts what a Fetch answered into whole batches."""
    view, position = memoryview(records), 0
    while position + _LENGTH.size <= len(view):
        base, length = _LENGTH.unpack_from(view, position)
        if position + _LENGTH.size + length > len(view):
            return
        yield base, view[position : position + _LENGTH.size + length]
        position += _LENGTH.size + length


def attributes(batch: memoryview) -> int:
    """Returns the attributes field of a batch."""
    return int(struct.unpack_from(">h", batch, _ATTRIBUTES)[0])


def comparable(batch: memoryview) -> bytes:
    """Returns the bytes that a mirror must keep.

    That is everything from the attributes on but the producer's id, epoch and sequence and two bits: that the batch was
    part of a transaction, and that its tombstones have a horizon.
    """
    kept = attributes(batch) & ~(TRANSACTIONAL | DELETE_HORIZON)
    head = struct.pack(">h", kept) + bytes(batch[_ATTRIBUTES + 2 : _PRODUCER.start])
    return head + bytes(batch[_PRODUCER.stop :])


def merged(batches: Sequence[memoryview]) -> memoryview:
    """Returns the batch that a producer would have made of the records of these, which follow each other."""
    builder: Any = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    records: Iterator[Any] = itertools.chain.from_iterable(DefaultRecordBatch(bytes(batch)) for batch in batches)
    for number, record in enumerate(records):
        assert builder.append(number, record.timestamp, record.key, record.value, list(record.headers)) is not None
    return memoryview(builder.build())


def base_offset(batch: memoryview) -> int:
    """Returns the offset of a batch's first record."""
    return int(struct.unpack_from(">q", batch)[0])


def last_offset(batch: memoryview) -> int:
    """Returns the offset of a batch's last record."""
    return base_offset(batch) + int(struct.unpack_from(">i", batch, 23)[0])


def _fetch(connection: Connection, topic: str, partition: int, offset: int) -> bytes:
    asked = FetchRequest.FetchTopic.FetchPartition(
        partition=partition,
        current_leader_epoch=-1,
        fetch_offset=offset,
        log_start_offset=-1,
        partition_max_bytes=16 << 20,
    )
    request = FetchRequest(
        replica_id=-1,
        max_wait_ms=5000,
        min_bytes=1,
        max_bytes=16 << 20,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=[asked])],
        forgotten_topics_data=[],
        rack_id="",
    )
    answer = connection.call(request, FetchResponse, 11)
    (found,) = answer.responses[0].partitions
    assert answer.error_code == 0, f"fetch: error {answer.error_code}"
    assert found.error_code == 0, f"fetch of {topic}-{partition} at {offset}: error {found.error_code}"
    assert found.records, f"nothing at {topic}-{partition} offset {offset}"
    return bytes(found.records)


def repeated(records: int, key: bytes | None, value: bytes | None, timestamp: int) -> bytes:
    """Makes a batch of equal records, which takes little room."""
    builder: Any = DefaultRecordBatchBuilder(2, 1, False, -1, -1, -1, 1 << 30)
    for number in range(records):
        builder.append(number, timestamp, key, value, [])
    return bytes(builder.build())


def write(bootstrap: str, topic: str, batch: bytes, times: int) -> None:
    """Writes the same batch to partition 0, some times."""
    topic_class = ProduceRequest.TopicProduceData
    with Connection(*leaders(bootstrap, topic)[0]) as connection:
        for _ in range(times):
            data = topic_class.PartitionProduceData(index=0, records=batch)
            request = ProduceRequest(
                transactional_id=None,
                acks=-1,
                timeout_ms=30_000,
                topic_data=[topic_class(name=topic, partition_data=[data])],
            )
            answer = connection.call(request, ProduceResponse, 8)
            code = answer.responses[0].partition_responses[0].error_code
            assert code == 0, f"writing to {topic}: error {code}"
