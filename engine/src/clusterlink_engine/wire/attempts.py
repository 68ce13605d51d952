"""Finds out rights without harm: attempts that are authorized first, and that can then do nothing.

A broker looks at its caller's rights before it looks at what is asked. So each attempt is for what cannot be: a partition that
no topic has, a member that no group has, a transaction that nobody has begun; or only to be checked (`validate_only`). The
error tells whether the right was missing. Nothing has to exist, and nothing is created, changed or fenced.

Any broker answers: what is for a leader, a coordinator or the controller is authorized before it is passed on, or refused.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from kafka.protocol.consumer import HeartbeatRequest, HeartbeatResponse
from kafka.protocol.producer import EndTxnRequest, EndTxnResponse

from clusterlink_engine.model.acls import AclOperation, AclResourceType
from clusterlink_engine.wire import fetch, produce
from clusterlink_engine.wire.cluster import NO_TOPIC_ID, Cluster
from clusterlink_engine.wire.codes import Code, refused
from clusterlink_engine.wire.connection import choose_version

Answer = TypeVar("Answer")

# No topic can have this partition.
_NOWHERE = 2**31 - 1
_NOBODY = "clusterlink-check"
_TIMEOUT_MS = 10_000
_TOPIC = 2  # a kind of resource with settings

_BY_NAME = (
    12  # Fetch and Produce name topics up to this version; later ones take ids, which what does not exist has none of
)

_CREATE_TOPICS = (5, 7)  # API key 19
_DELETE_RECORDS = (1, 2)  # API key 21
_END_TXN = (1, 3)  # API key 26
_HEARTBEAT = (2, 4)  # API key 12
_DESCRIBE_CONFIGS = (1, 4)  # API key 32
_CREATE_PARTITIONS = (1, 3)  # API key 37
_INCREMENTAL_ALTER_CONFIGS = (0, 1)  # API key 44, KIP-339
_DESCRIBE_GROUPS = (3, 5)  # API key 15; later ones refuse a group that does not exist
_DESCRIBE_CLUSTER = (0, 1)  # API key 60, KIP-700

_FORBIDDEN = frozenset(
    {
        Code.TOPIC_AUTHORIZATION_FAILED,
        Code.GROUP_AUTHORIZATION_FAILED,
        Code.CLUSTER_AUTHORIZATION_FAILED,
        Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)

# What a broker says once the right was there: that there is no such thing, or that it is somebody else's.
_ALLOWED = frozenset(
    {
        Code.NONE,
        Code.UNKNOWN_TOPIC_OR_PARTITION,
        Code.TOPIC_ALREADY_EXISTS,
        Code.INVALID_PARTITIONS,
        Code.UNKNOWN_MEMBER_ID,
        Code.ILLEGAL_GENERATION,
        Code.INVALID_PRODUCER_ID_MAPPING,
        Code.COORDINATOR_NOT_AVAILABLE,
        Code.COORDINATOR_LOAD_IN_PROGRESS,
        Code.NOT_COORDINATOR,
        # Of a CreateTopics that only checks: the brokers there are at the moment do not suffice.
        Code.INVALID_REPLICATION_FACTOR,
        Code.POLICY_VIOLATION,
    }
)


def verdict(code: int) -> bool | None:
    """Tells whether an attempt's error code says that the right is there; None if it says neither."""
    if code in _FORBIDDEN:
        return False
    return True if code in _ALLOWED else None


async def attempt(
    cluster: Cluster, resource_type: AclResourceType, operation: AclOperation, names: Collection[str]
) -> dict[str, int]:
    """Attempts what needs a right on each of some resources; answers Kafka's error codes, for `verdict`.

    Args:
        cluster: Any of its brokers is asked.
        resource_type: TOPIC, GROUP or TRANSACTIONAL_ID. For the cluster there is `cluster_operations`.
        operation: One of those that a link needs on such a resource.
        names: Of the resources; they need not exist.

    Raises:
        KafkaError: No broker could be asked, or it has not the versions.
    """
    return await _ATTEMPTS[resource_type, operation](cluster, sorted(names))


async def cluster_operations(cluster: Cluster) -> frozenset[AclOperation] | None:
    """Answers what may be done with the cluster itself; None without DESCRIBE, since nothing is told then.

    Raises:
        KafkaError: No broker could be asked, or it refused.
    """
    request = DescribeClusterRequest(include_cluster_authorized_operations=True)
    answer = await cluster.call(-1, request, DescribeClusterResponse, _DESCRIBE_CLUSTER)
    if answer.error_code:
        raise refused(answer.error_code, "DescribeCluster", cluster.side)
    allowed = {int(bit) for bit in answer.authorized_operations or ()}
    found = frozenset(operation for operation in AclOperation if int(operation) in allowed)
    return found or None


async def _read(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    wanted = [fetch.FetchPartition(topic, NO_TOPIC_ID, _NOWHERE, 0, 1) for topic in topics]

    def encode(version: int) -> list[Any]:
        return [
            fetch.encode(version, wanted, max_wait_ms=0, min_bytes=0, max_bytes=1, isolation=fetch.READ_UNCOMMITTED)
        ]

    def decode(version: int, body: memoryview) -> fetch.FetchAnswer:
        return fetch.decode(version, body, len(wanted))

    answer = await _send(cluster, fetch.API_KEY, fetch.LOWEST, encode, decode)
    if answer.error:
        raise refused(answer.error, "Fetch", cluster.side)
    return {entry.topic: entry.error for entry in answer.partitions}


async def _write(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    wanted = [produce.ProducePartition(topic, NO_TOPIC_ID, _NOWHERE, memoryview(b"")) for topic in topics]

    def encode(version: int) -> list[Any]:
        return list(produce.encode(version, wanted, timeout_ms=_TIMEOUT_MS))

    answer = await _send(cluster, produce.API_KEY, produce.LOWEST, encode, produce.decode)
    return {entry.topic: entry.error for entry in answer.partitions}


async def _send(
    cluster: Cluster,
    api_key: int,
    lowest: int,
    encode: Callable[[int], list[Any]],
    decode: Callable[[int, memoryview], Answer],
) -> Answer:
    """Sends a request that is coded by hand, over a connection of its own; answers the decoded answer."""
    connection = await cluster.open_any()
    try:
        version = choose_version(connection, api_key, lowest, _BY_NAME)
        await connection.drain()
        body = await connection.send(api_key, version, encode(version), flexible=True)
        try:
            return decode(version, body)
        except Exception as error:
            raise connection.violated(f"answered an attempt with what cannot be decoded ({error})") from error
    finally:
        connection.close()


async def _create(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    wanted = [
        CreateTopicsRequest.CreatableTopic(
            name=topic, num_partitions=1, replication_factor=-1, assignments=[], configs=[]
        )
        for topic in topics
    ]
    request = CreateTopicsRequest(topics=wanted, timeout_ms=_TIMEOUT_MS, validate_only=True)
    answer = await cluster.call(-1, request, CreateTopicsResponse, _CREATE_TOPICS)
    return {result.name: result.error_code for result in answer.topics}


async def _delete(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    kind = DeleteRecordsRequest.DeleteRecordsTopic
    wanted = [
        kind(name=topic, partitions=[kind.DeleteRecordsPartition(partition_index=_NOWHERE, offset=0)])
        for topic in topics
    ]
    request = DeleteRecordsRequest(topics=wanted, timeout_ms=_TIMEOUT_MS)
    answer = await cluster.call(-1, request, DeleteRecordsResponse, _DELETE_RECORDS)
    return {topic.name: entry.error_code for topic in answer.topics for entry in topic.partitions}


async def _alter(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    kind = CreatePartitionsRequest.CreatePartitionsTopic
    wanted = [kind(name=topic, count=1, assignments=None) for topic in topics]
    request = CreatePartitionsRequest(topics=wanted, timeout_ms=_TIMEOUT_MS, validate_only=True)
    answer = await cluster.call(-1, request, CreatePartitionsResponse, _CREATE_PARTITIONS)
    return {result.name: result.error_code for result in answer.results}


async def _alter_configs(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    kind = IncrementalAlterConfigsRequest.AlterConfigsResource
    wanted = [kind(resource_type=_TOPIC, resource_name=topic, configs=[]) for topic in topics]
    request = IncrementalAlterConfigsRequest(resources=wanted, validate_only=True)
    answer = await cluster.call(-1, request, IncrementalAlterConfigsResponse, _INCREMENTAL_ALTER_CONFIGS)
    return {result.resource_name: result.error_code for result in answer.responses}


async def _describe_configs(cluster: Cluster, topics: list[str]) -> dict[str, int]:
    kind = DescribeConfigsRequest.DescribeConfigsResource
    wanted = [
        kind(resource_type=_TOPIC, resource_name=topic, configuration_keys=["cleanup.policy"]) for topic in topics
    ]
    request = DescribeConfigsRequest(resources=wanted, include_synonyms=False, include_documentation=False)
    answer = await cluster.call(-1, request, DescribeConfigsResponse, _DESCRIBE_CONFIGS)
    return {result.resource_name: result.error_code for result in answer.results}


async def _describe_groups(cluster: Cluster, groups: list[str]) -> dict[str, int]:
    request = DescribeGroupsRequest(groups=groups, include_authorized_operations=False)
    answer = await cluster.call(-1, request, DescribeGroupsResponse, _DESCRIBE_GROUPS)
    return {group.group_id: group.error_code for group in answer.groups}


async def _read_groups(cluster: Cluster, groups: list[str]) -> dict[str, int]:
    found = {}
    for group in groups:
        request = HeartbeatRequest(group_id=group, generation_id=0, member_id=_NOBODY, group_instance_id=None)
        found[group] = (await cluster.call(-1, request, HeartbeatResponse, _HEARTBEAT)).error_code
    return found


async def _write_transactions(cluster: Cluster, names: list[str]) -> dict[str, int]:
    found = {}
    for name in names:
        # A producer id that no broker gives out: it is none of whoever has the transactional id.
        request = EndTxnRequest(transactional_id=name, producer_id=2**63 - 1, producer_epoch=0, committed=False)
        found[name] = (await cluster.call(-1, request, EndTxnResponse, _END_TXN)).error_code
    return found


_ATTEMPTS: Mapping[tuple[AclResourceType, AclOperation], Callable[[Cluster, list[str]], Awaitable[dict[str, int]]]] = {
    (AclResourceType.TOPIC, AclOperation.READ): _read,
    (AclResourceType.TOPIC, AclOperation.WRITE): _write,
    (AclResourceType.TOPIC, AclOperation.CREATE): _create,
    (AclResourceType.TOPIC, AclOperation.DELETE): _delete,
    (AclResourceType.TOPIC, AclOperation.ALTER): _alter,
    (AclResourceType.TOPIC, AclOperation.ALTER_CONFIGS): _alter_configs,
    (AclResourceType.TOPIC, AclOperation.DESCRIBE_CONFIGS): _describe_configs,
    (AclResourceType.GROUP, AclOperation.DESCRIBE): _describe_groups,
    (AclResourceType.GROUP, AclOperation.READ): _read_groups,
    (AclResourceType.TRANSACTIONAL_ID, AclOperation.WRITE): _write_transactions,
}

# What can be attempted.
ATTEMPTED = tuple(_ATTEMPTS)
