"""The errors of the engine: one root, leaves that say who is to blame, and the one retry predicate.

Errors of libraries and of brokers are translated once, where the call is made (`wire`, `admin`, `store`), with the cause
chained. `api` turns them into gRPC answers; nothing else does. Texts are for people: what happened, and what to do.
"""

from collections.abc import Mapping
from enum import StrEnum

from clusterlink_engine.printable import printable


class Side(StrEnum):
    """Which cluster of a link is meant."""

    LOCAL = "local"
    REMOTE = "remote"


class ClusterlinkError(Exception):
    """Root of all errors that the engine raises on purpose. Their text is printable, whoever had a part in it.

    Attributes:
        reason: Stable, machine-readable name, as in `google.rpc.ErrorInfo`.
        metadata: What a program may want to know beside the text.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(printable(message))
        self.metadata = dict(metadata or {})


class RequestError(ClusterlinkError):
    """The caller of the API is to blame: another request may work, this one will not.

    Attributes:
        field: Path of the field to blame, as written in the .proto file; empty if it is none.
    """

    def __init__(
        self, message: str, *, field: str = "", reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.field = field
        if reason:
            self.reason = reason


class InvalidArgumentError(RequestError):
    """A value is wrong whatever the state of the engine is."""

    reason = "INVALID_ARGUMENT"


class NotFoundError(RequestError):
    """The object of the request does not exist."""

    reason = "NOT_FOUND"


class AlreadyExistsError(RequestError):
    """The name of a new object is taken."""

    reason = "ALREADY_EXISTS"


class FailedPreconditionError(RequestError):
    """The request is right, but not in the present state of its object."""

    reason = "FAILED_PRECONDITION"


class LimitExceededError(RequestError):
    """A limit of the engine does not allow one more."""

    reason = "LIMIT_EXCEEDED"


class UnauthenticatedError(RequestError):
    """It is not known who the caller is."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(RequestError):
    """The caller is known, and its role is too small."""

    reason = "PERMISSION_DENIED"


class TooManyCallsError(ClusterlinkError):
    """More calls than the engine answers at a time. Trying again a little later helps."""

    reason = "TOO_MANY_CALLS"


class KafkaError(ClusterlinkError):
    """A Kafka cluster, or the way to it, is to blame.

    Attributes:
        side: The cluster that is meant.
    """

    def __init__(self, message: str, *, side: Side, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata={"side": side.value, **(metadata or {})})
        self.side = side


class ClusterUnavailableError(KafkaError):
    """A cluster or broker could not be reached, or the connection broke. What was asked may have happened."""

    reason = "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR"


class UnresolvableBootstrapError(ClusterUnavailableError):
    """No bootstrap server's name could be resolved."""

    reason = "UNRESOLVABLE_BOOTSTRAP_ERROR"


class ClusterTimeoutError(ClusterUnavailableError):
    """No answer within the deadline. What was asked may have happened."""

    reason = "TIMEOUT_ERROR"


class BrokerRefusedError(KafkaError):
    """A broker answered with an error code.

    Attributes:
        code: Kafka's error code.
        name: Kafka's name of the code.
    """

    reason = "BROKER_REFUSED"

    def __init__(self, message: str, *, side: Side, code: int, name: str, retriable: bool) -> None:
        super().__init__(message, side=side, metadata={"kafka_error": name})
        self.code = code
        self.name = name
        self.retriable = retriable


class AuthenticationFailedError(KafkaError):
    """A broker refused the credentials. Trying again helps only if somebody changes them, here or there."""

    reason = "AUTHENTICATION_ERROR"


class TokenMissingError(AuthenticationFailedError):
    """There is no token to authenticate with.

    Attributes:
        is_passing: Whether whoever grants tokens is only away.
    """

    def __init__(self, message: str, *, side: Side, is_passing: bool) -> None:
        super().__init__(message, side=side)
        self.is_passing = is_passing


class CertificateRefusedError(AuthenticationFailedError):
    """The certificate of one side is not accepted by the other, or cannot be used at all."""


class WrongClusterError(KafkaError):
    """The cluster behind the bootstrap servers is not the one it must be."""

    reason = "WRONG_CLUSTER"


class ProtocolViolationError(KafkaError):
    """The bytes of a broker make no sense. The connection is closed; nothing of them is used."""

    reason = "PROTOCOL_VIOLATION"


class StateError(ClusterlinkError):
    """The state topic cannot be read or written."""

    reason = "STATE_UNAVAILABLE"


class StateUnavailableError(StateError):
    """A write did not happen for a passing reason; it may be tried again."""


class StateFencedError(StateError):
    """Another engine process has taken over this state: this one must stop."""

    reason = "TAKEN_OVER"


class NotLeadingError(ClusterlinkError):
    """Another engine process leads, or none does at the moment. Trying again helps."""

    reason = "NO_LEADER"


class StateTooNewError(StateError):
    """The state holds records of a newer engine, which this one must not touch."""

    reason = "STATE_TOO_NEW"


def is_retriable(error: BaseException) -> bool:
    """Tells whether the same action may work later without anybody's help.

    The one retry predicate of the engine:

    * A cluster that is away comes back: yes.
    * A torn or senseless answer: yes, on a new connection; a proxy or a restart in between can cause it once.
    * No token: if whoever grants them is away, yes; if they refuse, no.
    * A broker's error code: as Kafka itself classes the code.
    * No process leads at the moment, or there are more calls than are answered at a time: yes.
    * The state topic with a passing fault: yes. Fenced or too new: never, somebody else owns the state.
    * Everything that a caller asked for wrongly, and every bug: no.
    """
    if isinstance(error, BrokerRefusedError):
        return error.retriable
    if isinstance(error, TokenMissingError):
        return error.is_passing
    return isinstance(
        error,
        ClusterUnavailableError | ProtocolViolationError | StateUnavailableError | NotLeadingError | TooManyCallsError,
    )
