"""ACL sync between clusters with authorizers: creates what the source has, deletes only what it created."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from google.protobuf.field_mask_pb2 import FieldMask

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def _acl(
    topic: str, principal: str, operation: AclOperation = AclOperation.READ, *, prefixed: bool = False
) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    return AclBinding(ResourceType.TOPIC, topic, pattern, principal, "*", operation, AclPermissionType.ALLOW)


def _create(cluster: KafkaCluster, *acls: AclBinding) -> None:
    client = topics.admin(cluster.bootstrap_servers)
    for future in client.create_acls(list(acls)).values():
        future.result(30)


def _delete(cluster: KafkaCluster, acl: AclBinding) -> None:
    client = topics.admin(cluster.bootstrap_servers)
    wanted = AclBindingFilter(
        acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host, acl.operation, acl.permission_type
    )
    for future in client.delete_acls([wanted]).values():
        assert len(future.result(30)) == 1


def _present(cluster: KafkaCluster, name: str) -> set[AclBinding]:
    """The ACLs of topics whose names begin with `name`."""
    client = topics.admin(cluster.bootstrap_servers)
    anything: Any = None  # the stubs do not know that it may be left open
    kind, pattern = ResourceType.TOPIC, ResourcePatternType.ANY
    every = AclBindingFilter(kind, anything, pattern, anything, anything, AclOperation.ANY, AclPermissionType.ANY)
    return {acl for acl in client.describe_acls(every).result(30) if acl.name.startswith(name)}


def _wait_for(cluster: KafkaCluster, name: str, *acls: AclBinding) -> None:
    wait_until(lambda: _present(cluster, name) == set(acls), 30, f"the ACLs of {name}")


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
    one, other = _acl(topic_name, "User:app"), _acl(topic_name, "User:app", AclOperation.WRITE, prefixed=True)
    both, foreign = _acl(topic_name, "User:both"), _acl(topic_name, "User:foreign")
    unselected = _acl(topic_name, "User:other")
    _create(source, one, other, both, unselected)
    _create(destination, both, foreign)
    engine = start_engine(destination.bootstrap_servers)
    filters = [v1.AclFilter(resource_name=topic_name, principal=f"User:{user}") for user in ("app", "both", "foreign")]
    engine.create_link("link", source.bootstrap_servers, acl_sync=_sync(*filters))
    _wait_for(destination, topic_name, one, other, both, foreign)
    engine.kill()
    _delete(source, one)  # while nobody looks
    _delete(source, both)
    engine.start()
    _wait_for(destination, topic_name, other, both, foreign)
    late = _acl(topic_name, "User:app", AclOperation.DESCRIBE)
    _create(source, late)
    _wait_for(destination, topic_name, other, both, foreign, late)
    _delete(destination, late)  # the source has it
    _wait_for(destination, topic_name, other, both, foreign, late)
    _update(engine, _sync(v1.AclFilter(resource_name=topic_name, principal="User:other")))
    _wait_for(destination, topic_name, other, both, foreign, late, unselected)
    _delete(source, late)  # not selected any more, but made by the link
    _wait_for(destination, topic_name, other, both, foreign, unselected)
    _update(engine, v1.AclSync())
    _delete(source, other)
    engine.links.DeleteLink(v1.DeleteLinkRequest(name="link"), timeout=30)
    assert _present(destination, topic_name) == {other, both, foreign, unselected}
    assert engine.stop() == 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["create", "delete"])
def test_an_engine_that_dies_beside_the_cluster_knows_what_it_made(
    secured_clusters: tuple[KafkaCluster, KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
    step: str,
    when: str,
) -> None:
    """It dies around the request; the next one finishes, and still deletes what it made, and nothing else."""
    source, destination = secured_clusters
    engine = start_engine(destination.bootstrap_servers, state_topic=f"_state-{topic_name}")
    engine.create_link("link", source.bootstrap_servers, acl_sync=_sync(v1.AclFilter(resource_name=topic_name)))
    acl, foreign = _acl(topic_name, "User:app"), _acl(topic_name, "User:foreign")
    _create(destination, foreign)
    if step == "delete":
        _create(source, acl)
        _wait_for(destination, topic_name, acl, foreign)
    engine.crash_at(f"{step}_acls:1:{when}")
    if step == "create":
        _create(source, acl)
    else:
        _delete(source, acl)
    engine.wait(30)
    engine.start()
    if step == "create":
        _wait_for(destination, topic_name, acl, foreign)
        _delete(source, acl)
    _wait_for(destination, topic_name, foreign)


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
