"""ACLs of clusters with an authorizer, and the least rights of an engine, as docs/security.md lists them."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.support import topics
from tests.support.waiting import wait_until

_SECONDS = 30.0

Right = tuple[ResourceType, str, ResourcePatternType, AclOperation]

_PREFIXED, _LITERAL = ResourcePatternType.PREFIXED, ResourcePatternType.LITERAL


def local(mirrors: str, state_topic: str) -> list[Right]:
    """On the local cluster: for the state topic, and for mirror topics whose names begin with `mirrors`."""
    operations = AclOperation
    return [
        *(
            (ResourceType.TOPIC, state_topic, _LITERAL, operation)
            for operation in (operations.CREATE, operations.READ, operations.WRITE, operations.DESCRIBE_CONFIGS)
        ),
        *mirror_topics(mirrors),
        (ResourceType.GROUP, "clusterlink-", _PREFIXED, operations.READ),
        (ResourceType.TRANSACTIONAL_ID, "clusterlink-", _PREFIXED, operations.WRITE),
    ]


def mirror_topics(mirrors: str) -> list[Right]:
    """Wherever mirror topics are written whose names begin with `mirrors`."""
    operations = AclOperation
    return [
        *(
            (ResourceType.TOPIC, mirrors, _PREFIXED, operation)
            for operation in (
                operations.CREATE,
                operations.READ,
                operations.WRITE,
                operations.DELETE,
                operations.ALTER,
                operations.ALTER_CONFIGS,
                operations.DESCRIBE_CONFIGS,
            )
        ),
        (ResourceType.BROKER, "kafka-cluster", _LITERAL, operations.IDEMPOTENT_WRITE),
    ]


# So that gaps are filled by markers.
MARKERS: Right = (ResourceType.BROKER, "kafka-cluster", _LITERAL, AclOperation.ALTER)


def remote(sources: str) -> list[Right]:
    """On the remote cluster: for source topics whose names begin with `sources`."""
    return [
        (ResourceType.TOPIC, sources, _PREFIXED, AclOperation.READ),
        (ResourceType.TOPIC, sources, _PREFIXED, AclOperation.DESCRIBE_CONFIGS),
    ]


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


def grant(bootstrap: str, user: str, rights: Iterable[Right]) -> None:
    """Gives a user rights, as somebody who may."""
    create(bootstrap, *(_binding(user, right) for right in rights))


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
