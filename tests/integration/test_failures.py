"""What cannot be mirrored exactly ends in FAILED, with what and where in the reason; nothing shifted is ever written."""

import re
import time
from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def _assert_fails(engine: EngineProcess, topic: str, error: str, message: str) -> None:
    """Waits until the mirror is FAILED, checks why, and that a restart changes nothing."""
    wait_until(lambda: engine.state(topic) == "FAILED", 30, f"{topic} to fail")
    for _ in range(2):
        mirror = engine.mirror(topic)
        assert mirror.error == error
        assert re.search(message, mirror.error_message), mirror.error_message
        engine.kill()
        engine.start()
        assert engine.state(topic) == "FAILED"
        wait_until(lambda: _tells_of_failure(engine, topic), 30, "the metrics to tell of it")


def _tells_of_failure(engine: EngineProcess, topic: str) -> bool:
    return bool(re.search(rf'clusterlink_mirror_failed\{{[^}}]*topic="{topic}"\}} 1.0', engine.metrics()))


def test_a_foreign_write_to_an_idle_mirror(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """It is noticed without anything to copy, and named with its offsets."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(20))
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    foreign = [produce.Record(b"k", b"foreign")] * 3
    produce.write(destination_cluster.bootstrap_servers, topic_name, foreign)
    _assert_fails(engine, topic_name, "FOREIGN_WRITE", r"ends at offset 23, .* up to offset 20 .*offsets 20 to 22")


@pytest.mark.slow
def test_a_foreign_write_while_the_engine_is_away(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """It is noticed before anything is written after it; also if the broker has forgotten the link's producer."""
    for age_ms in (0, 2 * 24 * 3600 * 1000):
        topic = f"{topic_name}-{age_ms}"
        topics.create(source_cluster.bootstrap_servers, topic, config={"retention.ms": "-1"})
        engine = start_engine()
        engine.create_link("link", source_cluster.bootstrap_servers)
        engine.create_mirror("link", topic)
        now = int(time.time() * 1000)
        old = [produce.Record(b"k", b"v", timestamp=now - age_ms)] * 20
        produce.write(source_cluster.bootstrap_servers, topic, old)
        assert_becomes_equal(source_cluster, destination_cluster, topic)
        engine.kill()
        produce.write(destination_cluster.bootstrap_servers, topic, [produce.Record(b"k", b"foreign")])
        produce.write(source_cluster.bootstrap_servers, topic, old)
        if age_ms:
            destination_cluster.nodes[0].restart()  # the producer's state is read anew, and is expired
        engine.start()
        _assert_fails(engine, topic, "FOREIGN_WRITE", "ends at offset 21, .* up to offset 20 ")
        assert topics.log_ends(destination_cluster.bootstrap_servers, topic) == {0: 21}


def test_a_foreign_write_while_records_are_copied(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """At most what was in flight is shifted, and the partition stops."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    settings = {"batch.num.messages": 5, "linger.ms": 1}
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(2000), settings=settings)
    produce.write(destination_cluster.bootstrap_servers, topic_name, [produce.Record(b"k", b"foreign")])
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(2000), settings=settings)
    wait_until(lambda: engine.state(topic_name) == "FAILED", 30, "the mirror to fail")
    assert engine.mirror(topic_name).error == "FOREIGN_WRITE"
    stopped = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(2000), settings=settings)
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == stopped


def test_the_source_topic_is_created_anew(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Two topics of the same name are never mixed."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(20))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    topics.delete(source_cluster.bootstrap_servers, topic_name)
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(40))
    _assert_fails(engine, topic_name, "SOURCE_TOPIC_ID_CHANGED", "was deleted and created anew")
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == {0: 20}


def test_the_source_topic_is_deleted(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """After the retry time-out of the link the mirror says so, and keeps its data."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(20))
    engine = start_engine()
    config = {"cluster.link.retry.timeout.ms": "500", "metadata.max.age.ms": "200"}
    engine.create_link("link", source_cluster.bootstrap_servers, config=config)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    topics.delete(source_cluster.bootstrap_servers, topic_name)
    _assert_fails(engine, topic_name, "SOURCE_TOPIC_MAY_BE_DELETED", "has been missing for")
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == {0: 20}


@pytest.mark.parametrize("anew", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_mirror_topic_is_deleted_by_somebody(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    anew: bool,
) -> None:
    """It is never refilled silently, and a topic that somebody made in its place is not written to, nor deleted."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(20))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    topics.delete(destination_cluster.bootstrap_servers, topic_name)
    if anew:
        topics.create(destination_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(20))
    _assert_fails(engine, topic_name, "MIRROR_TOPIC_CHANGED", "was deleted")
    assert topics.exists(destination_cluster.bootstrap_servers, topic_name) == anew
    engine.delete_mirror(topic_name)
    assert topics.exists(destination_cluster.bootstrap_servers, topic_name) == anew
    if anew:
        assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == {0: 0}


def test_the_source_comes_and_goes(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """SOURCE_UNAVAILABLE comes and goes by itself."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    source_cluster.nodes[0].kill()
    try:
        wait_until(lambda: engine.state(topic_name) == "SOURCE_UNAVAILABLE", 30, "the source to be missed")
        link = engine.links.GetLink(v1.GetLinkRequest(name="link"))
        assert link.state == v1.LINK_STATE_UNAVAILABLE
        assert link.error == "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR"
        assert source_cluster.bootstrap_servers in link.error_message
    finally:
        source_cluster.nodes[0].start()
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 30, "the source to be back")
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(20))
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
