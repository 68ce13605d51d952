"""What brokers tell of themselves: settings, the controller's clock, and which requests they understand."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kafka.protocol.admin import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    DescribeQuorumRequest,
    DescribeQuorumResponse,
)

from clusterlink_engine.errors import ProtocolViolationError
from clusterlink_engine.wire import fetch, produce
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import refused
from clusterlink_engine.wire.connection import choose_version

_DESCRIBE_CONFIGS = (1, 4)  # API key 32
_DESCRIBE_QUORUM = (1, 2)  # API key 55; with the times of replicas from version 1 on (KIP-836)
TOPIC, _BROKER = 2, 4  # kinds of resources with settings
_METADATA_LOG = "__cluster_metadata"

# The requests that mirroring cannot do without and that not every Kafka has, by name: API key, lowest and highest version.
_NEEDED: Mapping[str, tuple[int, int, int]] = {
    "Produce": (produce.API_KEY, produce.LOWEST, produce.HIGHEST),
    "Fetch": (fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST),
    "OffsetFetch": (9, 8, 8),
    "CreateTopics": (19, 7, 7),
    "DeleteTopics": (20, 6, 6),
    "IncrementalAlterConfigs": (44, 0, 1),
    "DescribeProducers": (61, 0, 0),
}


async def broker_settings(cluster: Cluster, node: int, names: Collection[str]) -> dict[str, str | None] | None:
    """Answers settings of a broker, those that it does not know left out; None without DESCRIBE_CONFIGS on the cluster.

    A value is None if the broker does not tell it: it is a secret, or of no type that it knows.

    Raises:
        KafkaError: The broker could not be asked.
    """
    return (await _allowed(cluster, node, _BROKER, [str(node)], names)).get(str(node))


async def topic_settings(
    cluster: Cluster, topics: Collection[str], names: Collection[str]
) -> dict[str, dict[str, str]]:
    """Answers settings of topics, with those that may not be described, or do not exist, left out.

    Raises:
        KafkaError: No broker could be asked.
    """
    found = await _allowed(cluster, -1, TOPIC, topics, names)
    return {
        topic: {name: value for name, value in settings.items() if value is not None}
        for topic, settings in found.items()
    }


async def described(
    cluster: Cluster, node: int, kind: int, resources: Collection[str], names: Collection[str] | None = None
) -> Sequence[Any]:
    """Answers the results of DescribeConfigs for resources of a kind; of all settings if no names are given.

    Raises:
        KafkaError: The broker could not be asked.
    """
    resource_class = DescribeConfigsRequest.DescribeConfigsResource
    keys = sorted(names) if names is not None else None
    asked = [
        resource_class(resource_type=kind, resource_name=name, configuration_keys=keys)
        for name in sorted(set(resources))
    ]
    request = DescribeConfigsRequest(resources=asked, include_synonyms=False, include_documentation=False)
    answer = await cluster.call(node, request, DescribeConfigsResponse, _DESCRIBE_CONFIGS)
    results: Sequence[Any] = answer.results
    return results


async def _allowed(
    cluster: Cluster, node: int, kind: int, resources: Collection[str], names: Collection[str]
) -> dict[str, dict[str, str | None]]:
    return {
        result.resource_name: {entry.name: entry.value for entry in result.configs}
        for result in await described(cluster, node, kind, resources, names)
        if not result.error_code
    }


async def controller_time(cluster: Cluster) -> int:
    """Answers the clock of the controller, in milliseconds since 1970: when it was the leader of the metadata, which is now.

    Raises:
        BrokerRefusedError: CLUSTER_AUTHORIZATION_FAILED without DESCRIBE on the cluster.
        ProtocolViolationError: The cluster is too old, or has no such controller.
        KafkaError: No broker could be asked.
    """
    topic = DescribeQuorumRequest.TopicData
    asked = topic(topic_name=_METADATA_LOG, partitions=[topic.PartitionData(partition_index=0)])
    answer = await cluster.call(-1, DescribeQuorumRequest(topics=[asked]), DescribeQuorumResponse, _DESCRIBE_QUORUM)
    if answer.error_code:
        raise refused(answer.error_code, "DescribeQuorum", cluster.side)
    for found in answer.topics:
        for partition in found.partitions:
            for voter in partition.current_voters:
                if voter.replica_id == partition.leader_id and voter.last_caught_up_timestamp > 0:
                    return int(voter.last_caught_up_timestamp)
    raise ProtocolViolationError(f"The {cluster.side} cluster does not tell its controller's time.", side=cluster.side)


async def not_understood(cluster: Cluster) -> str:
    """Answers what a broker lacks of the requests that mirroring needs, for people; empty if nothing.

    Raises:
        KafkaError: No broker can be reached.
    """
    connection = await cluster.open_any()
    connection.close()
    for key, lowest, highest in _NEEDED.values():
        try:
            choose_version(connection, key, lowest, highest)
        except ProtocolViolationError as error:
            return str(error)
    return ""
