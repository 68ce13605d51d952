"""Reverse, and truncate and restore: a mirror topic becomes the source of its source, and nothing is lost on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from confluent_kafka import Producer

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, sources, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

PARTITIONS = 3
HOME, AWAY = v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL, v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE


def _mirrored(
    source: KafkaCluster, destination: KafkaCluster, start_engine: StartEngine, topic: str, **fields: object
) -> EngineProcess:
    """An engine with a mirror topic on a link of both directions, that has records and gaps, and has caught up."""
    config = {"compression.type": "lz4", "retention.ms": "86400000000"}
    topics.create(source.bootstrap_servers, topic, partitions=PARTITIONS, config=config)
    _write(source, topic, 1)
    engine = start_engine()
    engine.create_link("link", source.bootstrap_servers, mode=v1.LINK_MODE_BIDIRECTIONAL, **fields)
    engine.create_mirror("link", topic)
    assert_becomes_equal(source, destination, topic, raw=False)
    return engine


def _write(cluster: KafkaCluster, topic: str, seed: int) -> None:
    records = produce.varied(200, PARTITIONS, seed=seed)
    produce.write(cluster.bootstrap_servers, topic, records, settings={"batch.num.messages": 20})
    sources.write_transactions(cluster.bootstrap_servers, topic, partitions=PARTITIONS, rounds=20, seed=seed)


def _wait_until_turned(engine: EngineProcess, topic: str, direction: "v1.MirrorDirection.ValueType") -> None:
    def is_turned() -> bool:
        return engine.mirror(topic).direction == direction and engine.state(topic) in ("ACTIVE", "PAUSED")

    wait_until(is_turned, 60, "the mirror topic to be turned")


@contextmanager
def _refused(reason: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
    assert any(reason.encode() in value for _, value in error.trailing_metadata())


def test_there_and_back_again(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Twice in each direction, with writes at each end; the topic's own settings come back, and both are always equal."""
    engine = _mirrored(source_cluster, destination_cluster, start_engine, topic_name)
    asked = engine.reverse(topic_name, validate_only=True)
    assert asked.direction == HOME
    for number in range(2):
        ends = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
        assert engine.reverse(topic_name).stop == v1.MIRROR_TOPIC_STOP_REVERSE
        _wait_until_turned(engine, topic_name, AWAY)
        _write(destination_cluster, topic_name, 10 + number)
        assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=ends)
        settings = topics.settings(destination_cluster.bootstrap_servers, topic_name)
        assert (settings["compression.type"], settings["retention.ms"]) == ("lz4", "86400000000")
        settings = topics.settings(source_cluster.bootstrap_servers, topic_name)
        assert (settings["compression.type"], settings["retention.ms"]) == ("producer", "-1")
        ends = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
        engine.reverse(topic_name)
        _wait_until_turned(engine, topic_name, HOME)
        _write(source_cluster, topic_name, 20 + number)
        assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False, own_until=ends)
        settings = topics.settings(source_cluster.bootstrap_servers, topic_name)
        assert (settings["compression.type"], settings["retention.ms"]) == ("lz4", "86400000000")
    mirror = engine.mirror(topic_name)
    assert (mirror.error, mirror.state_detail) == ("", "")


def test_a_reverse_lets_nothing_slip_through_while_producers_write(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """It waits, and can be cancelled, after which producers write as before; what was acknowledged is on both sides."""
    engine = _mirrored(source_cluster, destination_cluster, start_engine, topic_name)
    before = topics.settings(source_cluster.bootstrap_servers, topic_name)["max.message.bytes"]
    writer = _Writer(source_cluster.bootstrap_servers, topic_name)
    try:
        engine.reverse(topic_name)
        wait_until(lambda: engine.state(topic_name) == "PENDING_SYNCHRONIZE", 30, "the reverse to begin")
        wait_until(lambda: engine.mirror(topic_name).state_detail, 30, "the reverse to say what it waits for")
        wait_until(lambda: writer.refused or engine.mirror(topic_name).direction == AWAY, 60, "a record to be refused")
        if engine.mirror(topic_name).direction == HOME and engine.state(topic_name) == "PENDING_SYNCHRONIZE":
            with suppress(grpc.RpcError):  # it may have just been done
                engine.cancel_promote(topic_name)
    finally:
        writer.stop()
    if engine.mirror(topic_name).direction == HOME and not engine.mirror(topic_name).stop:
        wait_until(
            lambda: topics.settings(source_cluster.bootstrap_servers, topic_name)["max.message.bytes"] == before,
            30,
            "producers to be let go",
        )
        _write(source_cluster, topic_name, 3)
        assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False)
        engine.reverse(topic_name)
    own = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    _wait_until_turned(engine, topic_name, AWAY)
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=own)
    assert writer.acknowledged <= set(_values(destination_cluster, topic_name))


def test_reverse_and_pause(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = _mirrored(source_cluster, destination_cluster, start_engine, topic_name)
    own = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    engine.reverse(topic_name, paused=True)
    _wait_until_turned(engine, topic_name, AWAY)
    assert engine.state(topic_name) == "PAUSED"
    _write(destination_cluster, topic_name, 2)
    assert topics.log_ends(source_cluster.bootstrap_servers, topic_name) == own
    engine.resume(topic_name)
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=own)


def test_an_old_primary_that_went_its_own_way_is_restored(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """What it had alone is counted, and gone; groups have their places, not beyond what both had. Then back home."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    engine = _mirrored(source_cluster, destination_cluster, start_engine, topic_name)
    with _refused("MIRROR_TOPIC_NOT_STOPPED"):
        engine.restore(topic_name)
    engine.pause(topic_name)
    common = topics.log_ends(here, topic_name)
    _write(source_cluster, topic_name, 2)  # never mirrored
    alone = {index: end - common[index] for index, end in topics.log_ends(here, topic_name).items()}
    assert all(alone.values())
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    _write(destination_cluster, topic_name, 3)
    group = f"{topic_name}-group"
    groups.commit(here, group, topic_name, {0: common[0] - 5, 1: common[1] + 5}, metadata="place")

    with groups.member(here, f"{topic_name}-active", topic_name), _refused("CONSUMER_GROUP_IN_USE_ERROR"):
        engine.restore(topic_name)
    asked = engine.restore(topic_name, validate_only=True)
    begun = engine.restore(topic_name)
    for answer in (asked, begun):
        assert {part.partition: part.messages_truncated for part in answer.partitions} == alone
        assert {part.partition: part.offset_truncated_to for part in answer.partitions} == common
        assert answer.messages_truncated == sum(alone.values())
    assert engine.state(topic_name) in ("PENDING_SETUP_FOR_RESTORE", "PENDING_RESTORE", "ACTIVE")
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 60, "the topic to be restored")
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False)
    assert groups.committed(here, group, topic_name, PARTITIONS) == {0: common[0] - 5, 1: common[1]}
    assert groups.metadata(here, group, topic_name, PARTITIONS)[0] == "place"
    assert engine.mirror(topic_name).direction == AWAY

    own = topics.log_ends(there, topic_name)
    engine.reverse(topic_name)
    _wait_until_turned(engine, topic_name, HOME)
    _write(source_cluster, topic_name, 4)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False, own_until=own)
    assert topics.settings(here, topic_name)["compression.type"] == "lz4"


def test_who_may_not_turn(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("one-way", source_cluster.bootstrap_servers)
    engine.create_mirror("one-way", topic_name)
    with _refused("LINK_NOT_BIDIRECTIONAL"):
        engine.reverse(topic_name)
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    with _refused("LINK_NOT_BIDIRECTIONAL"):
        engine.restore(topic_name)
    with pytest.raises(grpc.RpcError) as caught:
        engine.create_link(
            "both", source_cluster.bootstrap_servers, mode=v1.LINK_MODE_BIDIRECTIONAL, topic_prefix="far."
        )
    refusal: Any = caught.value
    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT


class _Writer:
    """Writes until it is stopped; remembers what was acknowledged, and that something was refused."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.acknowledged: set[bytes] = set()
        self.refused = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _write(self) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap, "linger.ms": 2, "message.timeout.ms": 10_000})

        def told(error: Any, message: Any) -> None:
            if error is None:
                self.acknowledged.add(message.value())
            else:
                self.refused += 1

        number = 0
        while not self._stopping.is_set():
            for _ in range(20):
                number += 1
                value = b"written while it turns, number %d" % number
                producer.produce(self._topic, value, b"k", partition=number % PARTITIONS, on_delivery=told)
            producer.flush(10)


def _values(cluster: KafkaCluster, topic: str) -> Iterator[bytes | None]:
    for index, end in topics.log_ends(cluster.bootstrap_servers, topic).items():
        with reading.consumer(cluster.bootstrap_servers, "read_committed") as reader:
            yield from (content[1] for _, content in reading.records(reader, topic, index, 0, end))
