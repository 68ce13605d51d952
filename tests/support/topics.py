"""Small helpers around confluent-kafka that most tests need."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from tests.support.waiting import wait_until

_TIMEOUT = 30.0


def admin(bootstrap: str) -> AdminClient:
    """Returns an admin client that does not write to standard error."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create(
    bootstrap: str, topic: str, partitions: int = 1, replicas: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Creates a topic and waits until it has leaders."""
    client = admin(bootstrap)
    new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=dict(config or {}))
    client.create_topics([new])[topic].result(_TIMEOUT)

    def led() -> bool:
        found = client.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        return len(found) == partitions and all(p.leader >= 0 for p in found.values())

    wait_until(led, _TIMEOUT, f"leaders of {topic}")


def log_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Returns the high watermark of each partition."""
    return _offsets(bootstrap, topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]


def log_starts(bootstrap: str, topic: str) -> dict[int, int]:
    """Returns the log start of each partition."""
    return _offsets(bootstrap, topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]


def delete_records(bootstrap: str, topic: str, before: Mapping[int, int]) -> None:
    """Moves the log start of partitions."""
    client = admin(bootstrap)  # a client that nobody holds forgets what it was asked
    futures = client.delete_records([TopicPartition(topic, p, o) for p, o in before.items()])
    for future in futures.values():
        future.result(_TIMEOUT)


def _offsets(bootstrap: str, topic: str, spec: OffsetSpec) -> dict[int, int]:
    client = admin(bootstrap)
    partitions = sorted(client.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions)
    futures = client.list_offsets({TopicPartition(topic, p): spec for p in partitions})
    return {asked.partition: future.result(_TIMEOUT).offset for asked, future in futures.items()}


def settings(bootstrap: str, topic: str) -> dict[str, str]:
    """Returns the effective settings of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(bootstrap)
    entries = client.describe_configs([resource])[resource].result(_TIMEOUT)
    return {name: entry.value for name, entry in entries.items()}


def alter(bootstrap: str, topic: str, changes: Mapping[str, str]) -> None:
    """Sets some settings of a topic."""
    _alter(bootstrap, ResourceType.TOPIC, topic, changes)


def alter_broker(bootstrap: str, node: int, changes: Mapping[str, str]) -> None:
    """Sets some settings of a broker."""
    _alter(bootstrap, ResourceType.BROKER, str(node), changes)


def _alter(bootstrap: str, kind: ResourceType, name: str, changes: Mapping[str, str]) -> None:
    entries = [ConfigEntry(n, v, incremental_operation=AlterConfigOpType.SET) for n, v in changes.items()]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    client = admin(bootstrap)
    client.incremental_alter_configs([resource])[resource].result(_TIMEOUT)


def grow(bootstrap: str, topic: str, partitions: int) -> None:
    """Gives a topic more partitions."""
    client = admin(bootstrap)
    client.create_partitions([NewPartitions(topic, partitions)])[topic].result(_TIMEOUT)


def exists(bootstrap: str, topic: str) -> bool:
    """Returns whether there is a topic of that name."""
    return topic in admin(bootstrap).list_topics(timeout=_TIMEOUT).topics


def delete(bootstrap: str, topic: str) -> None:
    """Deletes a topic, if it is there, and waits until it is gone."""
    client = admin(bootstrap)
    try:
        client.delete_topics([topic])[topic].result(_TIMEOUT)
    except KafkaException as error:  # a broker lists for a moment what was deleted just now
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
    wait_until(lambda: not exists(bootstrap, topic), _TIMEOUT, f"{topic} to be gone")
