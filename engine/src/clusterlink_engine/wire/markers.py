"""Transaction markers that a client writes itself: WriteTxnMarkers (API key 27, KIP-98).

A marker is a control batch of one record: it takes one offset of a log, and no consumer sees it in either isolation level. The
broker checks the producer's epoch and the coordinator's epoch, for which callers send their generation, but neither
sequences nor whether a transaction is open. So nothing removes duplicates, and a request that may have been carried out must
not be repeated before the log end has been read.

The cluster must allow ALTER or CLUSTER_ACTION.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kafka.protocol.producer.transaction import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from clusterlink_engine.errors import ProtocolViolationError
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.logs import TopicPartition, by_topic

# Version 1 is what all brokers from 2.8 to 4.3 have. Version 2 (KIP-1228) tells the transaction's version, which a marker
# outside of transactions has none of.
_VERSIONS = (1, 1)


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


async def write_markers(
    connection: Connection, markers: Sequence[Marker], *, timeout: float | None = None
) -> dict[TopicPartition, int]:
    """Has a broker append markers, in their order.

    The request is on its way to the socket when this function first waits: only after `Connection.drain`, with nothing awaited
    in between.

    Args:
        connection: To the leader of all partitions.
        markers: Several may name the same partition.
        timeout: Seconds until the answer is given up; None for the connection's.

    Returns:
        Kafka's error code by partition. The broker merges its answers for a producer id and a partition: 0 does not prove that
        all of several markers were written.

    Raises:
        ValueError: A marker names a partition twice.
        KafkaError: The broker could not be asked; the markers may have been written, or be written later.
    """
    for marker in markers:
        if len(set(marker.partitions)) != len(marker.partitions):
            raise ValueError(f"a marker names a partition twice: {marker}")
    marker_class = WriteTxnMarkersRequest.WritableTxnMarker
    topic_class = marker_class.WritableTxnMarkerTopic
    request = WriteTxnMarkersRequest(
        markers=[
            marker_class(
                producer_id=marker.producer_id,
                producer_epoch=marker.epoch,
                transaction_result=False,
                topics=[
                    topic_class(name=name, partition_indexes=indexes)
                    for name, indexes in by_topic(marker.partitions).items()
                ],
                coordinator_epoch=marker.generation,
            )
            for marker in markers
        ]
    )
    version = choose_version(connection, request.API_KEY, *_VERSIONS)
    answer = await connection.exchange(request, WriteTxnMarkersResponse, version, timeout=timeout)
    codes: dict[TopicPartition, int] = {}
    for result in answer.markers:
        for topic in result.topics:
            for partition in topic.partitions:
                key = (topic.name, partition.partition_index)
                codes[key] = codes.get(key, 0) or int(partition.error_code)
    for marker in markers:
        for name, index in marker.partitions:
            if (name, index) not in codes:
                raise ProtocolViolationError(
                    f"{connection.address} answered WriteTxnMarkers without {name}-{index}.", side=connection.side
                )
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
    answer = await cluster.call(-1, WriteTxnMarkersRequest(markers=[marker]), WriteTxnMarkersResponse, _VERSIONS)
    return all(
        partition.error_code != Code.CLUSTER_AUTHORIZATION_FAILED
        for result in answer.markers
        for found in result.topics
        for partition in found.partitions
    )
