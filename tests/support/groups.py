"""Consumer groups: where they are, moved from outside, and with members."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.support.waiting import wait_until


def _consumer(bootstrap: str, group: str, **settings: object) -> Consumer:
    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "log_level": 0,
        **settings,
    }
    return Consumer(config)


def commit(bootstrap: str, group: str, topic: str, offsets: Mapping[int, int], metadata: str = "") -> None:
    """Commits offsets for a group without members, in leader epoch 0."""
    consumer = _consumer(bootstrap, group)
    try:
        partitions = [TopicPartition(topic, index, offset, metadata, 0) for index, offset in offsets.items()]
        answer = consumer.commit(offsets=partitions, asynchronous=False)
        assert all(partition.error is None for partition in answer), answer
    finally:
        consumer.close()


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Answers where a group is; partitions without a commit are left out."""
    return {index: offset for index, (offset, *_) in _committed(bootstrap, group, topic, partitions).items()}


def metadata(bootstrap: str, group: str, topic: str, partitions: int) -> dict[int, tuple[str, int | None]]:
    """Answers the texts that were left with the offsets, and the leader epochs; None for none."""
    found = _committed(bootstrap, group, topic, partitions)
    return {index: (text, leader_epoch) for index, (_, text, leader_epoch) in found.items()}


def _committed(bootstrap: str, group: str, topic: str, partitions: int) -> dict[int, tuple[int, str, int | None]]:
    consumer = _consumer(bootstrap, group)
    try:
        wanted = [TopicPartition(topic, index) for index in range(partitions)]
        found = consumer.committed(wanted, timeout=30)
        return {
            entry.partition: (entry.offset, entry.metadata or "", entry.leader_epoch)
            for entry in found
            if entry.offset >= 0
        }
    finally:
        consumer.close()


@contextmanager
def member(bootstrap: str, group: str, topic: str, **settings: object) -> Iterator[Consumer]:
    """A member of a group that has its partitions; it leaves in the end."""
    consumer = _consumer(bootstrap, group, **settings)
    try:
        consumer.subscribe([topic])

        def assigned() -> bool:
            consumer.poll(0.2)
            return bool(consumer.assignment())

        wait_until(assigned, 60, f"{group} to have partitions")
        yield consumer
    finally:
        consumer.close()


class MovingGroup:
    """A group of one consumer that moves between clusters; it reads what is committed.

    Attributes:
        seen: Partition and offset of each record, in the order in which they came.
    """

    def __init__(self, group: str, topic: str, partitions: int) -> None:
        self.seen: list[tuple[int, int]] = []
        self._group = group
        self._topic = topic
        self._partitions = partitions

    def read(self, bootstrap: str, *, most: int = sys.maxsize) -> None:
        """Goes on where the group is on this cluster, to the ends or for `most` records, and commits."""
        options = {"isolation.level": "read_committed", "enable.partition.eof": True}
        with member(bootstrap, self._group, self._topic, **options) as consumer:
            for place in consumer.committed(consumer.assignment(), timeout=30):
                consumer.seek(TopicPartition(self._topic, place.partition, max(place.offset, 0)))
            ended: set[int] = set()
            while len(ended) < self._partitions and most > 0:
                message = consumer.poll(30)
                assert message is not None, "nothing came for 30 s"
                if message.error() is not None:
                    ended.add(message.partition() or 0)
                    continue
                self.seen.append((message.partition() or 0, message.offset() or 0))
                most -= 1
            places = [place for place in consumer.position(consumer.assignment()) if place.offset >= 0]
            if places:
                consumer.commit(offsets=places, asynchronous=False)

    def places(self, bootstrap: str) -> dict[int, int]:
        """Where it is on a cluster; partitions without a commit are left out."""
        return committed(bootstrap, self._group, self._topic, self._partitions)
