"""A caller that goes away, or a cluster that does not answer it in time, leaves nothing half done."""

from collections.abc import Callable

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def test_callers_whose_deadline_passes(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The local cluster sleeps while a mirror topic is created and later deleted; both go on without the caller."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    broker = destination_cluster.nodes[0]
    mirror = v1.MirrorTopic(link="link", source_topic=topic_name)
    broker.suspend()
    try:
        with pytest.raises(grpc.RpcError, match="Deadline Exceeded"):
            engine.mirror_topics.CreateMirrorTopic(v1.CreateMirrorTopicRequest(mirror_topic=mirror), timeout=1)
    finally:
        broker.resume()
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 60, "the mirror to be set up")
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    request = v1.DeleteMirrorTopicRequest(name=topic_name, topic_disposal=v1.TOPIC_DISPOSAL_DELETE_TOPIC)
    broker.suspend()
    try:
        with pytest.raises(grpc.RpcError, match="Deadline Exceeded"):
            engine.mirror_topics.DeleteMirrorTopic(request, timeout=1)
    finally:
        broker.resume()
    wait_until(
        lambda: not topics.exists(destination_cluster.bootstrap_servers, topic_name), 60, "the topic to be deleted"
    )


def test_a_local_cluster_that_dies_during_a_create(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Whatever the caller was told: with the same token it gets its mirror topic, once."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    broker = destination_cluster.nodes[0]
    mirror = v1.MirrorTopic(link="link", source_topic=topic_name)
    request = v1.CreateMirrorTopicRequest(mirror_topic=mirror, client_token="token")  # noqa: S106 - no secret
    answer = engine.mirror_topics.CreateMirrorTopic.future(request)
    broker.kill()
    broker.start()

    def created() -> bool:
        return bool(engine.mirror_topics.CreateMirrorTopic(request).state == v1.MIRROR_TOPIC_STATE_ACTIVE)

    wait_until(created, 60, "the create to be answered")
    assert answer.exception(60) is None or answer.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
