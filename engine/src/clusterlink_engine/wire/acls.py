"""ACLs: read, create, delete (KIP-140), and what they mean for whoever asks.

Any broker answers. What it reads is what it goes by itself; with KRaft, what is created or deleted goes to the controller, and
each broker learns of it a moment later.
"""

from collections.abc import Sequence
from typing import TypeVar

from kafka.protocol.admin import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)
from kafka.protocol.metadata.metadata import MetadataRequest, MetadataResponse

from clusterlink_engine.model.acls import Acl, AclFilter, AclOperation, AclPatternType, AclPermission, AclResourceType
from clusterlink_engine.wire.brokers import broker_settings
from clusterlink_engine.wire.cluster import Cluster, as_many
from clusterlink_engine.wire.codes import Code, refused

_DESCRIBE_ACLS = (1, 3)  # API key 29; patterns from version 1 on (KIP-290)
_CREATE_ACLS = (1, 3)  # API key 30
_DELETE_ACLS = (1, 3)  # API key 31
_METADATA = (10, 12)  # API key 3

# A broker tells whether it is set, but not the value: it is the authorizer's.
_OPEN = "allow.everyone.if.no.acl.found"

# So many go in one request: an answer must come within the deadline, from slow controllers too.
_AT_ONCE = 200

_EVERY = AclFilter()

Item = TypeVar("Item")


def chunks(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Answers what is created or deleted by one request each, in order."""
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]


async def describe_acls(cluster: Cluster, wanted: AclFilter = _EVERY, node: int = -1) -> frozenset[Acl]:
    """Answers ACLs of a cluster; those of kinds that are newer than this engine are left out.

    Args:
        cluster: Which.
        wanted: What to select.
        node: The broker that is asked; -1 for any.

    Raises:
        BrokerRefusedError: SECURITY_DISABLED if the cluster has no authorizer; CLUSTER_AUTHORIZATION_FAILED without DESCRIBE.
        KafkaError: The cluster could not be asked.
    """
    request = DescribeAclsRequest(
        resource_type_filter=AclResourceType[wanted.resource_type],
        resource_name_filter=wanted.resource_name or None,
        pattern_type_filter=AclPatternType[wanted.pattern_type],
        principal_filter=wanted.principal or None,
        host_filter=wanted.host or None,
        operation=AclOperation[wanted.operation],
        permission_type=AclPermission[wanted.permission_type],
    )
    answer = await cluster.call(node, request, DescribeAclsResponse, _DESCRIBE_ACLS)
    if answer.error_code:
        raise refused(answer.error_code, "Reading the ACLs", cluster.side)  # the broker's text is another at each time
    found = set()
    for resource in answer.resources:
        for entry in resource.acls:
            try:
                found.add(
                    Acl(
                        resource_type=AclResourceType(resource.resource_type).name,
                        resource_name=resource.resource_name,
                        pattern_type=AclPatternType(resource.pattern_type).name,
                        principal=entry.principal,
                        host=entry.host,
                        operation=AclOperation(entry.operation).name,
                        permission_type=AclPermission(entry.permission_type).name,
                    )
                )
            except ValueError:
                continue
    return frozenset(found)


async def create_acls(cluster: Cluster, acls: Sequence[Acl]) -> list[tuple[int, str]]:
    """Creates ACLs; answers Kafka's error code and text of each. One that is there already is fine.

    Raises:
        KafkaError: The cluster could not be asked. The ACLs may have been created.
    """
    creations = [
        CreateAclsRequest.AclCreation(
            resource_type=AclResourceType[acl.resource_type],
            resource_name=acl.resource_name,
            resource_pattern_type=AclPatternType[acl.pattern_type],
            principal=acl.principal,
            host=acl.host,
            operation=AclOperation[acl.operation],
            permission_type=AclPermission[acl.permission_type],
        )
        for acl in acls
    ]
    answer = await cluster.call(-1, CreateAclsRequest(creations=creations), CreateAclsResponse, _CREATE_ACLS)
    results = as_many(cluster, "CreateAcls", answer.results, len(acls))
    return [(int(result.error_code), result.error_message or "") for result in results]


async def delete_acls(cluster: Cluster, acls: Sequence[Acl]) -> list[tuple[int, str]]:
    """Deletes exactly these ACLs; answers Kafka's error code and text of each. One that is gone already is fine.

    Raises:
        KafkaError: The cluster could not be asked. The ACLs may have been deleted.
    """
    filters = [
        DeleteAclsRequest.DeleteAclsFilter(
            resource_type_filter=AclResourceType[acl.resource_type],
            resource_name_filter=acl.resource_name,
            pattern_type_filter=AclPatternType[acl.pattern_type],
            principal_filter=acl.principal,
            host_filter=acl.host,
            operation=AclOperation[acl.operation],
            permission_type=AclPermission[acl.permission_type],
        )
        for acl in acls
    ]
    answer = await cluster.call(-1, DeleteAclsRequest(filters=filters), DeleteAclsResponse, _DELETE_ACLS)
    results = []
    for result in as_many(cluster, "DeleteAcls", answer.filter_results, len(acls)):
        inner = next(((acl.error_code, acl.error_message) for acl in result.matching_acls if acl.error_code), None)
        code, text = inner if inner is not None and not result.error_code else (result.error_code, result.error_message)
        results.append((int(code or Code.NONE), text or ""))
    return results


async def may_describe(cluster: Cluster, node: int, topic: str) -> bool:
    """Tells whether a broker lets its caller describe a topic, which need not exist.

    Raises:
        KafkaError: The broker could not be asked.
    """
    request = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=topic)],
        allow_auto_topic_creation=False,
        include_topic_authorized_operations=False,
    )
    answer = await cluster.call(node, request, MetadataResponse, _METADATA)
    return all(found.error_code in (Code.NONE, Code.UNKNOWN_TOPIC_OR_PARTITION) for found in answer.topics)


async def may_be_open(cluster: Cluster, node: int) -> bool:
    """Tells whether a broker may let everybody use what no ACL speaks of: there, the first ACL closes it to all others.

    Raises:
        KafkaError: The broker could not be asked.
    """
    found = await broker_settings(cluster, node, [_OPEN])
    return found is None or bool(found)
