"""Writes records of every kind that a mirror must keep."""

import itertools
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

_FLUSH_SECONDS = 120.0


@dataclass(frozen=True)
class Record:
    """One record as it is handed to a producer.

    Attributes:
        key: May be missing.
        value: May be missing: a tombstone.
        headers: Names may repeat; values may be missing.
        timestamp: Milliseconds since 1970; None lets the producer take the time of the day.
        partition: Of the topic.
    """

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int | None = None
    partition: int = 0


def varied(count: int, partitions: int = 1, seed: int = 0) -> Iterator[Record]:
    """Makes records with null, empty and long keys and values, headers, and timestamps from 1970 to an hour ahead."""
    randomness = random.Random(seed)
    hour_ahead = int(time.time() * 1000) + 3_600_000 - 60_000
    for number in range(count):
        kind = number % 7
        key = None if kind == 1 else b"" if kind == 2 else b"key-%d" % randomness.randrange(max(1, count // 3))
        value = None if kind == 3 else b"" if kind == 4 else _value(randomness, number)
        headers: list[tuple[str, bytes | None]] = []
        if kind in (0, 5):
            headers = [("number", b"%d" % number), ("number", b"twice"), ("null", None), ("empty", b""), ("ä-ö", b"\0")]
        timestamp = 1 if kind == 6 else None if kind == 5 else randomness.randrange(1, hour_ahead)
        yield Record(key, value, headers, timestamp, number % partitions)


def random_bytes(count: int, size: int = 1000, partitions: int = 1, seed: int = 0) -> Iterator[Record]:
    """Makes records that no codec makes smaller."""
    randomness = random.Random(seed)
    for number in range(count):
        yield Record(b"%d" % number, randomness.randbytes(size), partition=number % partitions)


def write(
    bootstrap: str,
    topic: str,
    records: Iterable[Record],
    codec: str = "none",
    settings: Mapping[str, object] | None = None,
) -> int:
    """Writes records with one codec and returns how many; fails unless every one was taken."""
    outcome = _Outcome()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            # An idempotent one waits half a second for its id; who kills brokers while writing asks for it.
            "enable.idempotence": False,
            "acks": "all",
            "compression.type": codec,
            "linger.ms": 5,
            "message.max.bytes": 10_000_000,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
            "log_level": 0,
            **(settings or {}),
        }
    )
    count = 0
    for record in records:
        _produce(producer, topic, record, outcome)
        count += 1
        if count % 1000 == 0:
            producer.poll(0)
    assert producer.flush(_FLUSH_SECONDS) == 0, f"records were not delivered in {_FLUSH_SECONDS:.0f} s"
    assert not outcome.failures, f"{len(outcome.failures)} records were refused: {outcome.failures[:3]}"
    return count


def write_every_kind(bootstrap: str, topic: str, count: int, partitions: int = 1, seed: int = 0) -> int:
    """Writes `count` varied records, an equal share with each codec, and then some batches of a single record each."""
    written = 0
    for number, codec in enumerate(CODECS):
        share = count // len(CODECS) + (number < count % len(CODECS))
        settings = {"enable.idempotence": codec == "zstd"}
        written += write(bootstrap, topic, varied(share, partitions, seed + number), codec, settings)
    single = {"linger.ms": 0, "batch.num.messages": 1}
    for number, codec in enumerate(CODECS):
        written += write(bootstrap, topic, varied(4 * partitions, partitions, seed + 100 + number), codec, single)
    return written


def write_large(bootstrap: str, topic: str, size: int = 3_000_000, partitions: int = 1) -> int:
    """Writes for each codec and partition a record of `size` bytes; the topic must allow it."""
    return sum(
        write(bootstrap, topic, random_bytes(partitions, size, partitions, seed), codec)
        for seed, codec in enumerate(CODECS)
    )


@dataclass
class _Outcome:
    failures: list[str] = field(default_factory=list)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failures.append(f"{message.topic()}-{message.partition()}: {error}")


def _produce(producer: Producer, topic: str, record: Record, outcome: _Outcome) -> None:
    for attempt in itertools.count():
        try:
            producer.produce(
                topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=outcome.delivered,
                headers=list(record.headers) or None,
                timestamp=record.timestamp or 0,  # which stands for now
            )
        except BufferError:
            assert attempt < 1000, "the producer's queue stays full"
            producer.poll(0.1)
        else:
            return


def _value(randomness: random.Random, number: int) -> bytes:
    # Partly compressible, as real records are.
    return b"value-%d-" % number + randomness.randbytes(randomness.randrange(20)) + b"x" * randomness.randrange(200)


class Writer:
    """Writes record after record until it is stopped, without a pause; the first is there when it is made.

    Attributes:
        acknowledged: The values that are there.
        refused: How many records were refused.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int, form: bytes) -> None:
        self.acknowledged: set[bytes] = set()
        self.refused = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._form = form
        self._stopping = threading.Event()
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()
        if not self._has_begun.wait(_FLUSH_SECONDS):
            self.stop()
            raise AssertionError(f"nothing was written in {_FLUSH_SECONDS:.0f} s")

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _write(self) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap, "linger.ms": 0, "log_level": 0})

        def told(error: Any, message: Any) -> None:
            if error is None:
                self.acknowledged.add(message.value())
                self._has_begun.set()
            else:
                self.refused += 1

        number = 0
        while not self._stopping.is_set():
            number += 1
            producer.produce(self._topic, self._form % number, partition=number % self._partitions, on_delivery=told)
            producer.flush(10)
