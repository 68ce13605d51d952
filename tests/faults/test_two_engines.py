"""Several engine processes on the same state: one works, the others stand by, and no fault of the first one shifts anything."""

import os
import signal
import time
from collections.abc import Callable

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, sources, topics
from tests.support.compare import assert_mirrors
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_SMALL_BATCHES = {"batch.num.messages": 10, "linger.ms": 1}


def _write(source: KafkaCluster, topic: str, seed: int) -> None:
    """Plain records, and transactions between them: gaps that must be filled."""
    records = produce.random_bytes(5_000, 50, partitions=4, seed=seed)
    produce.write(source.bootstrap_servers, topic, records, settings=_SMALL_BATCHES)
    sources.write_transactions(source.bootstrap_servers, topic, partitions=4, rounds=20, seed=seed)


def _assert_exact(source: KafkaCluster, destination: KafkaCluster, topic: str) -> None:
    def ends(cluster: KafkaCluster) -> dict[int, int]:
        return topics.log_ends(cluster.bootstrap_servers, topic)

    wait_until(lambda: ends(destination) == ends(source), 60, f"{topic} to be mirrored")
    assert_mirrors(source.bootstrap_servers, destination.bootstrap_servers, topic, raw=False)


def _stands_by(engine: EngineProcess, worker: EngineProcess) -> None:
    wait_until(lambda: f"the engine with pid {worker.pid} on " in engine.log(), 30, "the second engine to stand by")


def test_a_second_engine_stands_by_and_takes_over_at_once_when_the_first_one_stops(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A clean stop leaves nothing to wait for."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=4)
    first = start_engine()
    first.create_link("link", source_cluster.bootstrap_servers)
    first.create_mirror("link", topic_name)
    second = start_engine(state_topic=first.state_topic, wait=False)
    _stands_by(second, first)
    _write(source_cluster, topic_name, 1)
    assert first.stop() == 0
    _write(source_cluster, topic_name, 2)
    second.wait_ready()
    _assert_exact(source_cluster, destination_cluster, topic_name)
    assert second.state(topic_name) == "ACTIVE"
    assert second.stop() == 0


def test_a_second_engine_takes_over_when_the_first_one_is_killed(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """After its session, and a grace."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=4)
    first = start_engine()
    first.create_link("link", source_cluster.bootstrap_servers)
    first.create_mirror("link", topic_name)
    second = start_engine(state_topic=first.state_topic, wait=False)
    _stands_by(second, first)
    _write(source_cluster, topic_name, 1)
    first.kill()
    _write(source_cluster, topic_name, 2)
    second.wait_ready()
    _assert_exact(source_cluster, destination_cluster, topic_name)


def test_an_engine_that_slept_wakes_up_beside_its_successor(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The first process is stopped while it copies and fills gaps, and goes on where it was when the second one works."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=4)
    first = start_engine()
    first.create_link("link", source_cluster.bootstrap_servers)
    first.create_mirror("link", topic_name)
    for seed in range(3):
        second = start_engine(state_topic=first.state_topic, wait=False)
        _stands_by(second, first)
        before = sum(topics.log_ends(destination_cluster.bootstrap_servers, topic_name).values())
        _write(source_cluster, topic_name, seed)
        wait_until(
            lambda known=before: (
                sum(topics.log_ends(destination_cluster.bootstrap_servers, topic_name).values()) > known
            ),  # type: ignore[misc]
            30,
            "the copying to begin",
        )
        time.sleep(seed * 0.01)  # another moment each time; nothing is waited for
        os.kill(first.pid, signal.SIGSTOP)
        try:
            _write(source_cluster, topic_name, 100 + seed)
            second.wait_ready()
            _write(source_cluster, topic_name, 200 + seed)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        assert first.wait(30) == 1
        assert "this one stops." in first.log()
        assert "Traceback" not in first.log()
        _assert_exact(source_cluster, destination_cluster, topic_name)
        first = second
    assert first.state(topic_name) == "ACTIVE"
