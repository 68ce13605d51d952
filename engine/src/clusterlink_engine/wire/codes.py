"""Kafka's error codes: names, and what the engine does about the ones that matter to it."""

from enum import IntEnum

from kafka import errors as kafka_errors

from clusterlink_engine.errors import BrokerRefusedError, Side
from clusterlink_engine.mirror.partition import Appended


class Code(IntEnum):
    """Error codes of the Kafka protocol that the engine reacts to in a particular way."""

    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    MESSAGE_TOO_LARGE = 10
    RECORD_LIST_TOO_LARGE = 18
    NETWORK_EXCEPTION = 13
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    ILLEGAL_GENERATION = 22
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    CLUSTER_AUTHORIZATION_FAILED = 31
    INVALID_TIMESTAMP = 32
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    POLICY_VIOLATION = 44
    INVALID_PRODUCER_ID_MAPPING = 49
    CONCURRENT_TRANSACTIONS = 51
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    SECURITY_DISABLED = 54
    KAFKA_STORAGE_ERROR = 56
    GROUP_ID_NOT_FOUND = 69
    FETCH_SESSION_ID_NOT_FOUND = 70
    INVALID_FETCH_SESSION_EPOCH = 71
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNSUPPORTED_COMPRESSION_TYPE = 76
    MEMBER_ID_REQUIRED = 79
    INVALID_RECORD = 87
    UNKNOWN_TOPIC_ID = 100
    INCONSISTENT_TOPIC_ID = 103
    FETCH_SESSION_TOPIC_ID_ERROR = 106


_NAMES = {int(code): code.name for code in Code}

# The batch is whole (its checksum was verified), so what the broker dislikes about it, it will dislike again.
_NO_RETRY = frozenset(
    {
        Code.MESSAGE_TOO_LARGE,
        Code.RECORD_LIST_TOO_LARGE,
        Code.INVALID_TIMESTAMP,
        Code.UNSUPPORTED_COMPRESSION_TYPE,
        Code.INVALID_RECORD,
    }
)

# Appended on the leader, but not (yet) on enough replicas; UNKNOWN_SERVER_ERROR (-1) says nothing at all.
_IN_DOUBT = frozenset({-1, Code.REQUEST_TIMED_OUT, Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND, Code.KAFKA_STORAGE_ERROR})


# Leaders or topic ids must be read anew.
_MOVED = frozenset(
    {
        Code.UNKNOWN_TOPIC_OR_PARTITION,
        Code.LEADER_NOT_AVAILABLE,
        Code.NOT_LEADER_OR_FOLLOWER,
        Code.KAFKA_STORAGE_ERROR,
        Code.FENCED_LEADER_EPOCH,
        Code.UNKNOWN_LEADER_EPOCH,
        Code.UNKNOWN_TOPIC_ID,
        Code.INCONSISTENT_TOPIC_ID,
    }
)


def is_moved(code: int) -> bool:
    """Tells whether an error code says that what is known of leaders or topic ids is out of date."""
    return code in _MOVED


def appended(code: int) -> Appended:
    """Tells what an error code in a Produce answer says about the batch."""
    if code in _NO_RETRY:
        return Appended.NO_RETRY
    return Appended.IN_DOUBT if code in _IN_DOUBT else Appended.NO


def name_of(code: int) -> str:
    """Answers Kafka's name of an error code, as `NOT_LEADER_OR_FOLLOWER`."""
    if code in _NAMES:  # the library has some old names
        return _NAMES[code]
    name = str(kafka_errors.for_code(code).message)
    return f"{name} ({code})" if name == "UNKNOWN" else name


def refused(code: int, what: str, side: Side, detail: str | None = None) -> BrokerRefusedError:
    """Makes the error for an error code that a broker answered to `what` (for example "CreateTopics for orders")."""
    kind = kafka_errors.for_code(code)
    name = name_of(code)
    text = f"{what} was refused by the {side} cluster: {name}" + (f" ({detail})" if detail else "") + "."
    return BrokerRefusedError(text, side=side, code=code, name=name, retriable=bool(kind.retriable))
