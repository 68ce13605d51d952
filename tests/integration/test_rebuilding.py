"""A FAILED mirror topic is deleted and mirrored anew; a stopped one is deleted with what others have written to it."""

from collections.abc import Callable

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.points import around, in_part
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


@pytest.fixture
def failed(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> tuple[EngineProcess, str]:
    """A mirror topic of two partitions that somebody else has written to."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=2)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(300, partitions=2))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    produce.write(destination_cluster.bootstrap_servers, topic_name, [produce.Record(b"k", b"foreign")])
    wait_until(lambda: engine.state(topic_name) == "FAILED", 30, "the mirror topic to fail")
    return engine, topic_name


def test_it_is_mirrored_anew(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, failed: tuple[EngineProcess, str]
) -> None:
    engine, topic = failed
    before = engine.mirror(topic)
    engine.run("mirror", "rebuild", topic, "--yes")
    rebuilt = engine.mirror(topic)
    assert (rebuilt.topic_id != before.topic_id, rebuilt.source_topic_id) == (True, before.source_topic_id)
    assert_becomes_equal(source_cluster, destination_cluster, topic)
    assert (engine.state(topic), engine.mirror(topic).error) == ("ACTIVE", "")
    # Asked again, nothing happens: a caller may have lost the answer.
    assert engine.rebuild(topic).topic_id == rebuilt.topic_id
    produce.write(source_cluster.bootstrap_servers, topic, produce.varied(300, partitions=2, seed=2))
    assert_becomes_equal(source_cluster, destination_cluster, topic)


def test_the_source_that_there_is_now_is_mirrored(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, failed: tuple[EngineProcess, str]
) -> None:
    """Another source topic of the same name, with fewer partitions; while there is none, nothing is deleted."""
    engine, topic = failed
    before = engine.mirror(topic).topic_id
    topics.delete(source_cluster.bootstrap_servers, topic)
    with pytest.raises(grpc.RpcError, match="does not exist"):
        engine.rebuild(topic)
    assert engine.mirror(topic).topic_id == before
    assert topics.exists(destination_cluster.bootstrap_servers, topic)
    topics.create(source_cluster.bootstrap_servers, topic, partitions=1)
    produce.write(source_cluster.bootstrap_servers, topic, produce.varied(50))
    assert engine.rebuild(topic).partition_count == 1
    assert_becomes_equal(source_cluster, destination_cluster, topic)


def test_a_topic_of_somebody_else_is_not_touched(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, failed: tuple[EngineProcess, str]
) -> None:
    engine, topic = failed
    topics.delete(destination_cluster.bootstrap_servers, topic)
    topics.create(destination_cluster.bootstrap_servers, topic)
    produce.write(destination_cluster.bootstrap_servers, topic, [produce.Record(b"k", b"theirs")])
    with pytest.raises(grpc.RpcError, match="created anew by somebody else"):
        engine.rebuild(topic)
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic) == {0: 1}
    topics.delete(destination_cluster.bootstrap_servers, topic)
    engine.rebuild(topic)
    assert_becomes_equal(source_cluster, destination_cluster, topic)


@pytest.mark.parametrize(
    "retried", [pytest.param(True, id="retried"), pytest.param(False, id="left-alone", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "point",
    in_part(around("write", "delete_topic", "write:2", "create_topic", "write:3"), "delete_topic:1:after"),
)
def test_the_engine_dies_meanwhile(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    failed: tuple[EngineProcess, str],
    point: str,
    retried: bool,
) -> None:
    """What was stored goes on by itself; what was not has changed nothing."""
    engine, topic = failed
    before = engine.mirror(topic).topic_id
    engine.crash_at(point)
    with pytest.raises(grpc.RpcError):
        engine.rebuild(topic)
    engine.wait(10)
    engine.start()
    if retried:
        engine.rebuild(topic)
    elif point == "write:1:before":
        assert (engine.state(topic), engine.mirror(topic).topic_id) == ("FAILED", before)
        return
    wait_until(lambda: engine.state(topic) == "ACTIVE", 30, "the mirror topic to be set up")
    assert_becomes_equal(source_cluster, destination_cluster, topic)


def test_a_mirror_topic_that_has_not_failed_is_left_alone(
    source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    made = engine.create_mirror("link", topic_name)
    assert engine.rebuild(topic_name).topic_id == made.topic_id
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 30, "the mirror topic to be stopped")
    with pytest.raises(grpc.RpcError, match="no mirror any more"):
        engine.rebuild(topic_name)


def test_a_stopped_mirror_topic_is_deleted_with_data_only_if_told_so(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """By its id: one that its owner has made anew since stays."""
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    names = [f"{topic_name}-{kind}" for kind in ("same", "anew")]
    for name in names:
        topics.create(source_cluster.bootstrap_servers, name)
        engine.create_mirror("link", name)
        engine.failover(name)
    for name in names:
        wait_until(lambda name=name: engine.state(name) == "STOPPED", 30, f"{name} to be stopped")  # type: ignore[misc]
        produce.write(destination_cluster.bootstrap_servers, name, [produce.Record(b"k", b"v")])
    topics.delete(destination_cluster.bootstrap_servers, names[1])
    topics.create(destination_cluster.bootstrap_servers, names[1])
    for name in names:
        with pytest.raises(grpc.RpcError, match="DELETE_TOPIC_WITH_DATA"):
            engine.delete_mirror(name)
        engine.delete_mirror(name, with_data=True)
    wait_until(lambda: not topics.exists(destination_cluster.bootstrap_servers, names[0]), 30, "the topic to be gone")
    assert topics.exists(destination_cluster.bootstrap_servers, names[1])
