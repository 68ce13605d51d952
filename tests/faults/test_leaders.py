"""Leaders of a three-node cluster are killed while records are copied: the cursors move, and the mirror stays exact."""

from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
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
    """One node after the other dies under load and comes back; nothing is lost, doubled, shifted or FAILED."""
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
        wait_until(
            lambda known=before: sum(topics.log_ends(destination.bootstrap_servers, topic_name).values()) > known,  # type: ignore[misc]
            60,
            "the copying to begin",
        )
        node.kill()
        produce.write(
            source.bootstrap_servers, topic_name, produce.varied(6_000, _PARTITIONS, seed=100 + number), settings=small
        )
        assert_becomes_equal(source, destination, topic_name, deadline=120)
        node.start()
    assert engine.state(topic_name) == "ACTIVE"
