"""Which errors may be tried again, which error codes say what of a batch, and how errors become gRPC answers."""

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from clusterlink_engine import errors
from clusterlink_engine.api.errors import DETAILS_KEY, DOMAIN, code_of, details_of
from clusterlink_engine.errors import Side, is_retriable
from clusterlink_engine.mirror.partition import Appended
from clusterlink_engine.settings import SettingsError
from clusterlink_engine.wire.codes import appended, is_moved, name_of, refused


def broker_refused(*, retriable: bool) -> errors.BrokerRefusedError:
    return errors.BrokerRefusedError("no", side=Side.LOCAL, code=6, name="X", retriable=retriable)


# Every error of the engine: whether it may be tried again, its gRPC code, its reason.
_TABLE = [
    (errors.ClusterlinkError("x"), False, StatusCode.INTERNAL, "INTERNAL"),
    (errors.RequestError("x"), False, StatusCode.INTERNAL, "INTERNAL"),
    (errors.InvalidArgumentError("x"), False, StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    (errors.NotFoundError("x"), False, StatusCode.NOT_FOUND, "NOT_FOUND"),
    (errors.AlreadyExistsError("x"), False, StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    (errors.FailedPreconditionError("x"), False, StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    (errors.LimitExceededError("x"), False, StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
    (errors.UnauthenticatedError("x"), False, StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (errors.PermissionDeniedError("x"), False, StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (errors.TooManyCallsError("x"), True, StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    (
        errors.ClusterUnavailableError("x", side=Side.REMOTE),
        True,
        StatusCode.UNAVAILABLE,
        "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR",
    ),
    (
        errors.UnresolvableBootstrapError("x", side=Side.REMOTE),
        True,
        StatusCode.UNAVAILABLE,
        "UNRESOLVABLE_BOOTSTRAP_ERROR",
    ),
    (errors.ClusterTimeoutError("x", side=Side.REMOTE), True, StatusCode.UNAVAILABLE, "TIMEOUT_ERROR"),
    (
        errors.AuthenticationFailedError("x", side=Side.REMOTE),
        False,
        StatusCode.FAILED_PRECONDITION,
        "AUTHENTICATION_ERROR",
    ),
    (
        errors.TokenMissingError("x", side=Side.REMOTE, is_passing=True),
        True,
        StatusCode.UNAVAILABLE,
        "AUTHENTICATION_ERROR",
    ),
    (
        errors.TokenMissingError("x", side=Side.REMOTE, is_passing=False),
        False,
        StatusCode.FAILED_PRECONDITION,
        "AUTHENTICATION_ERROR",
    ),
    (
        errors.CertificateRefusedError("x", side=Side.REMOTE),
        False,
        StatusCode.FAILED_PRECONDITION,
        "AUTHENTICATION_ERROR",
    ),
    (errors.ProtocolViolationError("x", side=Side.REMOTE), True, StatusCode.UNAVAILABLE, "PROTOCOL_VIOLATION"),
    (errors.WrongClusterError("x", side=Side.REMOTE), False, StatusCode.FAILED_PRECONDITION, "WRONG_CLUSTER"),
    (broker_refused(retriable=True), True, StatusCode.UNAVAILABLE, "BROKER_REFUSED"),
    (broker_refused(retriable=False), False, StatusCode.FAILED_PRECONDITION, "BROKER_REFUSED"),
    (errors.StateError("x"), False, StatusCode.UNAVAILABLE, "STATE_UNAVAILABLE"),
    (errors.StateUnavailableError("x"), True, StatusCode.UNAVAILABLE, "STATE_UNAVAILABLE"),
    (errors.StateFencedError("x"), False, StatusCode.UNAVAILABLE, "TAKEN_OVER"),
    (errors.NotLeadingError("x"), True, StatusCode.UNAVAILABLE, "NO_LEADER"),
    (errors.StateTooNewError("x"), False, StatusCode.UNAVAILABLE, "STATE_TOO_NEW"),
    (SettingsError("x"), False, StatusCode.INTERNAL, "INVALID_SETTINGS"),
]


@pytest.mark.parametrize(
    ("error", "retriable", "code", "reason"), _TABLE, ids=[f"{type(row[0]).__name__}-{row[1]}" for row in _TABLE]
)
def test_each_error_has_its_place(
    error: errors.ClusterlinkError, retriable: bool, code: StatusCode, reason: str
) -> None:
    assert (is_retriable(error), code_of(error), error.reason) == (retriable, code, reason)


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), TimeoutError(), AssertionError()])
def test_a_bug_is_not_tried_again(error: Exception) -> None:
    assert not is_retriable(error)


def test_no_error_of_the_engine_is_missing_in_the_table() -> None:
    def leaves(kind: type[errors.ClusterlinkError]) -> set[type[errors.ClusterlinkError]]:
        return {kind}.union(*(leaves(child) for child in kind.__subclasses__()))

    ours = {kind for kind in leaves(errors.ClusterlinkError) if kind.__module__ == errors.__name__}
    assert ours - {errors.KafkaError} <= {type(row[0]) for row in _TABLE}


def status_of(error: errors.ClusterlinkError) -> status_pb2.Status:
    ((key, value),) = details_of(error)
    assert key == DETAILS_KEY
    return status_pb2.Status.FromString(value)


def test_a_request_error_names_its_field() -> None:
    error = errors.InvalidArgumentError("The name is empty.", field="link.name", metadata={"a": "b"})
    status = status_of(error)
    assert (status.code, status.message) == (StatusCode.INVALID_ARGUMENT.value[0], "The name is empty.")
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (info.reason, info.domain, dict(info.metadata)) == ("INVALID_ARGUMENT", DOMAIN, {"a": "b"})
    assert [(entry.field, entry.description) for entry in bad.field_violations] == [("link.name", "The name is empty.")]


def test_a_reason_of_its_own_replaces_that_of_the_class() -> None:
    status = status_of(errors.FailedPreconditionError("x", reason="TOPIC_NOT_EMPTY"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "TOPIC_NOT_EMPTY"
    assert len(status.details) == 1
    assert errors.FailedPreconditionError.reason == "FAILED_PRECONDITION"


def test_a_brokers_error_tells_cluster_and_code() -> None:
    status = status_of(refused(36, 'Creating the topic "orders"', Side.LOCAL, "it exists"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert dict(info.metadata) == {"side": "local", "kafka_error": "TOPIC_ALREADY_EXISTS"}
    assert status.message == (
        'Creating the topic "orders" was refused by the local cluster: TOPIC_ALREADY_EXISTS (it exists).'
    )


@pytest.mark.parametrize(("code", "retriable"), [(3, True), (5, True), (6, True), (7, True), (29, False), (36, False)])
def test_a_brokers_error_is_tried_again_as_kafka_classes_it(code: int, retriable: bool) -> None:
    assert is_retriable(refused(code, "X", Side.REMOTE)) is retriable


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, "NONE"),
        (6, "NOT_LEADER_OR_FOLLOWER"),
        (10, "MESSAGE_TOO_LARGE"),
        (45, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
        (31999, "UNKNOWN (31999)"),
    ],
)
def test_codes_have_kafkas_names(code: int, name: str) -> None:
    assert name_of(code) == name


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (-1, Appended.IN_DOUBT),  # UNKNOWN_SERVER_ERROR
        (2, Appended.NO),  # CORRUPT_MESSAGE: damaged on the way, its checksum was right here
        (3, Appended.NO),  # UNKNOWN_TOPIC_OR_PARTITION
        (6, Appended.NO),  # NOT_LEADER_OR_FOLLOWER
        (7, Appended.IN_DOUBT),  # REQUEST_TIMED_OUT
        (10, Appended.NO_RETRY),  # MESSAGE_TOO_LARGE
        (18, Appended.NO_RETRY),  # RECORD_LIST_TOO_LARGE
        (19, Appended.NO),  # NOT_ENOUGH_REPLICAS
        (20, Appended.IN_DOUBT),  # NOT_ENOUGH_REPLICAS_AFTER_APPEND
        (32, Appended.NO_RETRY),  # INVALID_TIMESTAMP
        (45, Appended.NO),  # OUT_OF_ORDER_SEQUENCE_NUMBER
        (47, Appended.NO),  # INVALID_PRODUCER_EPOCH
        (56, Appended.IN_DOUBT),  # KAFKA_STORAGE_ERROR
        (76, Appended.NO_RETRY),  # UNSUPPORTED_COMPRESSION_TYPE
        (87, Appended.NO_RETRY),  # INVALID_RECORD
        (100, Appended.NO),  # UNKNOWN_TOPIC_ID
    ],
)
def test_a_code_tells_what_became_of_a_batch(code: int, verdict: Appended) -> None:
    assert appended(code) is verdict


@pytest.mark.parametrize(
    ("code", "moved"), [(0, False), (1, False), (3, True), (6, True), (19, False), (74, True), (100, True), (103, True)]
)
def test_a_code_tells_whether_leaders_moved(code: int, moved: bool) -> None:
    assert is_moved(code) is moved
