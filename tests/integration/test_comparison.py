"""The comparison itself: it must find every way in which a copy can be wrong, else it proves nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import topics
from tests.support.compare import Comparison, assert_mirrors, compare_topics
from tests.support.produce import CODECS, Record, varied, write
from tests.support.waiting import wait_until

PARTITIONS = 2
BROKEN = 20  # index of the record that is broken; at offset 10 of partition 0

# Batches of one record each are the same however they are timed; and a repeated one must not be overtaken.
ONE_BY_ONE = {"batch.num.messages": 1, "max.in.flight.requests.per.connection": 1}

Records = list[Record]


@pytest.fixture
def records() -> Records:
    made = list(varied(60, PARTITIONS, seed=7))
    return [replace(r, timestamp=r.timestamp or 1_700_000_000_000 + i) for i, r in enumerate(made)]


class Pair:
    """A topic on both clusters, filled by hand."""

    def __init__(self, source: KafkaCluster, mirror: KafkaCluster, topic: str) -> None:
        self.source = source.bootstrap_servers
        self.mirror = mirror.bootstrap_servers
        self.topic = topic

    def create(self, partitions: int = PARTITIONS, mirror_config: Mapping[str, str] | None = None) -> None:
        topics.create(self.source, self.topic, PARTITIONS)
        config = {"retention.ms": "-1", **(mirror_config or {})}
        topics.create(self.mirror, self.topic, partitions, config=config)

    def fill(self, bootstrap: str, records: Sequence[Record], codec: str = "none") -> None:
        write(bootstrap, self.topic, records, codec, ONE_BY_ONE)

    def compare(self, *, raw: bool = True) -> Comparison:
        return compare_topics(self.source, self.mirror, self.topic, raw=raw)


@pytest.fixture
def pair(source_cluster: KafkaCluster, destination_cluster: KafkaCluster, topic_name: str) -> Pair:
    return Pair(source_cluster, destination_cluster, topic_name)


@pytest.mark.parametrize("codec", CODECS)
def test_equal_topics_pass(pair: Pair, records: Records, codec: str) -> None:
    pair.create()
    pair.fill(pair.source, records, codec)
    pair.fill(pair.mirror, records, codec)
    found = assert_mirrors(pair.source, pair.mirror, pair.topic, records=60)
    assert [(p.source_start, p.mirror_end, p.records, p.batches) for p in found.partitions] == [(0, 30, 60, 30)] * 2


def test_empty_topics_pass_but_not_as_proof_of_records(pair: Pair) -> None:
    pair.create()
    assert_mirrors(pair.source, pair.mirror, pair.topic)
    with pytest.raises(AssertionError, match="expected 1 records"):
        assert_mirrors(pair.source, pair.mirror, pair.topic, records=1)


def test_equally_moved_log_starts_pass(pair: Pair, records: Records) -> None:
    pair.create()
    for bootstrap in (pair.source, pair.mirror):
        pair.fill(bootstrap, records)
        # Partition 1 is empty afterwards, with its log end above 0.
        topics.delete_records(bootstrap, pair.topic, {0: 5, 1: 30})
    found = assert_mirrors(pair.source, pair.mirror, pair.topic, records=25)
    assert [(p.source_start, p.source_end) for p in found.partitions] == [(5, 30), (30, 30)]


def change(**fields: object) -> Callable[[Records], Records]:
    return lambda records: [
        replace(record, **fields) if i == BROKEN else record  # type: ignore[arg-type]
        for i, record in enumerate(records)
    ]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        pytest.param(change(value=b"value-x"), "offset 10, read_committed: value:", id="value"),
        pytest.param(change(value=None), "mirror None", id="value-null"),
        pytest.param(change(key=b"another"), "key: source", id="key"),
        pytest.param(change(headers=[("number", b"0")]), "headers: source", id="header"),
        pytest.param(change(timestamp=1_600_000_000_001), "timestamp: source", id="timestamp"),
        pytest.param(lambda r: r[:BROKEN] + r[BROKEN + 1 :], "log end: source 30, mirror 29", id="shifted-tail"),
        pytest.param(lambda r: [*r, replace(r[0], partition=1)], "a record only on the mirror", id="extra-at-end"),
        pytest.param(lambda r: r[:-1], "no record on the mirror", id="missing-at-end"),
        pytest.param(lambda r: [*r[:BROKEN], r[BROKEN], *r[BROKEN:]], "log end: source 30, mirror 31", id="doubled"),
    ],
)
def test_wrong_copies_are_found(
    pair: Pair, records: Records, broken: Callable[[Records], Records], expected: str
) -> None:
    pair.create()
    records[BROKEN] = Record(b"key", b"value-0", [("number", b"1")], 1_600_000_000_000)
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, broken(records))
    for raw in (False, True):
        found = pair.compare(raw=raw)
        assert not found.equal
        assert expected in str(found)
    with pytest.raises(AssertionError, match="NOT the mirror"):
        assert_mirrors(pair.source, pair.mirror, pair.topic)


def test_shifted_tail_of_equal_length_is_found(pair: Pair, records: Records) -> None:
    """Is the worst case: a record lost in the middle and another one at the end, so that the log ends agree."""
    pair.create()
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, [*records[:BROKEN], *records[BROKEN + 1 :], replace(records[2], partition=0)])
    found = pair.compare()
    assert [p.mirror_end for p in found.partitions] == [30, 30]
    # Offsets 10 to 29, in two isolation levels and as batches.
    assert found.partitions[0].count == 60
    assert len(found.partitions[0].differences) < 20
    assert "... and" in str(found)
    assert found.partitions[1].count == 0


@pytest.mark.parametrize("moved", ["source", "mirror"])
def test_moved_log_start_is_found(pair: Pair, records: Records, moved: str) -> None:
    pair.create()
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, records)
    topics.delete_records(pair.source if moved == "source" else pair.mirror, pair.topic, {0: 3})
    assert "log start: source" in str(pair.compare())


def test_other_timestamp_type_is_found(pair: Pair, records: Records) -> None:
    pair.create(mirror_config={"message.timestamp.type": "LogAppendTime"})
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, records)
    assert "timestamp type: source 1, mirror 2" in str(pair.compare())


def test_other_bytes_are_found_in_batches_only(pair: Pair, records: Records) -> None:
    pair.create()
    pair.fill(pair.source, records, "lz4")
    pair.fill(pair.mirror, records, "zstd")
    assert pair.compare(raw=False).equal
    assert "batch at 0: bytes differ" in str(pair.compare())


def test_missing_partition_is_found(pair: Pair, records: Records) -> None:
    pair.create(partitions=1)
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, [r for r in records if r.partition == 0])
    found = pair.compare()
    assert not found.equal
    assert "partitions: source [0, 1], mirror [0]" in str(found)


def abort(bootstrap: str, topic: str, value: bytes) -> None:
    """Writes a record in a transaction that is aborted: two offsets at which a careful consumer sees nothing."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    before = topics.log_ends(bootstrap, topic)[0]
    producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
    # The answer comes before the marker is in the log.
    wait_until(lambda: topics.log_ends(bootstrap, topic)[0] == before + 2, 30, "the marker of the aborted transaction")


def test_aborted_record_that_a_careless_consumer_sees_is_found(pair: Pair, records: Records) -> None:
    pair.create()
    for bootstrap in (pair.source, pair.mirror):
        pair.fill(bootstrap, records[:BROKEN])
        abort(bootstrap, pair.topic, b"aborted")
        pair.fill(bootstrap, records[BROKEN:])
    found = pair.compare(raw=False)
    assert found.partitions[0].differences == ["offset 10, read_uncommitted: a record only on the mirror"]
    assert found.partitions[0].source_end == found.partitions[0].mirror_end == 32


def test_hole_is_found(pair: Pair, records: Records) -> None:
    """Is a mirror that has nothing where the source has two records, and the same log end."""
    pair.create()
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, records[:BROKEN])
    abort(pair.mirror, pair.topic, b"aborted")
    pair.fill(pair.mirror, records[BROKEN + 1 : BROKEN + 2])  # of partition 1
    pair.fill(pair.mirror, records[BROKEN + 3 :])
    found = pair.compare(raw=False)
    assert [p.mirror_end for p in found.partitions] == [30, 30]
    assert "offset 10, read_committed: no record on the mirror" in found.partitions[0].differences
    assert "offset 11, read_committed: no record on the mirror" in found.partitions[0].differences
    assert found.partitions[1].count == 0


def test_mirror_behind_an_open_transaction_passes(pair: Pair, records: Records) -> None:
    """Is a source whose last records nobody can decide yet: a mirror ends where they begin."""
    pair.create()
    pair.fill(pair.source, records)
    pair.fill(pair.mirror, records)
    producer = Producer({"bootstrap.servers": pair.source, "transactional.id": pair.topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(pair.topic, b"undecided", partition=0)
    assert producer.flush(30) == 0
    try:
        assert_mirrors(pair.source, pair.mirror, pair.topic, records=60)
    finally:
        producer.abort_transaction(30)
