"""The gauntlet with an authorizer on, and the least rights for either way of filling gaps."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from confluent_kafka.admin import AclOperation, AclPermissionType

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.gauntlet.test_gauntlet import assert_exact
from tests.support import groups, rights, sources, topics, ways
from tests.support.compare import compare_topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

# Every kind that needs a right of its own.
_KINDS = ("committed", "compacted-zstd", "head", "append-time")
_ALL = tuple(source.name for source in sources.SOURCES)

_PARTITIONS = 8

_NO_CLEANING = {"min.compaction.lag.ms": "9223372036854775807"}


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaCluster]:
    """A destination with an authorizer: one user for each way of filling gaps."""
    with KafkaCluster(
        users={"markers": "m", "transactions": "t", "reader": "r", "later": "l", "turner": "u", "partial": "p"},
        name="secured",
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("kinds", [_KINDS, pytest.param(_ALL, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize(
    ("user", "password", "way"),
    [
        ("markers", "m", v1.GAP_FILLING_MARKERS),
        ("transactions", "t", v1.GAP_FILLING_EMPTY_TRANSACTIONS),
    ],
)
def test_least_rights(
    source_cluster: KafkaCluster,
    secured: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    user: str,
    password: str,
    way: int,
    kinds: tuple[str, ...],
) -> None:
    chosen = [source for source in sources.SOURCES if source.name in kinds]
    visible = {
        f"{topic_name}-{source.name}": source.make(source_cluster, f"{topic_name}-{source.name}") for source in chosen
    }
    state_topic = f"_state-{user}-{len(kinds)}"
    granted = rights.local(topic_name, state_topic)
    if way == v1.GAP_FILLING_MARKERS:
        granted.append(rights.MARKERS)
    rights.grant(secured.bootstrap_servers, user, granted)
    as_user = ways.plain_text(user, password).settings()
    engine = start_engine(secured.sasl_bootstrap_servers, state_topic=state_topic, settings=as_user)
    engine.create_link("link", source_cluster.bootstrap_servers, topic_config_sync={"include": ["segment.bytes"]})
    for source in chosen:
        engine.create_mirror("link", f"{topic_name}-{source.name}", config=_NO_CLEANING if source.compacted else {})
    for topic, count in visible.items():
        assert_exact(source_cluster, secured, engine, topic, count)
    assert engine.links.GetLink(v1.GetLinkRequest(name="link")).gap_filling == way
    engine.kill()
    engine.start()
    for topic, count in visible.items():
        assert_exact(source_cluster, secured, engine, topic, count)
    for topic in visible:
        engine.delete_mirror(topic)
    assert engine.stop() == 0


def test_least_rights_at_the_source(
    secured: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """READ and DESCRIBE_CONFIGS on the source topics are enough; without READ, create says what is missing."""
    rights.grant(secured.bootstrap_servers, "reader", rights.remote(f"{topic_name}-may"))
    for name in (f"{topic_name}-may", f"{topic_name}-no"):
        sources.committed(secured, name)
    engine = start_engine()
    remote = ways.plain_text("reader", "r", "SCRAM-SHA-512").remote(secured)
    link = v1.Link(name="link", remote_cluster=remote)
    engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
    engine.create_mirror("link", f"{topic_name}-may")
    assert_exact(secured, destination_cluster, engine, f"{topic_name}-may", 1)
    with pytest.raises(grpc.RpcError) as refused:
        engine.create_mirror("link", f"{topic_name}-no")
    assert "may not be described" in (refused.value.details() or "")


def test_least_rights_for_groups(secured: KafkaCluster, start_engine: StartEngine, topic_name: str) -> None:
    """DESCRIBE on groups at the source and READ on those of the local cluster; one that lacks it does not hold up another."""
    state_topic, group, mirror = f"_state-{topic_name}", f"{topic_name}-group", f"far.{topic_name}"
    for user, granted in (
        ("markers", [*rights.local(mirror, state_topic), rights.group(f"far.{group}-may", AclOperation.READ)]),
        ("reader", [*rights.remote(topic_name), rights.group(topic_name, AclOperation.DESCRIBE)]),
    ):
        rights.grant(secured.bootstrap_servers, user, granted)
    sources.committed(secured, topic_name)
    as_user = ways.plain_text("markers", "m").settings()
    engine = start_engine(secured.sasl_bootstrap_servers, state_topic=state_topic, settings=as_user)
    remote = ways.plain_text("reader", "r", "SCRAM-SHA-512").remote(secured)
    sync = v1.ConsumerOffsetSync(
        enable=True,
        interval_ms=1000,
        group_prefix=True,
        group_filters=[v1.Filter(name=topic_name, pattern_type="PREFIXED")],
    )
    link = v1.Link(name="link", remote_cluster=remote, topic_prefix="far.", consumer_offset_sync=sync)
    engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
    engine.create_mirror("link", topic_name)
    engine.wait_until_caught_up(mirror, secured)
    for name in ("may", "not"):
        groups.commit(secured.bootstrap_servers, f"{group}-{name}", topic_name, {0: 3})

    def is_at(name: str) -> bool:
        return groups.committed(secured.bootstrap_servers, f"far.{group}-{name}", mirror, 1) == {0: 3}

    wait_until(lambda: is_at("may"), 30, "the group to be synced")

    def errors() -> list[str]:
        tasks = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30).tasks
        return [error.code for task in tasks if task.name == "ConsumerOffsetSync" for error in task.errors]

    wait_until(lambda: errors() == ["AUTHORIZATION_ERROR"], 30, "the missing right to be told")
    assert not is_at("not")
    rights.grant(secured.bootstrap_servers, "markers", [rights.group(f"far.{group}", AclOperation.READ)])
    wait_until(lambda: is_at("not"), 30, "the other group to be synced")
    wait_until(lambda: not errors(), 30, "the task to be without errors")


def test_the_right_to_write_markers_is_given_later(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A mirror whose last offset was filled by a transaction goes on with markers after a restart."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    bootstrap = source_cluster.bootstrap_servers
    count = sources.write_transactions(bootstrap, topic_name, partitions=1, rounds=20, seed=1)
    state_topic = f"_state-{topic_name}"
    granted = rights.local(topic_name, state_topic)
    rights.grant(secured.bootstrap_servers, "later", granted)
    as_user = ways.plain_text("later", "l", "PLAIN").settings()
    engine = start_engine(secured.sasl_bootstrap_servers, state_topic=state_topic, settings=as_user)
    engine.create_link("link", bootstrap)
    engine.create_mirror("link", topic_name)
    assert_exact(source_cluster, secured, engine, topic_name, count)
    engine.kill()
    rights.grant(secured.bootstrap_servers, "later", [rights.MARKERS])
    engine.start()
    count += sources.write_transactions(bootstrap, topic_name, partitions=1, rounds=20, seed=2)
    assert_exact(source_cluster, secured, engine, topic_name, count)
    assert engine.links.GetLink(v1.GetLinkRequest(name="link")).gap_filling == v1.GAP_FILLING_MARKERS


def test_a_topic_that_may_not_be_written_holds_up_no_other(
    source_cluster: KafkaCluster, secured: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Gaps of many topics are filled by one transaction, which a broker refuses as a whole for one of them."""
    names = {name: f"{topic_name}-{name}" for name in ("may", "not")}
    state_topic = f"_state-{topic_name}"
    rights.grant(secured.bootstrap_servers, "partial", rights.local(topic_name, state_topic))
    for topic in names.values():
        topics.create(source_cluster.bootstrap_servers, topic, partitions=_PARTITIONS)
    as_user = ways.plain_text("partial", "p", "PLAIN").settings()
    engine = start_engine(secured.sasl_bootstrap_servers, state_topic=state_topic, settings=as_user)
    engine.create_link("link", source_cluster.bootstrap_servers)
    for topic in names.values():
        engine.create_mirror("link", topic)
    engine.wait_until_caught_up(names["not"], source_cluster)
    denied = rights.acl(names["not"], "User:partial", AclOperation.WRITE, AclPermissionType.DENY)
    rights.create(secured.bootstrap_servers, denied)
    for topic in names.values():
        sources.abort(source_cluster.bootstrap_servers, topic, partitions=_PARTITIONS, records=20)
    assert_exact(source_cluster, secured, engine, names["may"], 0)
    assert topics.log_ends(secured.bootstrap_servers, names["not"]) == dict.fromkeys(range(_PARTITIONS), 0)
    assert "filling gaps by transactions" not in engine.log(), "a producer was given up for one topic"
    rights.delete(secured.bootstrap_servers, denied)
    assert_exact(source_cluster, secured, engine, names["not"], 0)


def test_least_rights_of_going_back(
    secured: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """What a source needs, and then what mirror topics need anywhere, with markers, and the groups to be restored."""
    group = f"{topic_name}-group"
    rights.grant(secured.bootstrap_servers, "turner", rights.remote(topic_name))
    sources.committed(secured, topic_name)
    engine = start_engine()
    remote = ways.plain_text("turner", "u").remote(secured)
    link = v1.Link(name="link", mode=v1.LINK_MODE_BIDIRECTIONAL, remote_cluster=remote)
    engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
    engine.create_mirror("link", topic_name)
    with pytest.raises(grpc.RpcError) as refused:
        engine.reverse(topic_name)
    assert "need ALTER on the cluster" in (refused.value.details() or "")
    rights.grant(secured.bootstrap_servers, "turner", rights.going_back(topic_name, group))
    for direction in (v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE, v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL):
        wait_until(lambda: engine.reverse(topic_name), 30, "the rights to be known")
        wait_until(
            lambda wanted=direction: (  # type: ignore[misc]
                engine.mirror(topic_name).direction == wanted and engine.state(topic_name) == "ACTIVE"
            ),
            60,
            "the mirror topic to be turned",
        )
    groups.commit(secured.bootstrap_servers, group, topic_name, {0: 7})
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    engine.restore(topic_name)
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 60, "the topic to be restored")
    assert groups.committed(secured.bootstrap_servers, group, topic_name, 2) == {0: 7}
    found = compare_topics(destination_cluster.bootstrap_servers, secured.bootstrap_servers, topic_name, raw=False)
    assert found.equal, str(found)
