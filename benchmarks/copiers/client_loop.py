"""What one would write in Python: a consumer and a producer of confluent-kafka, and a loop between them.

It keeps partitions and timestamps, and nothing else that a mirror has to keep: no offsets, no place to go on at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import apart
from benchmarks.pair import TIMEOUT, Places, Topics

_MESSAGES = 10_000
_POLL_SECONDS = 0.05


@contextmanager
def client_loop(places: Places, topics: Topics, _: Path) -> Iterator[int]:
    """See `Copier`."""
    admin = AdminClient({"bootstrap.servers": places.destination, **_security(places), "log_level": 0})
    new = [NewTopic(name, num_partitions=count, replication_factor=1) for name, count in topics.items()]
    for future in admin.create_topics(new).values():
        future.result(TIMEOUT)
    with apart.running(loop, places, dict(topics)) as pid:
        yield pid


def loop(places: Places, topics: Topics) -> None:
    """Copies for ever."""
    common: dict[str, Any] = {**_security(places), "log_level": 0}
    reading = {"group.id": "loop", "enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": places.source, **reading, **common})
    consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, count in topics.items() for p in range(count)])
    producer = Producer({"bootstrap.servers": places.destination, "acks": "all", **common})

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            raise RuntimeError(f"the destination refused a record: {error}")

    # `consume` waits until it has as many as it was asked for, so what comes one by one is polled for.
    while True:
        first = consumer.poll(_POLL_SECONDS)
        more = consumer.consume(_MESSAGES, 0) if first is not None else []
        for message in [first, *more] if first is not None else []:
            if message.error() is not None:
                raise RuntimeError(f"the source does not answer: {message.error()}")
            _send(producer, message, delivered)
        producer.poll(0)


def _send(producer: Producer, message: Message, delivered: Any) -> None:
    kind, timestamp = message.timestamp()
    topic, partition = message.topic(), message.partition()
    assert topic is not None
    assert partition is not None
    while True:
        try:
            producer.produce(
                topic,
                message.value(),
                message.key(),
                partition,
                on_delivery=delivered,
                timestamp=0 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
                headers=message.headers() or [],
            )
        except BufferError:
            producer.poll(0.05)  # its queue is full
        else:
            return


def _security(places: Places) -> dict[str, str]:
    return {"security.protocol": "SSL", "ssl.ca.pem": places.ca_pem} if places.ca_pem else {}
