"""Mirroring between clusters of different Kafka versions: topics by name where ids are not offered, and by id."""

from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal

StartEngine = Callable[..., EngineProcess]


@pytest.mark.parametrize(
    ("source_version", "destination_version"),
    [("3.9.2", "4.3.1"), pytest.param("4.3.1", "3.9.2", marks=pytest.mark.slow)],
)
def test_two_versions(
    start_cluster: Callable[..., KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
    source_version: str,
    destination_version: str,
) -> None:
    """Records of every kind, a restart of the engine in between, and a topic that is deleted."""
    source, destination = start_cluster(source_version), start_cluster(destination_version)
    topics.create(source.bootstrap_servers, topic_name, partitions=3, config={"max.message.bytes": "4000000"})
    produce.write_every_kind(source.bootstrap_servers, topic_name, 5_000, partitions=3, seed=1)
    produce.write_large(source.bootstrap_servers, topic_name)
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source, destination, topic_name)
    engine.kill()
    produce.write_every_kind(source.bootstrap_servers, topic_name, 5_000, partitions=3, seed=2)
    engine.start()
    assert_becomes_equal(source, destination, topic_name)
    assert engine.state(topic_name) == "ACTIVE"
    engine.delete_mirror(topic_name)
    assert not topics.exists(destination.bootstrap_servers, topic_name)
