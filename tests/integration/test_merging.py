"""Tiny batches that are merged on their way: brokers take them, and consumers read the same at the same offsets and times."""

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import Side
from clusterlink_engine.security import Security
from clusterlink_engine.wire import cutting, logs
from clusterlink_engine.wire import produce as wire_produce
from clusterlink_engine.wire.batch import patch, split
from clusterlink_engine.wire.cluster import NO_TOPIC_ID, Cluster
from clusterlink_engine.wire.merging import merge
from tests.fake_broker.mirroring import batch
from tests.support import produce, raw, reading, sources, topics
from tests.support.compare import compare_compacted
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal, caught_up
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_NODE, _BY_NAME = 1, 12  # the only broker; version of Produce
_OUT_OF_ORDER = 45
_SINGLE = {"batch.num.messages": 1, "linger.ms": 0}
_OFF = {"replication": {"merge_batches": "off"}}


def _write(bootstrap: str, topic: str, count: int, partitions: int, seed: int) -> None:
    """Writes records alone and in fours, and between them batches that are never merged."""
    for part in range(4):
        produce.write(bootstrap, topic, produce.varied(count // 4, partitions, seed + part), settings=_SINGLE)
        produce.write(bootstrap, topic, produce.varied(80, partitions, seed), "lz4", {"batch.num.messages": 2})
        few = {"batch.num.messages": 4, "linger.ms": 50, "enable.idempotence": part % 2 == 1}
        produce.write(bootstrap, topic, produce.varied(400, partitions, seed + part), settings=few)
        produce.write(bootstrap, topic, produce.varied(200, partitions, seed), settings={"linger.ms": 100})


def _batches(cluster: KafkaCluster, topic: str) -> int:
    """How many batches a topic has."""
    ends = topics.log_ends(cluster.bootstrap_servers, topic)
    leaders = raw.leaders(cluster.bootstrap_servers, topic)
    return sum(sum(1 for _ in raw.batches(leaders[p], topic, p, 0, end)) for p, end in ends.items())


def _places_by_time(cluster: KafkaCluster, topic: str, times: list[int]) -> list[int]:
    """The offset that a broker answers for each time."""
    client = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": "times", "log_level": 0})
    try:
        return [client.offsets_for_times([TopicPartition(topic, 0, time)], timeout=30)[0].offset for time in times]
    finally:
        client.close()


@pytest.mark.parametrize("code", ["auto", "python"])
def test_tiny_batches_are_merged_and_nobody_sees_a_difference(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    code: str,
) -> None:
    """Against the bytes that another encoder makes, record by record, by the product's own comparison, and by times."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=2)
    _write(source_cluster.bootstrap_servers, topic_name, 8000, 2, seed=1)
    engine = start_engine(settings={"replication": {"record_code": code}})
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    _write(source_cluster.bootstrap_servers, topic_name, 800, 2, seed=2)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert _batches(destination_cluster, topic_name) < _batches(source_cluster, topic_name) / 10
    engine.verify("link", "--at-rest")
    with reading.consumer(source_cluster.bootstrap_servers, "read_committed") as reader:
        end = topics.log_ends(source_cluster.bootstrap_servers, topic_name)[0]
        times = [content[4] for _, content in reading.records(reader, topic_name, 0, 0, end)]
    asked = [time + more for time in times[:: len(times) // 40] for more in (-1, 0, 1)]
    assert _places_by_time(destination_cluster, topic_name, asked) == _places_by_time(source_cluster, topic_name, asked)
    is_compiled = code == "auto" and cutting.IS_COMPILED
    assert f"clusterlink_record_code_compiled {float(is_compiled)}" in engine.metrics().splitlines()
    assert f"record code: {'compiled' if is_compiled else 'Python'}" in engine.log()
    assert engine.stop() == 0


def test_batches_keep_their_bytes_where_merging_is_off(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name)
    _write(source_cluster.bootstrap_servers, topic_name, 800, 1, seed=3)
    engine = start_engine(settings=_OFF)
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert _batches(destination_cluster, topic_name) == _batches(source_cluster, topic_name)
    assert engine.stop() == 0


def test_merged_batches_are_compacted_like_others(
    source_cluster: KafkaCluster, start_engine: StartEngine, start_cluster: Callable[..., KafkaCluster], topic_name: str
) -> None:
    """Both cleaners work at their own times; what is on both sides is equal, and the last of each key is the same."""
    destination = start_cluster(settings={"log.cleaner.backoff.ms": 200})
    topics.create(source_cluster.bootstrap_servers, topic_name)
    records = [
        produce.Record(b"key-%d" % (number % 97), None if number % 11 == 0 else b"%d" % number)
        for number in range(3000)
    ]
    produce.write(source_cluster.bootstrap_servers, topic_name, records, settings=_SINGLE)
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    wait_until(lambda: caught_up(source_cluster, destination, topic_name), 60, "the mirror to catch up")
    assert _batches(destination, topic_name) < len(records) / 10
    # Only now: a source that is cleaned before it is read has holes, and nothing to merge between them.
    topics.alter(source_cluster.bootstrap_servers, topic_name, sources.COMPACTED)

    def is_cleaned() -> bool:
        # What is in the last segment is not cleaned: a newer record begins another one.
        produce.write(source_cluster.bootstrap_servers, topic_name, [produce.Record(b"newer", b"")])
        (end,) = topics.log_ends(destination.bootstrap_servers, topic_name).values()
        with reading.consumer(destination.bootstrap_servers, "read_uncommitted") as reader:
            return sum(1 for _ in reading.records(reader, topic_name, 0, 0, end)) < len(records) / 2

    wait_until(is_cleaned, 60, "the mirror to be cleaned")
    wait_until(lambda: caught_up(source_cluster, destination, topic_name), 60, "the mirror to catch up")
    assert compare_compacted(source_cluster.bootstrap_servers, destination.bootstrap_servers, topic_name) == []
    assert engine.state(topic_name) == "ACTIVE"


async def test_a_broker_takes_another_cut_of_the_same_records_at_its_place_only(
    destination_cluster: KafkaCluster, topic_name: str
) -> None:
    """What the core relies on when whoever takes over merges otherwise; each row: first and end offset, and the answer."""
    topics.create(destination_cluster.bootstrap_servers, topic_name)
    cluster = Cluster(Side.LOCAL, [destination_cluster.bootstrap_servers], Security())
    await cluster.metadata([])
    connection = await cluster.open(_NODE)
    producer_id = await logs.init_producer_id(cluster)
    for first, end, error, base in [
        (0, 4, 0, 0),
        (0, 4, 0, 0),  # the same one: a duplicate
        (0, 6, _OUT_OF_ORDER, -1),
        (0, 2, _OUT_OF_ORDER, -1),
        (2, 4, _OUT_OF_ORDER, -1),
        (2, 6, _OUT_OF_ORDER, -1),
        (5, 6, _OUT_OF_ORDER, -1),
        (4, 7, 0, 4),
        (4, 7, 0, 4),
        (4, 6, _OUT_OF_ORDER, -1),
        (0, 7, _OUT_OF_ORDER, -1),
        (0, 4, 0, 0),
        (7, 8, 0, 7),
    ]:
        data = memoryview(bytearray(b"".join(batch(offset, 1) for offset in range(first, end))))
        (merged,) = merge(data, split(data), ())
        patch(merged.view, producer_id, 0, first)
        entry = wire_produce.ProducePartition(topic_name, NO_TOPIC_ID, 0, merged.view)
        body = wire_produce.encode(_BY_NAME, [entry], timeout_ms=30_000)
        answer = await connection.send(wire_produce.API_KEY, _BY_NAME, body, flexible=True)
        (said,) = wire_produce.decode(_BY_NAME, answer).partitions
        assert (said.error, said.base_offset) == (error, base), (first, end)
    connection.close()
    cluster.close()
    with reading.consumer(destination_cluster.bootstrap_servers, "read_uncommitted") as reader:
        found = list(reading.records(reader, topic_name, 0, 0, 8))
    assert [(offset, content[1]) for offset, content in found] == [(n, b"value %d" % n) for n in range(8)]


@pytest.mark.slow
def test_segments_smaller_than_merged_batches(
    start_cluster: Callable[..., KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    """Kafka before 4.0 allows segments that hold no more than some batches: then each batch is copied as it is."""
    source, destination = start_cluster("3.9.2"), start_cluster("3.9.2")
    topics.create(source.bootstrap_servers, topic_name)
    produce.write(source.bootstrap_servers, topic_name, produce.varied(3000), settings=_SINGLE)
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source.bootstrap_servers, topic_config_sync={"include": ["retention.ms"]})
    engine.create_mirror("link", topic_name, config={"segment.bytes": "20000"})
    assert_becomes_equal(source, destination, topic_name)
    assert "its batches are not merged any more" in engine.log()
    before = _batches(source, topic_name), _batches(destination, topic_name)  # what was taken before stays merged
    produce.write(source.bootstrap_servers, topic_name, produce.varied(500), settings=_SINGLE)
    assert_becomes_equal(source, destination, topic_name)
    assert _batches(destination, topic_name) - before[1] == _batches(source, topic_name) - before[0] == 500
    assert engine.stop() == 0
