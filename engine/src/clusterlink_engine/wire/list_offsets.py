"""ListOffsets (API key 2, KIP-79) versions 4 to 7; coded by hand because it is asked of all idle partitions all the time."""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clusterlink_engine.wire.primitives import compact_string, read_varint, skip_tags, varint

API_KEY = 2
LOWEST, HIGHEST = 4, 7
FLEXIBLE = 6  # from this version on

_HEAD = struct.Struct(">ib")  # replica id, isolation level
_ASKED = struct.Struct(">iiq")  # index, leader epoch, timestamp
_ANSWERED = struct.Struct(">ihqqi")  # index, error code, timestamp, offset, leader epoch
_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")


class ListedOffset(NamedTuple):
    """What was found in a partition: an offset, -1 if there is none, or Kafka's error code."""

    topic: str
    partition: int
    offset: int
    error: int


def encode(
    version: int, topics: Mapping[str, Sequence[int]], *, timestamp: int, replica_id: int, isolation: int
) -> bytes:
    """Encodes the body of a request for the first offset of a time, or one of those that have negative times.

    Args:
        version: Of the request.
        topics: Partition numbers by topic.
        timestamp: In milliseconds; -1 for the end of the log, -2 for its start.
        replica_id: -1 is answered as a consumer is: not beyond the high watermark. Below -2 by the leader alone.
        isolation: As in Fetch.
    """
    flexible = version >= FLEXIBLE
    tags = b"\0" if flexible else b""
    rest = _ASKED.pack(0, -1, timestamp)[_INT32.size :] + tags
    parts = [_HEAD.pack(replica_id, isolation), _count(len(topics), flexible)]
    for topic, partitions in topics.items():
        name = topic.encode()
        parts.append(compact_string(topic) if flexible else _INT16.pack(len(name)) + name)
        parts.append(_count(len(partitions), flexible))
        parts.extend(_INT32.pack(partition) + rest for partition in partitions)
        parts.append(tags)
    parts.append(tags)
    return b"".join(parts)


def _count(count: int, flexible: bool) -> bytes:
    return varint(count + 1) if flexible else _INT32.pack(count)


def decode(version: int, body: memoryview, most: int) -> list[ListedOffset]:
    """Decodes an answer's body.

    Args:
        version: Of the request.
        body: After the correlation id, the header's tagged fields included where there are any.
        most: How many partitions were asked for.

    Raises:
        ValueError, IndexError, struct.error: The bytes are no such answer.
    """
    flexible = version >= FLEXIBLE
    position = (skip_tags(body, 0) if flexible else 0) + _INT32.size  # the throttle time
    topics, position = _read_count(body, position, flexible)
    found: list[ListedOffset] = []
    for _ in range(topics):
        if flexible:
            size, position = read_varint(body, position)
            size -= 1
        else:
            (size,), position = _INT16.unpack_from(body, position), position + _INT16.size
        if size < 0 or position + size > len(body):
            raise ValueError("a topic's name beyond the end of the answer")
        topic, position = str(body[position : position + size], "utf-8"), position + size
        partitions, position = _read_count(body, position, flexible)
        if len(found) + partitions > most:
            raise ValueError("more partitions than were asked for")
        for _ in range(partitions):
            index, error, _, offset, _ = _ANSWERED.unpack_from(body, position)
            found.append(ListedOffset(topic, index, offset, error))
            position += _ANSWERED.size
            if flexible:
                position = skip_tags(body, position)
        if flexible:
            position = skip_tags(body, position)
    return found


def _read_count(body: memoryview, position: int, flexible: bool) -> tuple[int, int]:
    """Reads the length of an array, none for a null; answers it and the position after it."""
    if flexible:
        count, position = read_varint(body, position)
        return max(count - 1, 0), position
    (count,) = _INT32.unpack_from(body, position)
    return max(count, 0), position + _INT32.size
