"""Consumer groups: where they are, moved from outside, and with members."""

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
