"""What a broker knows of partitions' logs: ends, producers, last batch. And the calls that make and remove topics.

Messages of kafka-python, but for what all idle partitions are asked; none of this is on the data path.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from kafka.protocol.admin.topics import (
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from kafka.protocol.admin.transactions import DescribeProducersRequest, DescribeProducersResponse
from kafka.protocol.producer.transaction import InitProducerIdRequest, InitProducerIdResponse

from clusterlink_engine.errors import ProtocolViolationError, Side, is_retriable
from clusterlink_engine.mirror.batches import BatchHeader
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import batch, fetch, list_offsets, records
from clusterlink_engine.wire.cluster import Cluster, as_many, topic_id_of
from clusterlink_engine.wire.codes import refused
from clusterlink_engine.wire.connection import Connection, choose_version

# In ListOffsets: a replica id other than -1 is not cut at the high watermark; one below -2 is answered by the leader alone.
_AS_CONSUMER, _AS_LEADER_ONLY = -1, -3
_LATEST, _EARLIEST = -1, -2

_DESCRIBE_PRODUCERS = (0, 0)  # API key 61, KIP-664
_INIT_PRODUCER_ID = (1, 4)  # API key 22, KIP-98
_CREATE_TOPICS = (7, 7)  # API key 19; version 7 answers the topic id (KIP-516)
_DELETE_TOPICS = (6, 6)  # API key 20; version 6 takes the topic id (KIP-516)
_DELETE_RECORDS = (1, 2)  # API key 21, KIP-107
_TOPIC_TIMEOUT_MS = 30_000

# Where a partition that was asked for is not in the answer.
_UNKNOWN_SERVER_ERROR = -1

# Others wait for the same connection, and a replica that does not follow would hold them up.
_DELETE_RECORDS_MS = 2_000
_PRODUCER_ID_SECONDS = 15.0
_SCAN_BYTES = 1024 * 1024

TopicPartition = tuple[str, int]
Answer = TypeVar("Answer")


class LogEnd(NamedTuple):
    """An offset of a partition's log, or Kafka's error code."""

    offset: int
    error: int


class LogOffset(NamedTuple):
    """An offset of a partition. `topic_id` is a UUID in hexadecimal digits."""

    topic: str
    topic_id: str
    partition: int
    offset: int


class ProducerState(NamedTuple):
    """What a partition remembers of a producer id; `last_sequence` is -1 if it remembers none in this epoch."""

    epoch: int
    last_sequence: int


async def log_ends(cluster: Cluster, node: int, partitions: Collection[TopicPartition]) -> dict[TopicPartition, LogEnd]:
    """Asks a leader where logs end, uncommitted records included."""
    return await _list_offsets(cluster, node, partitions, _LATEST, _AS_LEADER_ONLY)


async def high_watermarks(
    cluster: Cluster, node: int, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, LogEnd]:
    """Asks a leader for the offsets below which records are committed."""
    return await _list_offsets(cluster, node, partitions, _LATEST, _AS_CONSUMER)


async def log_starts(
    cluster: Cluster, node: int, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, LogEnd]:
    """Asks a leader where logs start."""
    return await _list_offsets(cluster, node, partitions, _EARLIEST, _AS_CONSUMER)


async def last_stable_offsets(
    cluster: Cluster, node: int, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, LogEnd]:
    """Asks a leader for the offsets below which all transactions are decided."""
    return await _list_offsets(cluster, node, partitions, _LATEST, _AS_CONSUMER, isolation=fetch.READ_COMMITTED)


async def offsets_at(
    cluster: Cluster, node: int, partitions: Collection[TopicPartition], timestamp: int
) -> dict[TopicPartition, LogEnd]:
    """Asks a leader for the first record of a time (in milliseconds, at least 0) or later; offset -1 if there is none."""
    return await _list_offsets(cluster, node, partitions, timestamp, _AS_CONSUMER)


async def _list_offsets(
    cluster: Cluster,
    node: int,
    partitions: Collection[TopicPartition],
    timestamp: int,
    replica_id: int,
    *,
    isolation: int = fetch.READ_UNCOMMITTED,
) -> dict[TopicPartition, LogEnd]:
    connection = await cluster.controlled(node)
    await connection.drain()
    view = await _ask_offsets(connection, partitions, timestamp, replica_id, isolation)
    return read_offsets(connection, view, partitions)


def ask_log_ends(
    connection: Connection, partitions: Collection[TopicPartition], *, timeout: float
) -> asyncio.Future[memoryview]:
    """Asks for what `log_ends` answers, at once and over a connection to the leader; see `Connection.send`."""
    return _ask_offsets(connection, partitions, _LATEST, _AS_LEADER_ONLY, fetch.READ_UNCOMMITTED, timeout)


def _ask_offsets(
    connection: Connection,
    partitions: Collection[TopicPartition],
    timestamp: int,
    replica_id: int,
    isolation: int,
    timeout: float | None = None,
) -> asyncio.Future[memoryview]:
    version = choose_version(connection, list_offsets.API_KEY, list_offsets.LOWEST, list_offsets.HIGHEST)
    body = list_offsets.encode(
        version, by_topic(partitions), timestamp=timestamp, replica_id=replica_id, isolation=isolation
    )
    flexible = version >= list_offsets.FLEXIBLE
    return connection.send(list_offsets.API_KEY, version, [body], flexible=flexible, timeout=timeout)


def read_offsets(
    connection: Connection, answer: memoryview, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, LogEnd]:
    """Answers what a broker found, as by `ask_log_ends`.

    Raises:
        ProtocolViolationError: It cannot be decoded, or misses one of the partitions.
    """
    version = choose_version(connection, list_offsets.API_KEY, list_offsets.LOWEST, list_offsets.HIGHEST)
    try:
        found = list_offsets.decode(version, answer, len(partitions))
    except Exception as error:
        raise connection.violated(f"answered ListOffsets with what cannot be decoded ({error})") from error
    ends = {(entry.topic, entry.partition): LogEnd(entry.offset, entry.error) for entry in found}
    return _complete(connection.side, "ListOffsets", partitions, ends)


async def producer_states(
    cluster: Cluster, node: int, partitions: Mapping[TopicPartition, int]
) -> dict[TopicPartition, ProducerState | int | None]:
    """Asks a leader what partitions remember of a producer id.

    Args:
        cluster: The cluster.
        node: The leader.
        partitions: The producer id to look for, by partition.

    Returns:
        By partition: the state, None if the broker has forgotten the id or never saw it, or Kafka's error code.
    """
    topic_class = DescribeProducersRequest.TopicRequest
    request = DescribeProducersRequest(
        topics=[topic_class(name=name, partition_indexes=indexes) for name, indexes in by_topic(partitions).items()]
    )
    answer = await cluster.call(node, request, DescribeProducersResponse, _DESCRIBE_PRODUCERS)
    states: dict[TopicPartition, ProducerState | int | None] = {}
    for topic in answer.topics:
        for partition in topic.partitions:
            key = (topic.name, partition.partition_index)
            if key not in partitions:
                continue
            if partition.error_code:
                states[key] = int(partition.error_code)
                continue
            states[key] = next(
                (
                    ProducerState(producer.producer_epoch, producer.last_sequence)
                    for producer in partition.active_producers
                    if producer.producer_id == partitions[key]
                ),
                None,
            )
    return _complete(cluster.side, "DescribeProducers", partitions, states)


async def batches_at(
    cluster: Cluster, node: int, offsets: Sequence[LogOffset]
) -> dict[TopicPartition, BatchHeader | int | None]:
    """Reads the headers of the batches that hold certain offsets, one for each partition.

    Compaction may have removed what was at an offset: then the batch that follows is answered.

    Returns:
        By partition: the header, None where the log has nothing, or Kafka's error code.

    Raises:
        KafkaError: The broker could not be asked.
    """
    if not offsets:
        return {}
    connection = await cluster.open(node)
    try:
        version = choose_version(connection, fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST)
        found: dict[TopicPartition, BatchHeader | int | None] = {}
        for at in offsets:
            # One partition in a request: a broker answers more bytes than were asked for only to the first one.
            code, entry = await _fetch_at(connection, version, at, 1)
            found[at.topic, at.partition] = code or (batch.peek(entry.records) if entry is not None else None)
    finally:
        connection.close()
    return found


async def _fetch_at(
    connection: Connection, version: int, at: LogOffset, size: int
) -> tuple[int, fetch.FetchedPartition | None]:
    """Fetches one partition: at least one whole batch, if there is any, however small `size` is; answers an error code, too."""
    wanted = fetch.FetchPartition(at.topic, at.topic_id, at.partition, at.offset, size)
    body = fetch.encode(version, [wanted], max_wait_ms=0, min_bytes=0, max_bytes=size, isolation=fetch.READ_UNCOMMITTED)
    await connection.drain()
    most = fetch.largest_answer(size)
    frame = await connection.send(fetch.API_KEY, version, [body], flexible=True, most=most)
    try:
        answer = fetch.decode(version, frame, 1)
    except Exception as error:
        raise connection.violated(f"answered Fetch with what cannot be decoded ({error})") from error
    entry = next(iter(answer.partitions), None)
    return answer.error or (entry.error if entry is not None else _UNKNOWN_SERVER_ERROR), entry


async def _records_at(connection: Connection, version: int, at: LogOffset, size: int) -> fetch.FetchedPartition:
    """Does the same, and raises BrokerRefusedError for an error code."""
    code, entry = await _fetch_at(connection, version, at, size)
    if code or entry is None:
        raise refused(code, f"Fetch of {at.topic}-{at.partition} at offset {at.offset}", connection.side)
    return entry


async def has_key(cluster: Cluster, node: int, at: LogOffset, end: int, key: bytes) -> bool:
    """Tells whether a replica has a record with a key, from an offset up to and without another one.

    Args:
        cluster: The cluster.
        node: Any broker that has a replica; a follower answers, too (KIP-392).
        at: Where to begin.
        end: Where to stop.
        key: Long and random enough to be found among the bytes of the records.

    Raises:
        KafkaError: The broker could not be asked, or refused.
        TornBatchError: Its records are damaged.
    """
    connection = await cluster.open(node)
    try:
        version = choose_version(connection, fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST)
        while at.offset < end:
            found = await _records_at(connection, version, at, _SCAN_BYTES)
            batches = batch.split(found.records)
            for one in batches:
                if one.header.base_offset < end and one.header.records and records.has_bytes(one, key):
                    return True
            if not batches:
                return False  # nothing is left behind
            if batches[-1].header.last_offset < at.offset:
                raise connection.violated(f"answered Fetch at offset {at.offset} with what lies before it")
            at = at._replace(offset=batches[-1].header.last_offset + 1)
    finally:
        connection.close()
    return False


async def delete_records(
    cluster: Cluster, node: int, before: Mapping[TopicPartition, int]
) -> dict[TopicPartition, LogEnd]:
    """Asks a leader to delete the records below an offset of each partition; answers where the logs start now."""
    topic_class = DeleteRecordsRequest.DeleteRecordsTopic
    partition_class = topic_class.DeleteRecordsPartition
    topics = [
        topic_class(
            name=name,
            partitions=[partition_class(partition_index=index, offset=before[name, index]) for index in indexes],
        )
        for name, indexes in by_topic(before).items()
    ]
    request = DeleteRecordsRequest(topics=topics, timeout_ms=_DELETE_RECORDS_MS)
    answer = await cluster.call(node, request, DeleteRecordsResponse, _DELETE_RECORDS)
    return {
        (topic.name, partition.partition_index): LogEnd(partition.low_watermark, partition.error_code)
        for topic in answer.topics
        for partition in topic.partitions
    }


async def init_producer_id(cluster: Cluster) -> int:
    """Gets a producer id that nobody else has, without a transactional id.

    A cluster that has just started refuses for a moment (COORDINATOR_LOAD_IN_PROGRESS); that is waited for.

    Raises:
        KafkaError: The cluster could not be asked, or refused.
    """
    request = InitProducerIdRequest(
        transactional_id=None, transaction_timeout_ms=2**31 - 1, producer_id=-1, producer_epoch=-1
    )
    backoff = Backoff(0.1, 1.0)
    give_up_at = asyncio.get_running_loop().time() + _PRODUCER_ID_SECONDS
    while True:
        answer = await cluster.call(-1, request, InitProducerIdResponse, _INIT_PRODUCER_ID)
        if not answer.error_code:
            return int(answer.producer_id)
        error = refused(answer.error_code, "InitProducerId", cluster.side)
        if not is_retriable(error) or asyncio.get_running_loop().time() > give_up_at:
            raise error
        await backoff.wait()


async def create_topic(
    cluster: Cluster, name: str, *, partitions: int, replication_factor: int, settings: Mapping[str, str]
) -> str:
    """Creates a topic and answers its id in hexadecimal digits.

    Args:
        cluster: Where; any broker forwards the request to the controller.
        name: Of the topic.
        partitions: At least 1.
        replication_factor: -1 for the cluster's default.
        settings: By name; all must be known to the cluster.

    Raises:
        BrokerRefusedError: Among others TOPIC_ALREADY_EXISTS, INVALID_REPLICATION_FACTOR, POLICY_VIOLATION.
        ProtocolViolationError: The answer is not about one topic.
        KafkaError: The cluster could not be asked; the topic may have been created.
    """
    topic_class = CreateTopicsRequest.CreatableTopic
    config_class = topic_class.CreatableTopicConfig
    topic = topic_class(
        name=name,
        num_partitions=partitions,
        replication_factor=replication_factor,
        assignments=[],
        configs=[config_class(name=key, value=value) for key, value in settings.items()],
    )
    request = CreateTopicsRequest(topics=[topic], timeout_ms=_TOPIC_TIMEOUT_MS, validate_only=False)
    answer = await cluster.call(-1, request, CreateTopicsResponse, _CREATE_TOPICS)
    result = as_many(cluster, "CreateTopics", answer.topics, 1)[0]
    if result.error_code:
        raise refused(result.error_code, f'Creating the topic "{name}"', cluster.side, result.error_message)
    return topic_id_of(result.topic_id)


async def delete_topic(cluster: Cluster, topic_id: str) -> None:
    """Deletes a topic by its id: a topic of the same name that somebody made meanwhile stays.

    Raises:
        BrokerRefusedError: UNKNOWN_TOPIC_ID if it is gone already, among others.
        KafkaError: The cluster could not be asked; the topic may have been deleted.
    """
    topic = DeleteTopicsRequest.DeleteTopicState(name=None, topic_id=UUID(topic_id))
    request = DeleteTopicsRequest(topics=[topic], timeout_ms=_TOPIC_TIMEOUT_MS)
    answer = await cluster.call(-1, request, DeleteTopicsResponse, _DELETE_TOPICS)
    result = as_many(cluster, "DeleteTopics", answer.responses, 1)[0]
    if result.error_code:
        raise refused(result.error_code, f"Deleting the topic with id {topic_id}", cluster.side, result.error_message)


def _complete(
    side: Side, what: str, asked: Collection[TopicPartition], answers: dict[TopicPartition, Answer]
) -> dict[TopicPartition, Answer]:
    """Answers the answers if there is one for each partition that was asked for.

    Raises:
        ProtocolViolationError: There is not.
    """
    for name, index in asked:
        if (name, index) not in answers:
            raise ProtocolViolationError(
                f"A broker of the {side} cluster answered {what} without {name}-{index}.", side=side
            )
    return answers


def by_topic(partitions: Collection[TopicPartition]) -> dict[str, list[int]]:
    """Answers the partition indexes of each topic, in order."""
    topics: dict[str, list[int]] = {}
    for name, index in sorted(partitions):
        topics.setdefault(name, []).append(index)
    return topics
