"""What a consumer sees of a topic: offsets and contents, in one isolation level."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from confluent_kafka.admin._listoffsets import OffsetSpec

COMMITTED, UNCOMMITTED = "read_committed", "read_uncommitted"

_CALL_SECONDS = 30.0
_IDLE_SECONDS = 60.0
_LUMP = 20_000
_LUMP_SECONDS = 0.05

# Key, value, headers, type of the timestamp, timestamp in milliseconds.
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...], int, int]


class UnreadableError(Exception):
    """A cluster, a topic or a partition could not be read; the text says which and why."""


class Bounds(NamedTuple):
    """Where a partition's log starts, and where it ends for a consumer of an isolation level."""

    start: int
    end: int


class Topic:
    """A topic on one cluster, as its consumers see it."""

    def __init__(self, side: str, name: str, settings: Mapping[str, Any]) -> None:
        """Prepares; nothing is contacted yet.

        Args:
            side: "source" or "mirror", for messages.
            name: Of the topic.
            settings: Of a librdkafka client.
        """
        self.side = side
        self.name = name
        self._settings = {**settings, "log_level": 0}
        self._admin = AdminClient(dict(self._settings))

    def partitions(self) -> list[int]:
        """Answers the numbers of the partitions.

        Raises:
            UnreadableError: The cluster does not answer, or has no such topic.
        """
        try:
            found = self._admin.list_topics(self.name, timeout=_CALL_SECONDS).topics[self.name]
        except KafkaException as error:
            raise UnreadableError(f"The {self.side} cluster does not answer: {error.args[0].str()}.") from error
        if found.error is not None:
            raise UnreadableError(f'The {self.side} topic "{self.name}" cannot be read: {found.error.str()}.')
        return sorted(found.partitions)

    def bounds(self, partition: int, isolation: str) -> Bounds:
        """Answers where a partition's log starts and ends.

        Raises:
            UnreadableError: The cluster does not answer, or refuses.
        """
        level = IsolationLevel.READ_COMMITTED if isolation == COMMITTED else IsolationLevel.READ_UNCOMMITTED
        where = TopicPartition(self.name, partition)
        offsets = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
            try:
                future = self._admin.list_offsets({where: spec}, isolation_level=level)[where]
                offsets.append(int(future.result(_CALL_SECONDS).offset))
            except KafkaException as error:
                raise self._unreadable(partition, error.args[0]) from error
        return Bounds(*offsets)

    def is_compacted(self) -> bool:
        """Tells whether the topic's cleaner removes records that a later one of the same key replaces.

        Raises:
            UnreadableError: The cluster does not answer, or refuses.
        """
        resource = ConfigResource(ResourceType.TOPIC, self.name)
        try:
            settings = self._admin.describe_configs([resource])[resource].result(_CALL_SECONDS)
        except KafkaException as error:
            raise UnreadableError(
                f'The settings of the {self.side} topic "{self.name}" cannot be read: {error.args[0].str()}.'
            ) from error
        return "compact" in (settings["cleanup.policy"].value or "")

    def records(self, partition: int, isolation: str, start: int, end: int) -> Iterator[tuple[int, Content]]:
        """Yields offset and content of each visible record from `start` up to and without `end`.

        A log start that moves beyond the position while it is read is not an error: reading goes on there.

        Raises:
            UnreadableError: Reading failed, or nothing came for a minute.
        """
        if start >= end:
            return
        consumer = Consumer(
            {
                **self._settings,
                "group.id": "clusterlink-verify",  # the library insists; nothing is committed
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "check.crcs": True,
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 64 << 10,
            }
        )
        try:
            consumer.assign([TopicPartition(self.name, partition, start)])
            yield from self._consumed(consumer, partition, end)
        finally:
            consumer.close()

    def _consumed(self, consumer: Consumer, partition: int, end: int) -> Iterator[tuple[int, Content]]:
        heard_at = time.monotonic()
        while True:
            lump = consumer.consume(_LUMP, _LUMP_SECONDS)
            if lump:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _IDLE_SECONDS:
                raise UnreadableError(
                    f"Nothing came from {self.name}-{partition} of the {self.side} cluster for {_IDLE_SECONDS:g} s."
                )
            for message in lump:
                error = message.error()
                if error is None:
                    offset = int(message.offset() or 0)
                    if offset >= end:
                        return
                    headers = message.headers()
                    yield (
                        offset,
                        (message.key(), message.value(), tuple(headers) if headers else (), *message.timestamp()),  # type: ignore[arg-type] # as a list of pairs
                    )
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public constant
                    return
                elif not error.retriable():
                    raise self._unreadable(partition, error)

    def _unreadable(self, partition: int, error: KafkaError) -> UnreadableError:
        return UnreadableError(f"{self.name}-{partition} of the {self.side} cluster cannot be read: {error.str()}.")


def as_mirrored(content: Content) -> Content:
    """Answers what a source record must look like on the mirror: times of the source's broker are written as given ones."""
    key, value, headers, kind, timestamp = content
    return (key, value, headers, TIMESTAMP_CREATE_TIME if kind == TIMESTAMP_LOG_APPEND_TIME else kind, timestamp)
