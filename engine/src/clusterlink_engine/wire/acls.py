"""ACLs: read all, create, delete (KIP-140). Any broker answers; with KRaft it asks the controller."""

from collections.abc import Sequence

from kafka.protocol.admin import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)

from clusterlink_engine.model.acls import Acl, AclOperation, AclPatternType, AclPermission, AclResourceType
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, refused

_DESCRIBE_ACLS = (1, 3)  # API key 29; patterns from version 1 on (KIP-290)
_CREATE_ACLS = (1, 3)  # API key 30
_DELETE_ACLS = (1, 3)  # API key 31


async def describe_acls(cluster: Cluster) -> frozenset[Acl]:
    """Answers all ACLs of a cluster; those of kinds that are newer than this engine are left out.

    Raises:
        BrokerRefusedError: SECURITY_DISABLED if the cluster has no authorizer; CLUSTER_AUTHORIZATION_FAILED without DESCRIBE.
        KafkaError: The cluster could not be asked.
    """
    request = DescribeAclsRequest(
        resource_type_filter=AclResourceType.ANY,
        resource_name_filter=None,
        pattern_type_filter=AclPatternType.ANY,
        principal_filter=None,
        host_filter=None,
        operation=AclOperation.ANY,
        permission_type=AclPermission.ANY,
    )
    answer = await cluster.call(-1, request, DescribeAclsResponse, _DESCRIBE_ACLS)
    if answer.error_code:
        raise refused(answer.error_code, "Reading the ACLs", cluster.side, answer.error_message)
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
    return [(int(result.error_code), result.error_message or "") for result in answer.results]


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
    for result in answer.filter_results:
        inner = next(((acl.error_code, acl.error_message) for acl in result.matching_acls if acl.error_code), None)
        code, text = inner if inner is not None and not result.error_code else (result.error_code, result.error_message)
        results.append((int(code or Code.NONE), text or ""))
    return results
