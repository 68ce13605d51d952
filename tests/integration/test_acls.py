"""ACL sync between clusters with authorizers: creates what the source has, deletes only what it created."""

from collections.abc import Callable

import grpc
import pytest
from confluent_kafka.admin import AclOperation
from google.protobuf.field_mask_pb2 import FieldMask

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import rights
from tests.support.engine import EngineProcess
from tests.support.points import around, in_part
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def _errors(engine: EngineProcess) -> list[v1.TaskError]:
    link: v1.Link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    return [error for task in link.tasks if task.name == "AclSync" for error in task.errors]


def _sync(*filters: v1.AclFilter) -> v1.AclSync:
    return v1.AclSync(enable=True, interval_ms=1000, filters=filters)


def _update(engine: EngineProcess, sync: v1.AclSync) -> None:
    request = v1.UpdateLinkRequest(link=v1.Link(name="link", acl_sync=sync), update_mask=FieldMask(paths=["acl_sync"]))
    engine.links.UpdateLink(request, timeout=30)


def test_acls_follow_the_source_and_foreign_ones_are_never_touched(
    secured_clusters: tuple[KafkaCluster, KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    source, destination = secured_clusters
    one, other = (
        rights.acl(topic_name, "User:app"),
        rights.acl(topic_name, "User:app", AclOperation.WRITE, prefixed=True),
    )
    both, foreign = rights.acl(topic_name, "User:both"), rights.acl(topic_name, "User:foreign")
    unselected = rights.acl(topic_name, "User:other")
    rights.create(source.bootstrap_servers, one, other, both, unselected)
    rights.create(destination.bootstrap_servers, both, foreign)
    engine = start_engine(destination.bootstrap_servers)
    filters = [v1.AclFilter(resource_name=topic_name, principal=f"User:{user}") for user in ("app", "both", "foreign")]
    engine.create_link("link", source.bootstrap_servers, acl_sync=_sync(*filters))
    rights.wait_for(destination.bootstrap_servers, topic_name, one, other, both, foreign)
    engine.kill()
    rights.delete(source.bootstrap_servers, one)  # while nobody looks
    rights.delete(source.bootstrap_servers, both)
    engine.start()
    rights.wait_for(destination.bootstrap_servers, topic_name, other, both, foreign)
    late = rights.acl(topic_name, "User:app", AclOperation.DESCRIBE)
    rights.create(source.bootstrap_servers, late)
    rights.wait_for(destination.bootstrap_servers, topic_name, other, both, foreign, late)
    rights.delete(destination.bootstrap_servers, late)  # the source has it
    rights.wait_for(destination.bootstrap_servers, topic_name, other, both, foreign, late)
    _update(engine, _sync(v1.AclFilter(resource_name=topic_name, principal="User:other")))
    rights.wait_for(destination.bootstrap_servers, topic_name, other, both, foreign, late, unselected)
    rights.delete(source.bootstrap_servers, late)  # not selected any more, but made by the link
    rights.wait_for(destination.bootstrap_servers, topic_name, other, both, foreign, unselected)
    _update(engine, v1.AclSync())
    rights.delete(source.bootstrap_servers, other)
    engine.links.DeleteLink(v1.DeleteLinkRequest(name="link"), timeout=30)
    assert rights.present(destination.bootstrap_servers, topic_name) == {other, both, foreign, unselected}
    assert engine.stop() == 0


@pytest.mark.parametrize(
    "point", in_part(around("create_acls", "delete_acls"), "create_acls:1:after", "delete_acls:1:after")
)
def test_an_engine_that_dies_beside_the_cluster_knows_what_it_made(
    secured_clusters: tuple[KafkaCluster, KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
    point: str,
) -> None:
    """It dies around the request; the next one finishes, and still deletes what it made, and nothing else."""
    source, destination = secured_clusters
    engine = start_engine(destination.bootstrap_servers, state_topic=f"_state-{topic_name}")
    engine.create_link("link", source.bootstrap_servers, acl_sync=_sync(v1.AclFilter(resource_name=topic_name)))
    acl, foreign = rights.acl(topic_name, "User:app"), rights.acl(topic_name, "User:foreign")
    rights.create(destination.bootstrap_servers, foreign)
    creates = point.startswith("create")
    if not creates:
        rights.create(source.bootstrap_servers, acl)
        rights.wait_for(destination.bootstrap_servers, topic_name, acl, foreign)
    engine.crash_at(point)
    if creates:
        rights.create(source.bootstrap_servers, acl)
    else:
        rights.delete(source.bootstrap_servers, acl)
    engine.wait(30)
    engine.start()
    if creates:
        rights.wait_for(destination.bootstrap_servers, topic_name, acl, foreign)
        rights.delete(source.bootstrap_servers, acl)
    rights.wait_for(destination.bootstrap_servers, topic_name, foreign)


def test_a_cluster_without_an_authorizer_is_told(
    secured_clusters: tuple[KafkaCluster, KafkaCluster],
    source_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    destination = secured_clusters[1]
    engine = start_engine(destination.bootstrap_servers, state_topic=f"_state-{topic_name}")
    engine.create_link("link", source_cluster.bootstrap_servers, acl_sync=_sync(v1.AclFilter()))
    wait_until(lambda: [error.code for error in _errors(engine)] == ["SECURITY_DISABLED_ERROR"], 30, "the task to tell")


def test_what_makes_no_sense_is_refused(
    secured_clusters: tuple[KafkaCluster, KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    source, destination = secured_clusters
    engine = start_engine(destination.bootstrap_servers, state_topic=f"_state-{topic_name}")
    links: list[tuple[dict[str, object], str]] = [
        ({"acl_sync": v1.AclSync(enable=True)}, "acl_sync.filters"),
        ({"acl_sync": v1.AclSync(interval_ms=10)}, "acl_sync.interval_ms"),
        ({"acl_sync": _sync(v1.AclFilter(operation="EAT"))}, "acl_sync.filters"),
        ({"acl_sync": _sync(v1.AclFilter()), "topic_prefix": "far."}, "acl_sync.enable"),
    ]
    for link, field in links:
        with pytest.raises(grpc.RpcError) as caught:
            engine.create_link("never", source.bootstrap_servers, **link)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        told = caught.value.trailing_metadata() or ()
        assert any(f"link.{field}".encode() in value for _, value in told if isinstance(value, bytes)), field
