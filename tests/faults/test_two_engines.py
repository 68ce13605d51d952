"""Two engine processes on the same state by mistake: the mirror stays exact, and the older one stops."""

import os
import signal
from collections.abc import Callable

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_SMALL_BATCHES = {"batch.num.messages": 10, "linger.ms": 1}


def _write(source: KafkaCluster, topic: str, seed: int) -> None:
    records = produce.random_bytes(30_000, 50, partitions=4, seed=seed)
    produce.write(source.bootstrap_servers, topic, records, settings=_SMALL_BATCHES)


def _assert_gave_way(engine: EngineProcess, other: EngineProcess) -> None:
    assert engine.wait(30) == 1
    assert f"Another engine process (pid {other.pid} on " in engine.log()
    assert "has taken over the state topic; this one stops." in engine.log()
    assert "Traceback" not in engine.log()


def test_the_older_engine_stops_while_both_copy(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A second process is started while the first one copies."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=4)
    first = start_engine()
    first.create_link("link", source_cluster.bootstrap_servers)
    first.create_mirror("link", topic_name)
    _write(source_cluster, topic_name, 1)
    second = start_engine(state_topic=first.state_topic)
    _write(source_cluster, topic_name, 2)
    _assert_gave_way(first, second)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert second.state(topic_name) == "ACTIVE"


def test_an_engine_that_slept_wakes_up_beside_its_successor(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The first process is stopped while it copies, and goes on where it was when the second one has taken over."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=4)
    first = start_engine()
    first.create_link("link", source_cluster.bootstrap_servers)
    first.create_mirror("link", topic_name)
    for seed in range(5):
        before = sum(topics.log_ends(destination_cluster.bootstrap_servers, topic_name).values())
        _write(source_cluster, topic_name, seed)
        wait_until(
            lambda known=before: (
                sum(topics.log_ends(destination_cluster.bootstrap_servers, topic_name).values()) > known
            ),  # type: ignore[misc]
            30,
            "the copying to begin",
        )
        os.kill(first.pid, signal.SIGSTOP)
        try:
            second = start_engine(state_topic=first.state_topic)
            _write(source_cluster, topic_name, 100 + seed)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        _assert_gave_way(first, second)
        assert_becomes_equal(source_cluster, destination_cluster, topic_name)
        first = second
    assert first.state(topic_name) == "ACTIVE"
