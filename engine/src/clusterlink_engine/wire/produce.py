"""Produce (API key 0) versions 9 to 12, by topic name, and 13, by topic id (KIP-516); coded by hand: the data path.

A request carries exactly one batch of each of its partitions (a broker refuses more) and waits for all in-sync replicas.
"""

import struct
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from clusterlink_engine.wire.primitives import compact_string, read_varint, skip_compact_bytes, skip_tags, varint

API_KEY = 0
LOWEST, HIGHEST = 9, 13
_BY_ID = 13
_ALL_REPLICAS = -1

_INDEX = struct.Struct(">i")
_THROTTLE = struct.Struct(">i")
_ACK = struct.Struct(">ihqqq")  # index, error code, base offset, log append time, log start offset


class ProducePartition(NamedTuple):
    """A batch for one partition. `topic_id` is a UUID in hexadecimal digits."""

    topic: str
    topic_id: str
    partition: int
    batch: memoryview


class ProduceAnswer(NamedTuple):
    """An answer: throttle time in milliseconds, and the partitions."""

    throttle_ms: int
    partitions: "list[Acknowledgement]"


class Acknowledgement(NamedTuple):
    """The answer for one partition; `topic` is the name, or the id in hexadecimal digits in version 13."""

    topic: str
    partition: int
    error: int
    base_offset: int
    message: str


def encode(version: int, partitions: Sequence[ProducePartition], *, timeout_ms: int) -> list[bytes | memoryview]:
    """Encodes the body of a request as buffers, the batches among them uncopied."""
    topics = [(key, list(group)) for key, group in groupby(partitions, key=lambda entry: (entry.topic, entry.topic_id))]
    buffers: list[bytes | memoryview] = []
    head = b"\0" + struct.pack(">hi", _ALL_REPLICAS, timeout_ms) + varint(len(topics) + 1)  # no transactional id
    for (topic, topic_id), group in topics:
        head += bytes.fromhex(topic_id) if version >= _BY_ID else compact_string(topic)
        head += varint(len(group) + 1)
        for entry in group:
            buffers.append(head + _INDEX.pack(entry.partition) + varint(len(entry.batch) + 1))
            buffers.append(entry.batch)
            head = b"\0"
        head += b"\0"
    buffers.append(head + b"\0")
    return buffers


def decode(version: int, body: memoryview) -> ProduceAnswer:
    """Decodes an answer's body.

    Args:
        version: Of the request.
        body: After the correlation id, the header's tagged fields included.

    Raises:
        ValueError, IndexError, struct.error: The bytes are no such answer.
    """
    topics, position = read_varint(body, skip_tags(body, 0))
    answers: list[Acknowledgement] = []
    for _ in range(topics - 1):
        if version >= _BY_ID:
            topic, position = bytes(body[position : position + 16]).hex(), position + 16
        else:
            size, position = read_varint(body, position)
            topic, position = str(body[position : position + size - 1], "utf-8"), position + size - 1
        partitions, position = read_varint(body, position)
        for _ in range(partitions - 1):
            answer, position = _decode_partition(topic, body, position)
            answers.append(answer)
        position = skip_tags(body, position)
    (throttle,) = _THROTTLE.unpack_from(body, position)
    return ProduceAnswer(throttle, answers)


def _decode_partition(topic: str, body: memoryview, position: int) -> tuple[Acknowledgement, int]:
    index, error, base_offset, _, _ = _ACK.unpack_from(body, position)
    record_errors, position = read_varint(body, position + _ACK.size)
    for _ in range(record_errors - 1):
        position = skip_tags(body, skip_compact_bytes(body, position + 4))
    size, position = read_varint(body, position)
    message = ""
    if size > 1:
        message, position = str(body[position : position + size - 1], "utf-8"), position + size - 1
    return Acknowledgement(topic, index, error, base_offset, message), skip_tags(body, position)
