"""Reads what a consumer sees, with confluent-kafka, in one isolation level."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, TopicPartition

from tests.support import topics

# Key, value, headers, type of the timestamp, timestamp.
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...], int, int]

_LUMP = 20_000
# A lump is returned when it is full or this has passed; short, because the last one of a partition is never full.
_LUMP_SECONDS = 0.02
# How often nothing at all may come in a row before reading is given up.
_IDLE_LUMPS = 1500


@contextmanager
def consumer(bootstrap: str, isolation: str) -> Iterator[Consumer]:
    """Opens a consumer that reads what it is assigned, checks CRCs and tells the end of a partition."""
    opened = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "compare",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # An offset that is gone is an error, never a jump.
            "auto.offset.reset": "error",
            "check.crcs": True,
            "fetch.wait.max.ms": 10,
            "fetch.message.max.bytes": 16 << 20,
            "fetch.max.bytes": 64 << 20,
            "receive.message.max.bytes": 100 << 20,
            "queued.max.messages.kbytes": 256 << 10,
            "log_level": 0,
        }
    )
    try:
        yield opened
    finally:
        opened.close()


def records(reader: Consumer, topic: str, partition: int, start: int, end: int) -> Iterator[tuple[int, Content]]:
    """Yields offset and content of each visible record of a partition, until the end that the broker tells."""
    if start >= end:
        return
    reader.assign([TopicPartition(topic, partition, start)])
    idle = 0
    position = start
    while True:
        # With the event that tells the end this many come at most, and often exactly: then nothing is waited for.
        lump = reader.consume(min(_LUMP, max(1, end - position + 1)), _LUMP_SECONDS)
        idle = 0 if lump else idle + 1
        assert idle < _IDLE_LUMPS, f"nothing came from {topic}-{partition} although its log ends at {end}"
        for message in lump:
            error = message.error()
            if error is None:
                offset = int(message.offset() or 0)
                position = offset + 1
                yield offset, _content(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                reader.unassign()
                return
            else:
                raise AssertionError(f"reading {topic}-{partition}: {error}")


def mirrored(content: Content) -> Content:
    """Returns what a source record must look like on the mirror: append times are written there as given times."""
    key, value, headers, kind, timestamp = content
    return (key, value, headers, TIMESTAMP_CREATE_TIME if kind == TIMESTAMP_LOG_APPEND_TIME else kind, timestamp)


def _content(message: Any) -> Content:
    headers = message.headers()
    return (message.key(), message.value(), tuple(headers) if headers else (), *message.timestamp())


def visible(bootstrap: str, topic: str) -> list[tuple[int, int]]:
    """Partition and offset of each record that a consumer of committed records sees now, in order."""
    found: list[tuple[int, int]] = []
    for index, end in sorted(topics.log_ends(bootstrap, topic).items()):
        with consumer(bootstrap, "read_committed") as reader:
            found += [(index, offset) for offset, _ in records(reader, topic, index, 0, end)]
    return found


def keys_and_values(bootstrap: str, topic: str) -> list[tuple[bytes, bytes]]:
    """Returns every key and value in the log of a topic with one partition, the overwritten ones too."""
    start, end = topics.log_starts(bootstrap, topic)[0], topics.log_ends(bootstrap, topic)[0]
    with consumer(bootstrap, "read_uncommitted") as reader:
        found = [content for _, content in records(reader, topic, 0, start, end)]
    return [(key or b"", value or b"") for key, value, *_ in found]
