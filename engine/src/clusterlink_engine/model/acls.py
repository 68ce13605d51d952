"""ACLs of a Kafka cluster, and the filters that select them. Names and numbers are those of Kafka's protocol (KIP-140)."""

from collections.abc import Collection
from enum import IntEnum

from pydantic import BaseModel, ConfigDict

from clusterlink_engine.errors import InvalidArgumentError


class AclResourceType(IntEnum):
    """What an ACL is about."""

    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class AclPatternType(IntEnum):
    """How an ACL names its resources (KIP-290); a filter's MATCH is not offered."""

    ANY = 1
    LITERAL = 3
    PREFIXED = 4


class AclOperation(IntEnum):
    """What an ACL speaks of."""

    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class AclPermission(IntEnum):
    """What an ACL says."""

    ANY = 1
    DENY = 2
    ALLOW = 3


_ANY = "ANY"


class Acl(BaseModel):
    """One ACL; ordered by its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource_type: str
    resource_name: str
    pattern_type: str
    principal: str
    host: str
    operation: str
    permission_type: str

    def __str__(self) -> str:
        """Answers it in a line, for people."""
        where = f"{self.resource_type} {self.pattern_type} {self.resource_name}"
        return f"{self.permission_type} {self.operation} for {self.principal} from {self.host} on {where}"

    def key(self) -> tuple[str, ...]:
        """Answers what it is ordered by."""
        return (
            *(self.resource_type, self.pattern_type, self.resource_name),
            *(self.principal, self.host, self.operation, self.permission_type),
        )


def denial(topic: str, operation: str = "WRITE") -> Acl:
    """Answers the ACL that denies everybody an operation on a topic; it stops all but super users."""
    return Acl(
        resource_type="TOPIC",
        resource_name=topic,
        pattern_type="LITERAL",
        principal="User:*",
        host="*",
        operation=operation,
        permission_type="DENY",
    )


class AclFilter(BaseModel):
    """Selects ACLs: an empty text, and ANY, stand for all. The host `*` is the one of ACLs for every host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource_type: str = _ANY
    resource_name: str = ""
    pattern_type: str = _ANY
    principal: str = ""
    host: str = ""
    operation: str = _ANY
    permission_type: str = _ANY

    def matches(self, acl: Acl) -> bool:
        """Tells whether the filter selects an ACL."""
        return all(wanted in ("", _ANY, getattr(acl, field)) for field, wanted in self)


_TYPES: dict[str, type[IntEnum]] = {
    "resource_type": AclResourceType,
    "pattern_type": AclPatternType,
    "operation": AclOperation,
    "permission_type": AclPermission,
}


def make_acl_filter(fields: dict[str, str], at: str) -> AclFilter:
    """Makes a filter of what a caller wrote; empty types stand for ANY.

    Raises:
        InvalidArgumentError: A type is not known.
    """
    for field, known in _TYPES.items():
        value = fields.get(field) or _ANY
        if value not in known.__members__:
            raise InvalidArgumentError(
                f'An ACL filter says {field} "{value}"; known are {", ".join(known.__members__)}.', field=at
            )
        fields[field] = value
    return AclFilter.model_validate(fields)


def check_acl_filters(filters: Collection[AclFilter], at: str) -> None:
    """Raises InvalidArgumentError unless there is a filter: copying every ACL should be said, not meant."""
    if not filters:
        raise InvalidArgumentError(
            "It is enabled, but there is no filter; an empty one ({}) stands for every ACL.", field=at
        )
