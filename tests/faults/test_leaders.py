"""Leaders of a three-node cluster are killed while records are copied: the cursors move, and the mirror stays exact."""

import threading
from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, sources, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_PARTITIONS = 6


@pytest.mark.slow
@pytest.mark.parametrize("role", ["destination", "source"])
def test_each_node_is_killed_in_turn(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_cluster: Callable[..., KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
    role: str,
) -> None:
    """One node after the other dies under load, transactions among it, and comes back; all is exact, nothing FAILED."""
    three = start_cluster(nodes=3)
    source, destination = (source_cluster, three) if role == "destination" else (three, destination_cluster)
    config = {"min.insync.replicas": "2"} if role == "source" else {}
    replicas = 3 if role == "source" else 1
    topics.create(source.bootstrap_servers, topic_name, partitions=_PARTITIONS, replicas=replicas, config=config)
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source.bootstrap_servers)
    mirror = engine.create_mirror("link", topic_name, replication_factor=3 if role == "destination" else 1)
    assert mirror.replication_factor == (3 if role == "destination" else 1)
    small = {"batch.num.messages": 10, "linger.ms": 1, "enable.idempotence": True}
    for number, node in enumerate(three.nodes):
        before = sum(topics.log_ends(destination.bootstrap_servers, topic_name).values())
        written = produce.varied(30_000, _PARTITIONS, seed=number)
        produce.write(source.bootstrap_servers, topic_name, written, settings=small)
        sources.write_transactions(source.bootstrap_servers, topic_name, partitions=_PARTITIONS, rounds=60, seed=number)
        wait_until(
            lambda known=before: sum(topics.log_ends(destination.bootstrap_servers, topic_name).values()) > known,  # type: ignore[misc]
            60,
            "the copying to begin",
        )
        node.kill()
        produce.write(
            source.bootstrap_servers, topic_name, produce.varied(6_000, _PARTITIONS, seed=100 + number), settings=small
        )
        assert_becomes_equal(source, destination, topic_name, deadline=120, raw=False)
        node.start()
    assert engine.state(topic_name) == "ACTIVE"


def _in_sync(cluster: KafkaCluster, topic: str) -> list[int]:
    """How many replicas of each partition are in sync."""
    found = topics.admin(cluster.bootstrap_servers).list_topics(topic, timeout=10).topics[topic]
    return [len(partition.isrs) for partition in found.partitions.values()]


@pytest.mark.slow
def test_replicas_fall_out_and_leaders_move_while_gaps_are_filled(
    source_cluster: KafkaCluster,
    start_cluster: Callable[..., KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    """A follower sleeps until it is out of the in-sync replicas and wakes up; then a leader dies. Six times."""
    three = start_cluster(nodes=3, settings={"replica.lag.time.max.ms": 2000})
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS)
    engine = start_engine(three.bootstrap_servers)
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name, replication_factor=3)
    writing = threading.Event()
    writing.set()

    def write() -> None:
        seed = 0
        while writing.is_set():
            seed += 1
            sources.write_transactions(
                source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS, rounds=20, seed=seed
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(6):
            sleeper, victim = three.nodes[number % 3], three.nodes[(number + 1) % 3]
            sleeper.suspend()
            wait_until(lambda: min(_in_sync(three, topic_name)) < 3, 60, "a replica to fall out")
            sleeper.resume()
            wait_until(lambda: min(_in_sync(three, topic_name)) == 3, 60, "the replica to be in sync again")
            engine.start_again_if_dropped()
            victim.kill()
            wait_until(lambda: max(_in_sync(three, topic_name)) < 3, 60, "the dead node to be noticed")
            victim.start()
    finally:
        writing.clear()
        writer.join()
    engine.start_again_if_dropped()
    assert_becomes_equal(source_cluster, three, topic_name, deadline=120, raw=False)
    assert engine.state(topic_name) == "ACTIVE"
