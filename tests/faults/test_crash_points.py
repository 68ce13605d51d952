"""The engine dies between any two steps of a create, a delete or a detach; afterwards nothing is lost or left behind."""

from collections.abc import Callable

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.points import around, in_part
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_TOKEN = "of-this-create"  # noqa: S105 - no secret


@pytest.fixture
def mirrored(source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str) -> tuple[EngineProcess, str]:
    """An engine with a link, and a source topic with records."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=2)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(500, partitions=2))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    return engine, topic_name


def _names(engine: EngineProcess) -> list[str]:
    answer = engine.mirror_topics.ListMirrorTopics(v1.ListMirrorTopicsRequest())
    return [mirror.name for mirror in answer.mirror_topics]


@pytest.mark.parametrize(
    "retried", [pytest.param(True, id="retried"), pytest.param(False, id="left-alone", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "point", in_part(around("write", "create_topic", "write:2"), "write:1:after", "create_topic:1:after")
)
def test_create_mirror_topic(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    mirrored: tuple[EngineProcess, str],
    point: str,
    retried: bool,
) -> None:
    """The same create with the same token completes it; left alone, it completes by itself or was never begun.

    The first write is the intent, the second one says ACTIVE.
    """
    engine, topic = mirrored
    engine.crash_at(point)
    with pytest.raises(grpc.RpcError):
        engine.create_mirror("link", topic, token=_TOKEN)
    engine.wait(10)
    engine.start()
    begun = point != "write:1:before"
    if retried:
        engine.create_mirror("link", topic, token=_TOKEN)
    else:
        assert _names(engine) == ([topic] if begun else [])
    if retried or begun:
        wait_until(lambda: engine.state(topic) == "ACTIVE", 30, "the mirror to be set up")
        assert_becomes_equal(source_cluster, destination_cluster, topic)
    else:
        assert not topics.exists(destination_cluster.bootstrap_servers, topic)


@pytest.mark.parametrize(
    "point", in_part(around("write", "delete_topic", "write:2"), "write:1:after", "delete_topic:1:after")
)
def test_delete_mirror_topic(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, mirrored: tuple[EngineProcess, str], point: str
) -> None:
    """A deletion that was stored goes on by itself; one that was not has changed nothing."""
    engine, topic = mirrored
    engine.create_mirror("link", topic)
    assert_becomes_equal(source_cluster, destination_cluster, topic)
    engine.crash_at(point)
    with pytest.raises(grpc.RpcError):
        engine.delete_mirror(topic)
    engine.wait(10)
    engine.start()
    if point == "write:1:before":
        assert engine.state(topic) == "ACTIVE"
        engine.delete_mirror(topic)
    wait_until(lambda: _names(engine) == [], 30, "the record to be gone")
    wait_until(lambda: not topics.exists(destination_cluster.bootstrap_servers, topic), 30, "the topic to be gone")


@pytest.mark.parametrize("point", in_part(around("write", "write:2", "log_ends"), "write:1:after", "write:2:before"))
def test_detach_mirror_topic(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, mirrored: tuple[EngineProcess, str], point: str
) -> None:
    """A detach did not happen, or is finished by the next process; in both cases the topic can be mirrored on."""
    engine, topic = mirrored
    engine.create_mirror("link", topic)
    assert_becomes_equal(source_cluster, destination_cluster, topic)
    engine.crash_at(point)
    with pytest.raises(grpc.RpcError):
        engine.delete_mirror(topic, keep=True)
    engine.wait(10)
    engine.start()
    produce.write(source_cluster.bootstrap_servers, topic, produce.varied(500, partitions=2))
    if point != "write:1:before":
        wait_until(lambda: _names(engine) == [], 30, "the topic to be detached")
        engine.create_mirror("link", topic)
    assert_becomes_equal(source_cluster, destination_cluster, topic)
    assert engine.state(topic) == "ACTIVE"


@pytest.mark.parametrize("point", in_part(around("producer_id", "write"), "producer_id:1:after", "write:1:after"))
def test_create_link(source_cluster: KafkaCluster, start_engine: StartEngine, point: str) -> None:
    """A link exists or does not; the same create with the same token answers it."""
    engine = start_engine()
    engine.crash_at(point)
    request = v1.CreateLinkRequest(
        link=v1.Link(
            name="link", remote_cluster=v1.RemoteCluster(bootstrap_servers=[source_cluster.bootstrap_servers])
        ),
        client_token=_TOKEN,
    )
    with pytest.raises(grpc.RpcError):
        engine.links.CreateLink(request)
    engine.wait(10)
    engine.start()
    stored = [link.name for link in engine.links.ListLinks(v1.ListLinksRequest()).links]
    assert stored == (["link"] if point == "write:1:after" else [])
    assert engine.links.CreateLink(request).state == v1.LINK_STATE_ACTIVE
