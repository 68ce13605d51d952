"""Several engine processes on the same state share the work, and no fault of one of them shifts anything."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from clusterlink_engine.api.access import hash_of
from clusterlink_engine.devkit.engine import EngineApi
from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.settings import Role
from clusterlink_proto import v1
from clusterlink_proto.channel import Tls
from tests.support import groups, produce, sources, topics
from tests.support.certificates import Authority
from tests.support.compare import assert_mirrors
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

PARTITIONS = 8
_SMALL_BATCHES = {"batch.num.messages": 10, "linger.ms": 1}


def _write(source: KafkaCluster, topic: str, seed: int) -> None:
    """Plain records, and transactions between them: gaps that must be filled."""
    records = produce.random_bytes(5_000, 50, partitions=PARTITIONS, seed=seed)
    produce.write(source.bootstrap_servers, topic, records, settings=_SMALL_BATCHES)
    sources.write_transactions(source.bootstrap_servers, topic, partitions=PARTITIONS, rounds=20, seed=seed)


def _ends(cluster: KafkaCluster, topic: str) -> dict[int, int]:
    return topics.log_ends(cluster.bootstrap_servers, topic)


def _assert_exact(source: KafkaCluster, destination: KafkaCluster, topic: str) -> None:
    wait_until(lambda: _ends(destination, topic) == _ends(source, topic), 60, f"{topic} to be mirrored")
    assert_mirrors(source.bootstrap_servers, destination.bootstrap_servers, topic, raw=False)


def _two_engines(
    source: KafkaCluster, start_engine: StartEngine, topic: str, **options: Any
) -> tuple[EngineProcess, EngineProcess]:
    topics.create(source.bootstrap_servers, topic, partitions=PARTITIONS)
    first = start_engine(**options)
    first.create_link("link", source.bootstrap_servers)
    first.create_mirror("link", topic)
    second = start_engine(state_topic=first.state_topic, **options)
    first.wait_for_shares(second)
    return first, second


def test_two_engines_share_the_work_and_the_calls(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Either of them answers, for all partitions; a pause stops both, a detached topic can be taken up again by either."""
    first, second = _two_engines(source_cluster, start_engine, topic_name)
    _write(source_cluster, topic_name, 1)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    for engine in (first, second):
        engine.wait_until_caught_up(topic_name, source_cluster)
        assert {partition.state for partition in engine.mirror(topic_name).partitions} == {"COPYING"}
    other = f"{topic_name}-other"
    topics.create(source_cluster.bootstrap_servers, other, partitions=PARTITIONS)
    second.create_mirror("link", other)
    second.pause(topic_name)
    ends = _ends(destination_cluster, topic_name)
    _write(source_cluster, topic_name, 2)
    _write(source_cluster, other, 2)
    _assert_exact(
        source_cluster, destination_cluster, other
    )  # written later, mirrored by both: the paused one had its time
    assert _ends(destination_cluster, topic_name) == ends
    second.resume(topic_name)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    second.delete_mirror(topic_name, keep=True)
    _write(source_cluster, topic_name, 3)
    assert _ends(destination_cluster, topic_name) != _ends(source_cluster, topic_name)
    second.create_mirror("link", topic_name)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    second.delete_mirror(topic_name)
    wait_until(lambda: not topics.exists(destination_cluster.bootstrap_servers, topic_name), 20, "the topic to be gone")


def test_processes_that_ask_who_calls_share_the_work_and_the_calls(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    tmp_path: Path,
) -> None:
    """With TLS and tokens: each asks its callers itself, also for what the other one answers."""
    authority = Authority("authority")
    issued = authority.issue("api", "127.0.0.1")
    files = {"certificate_file": tmp_path / "api.pem", "key_file": tmp_path / "api.key"}
    files["certificate_file"].write_text(issued.certificate)
    files["key_file"].write_text(issued.key)
    tokens = [{"name": f"the-{role}", "role": role, "sha256": hash_of(role)} for role in Role]
    first, second = _two_engines(
        source_cluster,
        start_engine,
        topic_name,
        settings={"api": {"tls": files, "tokens": tokens}},
        token=Role.ADMIN,
        tls=Tls(authority.pem),
    )
    _write(source_cluster, topic_name, 1)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    request = v1.PauseMirrorTopicRequest(name=topic_name)
    for engine in (first, second):
        for token, code in (("", "UNAUTHENTICATED"), ("wrong", "UNAUTHENTICATED"), (Role.VIEWER, "PERMISSION_DENIED")):
            with EngineApi(engine.endpoint, token=token, tls=Tls(authority.pem)) as api:
                with pytest.raises(grpc.RpcError) as caught:
                    api.mirror_topics.PauseMirrorTopic(request, timeout=60)
                status: Any = caught.value
                assert status.code().name == code
        assert engine.state(topic_name) == "ACTIVE"
        with EngineApi(engine.endpoint, token=Role.OPERATOR, tls=Tls(authority.pem)) as api:
            api.mirror_topics.PauseMirrorTopic(request, timeout=60)
        assert engine.state(topic_name) == "PAUSED"
        assert 'PauseMirrorTopic by the token "the-operator"' in engine.log()
        engine.resume(topic_name)
        wait_until(lambda engine=engine: engine.state(topic_name) == "ACTIVE", 60, "the mirror topic to go on")  # type: ignore[misc]


def test_a_process_that_stops_leaves_its_work_to_the_other_one_at_once(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """First one that follows, then the one that leads; the last one has everything and leads."""
    first, second = _two_engines(source_cluster, start_engine, topic_name)
    _write(source_cluster, topic_name, 1)
    assert second.stop() == 0
    _write(source_cluster, topic_name, 2)
    first.wait_for_shares()
    _assert_exact(source_cluster, destination_cluster, topic_name)
    third = start_engine(state_topic=first.state_topic)
    third.wait_for_shares(first)
    _write(source_cluster, topic_name, 3)
    assert first.stop() == 0
    _write(source_cluster, topic_name, 4)
    third.wait_for_shares()
    _assert_exact(source_cluster, destination_cluster, topic_name)
    assert third.state(topic_name) == "ACTIVE"
    assert third.stop() == 0


def test_a_process_that_is_killed_is_replaced(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Under load: after its session, and a grace. Meanwhile the other one goes on with its own part."""
    first, second = _two_engines(source_cluster, start_engine, topic_name)
    _write(source_cluster, topic_name, 1)
    second.kill()
    _write(source_cluster, topic_name, 2)
    first.wait_for_shares()
    _assert_exact(source_cluster, destination_cluster, topic_name)
    third = start_engine(state_topic=first.state_topic)
    third.wait_for_shares(first)
    _write(source_cluster, topic_name, 3)
    first.kill()
    _write(source_cluster, topic_name, 4)
    third.wait_for_shares()
    _assert_exact(source_cluster, destination_cluster, topic_name)


def test_a_process_that_slept_wakes_up_beside_its_successor(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """One process is stopped while it copies and fills gaps, and goes on where it was when the other one has its work."""
    first, second = _two_engines(source_cluster, start_engine, topic_name)
    for seed in range(2):
        sleeper, other = (first, second) if seed % 2 else (second, first)
        before = sum(_ends(destination_cluster, topic_name).values())
        _write(source_cluster, topic_name, seed)
        wait_until(
            lambda known=before: sum(_ends(destination_cluster, topic_name).values()) > known,  # type: ignore[misc]
            30,
            "the copying to begin",
        )
        time.sleep(seed * 0.01)  # another moment each time; nothing is waited for
        os.kill(sleeper.pid, signal.SIGSTOP)
        try:
            _write(source_cluster, topic_name, 100 + seed)
            other.wait_for_shares()
            _write(source_cluster, topic_name, 200 + seed)
        finally:
            os.kill(sleeper.pid, signal.SIGCONT)
        assert sleeper.wait(30) == 1
        assert "this one stops." in sleeper.log()
        assert "Traceback" not in sleeper.log()
        _assert_exact(source_cluster, destination_cluster, topic_name)
        first, second = other, start_engine(state_topic=other.state_topic)
        first.wait_for_shares(second)
    assert first.state(topic_name) == "ACTIVE"


def test_a_leader_that_slept_moves_no_group_back(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """While it sleeps the topic is promoted, and the group works on it; what the sleeper was about to commit is not."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    topics.create(here, topic_name)
    produce.write(here, topic_name, produce.varied(100))
    first = start_engine()
    sync = v1.ConsumerOffsetSync(enable=True, interval_ms=1000, group_filters=[v1.Filter(name=topic_name)])
    first.create_link("link", here, consumer_offset_sync=sync)
    first.create_mirror("link", topic_name)
    first.wait_until_caught_up(topic_name, source_cluster)
    second = start_engine(state_topic=first.state_topic)
    first.wait_for_shares(second)
    groups.commit(here, topic_name, topic_name, {0: 5})
    wait_until(lambda: groups.committed(there, topic_name, topic_name, 1) == {0: 5}, 30, "the group to be synced")
    groups.commit(here, topic_name, topic_name, {0: 6})  # a round is under way, or soon will be
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second.wait_for_shares()
        second.promote(topic_name)
        wait_until(lambda: second.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
        assert groups.committed(there, topic_name, topic_name, 1) == {0: 6}
        groups.commit(there, topic_name, topic_name, {0: 90})
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.wait(30) == 1
    assert groups.committed(there, topic_name, topic_name, 1) == {0: 90}
    assert second.stop() == 0


def test_an_engine_started_twice_by_mistake_works_and_listens_when_the_other_one_is_gone(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The same settings, so the same address: the second process cannot listen there, but shares the work."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=PARTITIONS)
    first = start_engine()
    first.create_link("link", source_cluster.bootstrap_servers)
    first.create_mirror("link", topic_name)
    second = start_engine(state_topic=first.state_topic, wait=False, settings={"api": {"listen": first.endpoint}})
    first.wait_for_shares(second)
    assert "Trying again until it is free." in second.log()
    _write(source_cluster, topic_name, 1)
    assert first.stop() == 0
    wait_until(lambda: bool(first.shards()), 30, "the other process to listen there")
    _write(source_cluster, topic_name, 2)
    _assert_exact(source_cluster, destination_cluster, topic_name)


def test_processes_of_several_machines_share_the_work_and_the_calls(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    tmp_path: Path,
) -> None:
    """They do not see each other's sockets, and meet over TLS. The one that leads is killed; one without `peers` waits."""
    authority = Authority("peers")

    def on_a_machine(name: str, state_topic: str = "") -> EngineProcess:
        issued = authority.issue(name, "127.0.0.1")
        files = {"certificate_file": issued.certificate, "key_file": issued.key, "ca_file": authority.pem}
        with tempfile.TemporaryDirectory(prefix="cl-") as directory:  # a path of a socket is short
            for file, text in files.items():
                (tmp_path / f"{name}-{file}").write_text(text)
            tls = {file: tmp_path / f"{name}-{file}" for file in files}
            settings = {"api": {"peer_directory": directory}, "peers": {"listen": "127.0.0.1:0", "tls": tls}}
            return start_engine(state_topic=state_topic, settings=settings)  # then its socket is nowhere to be found

    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=PARTITIONS)
    first = on_a_machine("first")
    first.create_link("link", source_cluster.bootstrap_servers)
    second = on_a_machine("second", first.state_topic)
    second.create_mirror("link", topic_name)  # passed on to the one that leads
    first.wait_for_shares(second)
    _write(source_cluster, topic_name, 1)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    idle = start_engine(state_topic=first.state_topic, wait=False)
    wait_until(lambda: "cannot be reached from here" in idle.log(), 30, "one without peers to say so")
    first.kill()
    _write(source_cluster, topic_name, 2)
    second.wait_for_shares()
    _assert_exact(source_cluster, destination_cluster, topic_name)
    third = on_a_machine("third", first.state_topic)
    second.wait_for_shares(third)
    third.pause(topic_name)
    assert second.state(topic_name) == "PAUSED"
    third.resume(topic_name)
    _write(source_cluster, topic_name, 3)
    _assert_exact(source_cluster, destination_cluster, topic_name)
    assert idle.pid not in second.shards()
