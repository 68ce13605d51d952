"""The guard of mirror topics on clusters with an authorizer: who can write to them, and when."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, rights, sources, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.points import around, in_part
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]
StartCluster = Callable[..., KafkaCluster]

# The engines' users; `app` is the one who writes.
_USERS = {"super": "s", "least": "l", "reader": "r", "all": "a", "app": "p"}
_SETTINGS = {"super.users": "User:ANONYMOUS;User:super"}

_REFUSED = "TOPIC_AUTHORIZATION_FAILED"


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaCluster]:
    """A destination with an authorizer; the user `super` is a super user, and so is who comes without a password."""
    with KafkaCluster(users=_USERS, settings=_SETTINGS, name="guarded") as cluster:
        yield cluster


def _sasl(user: str) -> dict[str, object]:
    return {"mechanism": "PLAIN", "username": user, "password": _USERS[user]}


def _start(
    start_engine: StartEngine, cluster: KafkaCluster, topic: str, user: str = "super", **replication: object
) -> EngineProcess:
    return start_engine(
        cluster.sasl_bootstrap_servers,
        state_topic=f"_state-{topic}",
        settings={
            "local_cluster": {"security_protocol": "SASL_PLAINTEXT", "sasl": _sasl(user)},
            "replication": replication,
        },
    )


def _guard(topic: str) -> AclBinding:
    return rights.acl(topic, "User:*", AclOperation.WRITE, AclPermissionType.DENY)


def _canary(topic: str) -> AclBinding:
    return rights.acl(f"_state-{topic}-guard", "User:*", AclOperation.DESCRIBE, AclPermissionType.DENY)


def _may_write(topic: str) -> AclBinding:
    return rights.acl(topic, "User:app", AclOperation.WRITE)


def _mirrored(engine: EngineProcess, source: KafkaCluster, cluster: KafkaCluster, topic: str) -> None:
    _begin(engine, source, cluster, topic)
    engine.wait_until_caught_up(topic, source)


def _begin(engine: EngineProcess, source: KafkaCluster, cluster: KafkaCluster, topic: str) -> None:
    """Has a topic mirrored, to which `app` may write as far as others are concerned."""
    rights.create(cluster.bootstrap_servers, _may_write(topic))
    topics.create(source.bootstrap_servers, topic, partitions=2)
    _write_transactions(source, topic, 1)
    if not engine.links.ListLinks(v1.ListLinksRequest(), timeout=30).links:
        engine.create_link("link", source.bootstrap_servers)
    engine.create_mirror("link", topic)


def _write_transactions(source: KafkaCluster, topic: str, seed: int) -> None:
    sources.write_transactions(source.bootstrap_servers, topic, partitions=2, rounds=10, seed=seed)


def _write(cluster: KafkaCluster, topic: str) -> None:
    """Writes a record as `app`."""
    settings = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "app",
        "sasl.password": _USERS["app"],
    }
    produce.write(cluster.sasl_bootstrap_servers, topic, produce.varied(1), settings=settings)


def _assert_refused(cluster: KafkaCluster, topic: str) -> None:
    with pytest.raises(AssertionError, match=_REFUSED):
        _write(cluster, topic)


def _way(engine: EngineProcess) -> int:
    return int(engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30).write_guard)


def _wait_until_stopped(engine: EngineProcess, topic: str) -> v1.MirrorTopic:
    wait_until(lambda: engine.state(topic) == "STOPPED", 60, "the mirror topic to be STOPPED")
    return engine.mirror(topic)


def _wait_until_turned(engine: EngineProcess, topic: str, direction: int) -> None:
    wait_until(
        lambda: engine.mirror(topic).direction == direction and engine.state(topic) == "ACTIVE", 60, "the topic to turn"
    )


def _denials(cluster: KafkaCluster) -> set[AclBinding]:
    return {
        acl for acl in rights.present(cluster.bootstrap_servers, "") if acl.permission_type is AclPermissionType.DENY
    }


@pytest.mark.parametrize(("stop", "way"), [("promote", "markers"), ("failover", "transactions")])
def test_nobody_else_writes_to_a_mirror_topic_until_it_is_none(
    source_cluster: KafkaCluster,
    secured: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    stop: str,
    way: str,
) -> None:
    """Somebody with the right to write tries all the time, over restarts of the engine and of all brokers."""
    engine = _start(start_engine, secured, topic_name, gap_filling=way)
    _mirrored(engine, source_cluster, secured, topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    assert _way(engine) == v1.WRITE_GUARD_ACL
    _assert_refused(secured, topic_name)
    for cluster in (source_cluster, secured):
        cluster.nodes[0].restart()
    _assert_refused(secured, topic_name)
    _write_transactions(source_cluster, topic_name, 2)
    assert_becomes_equal(source_cluster, secured, topic_name, raw=False)
    engine.kill()
    _assert_refused(secured, topic_name)  # whoever is alive
    engine.start()

    was_written = threading.Event()

    def hammer() -> None:
        while not was_written.is_set():
            with suppress(AssertionError):
                _write(secured, topic_name)
                was_written.set()

    application = threading.Thread(target=hammer)
    application.start()
    try:
        (engine.promote if stop == "promote" else engine.failover)(topic_name)
        stopped = _wait_until_stopped(engine, topic_name)
        _write(secured, topic_name)  # at once
        assert was_written.wait(30)
    finally:
        was_written.set()
        application.join()
    assert stopped.state_detail == ""
    assert [partition.error_message for partition in stopped.partitions] == ["", ""]
    assert rights.present(secured.bootstrap_servers, topic_name) == {_may_write(topic_name)}


@pytest.mark.parametrize("keep", [True, False], ids=["detach", "delete"])
def test_what_the_guard_made_goes_with_the_mirror_topics_and_links(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str, keep: bool
) -> None:
    engine = _start(start_engine, secured, topic_name)
    _mirrored(engine, source_cluster, secured, topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    rights.delete(secured.bootstrap_servers, _guard(topic_name))  # by somebody else
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    engine.delete_mirror(topic_name, keep=keep)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name))
    assert _canary(topic_name) in _denials(secured)
    engine.links.DeleteLink(v1.DeleteLinkRequest(name="link"), timeout=30)
    rights.wait_for(secured.bootstrap_servers, _canary(topic_name).name)


def test_the_guard_is_switched_off(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = _start(start_engine, secured, topic_name)
    _mirrored(engine, source_cluster, secured, topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    engine.stop()
    other = _start(start_engine, secured, topic_name, write_guard="off")
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name))
    rights.wait_for(secured.bootstrap_servers, _canary(topic_name).name)
    assert _way(other) == v1.WRITE_GUARD_DETECTION_ONLY


def test_a_guard_that_was_there_before_stays_and_is_told(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    rights.create(secured.bootstrap_servers, _guard(topic_name))
    engine = _start(start_engine, secured, topic_name)
    _mirrored(engine, source_cluster, secured, topic_name)
    wait_until(lambda: _way(engine) == v1.WRITE_GUARD_ACL, 30, "the guard to be in use")
    engine.failover(topic_name)
    _wait_until_stopped(engine, topic_name)
    wait_until(lambda: "DENY WRITE" in engine.mirror(topic_name).state_detail, 30, "the ACL to be told")
    _assert_refused(secured, topic_name)
    rights.delete(secured.bootstrap_servers, _guard(topic_name))
    wait_until(lambda: not engine.mirror(topic_name).state_detail, 30, "nothing to be in the way")
    _write(secured, topic_name)


@pytest.mark.parametrize("user", ["least", pytest.param("reader", marks=pytest.mark.slow), "all"])
def test_an_engine_that_is_no_super_user_notices_foreign_writes(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str, user: str
) -> None:
    """With the least rights; with those to see a canary, but not to make one; and with every right that ACLs can give."""
    granted = rights.local(topic_name, f"_state-{topic_name}")
    if user == "least":
        granted.append(rights.MARKERS)
    elif user == "reader":
        granted.append((ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, AclOperation.DESCRIBE))
        granted.append((ResourceType.TOPIC, "*", ResourcePatternType.LITERAL, AclOperation.DESCRIBE))
    else:
        kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
        granted = [(kind, "*", ResourcePatternType.LITERAL, AclOperation.ALL) for kind in kinds]
        granted.append((ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, AclOperation.ALL))
    rights.grant(secured.bootstrap_servers, user, granted)
    engine = _start(start_engine, secured, topic_name, user)
    _mirrored(engine, source_cluster, secured, topic_name)
    wait_until(lambda: _way(engine) == v1.WRITE_GUARD_DETECTION_ONLY, 30, "the guard to be known")
    rights.wait_for(secured.bootstrap_servers, _canary(topic_name).name)
    assert _guard(topic_name) not in _denials(secured)
    assert len([line for line in engine.log().splitlines() if "write_guard" in line]) <= 2  # it does not try for ever
    _write_transactions(source_cluster, topic_name, 2)
    assert_becomes_equal(source_cluster, secured, topic_name, raw=False)
    _write(secured, topic_name)
    wait_until(lambda: engine.state(topic_name) == "FAILED", 30, "the foreign write to be noticed")
    assert engine.mirror(topic_name).error == "FOREIGN_WRITE"


def test_without_an_authorizer_foreign_writes_are_noticed(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    wait_until(lambda: _way(engine) == v1.WRITE_GUARD_DETECTION_ONLY, 30, "the guard to be known")
    engine.wait_until_caught_up(topic_name, source_cluster)
    produce.write(destination_cluster.bootstrap_servers, topic_name, produce.varied(1))
    wait_until(lambda: engine.state(topic_name) == "FAILED", 30, "the foreign write to be noticed")


@pytest.mark.parametrize("point", in_part(around("write_denial", "create_denial")))
def test_an_engine_that_dies_beside_a_guard_that_it_makes(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str, point: str
) -> None:
    """It dies around what it stores and around the request; the next one guards, and leaves nothing behind."""
    engine = _start(start_engine, secured, topic_name)
    engine.create_link("link", source_cluster.bootstrap_servers)
    wait_until(lambda: _way(engine) == v1.WRITE_GUARD_ACL, 30, "the guard to be known")
    engine.crash_at(point)
    with suppress(grpc.RpcError):  # it may die before it answers
        _begin(engine, source_cluster, secured, topic_name)
    engine.wait(30)
    engine.start()
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    engine.wait_until_caught_up(topic_name, source_cluster)
    _assert_refused(secured, topic_name)
    engine.failover(topic_name)
    _wait_until_stopped(engine, topic_name)
    _write(secured, topic_name)


@pytest.mark.parametrize("point", in_part(around("write_denial", "delete_denial"), "delete_denial:1:after"))
def test_an_engine_that_dies_beside_a_guard_that_it_removes(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str, point: str
) -> None:
    engine = _start(start_engine, secured, topic_name)
    _mirrored(engine, source_cluster, secured, topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    engine.crash_at(point)
    engine.failover(topic_name)
    engine.wait(30)
    engine.start()
    assert _wait_until_stopped(engine, topic_name).state_detail == ""
    assert rights.present(secured.bootstrap_servers, topic_name) == {_may_write(topic_name)}
    _write(secured, topic_name)


@pytest.mark.slow
@pytest.mark.parametrize("point", around("create_denial"))
def test_an_engine_that_dies_beside_its_canary_removes_it(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str, point: str
) -> None:
    """By then it has no links: whether it is a super user matters no more."""
    engine = _start(start_engine, secured, topic_name)
    engine.crash_at(point)
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.wait(30)
    canary = _canary(topic_name)
    assert rights.present(secured.bootstrap_servers, canary.name) == (set() if point.endswith("before") else {canary})
    engine.start()
    engine.links.DeleteLink(v1.DeleteLinkRequest(name="link"), timeout=30)
    rights.wait_for(secured.bootstrap_servers, canary.name)


def _demote(cluster: KafkaCluster) -> None:
    """Takes from `super` what it is; it keeps the rights that ACLs give it."""
    settings = cluster.directory / "node-1" / "server.properties"
    settings.write_text(settings.read_text().replace(_SETTINGS["super.users"], "User:ANONYMOUS"))
    cluster.nodes[0].restart()


_CLUSTER_RIGHTS = [
    (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, operation)
    for operation in (AclOperation.DESCRIBE, AclOperation.ALTER)
]


@pytest.mark.slow
def test_an_engine_that_is_a_super_user_no_longer_removes_the_guard_and_goes_on(
    source_cluster: KafkaCluster, start_cluster: StartCluster, start_engine: StartEngine, topic_name: str
) -> None:
    cluster = start_cluster(users=_USERS, settings=_SETTINGS)
    rights.grant(
        cluster.bootstrap_servers, "super", [*rights.local(topic_name, f"_state-{topic_name}"), *_CLUSTER_RIGHTS]
    )
    engine = _start(start_engine, cluster, topic_name)
    _mirrored(engine, source_cluster, cluster, topic_name)
    wait_until(lambda: _guard(topic_name) in _denials(cluster), 30, "the guard")
    _demote(cluster)
    wait_until(lambda: _way(engine) == v1.WRITE_GUARD_DETECTION_ONLY, 30, "the loss to be noticed")
    wait_until(lambda: not _denials(cluster), 30, "the guard and the canary to be gone")
    _write_transactions(source_cluster, topic_name, 2)
    assert_becomes_equal(source_cluster, cluster, topic_name, raw=False)


def test_a_guard_that_the_cluster_does_not_let_go_holds_up_no_failover(
    source_cluster: KafkaCluster, start_cluster: StartCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """It keeps out the engine itself, which says so; a promote waits, and a failover takes its place."""
    cluster = start_cluster(users=_USERS, settings=_SETTINGS)
    rights.grant(cluster.bootstrap_servers, "super", rights.local(topic_name, f"_state-{topic_name}"))
    engine = _start(start_engine, cluster, topic_name)
    other = f"{topic_name}-promoted"
    for topic in (topic_name, other):
        _mirrored(engine, source_cluster, cluster, topic)
    wait_until(lambda: {_guard(topic_name), _guard(other)} <= _denials(cluster), 30, "the guards")
    _demote(cluster)
    wait_until(lambda: "CLUSTER_AUTHORIZATION_FAILED" in engine.mirror(topic_name).state_detail, 30, "it to be told")
    engine.promote(other)
    wait_until(lambda: engine.state(other) == "PENDING_STOPPED", 30, "the promote to wait")
    for topic in (topic_name, other):
        engine.failover(topic)
        assert _wait_until_stopped(engine, topic).stop == v1.MIRROR_TOPIC_STOP_FAILOVER
        assert "DENY WRITE" in engine.mirror(topic).state_detail
        _assert_refused(cluster, topic)
    rights.grant(cluster.bootstrap_servers, "super", _CLUSTER_RIGHTS)
    wait_until(lambda: not _denials(cluster), 30, "what the engine made to be gone")
    for topic in (topic_name, other):
        _write(cluster, topic)
    wait_until(
        lambda: not any(engine.mirror(topic).state_detail for topic in (topic_name, other)), 30, "nothing in the way"
    )


@pytest.mark.slow
def test_a_guard_takes_nothing_but_writing_away_where_topics_are_open(
    source_cluster: KafkaCluster, start_cluster: StartCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A topic of which no ACL speaks is everybody's there, and the first ACL would close it."""
    cluster = start_cluster(users=_USERS, settings={**_SETTINGS, "allow.everyone.if.no.acl.found": True})
    engine = _start(start_engine, cluster, topic_name)
    _mirrored(engine, source_cluster, cluster, topic_name)
    wait_until(lambda: _guard(topic_name) in _denials(cluster), 30, "the guard")
    _assert_refused(cluster, topic_name)
    rights.delete(cluster.bootstrap_servers, _may_write(topic_name))
    rights.wait_for(cluster.bootstrap_servers, topic_name)
    other = f"{topic_name}-other"
    topics.create(source_cluster.bootstrap_servers, other)
    engine.create_mirror("link", other)
    rights.create(cluster.bootstrap_servers, _may_write(topic_name))
    wait_until(lambda: _guard(topic_name) in _denials(cluster), 30, "the guard again, and so a round after the create")
    assert _guard(other) not in _denials(cluster)


def test_a_topic_that_became_the_source_can_be_written_to(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = _start(start_engine, secured, topic_name)
    engine.create_link("link", source_cluster.bootstrap_servers, mode=v1.LINK_MODE_BIDIRECTIONAL)
    _mirrored(engine, source_cluster, secured, topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    for direction in (v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE, v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL):
        engine.reverse(topic_name)
        _wait_until_turned(engine, topic_name, direction)
        if direction == v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE:
            assert rights.present(secured.bootstrap_servers, topic_name) == {_may_write(topic_name)}
            _write(secured, topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    _assert_refused(secured, topic_name)


def test_acl_sync_neither_copies_nor_deletes_a_guard(
    secured: KafkaCluster, start_cluster: StartCluster, start_engine: StartEngine, topic_name: str
) -> None:
    source = start_cluster(users=_USERS)
    rights.create(source.bootstrap_servers, _guard(topic_name), _may_write(topic_name))  # a mirror topic itself
    topics.create(source.bootstrap_servers, topic_name)
    engine = _start(start_engine, secured, topic_name)
    sync = v1.AclSync(enable=True, interval_ms=1000, filters=[v1.AclFilter(resource_name=topic_name)])
    engine.create_link("link", source.bootstrap_servers, acl_sync=sync)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name))
    engine.create_mirror("link", topic_name)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name))
    rights.delete(source.bootstrap_servers, _guard(topic_name))
    late = rights.acl(topic_name, "User:late")
    rights.create(source.bootstrap_servers, late)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name), _guard(topic_name), late)
    rights.create(source.bootstrap_servers, _guard(topic_name))
    engine.failover(topic_name)
    _wait_until_stopped(engine, topic_name)
    rights.delete(source.bootstrap_servers, late)
    rights.wait_for(secured.bootstrap_servers, topic_name, _may_write(topic_name))  # after another round
    _write(secured, topic_name)
