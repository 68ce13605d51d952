"""The embedded Kafka itself: what every other integration test stands on."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterlink_engine.devkit import guard, processes
from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

VERSIONS = ["3.9.2", "4.1.2", "4.3.1"]


def write(bootstrap: str, topic: str, value: bytes, count: int) -> None:
    # Idempotent, because leaders are lost meanwhile and every record is counted.
    produce.write(bootstrap, topic, [produce.Record(None, value)] * count, settings={"enable.idempotence": True})


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_starts_and_takes_records(
    version: str, start_cluster: Callable[..., KafkaCluster], topic_name: str
) -> None:
    cluster = start_cluster(version)
    topics.create(cluster.bootstrap_servers, topic_name)
    write(cluster.bootstrap_servers, topic_name, b"x", 1000)
    assert sum(topics.log_ends(cluster.bootstrap_servers, topic_name).values()) == 1000
    metadata = topics.admin(cluster.bootstrap_servers).list_topics(timeout=10)
    assert metadata.cluster_id == cluster.cluster_id


def test_three_nodes_survive_the_loss_of_a_leader(start_cluster: Callable[..., KafkaCluster], topic_name: str) -> None:
    cluster = start_cluster(nodes=3)
    topics.create(cluster.bootstrap_servers, topic_name, replicas=3, config={"min.insync.replicas": "2"})
    write(cluster.bootstrap_servers, topic_name, b"before", 100)

    client = topics.admin(cluster.bootstrap_servers)
    leader = client.list_topics(topic_name, timeout=10).topics[topic_name].partitions[0].leader
    node = next(node for node in cluster.nodes if node.node_id == leader)
    node.kill()
    write(cluster.bootstrap_servers, topic_name, b"after", 100)
    assert topics.log_ends(cluster.bootstrap_servers, topic_name) == {0: 200}

    node.start()

    def replicated() -> bool:
        return len(client.list_topics(topic_name, timeout=10).topics[topic_name].partitions[0].isrs) == 3

    wait_until(replicated, 30, "three replicas in sync")


def test_killed_suspended_and_restarted_nodes_keep_their_data(
    start_cluster: Callable[..., KafkaCluster], topic_name: str
) -> None:
    cluster = start_cluster()
    (node,) = cluster.nodes
    topics.create(cluster.bootstrap_servers, topic_name)
    write(cluster.bootstrap_servers, topic_name, b"1", 10)

    first = node.pid
    node.kill()
    assert not node.running
    node.start()
    assert node.pid != first
    write(cluster.bootstrap_servers, topic_name, b"2", 10)

    node.restart()
    assert topics.log_ends(cluster.bootstrap_servers, topic_name) == {0: 20}

    node.suspend()
    with pytest.raises(RuntimeError, match="is not ready after 1 s"):
        node.wait_ready(deadline_seconds=1)
    node.resume()
    node.wait_ready()
    assert topics.log_ends(cluster.bootstrap_servers, topic_name) == {0: 20}


def test_broker_that_cannot_start_says_why(start_cluster: Callable[..., KafkaCluster]) -> None:
    with pytest.raises(RuntimeError, match="ended while starting") as caught:
        start_cluster(settings={"num.io.threads": 0})
    assert "num.io.threads" in str(caught.value)


OWNER = textwrap.dedent(
    """
    import sys
    from clusterlink_engine.devkit.kafka import KafkaCluster
    with KafkaCluster(name="orphan") as cluster:
        print(cluster.nodes[0].pid, cluster.directory, flush=True)
        sys.stdin.read()
    """
)


def start_owner() -> tuple[subprocess.Popen[str], int, Path]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert owner.stdout is not None
    pid, directory = owner.stdout.readline().split()
    return owner, int(pid), Path(directory)


def test_brokers_end_with_their_killed_owner() -> None:
    owner, pid, directory = start_owner()
    assert processes.birth(pid) is not None
    with owner:
        owner.kill()
    wait_until(lambda: processes.birth(pid) is None, 15, "the end of the orphaned broker")
    wait_until(lambda: not directory.exists(), 15, "the removal of its directory")


def test_next_start_clears_away_what_a_lost_guard_left() -> None:
    owner, pid, directory = start_owner()
    (guarding,) = children(owner.pid) - {pid}
    os.kill(guarding, signal.SIGKILL)
    with owner:
        owner.kill()
    assert processes.birth(pid) is not None
    assert directory.exists()

    guard.remove_stale()
    wait_until(lambda: processes.birth(pid) is None, 15, "the end of the orphaned broker")
    assert not directory.exists()


def test_directories_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "clusterlink-not-ours").mkdir()
    mine = guard.scratch_directory("mine")
    guard.remove_stale()
    assert mine.exists()
    assert (tmp_path / "clusterlink-not-ours").exists()
    guard.release(mine)


def children(pid: int) -> set[int]:
    answer = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return {int(line) for line in answer.stdout.split()}
