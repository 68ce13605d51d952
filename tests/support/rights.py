"""ACLs of clusters with an authorizer, and the least rights of an engine, by the engine's own table."""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from clusterlink_engine.errors import Side
from clusterlink_engine.model import rights
from clusterlink_engine.model.checks import ENGINE_PREFIX
from clusterlink_engine.model.rights import RIGHTS, Feature, Scope
from tests.support import topics
from tests.support.waiting import wait_until

_SECONDS = 30.0

Right = tuple[ResourceType, str, ResourcePatternType, AclOperation]

_PREFIXED, _LITERAL = ResourcePatternType.PREFIXED, ResourcePatternType.LITERAL


def local(mirrors: str, state_topic: str) -> list[Right]:
    """On the local cluster: for the state topic, and for mirror topics whose names begin with `mirrors`."""
    features = (Feature.STATE, Feature.WORK, Feature.TRANSACTIONS, Feature.RECORDS)
    names = {Scope.STATE_TOPIC: state_topic, Scope.MIRROR_TOPICS: mirrors}
    return [of(right, names) for right in RIGHTS if right.side is Side.LOCAL and right.feature in features]


def remote(sources: str) -> list[Right]:
    """On the remote cluster: for source topics whose names begin with `sources`."""
    names = {Scope.SOURCE_TOPICS: sources}
    return [of(right, names) for right in RIGHTS if right.side is Side.REMOTE and right.feature is Feature.RECORDS]


def going_back(sources: str, groups: str) -> list[Right]:
    """On the remote cluster, besides: so that mirror topics can be reversed and restored, with groups of these beginnings."""
    names = {Scope.SOURCE_TOPICS: sources, Scope.KEPT_GROUPS: groups}
    return [of(right, names) for right in RIGHTS if right.feature is Feature.GOING_BACK]


def of(right: rights.Right, names: Mapping[Scope, str]) -> Right:
    """Answers a right of the engine's table; `names` begin those of topics and groups."""
    name, pattern = names.get(right.scope, ENGINE_PREFIX), _PREFIXED
    if right.scope is Scope.STATE_TOPIC:
        pattern = _LITERAL
    if right.scope is Scope.CLUSTER:
        name, pattern = "kafka-cluster", _LITERAL
    kind = "BROKER" if right.scope is Scope.CLUSTER else right.scope.resource_type.name
    return (ResourceType[kind], name, pattern, AclOperation[right.operation.name])


# So that gaps are filled by markers.
MARKERS: Right = (ResourceType.BROKER, "kafka-cluster", _LITERAL, AclOperation.ALTER)


def group(name: str, operation: AclOperation) -> Right:
    """For groups whose names begin with `name`: DESCRIBE at the source, READ on the local cluster."""
    return (ResourceType.GROUP, name, _PREFIXED, operation)


def acl(
    topic: str,
    principal: str,
    operation: AclOperation = AclOperation.READ,
    permission: AclPermissionType = AclPermissionType.ALLOW,
    *,
    prefixed: bool = False,
) -> AclBinding:
    """Makes an ACL of a topic, or of all whose names begin so."""
    return AclBinding(
        ResourceType.TOPIC, topic, _PREFIXED if prefixed else _LITERAL, principal, "*", operation, permission
    )


def grant(bootstrap: str, user: str, wanted: Iterable[Right]) -> None:
    """Gives a user rights, as somebody who may."""
    create(bootstrap, *(_binding(user, right) for right in wanted))


def take_away(bootstrap: str, user: str, right: Right) -> None:
    """Takes away a right that was granted."""
    delete(bootstrap, _binding(user, right))


def create(bootstrap: str, *acls: AclBinding) -> None:
    """Creates ACLs, as somebody who may."""
    client = topics.admin(bootstrap)  # a client that nobody holds forgets what it was asked
    for future in client.create_acls(list(acls)).values():
        future.result(_SECONDS)


def delete(bootstrap: str, acl: AclBinding) -> None:
    """Deletes an ACL that is there."""
    client = topics.admin(bootstrap)
    wanted = AclBindingFilter(
        acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host, acl.operation, acl.permission_type
    )
    for future in client.delete_acls([wanted]).values():
        assert len(future.result(_SECONDS)) == 1


def present(bootstrap: str, name: str) -> set[AclBinding]:
    """Returns the ACLs of topics whose names begin with `name`."""
    client = topics.admin(bootstrap)
    anything: Any = None  # the stubs do not know that it may be left open
    kind, pattern = ResourceType.TOPIC, ResourcePatternType.ANY
    every = AclBindingFilter(kind, anything, pattern, anything, anything, AclOperation.ANY, AclPermissionType.ANY)
    return {acl for acl in client.describe_acls(every).result(_SECONDS) if acl.name.startswith(name)}


def wait_for(bootstrap: str, name: str, *acls: AclBinding) -> None:
    """Waits until topics whose names begin with `name` have these ACLs, and no others."""
    wait_until(lambda: present(bootstrap, name) == set(acls), _SECONDS, f"the ACLs of {name}")


def _binding(user: str, right: Right) -> AclBinding:
    kind, name, pattern, operation = right
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
