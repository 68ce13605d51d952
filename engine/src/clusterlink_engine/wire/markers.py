"""Transaction markers that a client writes itself: WriteTxnMarkers (API key 27, KIP-98).

A marker is a control batch of one record: it takes one offset of a log, and no consumer sees it in either isolation level. The
broker checks the producer's epoch and the coordinator's epoch, for which callers send their generation, but neither
sequences nor whether a transaction is open. So nothing removes duplicates, and a request that may have been carried out must
not be repeated before the log end has been read.

The cluster must allow ALTER or CLUSTER_ACTION.
"""

import struct
from collections.abc import Collection, Sequence
from typing import NamedTuple

from kafka.protocol.producer.transaction import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.logs import TopicPartition, by_topic
from clusterlink_engine.wire.primitives import compact_string, read_varint, skip_tags, varint

API_KEY = 27
# Version 1 is what all brokers from 2.8 to 4.3 have. Version 2 (KIP-1228) tells the transaction's version, which a marker
# outside of transactions has none of.
LOWEST = HIGHEST = 1

_PRODUCER = struct.Struct(">qh?")  # producer id, epoch, whether the transaction is committed
_INT32 = struct.Struct(">i")
_CODE = struct.Struct(">ih")  # index, error code
_INT64_BYTES = 8


class Marker(NamedTuple):
    """One marker for each of some partitions.

    Attributes:
        producer_id: Whose transaction it pretends to end.
        epoch: Of the producer, 0 to 32767. A partition refuses one below that it remembers (INVALID_PRODUCER_EPOCH, 47), and
            data in a lower one from then on.
        generation: Sent as the coordinator's epoch, 0 to 2^31 - 1. A partition refuses one below that it remembers of the
            producer id (TRANSACTION_COORDINATOR_FENCED, 52).
        partitions: Led by the broker that is asked; each only once, because a broker that finds one twice never answers.
    """

    producer_id: int
    epoch: int
    generation: int
    partitions: tuple[TopicPartition, ...]


def encode(markers: Sequence[Marker]) -> bytes:
    """Encodes the body of a request for markers, which the leader of all their partitions appends in their order.

    Raises:
        ValueError: A marker names a partition twice.
    """
    parts = [varint(len(markers) + 1)]
    for marker in markers:
        if len(set(marker.partitions)) != len(marker.partitions):
            raise ValueError(f"a marker names a partition twice: {marker}")
        topics = by_topic(marker.partitions)
        parts.append(_PRODUCER.pack(marker.producer_id, marker.epoch, False) + varint(len(topics) + 1))
        for name, indexes in topics.items():
            parts.append(compact_string(name) + varint(len(indexes) + 1))
            parts.extend(map(_INT32.pack, indexes))
            parts.append(b"\0")
        parts.append(_INT32.pack(marker.generation) + b"\0")
    parts.append(b"\0")
    return b"".join(parts)


def decode(body: memoryview, asked: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Decodes an answer's body: Kafka's error code by partition.

    The broker merges its answers for a producer id and a partition: 0 does not prove that all of several markers were written.

    Args:
        body: After the correlation id, the header's tagged fields included.
        asked: All partitions of the request.

    Raises:
        ValueError, IndexError, struct.error: The bytes are no such answer, or not one for all of these partitions.
    """
    codes: dict[TopicPartition, int] = {}
    markers, position = read_varint(body, skip_tags(body, 0))
    for _ in range(markers - 1):
        topics, position = read_varint(body, position + _INT64_BYTES)
        for _ in range(topics - 1):
            size, position = read_varint(body, position)
            name, position = str(body[position : position + size - 1], "utf-8"), position + size - 1
            partitions, position = read_varint(body, position)
            for _ in range(partitions - 1):
                index, code = _CODE.unpack_from(body, position)
                codes[name, index] = codes.get((name, index), 0) or code
                position = skip_tags(body, position + _CODE.size)
            position = skip_tags(body, position)
        position = skip_tags(body, position)
    if missing := [f"{name}-{index}" for name, index in asked if (name, index) not in codes]:
        raise ValueError(f"nothing of {', '.join(missing)}")
    return codes


async def may_write_markers(cluster: Cluster, topic: str) -> bool:
    """Tells whether a cluster allows markers, without writing one.

    Args:
        cluster: Any of its brokers is asked.
        topic: A topic with less than 2^31 partitions; the marker is for a partition that it cannot have.

    Raises:
        KafkaError: No broker could be asked.
    """
    marker_class = WriteTxnMarkersRequest.WritableTxnMarker
    nowhere = marker_class.WritableTxnMarkerTopic(name=topic, partition_indexes=[2**31 - 1])
    marker = marker_class(
        producer_id=0, producer_epoch=0, transaction_result=False, topics=[nowhere], coordinator_epoch=0
    )
    answer = await cluster.call(
        -1, WriteTxnMarkersRequest(markers=[marker]), WriteTxnMarkersResponse, (LOWEST, HIGHEST)
    )
    return all(
        partition.error_code != Code.CLUSTER_AUTHORIZATION_FAILED
        for result in answer.markers
        for found in result.topics
        for partition in found.partitions
    )
