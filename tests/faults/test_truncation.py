"""Logs that lose their tail: the source's, which must stop the mirror, and the mirror's own, which is copied again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.cimpl import NewTopic

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.compare import assert_mirrors
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


@pytest.mark.slow
def test_a_source_that_lost_records_in_an_unclean_election(
    start_cluster: Callable[..., KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    """Other records are at the offsets that are mirrored already; the leader epochs tell, also after a restart."""
    source = start_cluster(nodes=3)
    client = topics.admin(source.bootstrap_servers)
    config = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    for name in (topic_name, f"{topic_name}-restarted"):
        new = NewTopic(name, num_partitions=1, replica_assignment=[[1, 2]], config=config)
        client.create_topics([new])[name].result(30)
    engine = start_engine()
    engine.create_link("link", source.bootstrap_servers)
    for name in (topic_name, f"{topic_name}-restarted"):
        produce.write(source.bootstrap_servers, name, produce.varied(100))
        engine.create_mirror("link", name)
        engine.wait_until_caught_up(name, source)
    source.nodes[1].kill()  # has 100 records
    for name in (topic_name, f"{topic_name}-restarted"):
        produce.write(source.bootstrap_servers, name, produce.varied(50, seed=1))
        engine.wait_until_caught_up(name, source)
    engine.pause(f"{topic_name}-restarted")
    source.nodes[0].kill()  # the only one that has 150
    engine.kill()
    source.nodes[1].launch()
    rest = ",".join(node.address for node in source.nodes[1:])
    wait_until(lambda: topics.log_ends(rest, topic_name) == {0: 100}, 60, "the unclean election")
    for name in (topic_name, f"{topic_name}-restarted"):
        produce.write(rest, name, produce.varied(80, seed=2))
    engine.start()
    engine.resume(f"{topic_name}-restarted")
    for name in (topic_name, f"{topic_name}-restarted"):
        wait_until(lambda name=name: engine.state(name) == "FAILED", 60, "the mirror to stop")  # type: ignore[misc]
        mirror = engine.mirror(name)
        assert mirror.error == "UNEXPECTED_TRUNCATION"
        assert "up to offset 149" in mirror.error_message
        assert "up to offset 99" in mirror.error_message, mirror.error_message


def test_a_mirror_that_lost_its_tail_is_copied_again(
    source_cluster: KafkaCluster,
    start_cluster: Callable[..., KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    """The local broker loses the end of a log with its disk."""
    destination = start_cluster()
    topics.create(source_cluster.bootstrap_servers, topic_name)
    settings = {"batch.num.messages": 10, "linger.ms": 1}
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(1000), settings=settings)
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    engine.wait_until_caught_up(topic_name, source_cluster)
    destination.nodes[0].kill()
    log = next(Path(destination.directory).rglob(f"{topic_name}-0/00000000000000000000.log"))
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.truncate(size - 2000)
    destination.nodes[0].start()
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100, seed=1), settings=settings)
    engine.wait_until_caught_up(topic_name, source_cluster)
    assert_mirrors(source_cluster.bootstrap_servers, destination.bootstrap_servers, topic_name)
    assert engine.state(topic_name) == "ACTIVE"
