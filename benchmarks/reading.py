"""Reads what is written at a steady rate, as a consumer does, and takes the time that each record was on its way."""

import time
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.pair import Topics, Unfinished
from benchmarks.writing import END, SENT


@dataclass(frozen=True)
class Seen:
    """What a consumer saw: the number of records, and the milliseconds from the producer's call to here, sorted.

    The times are those of the records after the run-in only.
    """

    count: int
    milliseconds: list[float]

    def percentile(self, part: float) -> float:
        """Returns the time that this part of the records does not exceed."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(len(self.milliseconds) * part))]


def read(bootstrap: str, topics: Topics, run_in_seconds: float, deadline_seconds: float) -> Seen:
    """Reads all partitions from their beginnings until the last record of each.

    Args:
        bootstrap: Of the cluster.
        topics: What is read.
        run_in_seconds: How long after the first record times are not kept.
        deadline_seconds: For all.

    Raises:
        Unfinished: The last records did not come.
    """
    began = time.monotonic()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reading",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, count in topics.items() for p in range(count)])
    left = sum(topics.values())
    first, count, times = 0, 0, []
    while left:
        if time.monotonic() - began > deadline_seconds:
            raise Unfinished(f"{count} records came, and not all of the rest within {deadline_seconds:.0f} s")
        message = consumer.poll(0.1)
        if message is None:
            continue
        assert message.error() is None, f"cannot be read: {message.error()}"
        value = message.value() or b""
        if value == END:
            left -= 1
        elif len(value) >= SENT.size:
            (sent,) = SENT.unpack_from(value)
            count += 1
            first = first or sent
            if sent - first >= run_in_seconds * 1e9:
                times.append((time.monotonic_ns() - sent) / 1e6)
    consumer.close()
    return Seen(count, sorted(times))
