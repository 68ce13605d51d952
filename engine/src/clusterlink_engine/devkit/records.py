"""Records of many kinds for the demo: each codec, null and empty keys and values, headers, old and new timestamps."""

import random
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

_FLUSH_SECONDS = 60.0
_STEP = 2000


def write(bootstrap_servers: str, topic: str, partitions: int, count: int, progress: Callable[[int], None]) -> None:
    """Writes records evenly over the partitions, an equal share with each codec.

    Args:
        bootstrap_servers: Of the cluster.
        topic: An existing one.
        partitions: Its number of partitions.
        count: How many records.
        progress: Is told from time to time how many were handed over.

    Raises:
        RuntimeError: Not all records were taken.
    """
    randomness = random.Random(7)
    now = int(time.time() * 1000)
    refused: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(str(error))

    written = 0
    for position, codec in enumerate(CODECS, start=1):
        producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "compression.type": codec,
                "linger.ms": 20,
                "queue.buffering.max.messages": count,
                "log_level": 0,
            }
        )
        while written < count * position // len(CODECS):
            _produce(producer, topic, written, partitions, randomness, now, delivered)
            written += 1
            if written % _STEP == 0:
                producer.poll(0)
                progress(written)
        if producer.flush(_FLUSH_SECONDS):
            raise RuntimeError(f"the source did not take all records in {_FLUSH_SECONDS:.0f} s")
    if refused:
        raise RuntimeError(f"the source refused {len(refused)} records: {refused[0]}")
    progress(written)


def _produce(
    producer: Producer,
    topic: str,
    number: int,
    partitions: int,
    randomness: random.Random,
    now: int,
    delivered: Callable[[KafkaError | None, Message], None],
) -> None:
    key = None if number % 10 == 1 else b"order-%d" % randomness.randrange(10_000)
    value: bytes | None = b'{"order": %d, "note": "%s"}' % (number, b"x" * randomness.randrange(200))
    if number % 50 == 2:
        value = None if number % 100 == 2 else b""
    headers: list[tuple[str, str | bytes | None]] = []
    if number % 3 == 0:
        headers = [("trace", randomness.randbytes(8)), ("empty", b""), ("null", None)]
    # From the beginning of 1970 to now.
    timestamp = randomness.randrange(1, now) if number % 2 else now
    try:
        producer.produce(
            topic, value, key, number % partitions, on_delivery=delivered, timestamp=timestamp, headers=headers
        )
    except KafkaException as error:
        raise RuntimeError(f"the source takes no records: {error}") from error
