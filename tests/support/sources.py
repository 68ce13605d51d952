"""Makes source topics of every kind that a log can be: with transactions, holes, a head that is gone, other people's times.

Each maker answers how many records a `read_committed` consumer must find at least; what it promises it checks itself.
"""

import random
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Producer

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, raw, topics
from tests.support.waiting import wait_until

_SECONDS = 60.0

# Cleans within moments; the broker's cleaner looks around every 200 ms (conftest).
COMPACTED: Mapping[str, str] = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": "100",
    "delete.retention.ms": "100",
}


@dataclass(frozen=True)
class Source:
    """A kind of source topic.

    Attributes:
        name: Of the kind, and the end of the topic's name.
        make: Makes the topic on a cluster and answers the number of visible records.
        compacted: Whether the mirror's cleaner may remove records of it.
    """

    name: str
    make: Callable[[KafkaCluster, str], int]
    compacted: bool = False


def committed(cluster: KafkaCluster, topic: str) -> int:
    """Three transactional producers and a plain one, interleaved, with random commits and aborts, on two partitions."""
    topics.create(cluster.bootstrap_servers, topic, partitions=2)
    return write_transactions(cluster.bootstrap_servers, topic, partitions=2, rounds=60, seed=7)


def write_transactions(bootstrap: str, topic: str, *, partitions: int, rounds: int, seed: int) -> int:
    """Writes rounds of records by three transactional producers and a plain one; answers how many are to be seen."""
    randomness = random.Random(seed)
    unique = f"{topic}-{seed}-{time.time_ns()}"
    writers = [
        Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{unique}-{number}", "linger.ms": 0})
        for number in range(3)
    ]
    for writer in writers:
        writer.init_transactions(_SECONDS)
    plain = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": seed % 2 == 0})
    is_open = [False] * len(writers)
    pending = [0] * len(writers)
    visible = 0
    for number in range(rounds):
        chosen = randomness.randrange(4)
        writer = plain if chosen == 3 else writers[chosen]
        if chosen < 3 and not is_open[chosen]:
            writer.begin_transaction()
            is_open[chosen] = True
        count = randomness.randrange(1, 20)
        for item in range(count):
            value = randomness.randbytes(randomness.randrange(40))
            writer.produce(topic, value, f"{number}-{item}", partition=randomness.randrange(partitions))
        writer.flush(_SECONDS)
        if chosen == 3:
            visible += count
            continue
        pending[chosen] += count
        if randomness.random() < 0.4:
            visible += _end(writer, commit=randomness.random() < 0.6) * pending[chosen]
            is_open[chosen], pending[chosen] = False, 0
    for chosen, writer in enumerate(writers):
        if is_open[chosen]:
            visible += _end(writer, commit=chosen != 1) * pending[chosen]
    return visible


def abort(bootstrap: str, topic: str, *, partitions: int, records: int) -> None:
    """Writes records to each partition in a transaction that is aborted."""
    writer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-abort-{time.time_ns()}"})
    writer.init_transactions(_SECONDS)
    writer.begin_transaction()
    for number in range(records * partitions):
        writer.produce(topic, b"never", partition=number % partitions)
    writer.flush(_SECONDS)
    _end(writer, commit=False)


def _end(writer: Producer, *, commit: bool) -> bool:
    if commit:
        writer.commit_transaction(_SECONDS)
    else:
        writer.abort_transaction(_SECONDS)
    return commit


def compacted(codec: str, extra: Mapping[str, str] | None = None) -> Callable[[KafkaCluster, str], int]:
    """Answers the maker of a topic of which the cleaner removed about nine records of ten."""

    def make(cluster: KafkaCluster, topic: str) -> int:
        topics.create(cluster.bootstrap_servers, topic, config={**COMPACTED, **(extra or {})})
        write_keyed(cluster.bootstrap_servers, topic, codec, rounds=10, keys=150)
        wait_until(lambda: _left(cluster, topic) < 600, _SECONDS, "the cleaner")
        return 150

    return make


def write_keyed(bootstrap: str, topic: str, codec: str, *, rounds: int, keys: int) -> None:
    """Writes each key some times, and deletes some keys in all rounds but the last."""
    randomness = random.Random(3)
    for number in range(rounds):
        names = [b"key-%d" % key for key in range(keys)]
        randomness.shuffle(names)
        records = [
            produce.Record(name, None if randomness.random() < 0.1 and number < rounds - 1 else b"%d" % number * 9)
            for name in names
        ]
        produce.write(bootstrap, topic, records, codec)
        time.sleep(0.12)  # what segments are rolled by: records must be some time apart


def compacted_and_transactional(cluster: KafkaCluster, topic: str) -> int:
    """Transactions, some of them aborted, over few keys, cleaned."""
    topics.create(cluster.bootstrap_servers, topic, config=COMPACTED)
    bootstrap = cluster.bootstrap_servers
    writer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-{time.time_ns()}", "linger.ms": 0})
    writer.init_transactions(_SECONDS)
    for number in range(12):
        writer.begin_transaction()
        for key in range(40):
            writer.produce(topic, b"%d" % number, b"key-%d" % key)
        _end(writer, commit=number % 3 != 1)
        time.sleep(0.12)
    wait_until(lambda: _left(cluster, topic) < 250, _SECONDS, "the cleaner")
    return 40


def _left(cluster: KafkaCluster, topic: str) -> int:
    """Counts the records that are in the log of partition 0, transaction markers included."""
    end = topics.log_ends(cluster.bootstrap_servers, topic)[0]
    address = raw.leaders(cluster.bootstrap_servers, topic)[0]
    return sum(struct.unpack_from(">i", batch, 57)[0] for _, batch in raw.batches(address, topic, 0, 0, end))


def head(start: int, more: int = 500) -> Callable[[KafkaCluster, str], int]:
    """Answers the maker of a log that starts in the middle, with `more` records from there on."""

    def make(cluster: KafkaCluster, topic: str) -> int:
        topics.create(cluster.bootstrap_servers, topic)
        produce.write(cluster.bootstrap_servers, topic, _plain(start + more), "lz4")
        topics.delete_records(cluster.bootstrap_servers, topic, {0: start})
        assert topics.log_starts(cluster.bootstrap_servers, topic) == {0: start}
        return more

    return make


def _plain(count: int) -> Iterable[produce.Record]:
    return (produce.Record(b"key-%d" % number, b"value-%d" % number) for number in range(count))


_MANY = 100_000


def high_head(cluster: KafkaCluster, topic: str, start: int, more: int) -> None:
    """Makes a log that starts at a high offset, a multiple of 100,000, with `more` records."""
    topics.create(cluster.bootstrap_servers, topic, config={"retention.ms": "-1"})
    batch = raw.repeated(_MANY, None, None, int(time.time() * 1000))
    raw.write(cluster.bootstrap_servers, topic, batch, start // _MANY)
    topics.delete_records(cluster.bootstrap_servers, topic, {0: start})
    produce.write(cluster.bootstrap_servers, topic, _plain(more), "lz4")
    assert topics.log_starts(cluster.bootstrap_servers, topic) == {0: start}


def many_holes(cluster: KafkaCluster, topic: str, holes: int) -> int:
    """Makes a compacted log of which the cleaner has removed at least so many records; answers how many keys are left."""
    topics.create(cluster.bootstrap_servers, topic, config={**COMPACTED, "segment.bytes": str(1 << 20)})
    for number in range(5):
        keyed = [produce.Record(b"key-%d-%d" % (number, key), b"value") for key in range(100)]
        produce.write(cluster.bootstrap_servers, topic, keyed, "zstd")
        batch = raw.repeated(_MANY // 5, b"again and again", b"v", int(time.time() * 1000))
        raw.write(cluster.bootstrap_servers, topic, batch, max(1, holes // _MANY))
        time.sleep(0.12)  # what segments are rolled by
    # What is left of the end goes with these: the active segment is never cleaned.
    for number in range(3):
        produce.write(cluster.bootstrap_servers, topic, [produce.Record(b"again and again", b"%d" % number)])
        time.sleep(0.12)
    wait_until(lambda: _left(cluster, topic) < 600, _SECONDS, "the cleaner")
    return 501


def append_time(cluster: KafkaCluster, topic: str) -> int:
    """The broker sets the times."""
    topics.create(cluster.bootstrap_servers, topic, config={"message.timestamp.type": "LogAppendTime"})
    for codec in produce.CODECS:
        produce.write(cluster.bootstrap_servers, topic, produce.varied(200, seed=2), codec)
    return 1000


def one_record_batches(cluster: KafkaCluster, topic: str) -> int:
    """Each record is a batch."""
    topics.create(cluster.bootstrap_servers, topic)
    writer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "batch.num.messages": 1, "linger.ms": 0})
    for number in range(2000):
        writer.produce(topic, b"%d" % number)
    assert writer.flush(_SECONDS) == 0
    return 2000


def every_codec(cluster: KafkaCluster, topic: str) -> int:
    """All codecs, on twelve partitions."""
    topics.create(cluster.bootstrap_servers, topic, partitions=12)
    produce.write_every_kind(cluster.bootstrap_servers, topic, 3_000, partitions=12, seed=4)
    return 3_000


def large(cluster: KafkaCluster, topic: str) -> int:
    """Records of 3 MB."""
    topics.create(cluster.bootstrap_servers, topic, config={"max.message.bytes": "10000000"})
    produce.write_large(cluster.bootstrap_servers, topic, partitions=1)
    return 1


def ahead(cluster: KafkaCluster, topic: str) -> int:
    """Written by a clock that is 5 s ahead, and by one of 1971."""
    topics.create(cluster.bootstrap_servers, topic)
    now = int(time.time() * 1000)
    times = [now + 5_000, 40_000_000_000, now + 5_000]
    records = [produce.Record(b"%d" % number, b"x", timestamp=times[number % 3]) for number in range(300)]
    produce.write(cluster.bootstrap_servers, topic, records)
    return 300


SOURCES = (
    Source("committed", committed),
    Source("compacted", compacted("none"), compacted=True),
    Source("compacted-zstd", compacted("zstd"), compacted=True),
    Source("compacted-gzip", compacted("gzip"), compacted=True),
    Source("compacted-snappy", compacted("snappy"), compacted=True),
    Source("compacted-lz4", compacted("lz4"), compacted=True),
    Source("compact-delete", compacted("lz4", {"cleanup.policy": "compact,delete"}), compacted=True),
    Source("compacted-transactional", compacted_and_transactional, compacted=True),
    Source("head", head(3_217)),
    Source("empty-head", head(700, more=0)),
    Source("append-time", append_time),
    Source("one-record", one_record_batches),
    Source("every-codec", every_codec),
    Source("large", large),
    Source("ahead", ahead),
)


@contextmanager
def open_transaction(bootstrap: str, topic: str) -> Iterator[None]:
    """Keeps a transaction open that has written a record to partition 0; it is committed at the end."""
    settings = {"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-open-{time.time_ns()}"}
    writer = Producer(settings)
    writer.init_transactions(_SECONDS)
    writer.begin_transaction()
    writer.produce(topic, b"not yet", partition=0)
    writer.flush(_SECONDS)
    yield
    writer.commit_transaction(_SECONDS)
