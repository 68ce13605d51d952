"""Fetch (API key 1) versions 12, by topic name, and 13, by topic id (KIP-516); coded by hand because it is the data path.

What a request of a session (KIP-227) has to say is in `wire.fetch_session`.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from clusterlink_engine.wire.primitives import compact_string, read_varint, skip_tags, varint

API_KEY = 1
LOWEST, HIGHEST = 12, 13
_BY_ID = 13

READ_UNCOMMITTED = 0  # up to the high watermark
READ_COMMITTED = 1  # up to the last stable offset: nothing of an open transaction
# A broker answers one batch at least, however large: no larger one can be produced where a request has the size that Kafka's
# defaults allow (socket.request.max.bytes, 100 MiB). And what the answer has beside batches.
_LARGEST_BATCH = 128 * 1024 * 1024
_BESIDE_BATCHES = 16 * 1024 * 1024

# Aborted transactions in an answer; each has a marker at least in what was read.
_MOST_ABORTED = 1_000_000

_CONSUMER = -1

_HEAD = struct.Struct(
    ">iiiibii"
)  # replica id, max wait, min bytes, max bytes, isolation level, session id, session epoch
_PARTITION = struct.Struct(">iiqiqi")  # index, leader epoch, fetch offset, last fetched epoch, log start, max bytes
_RESPONSE = struct.Struct(">ihi")  # throttle time, error code, session id
_FETCHED = struct.Struct(">ihqqq")  # index, error code, high watermark, last stable offset, log start
_ABORTED = struct.Struct(">qq")  # producer id, first offset
_DIVERGING = struct.Struct(">iq")  # epoch, end offset
_DIVERGING_TAG = 0  # of a partition's tagged fields (KIP-595)


class Session(NamedTuple):
    """The session that a request belongs to: the id that the broker gave, 0 for none, and the number of the request in it.

    Epoch 0 asks for a new session in place of the one with this id, if any; -1 for none at all.
    """

    id: int
    epoch: int


NO_SESSION = Session(0, -1)


class FetchPartition(NamedTuple):
    """What is asked of one partition.

    `topic_id` is a UUID in hexadecimal digits; `max_bytes` bounds the answer. `last_epoch` is the leader epoch of the record
    before `offset` as it was fetched, -1 if it is not known: with it the broker tells where its log diverged (KIP-595).
    """

    topic: str
    topic_id: str
    partition: int
    offset: int
    max_bytes: int
    last_epoch: int = -1

    def key(self, version: int) -> tuple[str, int]:
        """Answers what the partition is called in requests and answers of a version: topic name or id, and number."""
        return self.topic_id if version >= _BY_ID else self.topic, self.partition


class FetchedPartition(NamedTuple):
    """What came of one partition.

    `topic` is the name (version 12) or the id in hexadecimal digits (version 13). `aborted` has the producer id and the first
    offset of each aborted transaction that has records here. `diverging` is None, or the largest epoch not above the one
    that was asked with, and where it ends in the broker's log: what was fetched beyond is gone. `records` is a writable
    view into the frame, of whole batches but for the last; empty if there were none.
    """

    topic: str
    partition: int
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    records: memoryview
    aborted: Sequence[tuple[int, int]] = ()
    diverging: tuple[int, int] | None = None


class FetchAnswer(NamedTuple):
    """An answer: throttle time in milliseconds, the error code of the whole, the session's id (0: none), and the partitions."""

    throttle_ms: int
    error: int
    session_id: int
    partitions: list[FetchedPartition]


def encode(
    version: int,
    partitions: Iterable[FetchPartition],
    *,
    max_wait_ms: int,
    min_bytes: int,
    max_bytes: int,
    isolation: int = READ_COMMITTED,
    session: Session = NO_SESSION,
    forgotten: Iterable[FetchPartition] = (),
) -> bytes:
    """Encodes the body of a request; partitions of a topic that follow each other share its entry.

    Args:
        version: Of the request.
        partitions: What is asked; in a session only what is new or has changed.
        max_wait_ms: How long the broker may wait for `min_bytes`.
        min_bytes: See `max_wait_ms`.
        max_bytes: Of records, in all; one batch comes at least.
        isolation: READ_COMMITTED or READ_UNCOMMITTED.
        session: See Session.
        forgotten: Partitions that are not asked for any more in the session.
    """
    parts = [_HEAD.pack(_CONSUMER, max_wait_ms, min_bytes, max_bytes, isolation, *session)]
    topics = _by_topic(version, partitions)
    parts.append(varint(len(topics) + 1))
    for topic, group in topics:
        parts.append(topic)
        parts.append(varint(len(group) + 1))
        parts.extend(
            _PARTITION.pack(entry.partition, -1, entry.offset, entry.last_epoch, -1, entry.max_bytes) + b"\0"
            for entry in group
        )
        parts.append(b"\0")
    topics = _by_topic(version, forgotten)
    parts.append(varint(len(topics) + 1))
    for topic, group in topics:
        parts.append(topic)
        parts.append(varint(len(group) + 1))
        parts.append(struct.pack(f">{len(group)}i", *(entry.partition for entry in group)) + b"\0")
    parts.append(b"\x01\0")  # empty rack, no tagged fields
    return b"".join(parts)


def _by_topic(version: int, partitions: Iterable[FetchPartition]) -> list[tuple[bytes, list[FetchPartition]]]:
    """Answers the partitions by topic, as it is called in a request of that version; neighbours are together."""
    topics = groupby(partitions, key=lambda entry: (entry.topic, entry.topic_id))
    return [
        (bytes.fromhex(topic_id) if version >= _BY_ID else compact_string(topic), list(group))
        for (topic, topic_id), group in topics
    ]


def largest_answer(max_bytes: int) -> int:
    """Answers how many bytes the answer to a request for `max_bytes` may have."""
    return max(max_bytes, _LARGEST_BATCH) + _BESIDE_BATCHES


def decode(version: int, body: memoryview, most: int) -> FetchAnswer:
    """Decodes an answer's body, without copying records.

    Args:
        version: Of the request.
        body: After the correlation id, the header's tagged fields included.
        most: How many partitions were asked for; in a session, with this request and those before.

    Raises:
        ValueError, IndexError, struct.error: The bytes are no such answer.
    """
    position = skip_tags(body, 0)
    throttle, error, session_id = _RESPONSE.unpack_from(body, position)
    if session_id < 0 and not error:
        # Brokers count from 1 (KIP-227), and fail where they are asked for such a one.
        raise ValueError(f"session {session_id}")
    topics, position = read_varint(body, position + _RESPONSE.size)
    fetched: list[FetchedPartition] = []
    aborted = 0
    for _ in range(topics - 1):
        if version >= _BY_ID:
            topic, position = bytes(body[position : position + 16]).hex(), position + 16
        else:
            size, position = read_varint(body, position)
            topic, position = str(body[position : position + size - 1], "utf-8"), position + size - 1
        partitions, position = read_varint(body, position)
        if len(fetched) + partitions - 1 > most:
            raise ValueError("more partitions than were asked for")
        for _ in range(partitions - 1):
            entry, position = _decode_partition(topic, body, position, _MOST_ABORTED - aborted)
            aborted += len(entry.aborted)
            fetched.append(entry)
        position = skip_tags(body, position)
    return FetchAnswer(throttle, error, session_id, fetched)


def _decode_partition(topic: str, body: memoryview, position: int, most_aborted: int) -> tuple[FetchedPartition, int]:
    index, error, high_watermark, last_stable, log_start = _FETCHED.unpack_from(body, position)
    count, position = read_varint(body, position + _FETCHED.size)
    if count - 1 > most_aborted:
        raise ValueError("more aborted transactions than can be")
    aborted: list[tuple[int, int]] = []
    for _ in range(count - 1):
        aborted.append(_ABORTED.unpack_from(body, position))
        position = skip_tags(body, position + _ABORTED.size)
    size, position = read_varint(body, position + 4)  # after the preferred read replica
    end = position + max(size - 1, 0)
    if end > len(body):
        raise ValueError("record bytes beyond the end of the answer")
    records = body[position:end]
    diverging, position = _read_diverging(body, end)
    return FetchedPartition(
        topic, index, error, high_watermark, last_stable, log_start, records, aborted, diverging
    ), position


def _read_diverging(body: memoryview, position: int) -> tuple[tuple[int, int] | None, int]:
    """Reads a partition's tagged fields; answers the diverging epoch, and the position after them."""
    diverging: tuple[int, int] | None = None
    count, position = read_varint(body, position)
    for _ in range(count):
        tag, position = read_varint(body, position)
        size, position = read_varint(body, position)
        if tag == _DIVERGING_TAG:
            diverging = _DIVERGING.unpack_from(body, position)
        position += size
    return diverging, position
