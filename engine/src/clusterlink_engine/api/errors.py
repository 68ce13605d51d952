"""Errors as gRPC answers: a status code, and the details of google.rpc."""

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from clusterlink_engine.errors import (
    AlreadyExistsError,
    ClusterlinkError,
    FailedPreconditionError,
    InvalidArgumentError,
    KafkaError,
    LimitExceededError,
    NotFoundError,
    NotLeadingError,
    PermissionDeniedError,
    RequestError,
    StateError,
    TooManyCallsError,
    UnauthenticatedError,
    is_retriable,
)

DOMAIN = "clusterlink.v1"
DETAILS_KEY = "grpc-status-details-bin"

_CODES: tuple[tuple[type[ClusterlinkError], StatusCode], ...] = (
    (InvalidArgumentError, StatusCode.INVALID_ARGUMENT),
    (NotFoundError, StatusCode.NOT_FOUND),
    (AlreadyExistsError, StatusCode.ALREADY_EXISTS),
    (LimitExceededError, StatusCode.RESOURCE_EXHAUSTED),
    (UnauthenticatedError, StatusCode.UNAUTHENTICATED),
    (PermissionDeniedError, StatusCode.PERMISSION_DENIED),
    (TooManyCallsError, StatusCode.RESOURCE_EXHAUSTED),
    (FailedPreconditionError, StatusCode.FAILED_PRECONDITION),
    (StateError, StatusCode.UNAVAILABLE),
    (NotLeadingError, StatusCode.UNAVAILABLE),
)


def code_of(error: ClusterlinkError) -> StatusCode:
    """Answers the gRPC status code of an error."""
    if isinstance(error, KafkaError):
        return StatusCode.UNAVAILABLE if is_retriable(error) else StatusCode.FAILED_PRECONDITION
    return next((code for kind, code in _CODES if isinstance(error, kind)), StatusCode.INTERNAL)


def details_of(error: ClusterlinkError) -> tuple[tuple[str, bytes], ...]:
    """Answers the trailing metadata of an error: google.rpc.Status with ErrorInfo, and BadRequest if a field is to blame."""
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if isinstance(error, RequestError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=str(error))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    packed = []
    for detail in details:
        entry = any_pb2.Any()
        entry.Pack(detail)
        packed.append(entry)
    status = status_pb2.Status(code=code_of(error).value[0], message=str(error), details=packed)
    return ((DETAILS_KEY, status.SerializeToString()),)
