"""The rights that a link needs, in one table: on which side, on what, for what. Pure.

Operations are the least ones: Kafka's authorizer takes READ, WRITE, DELETE and ALTER for DESCRIBE too, and ALTER_CONFIGS for
DESCRIBE_CONFIGS. A producer id without a transactional id needs WRITE on any topic (KIP-679).
"""

from dataclasses import dataclass
from enum import StrEnum

from clusterlink_engine.errors import Side
from clusterlink_engine.model.acls import AclOperation, AclResourceType
from clusterlink_engine.model.resources import Link, LinkMode


class Feature(StrEnum):
    """What a right is needed for, in the words of the table that users see."""

    STATE = "the engine's state"
    WORK = "several engine processes"
    RECORDS = "mirroring"
    MARKERS = "gaps filled by markers"
    TRANSACTIONS = "the state, and gaps filled by transactions"
    OFFSETS = "consumer offset sync"
    ACLS = "ACL sync"
    GOING_BACK = "reverse and restore"

    def is_used_by(self, link: Link) -> bool:
        """Tells whether a link, as it is configured, needs it."""
        if self is Feature.OFFSETS:
            return link.consumer_offset_sync.enable
        if self is Feature.ACLS:
            return link.acl_sync.enable
        if self is Feature.GOING_BACK:
            return link.mode is LinkMode.BIDIRECTIONAL
        return True


class Scope(StrEnum):
    """On what a right is needed, in the words of the table that users see."""

    STATE_TOPIC = "the state topic"
    SOURCE_TOPICS = "source topics"
    MIRROR_TOPICS = "mirror topics"
    ENGINE_GROUP = "the engine's group"
    ENGINE_TRANSACTIONS = "the engine's transactional ids"
    SYNCED_GROUPS = "synced groups"
    KEPT_GROUPS = "groups of the source topics"
    CLUSTER = "the cluster"

    @property
    def resource_type(self) -> AclResourceType:
        """What ACLs call it."""
        if self in (Scope.ENGINE_GROUP, Scope.SYNCED_GROUPS, Scope.KEPT_GROUPS):
            return AclResourceType.GROUP
        if self is Scope.ENGINE_TRANSACTIONS:
            return AclResourceType.TRANSACTIONAL_ID
        return AclResourceType.CLUSTER if self is Scope.CLUSTER else AclResourceType.TOPIC


@dataclass(frozen=True, slots=True)
class Right:
    """One right.

    Attributes:
        side: The cluster that gives it: to the engine's user if it is the local one, else to the link's.
        scope: On what.
        operation: Of Kafka.
        feature: What needs it.
        why: For people; empty if that is plain.
        has_substitute: Whether something else is done without it, so that the feature works in another way.
    """

    side: Side
    scope: Scope
    operation: AclOperation
    feature: Feature
    why: str = ""
    has_substitute: bool = False

    @property
    def is_for_creation(self) -> bool:
        """Whether nobody needs it any more once the topic is there."""
        return self.operation is AclOperation.CREATE


def _on(
    side: Side, scope: Scope, feature: Feature, *operations: tuple[AclOperation, str], has_substitute: bool = False
) -> tuple[Right, ...]:
    return tuple(Right(side, scope, operation, feature, why, has_substitute) for operation, why in operations)


# What is needed wherever mirror topics are written. READ is in the rows of the local cluster, and of sources anyway.
_WRITING = (
    (AclOperation.CREATE, ""),
    (AclOperation.WRITE, ""),
    (AclOperation.DELETE, "log starts follow the source's"),
    (AclOperation.ALTER, "more partitions"),
    (AclOperation.ALTER_CONFIGS, ""),
)

RIGHTS: tuple[Right, ...] = (
    *_on(
        Side.LOCAL,
        Scope.STATE_TOPIC,
        Feature.STATE,
        (AclOperation.CREATE, "to make it, and anew should it be deleted"),
        (AclOperation.READ, ""),
        (AclOperation.WRITE, ""),
        (AclOperation.DESCRIBE_CONFIGS, "which settings the cluster knows"),
    ),
    *_on(Side.LOCAL, Scope.ENGINE_GROUP, Feature.WORK, (AclOperation.READ, "which engine works")),
    *_on(Side.LOCAL, Scope.ENGINE_TRANSACTIONS, Feature.TRANSACTIONS, (AclOperation.WRITE, "")),
    *_on(
        Side.LOCAL,
        Scope.MIRROR_TOPICS,
        Feature.RECORDS,
        (AclOperation.READ, "what a partition remembers of the producer"),
        *_WRITING,
    ),
    *_on(
        Side.LOCAL,
        Scope.CLUSTER,
        Feature.MARKERS,
        (AclOperation.ALTER, "without it gaps are filled by empty transactions"),
        has_substitute=True,
    ),
    *_on(Side.LOCAL, Scope.SYNCED_GROUPS, Feature.OFFSETS, (AclOperation.READ, "")),
    *_on(Side.LOCAL, Scope.CLUSTER, Feature.ACLS, (AclOperation.ALTER, "")),
    *_on(
        Side.REMOTE,
        Scope.SOURCE_TOPICS,
        Feature.RECORDS,
        (AclOperation.READ, ""),
        (AclOperation.DESCRIBE_CONFIGS, ""),
    ),
    *_on(Side.REMOTE, Scope.SYNCED_GROUPS, Feature.OFFSETS, (AclOperation.DESCRIBE, "")),
    *_on(Side.REMOTE, Scope.CLUSTER, Feature.ACLS, (AclOperation.DESCRIBE, "")),
    *_on(Side.REMOTE, Scope.SOURCE_TOPICS, Feature.GOING_BACK, *_WRITING),
    *_on(Side.REMOTE, Scope.CLUSTER, Feature.GOING_BACK, (AclOperation.ALTER, "gaps are filled by markers only")),
    *_on(Side.REMOTE, Scope.KEPT_GROUPS, Feature.GOING_BACK, (AclOperation.READ, "their offsets are kept")),
)


def needed(link: Link) -> tuple[Right, ...]:
    """Answers the rights that a link needs, as it is configured."""
    return tuple(right for right in RIGHTS if right.feature.is_used_by(link))
