"""One command with several workers: they share the work; whichever process dies, nothing shifts and nothing stays behind."""

import os
import re
import signal
from collections.abc import Callable

import psutil
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, sources, topics
from tests.support.compare import assert_mirrors
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

PARTITIONS = 8
_SMALL_BATCHES = {"batch.num.messages": 10, "linger.ms": 1}


def _write(source: KafkaCluster, topic: str, seed: int) -> None:
    records = produce.random_bytes(5_000, 50, partitions=PARTITIONS, seed=seed)
    produce.write(source.bootstrap_servers, topic, records, settings=_SMALL_BATCHES)
    sources.write_transactions(source.bootstrap_servers, topic, partitions=PARTITIONS, rounds=20, seed=seed)


def _assert_exact(source: KafkaCluster, destination: KafkaCluster, topic: str) -> None:
    here, there = source.bootstrap_servers, destination.bootstrap_servers
    wait_until(lambda: topics.log_ends(there, topic) == topics.log_ends(here, topic), 60, f"{topic} to be mirrored")
    assert_mirrors(here, there, topic, raw=False)


def _wait_for_shares(engine: EngineProcess) -> set[int]:
    """Waits until two workers, and nobody else, have an even share; answers their pids."""

    def shared() -> set[int]:
        workers = engine.workers()
        return workers if engine.shards() == dict.fromkeys(workers, 32) else set()

    return wait_until(shared, 40, "the workers to share the work")


@pytest.fixture
def engine(source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str) -> EngineProcess:
    """An engine of two workers with a mirror topic, of which both have something."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=PARTITIONS)
    started = start_engine(workers=2)
    started.create_link("link", source_cluster.bootstrap_servers)
    started.create_mirror("link", topic_name)
    _wait_for_shares(started)
    return started


def _leader(engine: EngineProcess) -> int:
    """The pid of the worker that leads, as its log has it."""
    number = re.findall(r"worker (\d) app: this engine process leads", engine.log())[-1]
    return next(
        child.pid
        for child in psutil.Process(engine.pid).children()
        if child.cmdline()[child.cmdline().index("--worker") + 1] == number
    )


def test_workers_are_one_engine_to_whoever_looks_and_stop_together(
    engine: EngineProcess, source_cluster: KafkaCluster, destination_cluster: KafkaCluster, topic_name: str
) -> None:
    """One API, one address for metrics with the partitions of both, one exit code, and nobody left."""
    _write(source_cluster, topic_name, 1)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    engine.wait_until_caught_up(topic_name, source_cluster)
    ends = re.findall(
        rf'clusterlink_mirror_log_end_offset\{{link="link",partition="(\d)",topic="{topic_name}",worker="(\d)"\}}',
        engine.metrics(),
    )
    assert sorted(partition for partition, _ in ends) == [str(index) for index in range(PARTITIONS)]
    assert {worker for _, worker in ends} == {"1", "2"}
    assert len(re.findall(r"(?m)^# TYPE clusterlink_leads gauge$", engine.metrics())) == 1
    assert sorted(re.findall(r'clusterlink_leads\{worker="\d"\} (\S+)', engine.metrics())) == ["0.0", "1.0"]
    assert engine.http("/readyz") == (200, "ok\n")
    assert engine.http("/healthz") == (200, "ok\n")
    workers = engine.workers()
    assert engine.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert "Traceback" not in engine.log()


@pytest.mark.parametrize("leads", [False, True], ids=["one that follows", "the one that leads"])
def test_a_worker_that_is_killed_is_replaced(
    engine: EngineProcess,
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    topic_name: str,
    *,
    leads: bool,
) -> None:
    """Under load: its partitions go on in the other one, then a new one gets its share; calls are answered again."""
    workers, leader = engine.workers(), _leader(engine)
    (victim,) = {leader} if leads else workers - {leader}
    before = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
    _write(source_cluster, topic_name, 1)
    wait_until(
        lambda: topics.log_ends(destination_cluster.bootstrap_servers, topic_name) != before, 30, "the copying to begin"
    )
    os.kill(victim, signal.SIGKILL)
    _write(source_cluster, topic_name, 2)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    replaced = _wait_for_shares(engine)
    assert victim not in replaced
    assert len(replaced & workers) == 1
    assert "was killed by signal 9; it is started again" in engine.log()
    _write(source_cluster, topic_name, 3)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    assert engine.state(topic_name) == "ACTIVE"
    assert engine.stop() == 0


def test_no_worker_outlives_its_supervisor(
    engine: EngineProcess, source_cluster: KafkaCluster, destination_cluster: KafkaCluster, topic_name: str
) -> None:
    """The supervisor is killed: the workers stop in order, and an engine that is started after them has everything."""
    workers = engine.workers()
    engine.kill()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), 40, "the workers to end")
    assert engine.log().count("app: stopped") == 2
    _write(source_cluster, topic_name, 1)
    engine.start()
    _wait_for_shares(engine)
    _assert_exact(source_cluster, destination_cluster, topic_name)


def test_what_keeps_one_process_from_starting_keeps_the_workers_from_it(start_engine: StartEngine) -> None:
    """The exit code is that of one process, and no worker is started again and again."""
    engine = start_engine(state_keys=["this is no key"], workers=2, wait=False)
    assert engine.wait(60) == 2
    assert "clusterlink: state.key_file: " in engine.log()
    assert "is started again" not in engine.log()
