"""Compares two topics as consumers see them, for the table that the demo prints."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

_LUMP = 10_000
_LUMP_SECONDS = 0.05
_TIMEOUT = 10.0
_PATIENCE = 400  # lumps without a record, 20 s

Seen = tuple[object, ...]


@dataclass(frozen=True)
class Row:
    """One partition of both topics.

    Attributes:
        partition: Its number.
        log_start: At the source.
        log_end: At the source.
        records: Compared ones.
        differences: In records, log start and log end.
    """

    partition: int
    log_start: int
    log_end: int
    records: int
    differences: int


def compare(source: str, mirror: str, topic: str, partitions: int) -> Iterator[Row]:
    """Compares every record's offset, key, value, headers and timestamp, and log starts and ends.

    Args:
        source: Bootstrap servers of the source cluster.
        mirror: Bootstrap servers of the mirror's cluster.
        topic: Its name on both.
        partitions: Its number of partitions.
    """
    left, right = _consumer(source), _consumer(mirror)
    try:
        for number in range(partitions):
            yield _partition(left, right, topic, number)
    finally:
        left.close()
        right.close()


def _partition(left: Consumer, right: Consumer, topic: str, number: int) -> Row:
    bounds = left.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
    others = right.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
    differences = sum(a != b for a, b in zip(bounds, others, strict=True))
    records = 0
    for original, copy in zip_longest(_read(left, topic, number, *bounds), _read(right, topic, number, *others)):
        records += original is not None
        differences += original != copy
    return Row(number, bounds[0], bounds[1], records, differences)


def _read(consumer: Consumer, topic: str, number: int, start: int, end: int) -> Iterator[Seen]:
    if start >= end:
        return
    consumer.assign([TopicPartition(topic, number, start)])
    idle = 0
    while idle < _PATIENCE:
        lump = consumer.consume(_LUMP, _LUMP_SECONDS)
        idle = 0 if lump else idle + 1
        for message in lump:
            error = message.error()
            if error is None:
                yield _seen(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- the library's name for it
                return
            else:
                raise RuntimeError(f"{topic}-{number} cannot be read: {error}")
    raise RuntimeError(f"{topic}-{number} gives no more records although its log ends at {end}")


def _seen(message: Message) -> Seen:
    return (message.offset(), message.key(), message.value(), message.headers(), message.timestamp())


def _consumer(bootstrap_servers: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "clusterlink-demo",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            # Sees more than a careful consumer does: nothing may be there that is not at the source.
            "isolation.level": "read_uncommitted",
            "check.crcs": True,
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
