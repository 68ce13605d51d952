"""The least rights of an engine, as docs/security.md lists them, for clusters with an authorizer."""

from collections.abc import Iterable

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.support import topics

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


def grant(bootstrap: str, user: str, rights: Iterable[Right]) -> None:
    """Gives a user rights, as somebody who may."""
    client = topics.admin(bootstrap)  # a client that nobody holds forgets what it was asked
    for future in client.create_acls([_binding(user, right) for right in rights]).values():
        future.result(_SECONDS)


def take_away(bootstrap: str, user: str, right: Right) -> None:
    """Takes away a right that was granted."""
    client = topics.admin(bootstrap)
    acl = _binding(user, right)
    wanted = AclBindingFilter(
        acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host, acl.operation, acl.permission_type
    )
    for future in client.delete_acls([wanted]).values():
        assert len(future.result(_SECONDS)) == 1


def _binding(user: str, right: Right) -> AclBinding:
    kind, name, pattern, operation = right
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
