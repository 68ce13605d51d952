"""What a check of a link answers: rows for people, and what they can do. Pure."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from clusterlink_engine.errors import Side
from clusterlink_engine.model.rights import Right, Scope
from clusterlink_engine.sasl import PASSWORD_MECHANISMS
from clusterlink_engine.security import Security

# So many names are told one by one.
_NAMES = 5
# And so many are granted by one command.
_GRANTED = 50

# By these names every right of the engine itself on groups and transactional ids can be given at once.
ENGINE_PREFIX = "clusterlink-"


class Status(StrEnum):
    """What was found."""

    PRESENT = "PRESENT"
    """As it must be."""
    MISSING = "MISSING"
    """What needs it does not work."""
    WARNING = "WARNING"
    """It works, but in a way that the user may not want."""
    UNKNOWN = "UNKNOWN"
    """It could not be found out; the detail says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """A row.

    Attributes:
        name: What was looked at.
        side: At which cluster.
        needed_by: What needs it.
        status: What was found.
        detail: More, for people.
        command: What mends it; empty if no command does.
        is_required: Whether no link is created while it is missing.
    """

    name: str
    side: Side
    needed_by: str
    status: Status = Status.UNKNOWN
    detail: str = ""
    command: str = ""
    is_required: bool = False

    def found(self, status: Status, detail: str = "", command: str = "") -> "Check":
        """Answers the row with what was found."""
        return replace(self, status=status, detail=detail, command=command)

    def optional(self) -> "Check":
        """Answers the row of what a link can be created without."""
        return replace(self, is_required=False)


@dataclass(frozen=True, slots=True)
class Grantee:
    """Whom a cluster gives rights, and where that is told to it.

    Attributes:
        bootstrap_servers: Of the cluster.
        principal: As ACLs name it.
    """

    bootstrap_servers: Sequence[str]
    principal: str

    @classmethod
    def of(cls, bootstrap_servers: Sequence[str], security: Security) -> "Grantee":
        """Answers who somebody is to a cluster that connects by this security.

        Which name a cluster gives to the subject of a certificate, or to that of a token, is its own affair
        (`ssl.principal.mapping.rules`, `sasl.oauthbearer.sub.claim.name`).
        """
        if security.sasl is not None:
            name = security.sasl.username if security.sasl.mechanism in PASSWORD_MECHANISMS else "TOKEN-SUBJECT"
            return cls(bootstrap_servers, f"User:{name}")
        has_certificate = security.tls is not None and security.tls.has_certificate
        return cls(bootstrap_servers, "User:CERTIFICATE-SUBJECT" if has_certificate else "User:ANONYMOUS")

    def command(self, right: Right, names: Collection[str]) -> str:
        """Answers the command that gives a right on resources of these names."""
        operation = right.operation.name.title().replace("_", "")
        parts = ["kafka-acls.sh", "--bootstrap-server", ",".join(self.bootstrap_servers), "--add"]
        parts += ["--allow-principal", self.principal, "--operation", operation]
        return shlex.join([*parts, *_resource(right.scope, sorted(names)[:_GRANTED])])


def _resource(scope: Scope, names: Sequence[str]) -> list[str]:
    if scope is Scope.CLUSTER:
        return ["--cluster"]
    option = f"--{scope.resource_type.name.lower().replace('_', '-')}"
    if scope in (Scope.ENGINE_GROUP, Scope.ENGINE_TRANSACTIONS):
        return [option, ENGINE_PREFIX, "--resource-pattern-type", "prefixed"]
    return [part for name in names for part in (option, name)]


def row_of(right: Right) -> Check:
    """Answers the row of a right, before anything is found."""
    return Check(f"{right.operation.name} on {right.scope}", right.side, right.feature)


def some_of(names: Collection[str]) -> str:
    """Answers the first of some names, for people."""
    first = sorted(names)[:_NAMES]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
