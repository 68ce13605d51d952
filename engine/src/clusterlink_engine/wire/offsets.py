"""Committed offsets of consumer groups: read for many groups at once, and written for groups without members."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from kafka.protocol.consumer.group import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)

from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.consumer_groups import chunks
from clusterlink_engine.wire.logs import TopicPartition, by_topic

_OFFSET_FETCH = (8, 8)  # API key 9; many groups in one request (KIP-709), stable offsets only (KIP-447)
_OFFSET_COMMIT = (8, 8)  # API key 8


class Committed(NamedTuple):
    """An offset that a group has committed, and the text that it left with it."""

    offset: int
    metadata: str


async def fetch_offsets(
    cluster: Cluster, node: int, groups: Collection[str]
) -> tuple[dict[str, dict[TopicPartition, Committed]], dict[str, int]]:
    """Reads everything that groups have committed, from their coordinator.

    An offset that an open transaction is about to change is left out: it is not decided yet.

    Args:
        cluster: To ask.
        node: Node id of the groups' coordinator.
        groups: Ids; nobody needs to have heard of them.

    Returns:
        The offsets by group and partition, and Kafka's error code of each group that was refused.

    Raises:
        KafkaError: The broker could not be asked.
    """
    found: dict[str, dict[TopicPartition, Committed]] = {}
    errors: dict[str, int] = {}
    for some in chunks(groups):
        wanted = [OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=None) for group in some]
        request = OffsetFetchRequest(groups=wanted, require_stable=True)
        answer = await cluster.call(node, request, OffsetFetchResponse, _OFFSET_FETCH)
        for group in answer.groups:
            if group.group_id not in some:
                continue
            if group.error_code:
                errors[group.group_id] = group.error_code
                continue
            found[group.group_id] = {
                (topic.name, partition.partition_index): Committed(partition.committed_offset, partition.metadata or "")
                for topic in group.topics
                for partition in topic.partitions
                if not partition.error_code and partition.committed_offset >= 0
            }
    return found, errors


async def commit_offsets(
    connection: Connection, group: str, offsets: Mapping[TopicPartition, Committed]
) -> dict[TopicPartition, int]:
    """Commits offsets for a group from outside; a broker refuses that with UNKNOWN_MEMBER_ID while the group has members.

    Without a leader epoch: those of one cluster mean nothing to another.

    Args:
        connection: To the group's coordinator.
        group: Id.
        offsets: What is committed.

    Returns:
        Kafka's error code of each partition.

    Raises:
        KafkaError: The broker could not be asked. The offsets may have been committed.
    """
    topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
    partition_class = topic_class.OffsetCommitRequestPartition
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=-1,
        member_id="",
        group_instance_id=None,
        topics=[
            topic_class(
                name=topic,
                partitions=[
                    partition_class(
                        partition_index=index,
                        committed_offset=offsets[topic, index].offset,
                        committed_leader_epoch=-1,
                        committed_metadata=offsets[topic, index].metadata,
                    )
                    for index in indexes
                ],
            )
            for topic, indexes in by_topic(offsets).items()
        ],
    )
    version = choose_version(connection, request.API_KEY, *_OFFSET_COMMIT)
    answer = await connection.call(request, OffsetCommitResponse, version)
    return {
        (topic.name, partition.partition_index): partition.error_code
        for topic in answer.topics
        for partition in topic.partitions
        if (topic.name, partition.partition_index) in offsets
    }


def is_in_use(code: int) -> bool:
    """Tells whether an error code of `commit_offsets` says that the group has members."""
    return code in (Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION, Code.REBALANCE_IN_PROGRESS)
