"""What is written to the source: backlogs, records at a steady rate, and transactions."""

import os
import struct
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.pair import TIMEOUT, Topics

SENT = struct.Struct(">q")
"""The beginning of a value of `steadily` and `in_transactions`: when it was given to the producer, as `time.monotonic_ns`."""
END = b"end"
"""The value of the last record of each partition, see `last`."""

_SLICE_SECONDS = 0.002


@dataclass(frozen=True)
class Backlog:
    """Records that are there before the copying begins.

    Attributes:
        count: Of records, spread evenly over the partitions.
        value_bytes: Size of a value.
        random_part: Part of a value that no codec makes smaller.
        codec: Of the batches.
        batch_bytes: Largest size of a batch, before it is compressed.
        batch_records: Most records in a batch.
    """

    count: int
    value_bytes: int = 1000
    random_part: float = 1.0
    codec: str = "none"
    batch_bytes: int = 65_536
    batch_records: int = 1_000_000

    def write(self, bootstrap: str, topic: str, partitions: int) -> None:
        """Writes it."""
        producer = _Producer(
            bootstrap,
            {
                "compression.type": self.codec,
                "batch.size": self.batch_bytes,
                "batch.num.messages": self.batch_records,
                "linger.ms": 1000 if self.batch_records > 1 else 0,
                "queue.buffering.max.kbytes": 256 << 10,
                "queue.buffering.max.messages": 100_000,  # what is left at the end is written in time
            },
        )
        pool = os.urandom(16 << 20)
        size = int(self.value_bytes * self.random_part)
        rest = b"." * (self.value_bytes - size)
        for number in range(self.count):
            at = number * 7919 % (len(pool) - size)
            producer.write(topic, pool[at : at + size] + rest, number % partitions)
            if number % 1000 == 0:
                producer.poll()
        producer.finish()


def one_each(bootstrap: str, topics: Topics, value: bytes) -> None:
    """Writes one record to each partition."""
    producer = _Producer(bootstrap, {"linger.ms": 5})
    for topic, partitions in topics.items():
        for partition in range(partitions):
            producer.write(topic, value, partition)
    producer.finish()


def steadily(bootstrap: str, topics: Topics, rate: float, seconds: float, value_bytes: int) -> int:
    """Writes records one by one, at a steady rate, to all partitions in turns, with the client's defaults; answers how many."""
    producer = _Producer(bootstrap, {})
    places = [(topic, partition) for topic, count in topics.items() for partition in range(count)]
    rest = b"." * (value_bytes - SENT.size)
    began, written = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while written < passed * rate:
            topic, partition = places[written % len(places)]
            producer.write(topic, SENT.pack(time.monotonic_ns()) + rest, partition)
            written += 1
        producer.poll()
        time.sleep(_SLICE_SECONDS)
    producer.finish()
    return written


def in_transactions(
    bootstrap: str, topics: Topics, commits: float, seconds: float, value_bytes: int, records: int, writers: int
) -> int:
    """Commits transactions, each with some records on one partition, at a steady rate; answers how many.

    All writers begin when each has a producer id. It answers less than the rate says where the broker does not take as many.
    """
    ((topic, partitions),) = topics.items()
    ready = Barrier(writers, timeout=TIMEOUT)

    def commit(number: int) -> int:
        identity = f"{topic}-{number}-{time.monotonic_ns()}"
        producer = _Producer(bootstrap, {"linger.ms": 0, "transactional.id": identity})
        producer.begin()
        ready.wait()
        return producer.commit(topic, partitions, commits / writers, seconds, value_bytes, records, number)

    with ThreadPoolExecutor(writers) as pool:
        return sum(pool.map(commit, range(writers)))


class _Producer:
    """A producer that looks at every answer."""

    def __init__(self, bootstrap: str, settings: Mapping[str, object]) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, **settings})
        self._refused: list[KafkaError] = []

    def write(self, topic: str, value: bytes, partition: int) -> None:
        while True:
            try:
                self._producer.produce(topic, value, partition=partition, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)  # its queue is full
            else:
                return

    def poll(self) -> None:
        self._producer.poll(0)

    def finish(self) -> None:
        assert self._producer.flush(TIMEOUT) == 0, "the source did not take all records"
        assert not self._refused, f"the source refused {len(self._refused)} records: {self._refused[0]}"

    def begin(self) -> None:
        self._producer.init_transactions(TIMEOUT)

    def commit(
        self, topic: str, partitions: int, rate: float, seconds: float, size: int, records: int, turn: int
    ) -> int:
        rest = b"." * (size - SENT.size)
        began, done = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            self._producer.begin_transaction()
            for _ in range(records):
                self.write(topic, SENT.pack(time.monotonic_ns()) + rest, (turn + done) % partitions)
            self._producer.commit_transaction(TIMEOUT)
            done += 1
            time.sleep(max(0.0, began + done / rate - time.monotonic()))
        self.finish()
        return done

    def _delivered(self, error: KafkaError | None, _: Message) -> Any:
        if error is not None:
            self._refused.append(error)
