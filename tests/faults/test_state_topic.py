"""The state topic is deleted or replaced under a running engine: it has everything again, and nobody works on half of it."""

import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
from confluent_kafka.admin import AclOperation
from google.protobuf.field_mask_pb2 import FieldMask

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import StateFencedError
from clusterlink_engine.model.resources import SyncedAcls
from clusterlink_engine.settings import LocalCluster, State
from clusterlink_engine.store.records import Claim
from clusterlink_engine.store.state_topic import StateTopic
from clusterlink_proto import v1
from tests.support import rights, sources, topics, ways
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import until, wait_until

StartEngine = Callable[..., EngineProcess]

_USER, _PASSWORD = "keeper", "k"
_DELETIONS = 5
_AGE, _OLDEST_MS = "metadata.max.age.ms", 5_000


@pytest.fixture(scope="module")
def creative() -> Iterator[KafkaCluster]:
    """A local cluster that makes topics by itself, and has an authorizer."""
    with KafkaCluster(
        users={_USER: _PASSWORD},
        settings={"auto.create.topics.enable": True, "num.partitions": 3},
        name="creative",
    ) as cluster:
        yield cluster


@pytest.fixture
def three() -> Iterator[KafkaCluster]:
    """A local cluster whose brokers know of a topic one after the other."""
    with KafkaCluster(nodes=3, name="three") as cluster:
        yield cluster


def _delete(cluster: KafkaCluster, topic: str) -> None:
    """Deletes a topic, and does not wait until it is gone: the engine makes it anew."""
    client = topics.admin(cluster.bootstrap_servers)
    client.delete_topics([topic])[topic].result(30)


def _restored(cluster: KafkaCluster, engine: EngineProcess, times: int = 1) -> None:
    """Waits until the engine has written everything into a new topic, which is compacted."""
    wait_until(lambda: engine.log().count("has everything again") >= times, 90, "the new topic to have everything")
    assert topics.settings(cluster.bootstrap_servers, engine.state_topic)["cleanup.policy"] == "compact"


def _mirror(source: KafkaCluster, engine: EngineProcess, topic: str) -> None:
    sources.committed(source, topic)
    engine.create_link("link", source.bootstrap_servers)
    engine.create_mirror("link", topic)
    engine.wait_until_caught_up(topic, source)


def _goes_on(source: KafkaCluster, local: KafkaCluster, engine: EngineProcess, topic: str) -> None:
    """A new process knows everything, and the mirror goes on where it was."""
    sources.write_transactions(source.bootstrap_servers, topic, partitions=1, rounds=5, seed=2)
    engine.kill()
    engine.start()
    assert [link.name for link in engine.links.ListLinks(v1.ListLinksRequest(), timeout=30).links] == ["link"]
    wait_until(lambda: engine.state(topic) == "ACTIVE", 30, "the mirror topic to be ACTIVE")
    assert_becomes_equal(source, local, topic, raw=False)


def test_it_is_deleted_while_nothing_changes(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = start_engine()
    _mirror(source_cluster, engine, topic_name)
    for times in (1, 2):
        _delete(destination_cluster, engine.state_topic)
        _restored(destination_cluster, engine, times)
    _goes_on(source_cluster, destination_cluster, engine, topic_name)


def test_it_is_deleted_just_before_a_change(
    source_cluster: KafkaCluster, creative: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The change comes before the engine looks, on a cluster that makes topics when somebody writes."""
    engine = start_engine(creative.bootstrap_servers)
    _mirror(source_cluster, engine, topic_name)
    _delete(creative, engine.state_topic)
    engine.pause(topic_name)
    _restored(creative, engine)
    engine.kill()
    engine.start()
    assert engine.state(topic_name) == "PAUSED"
    engine.resume(topic_name)
    _goes_on(source_cluster, creative, engine, topic_name)


def test_somebody_makes_it_anew_with_another_policy(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """What would delete old records is mended, whoever made it: the state would expire."""
    engine = start_engine()
    _mirror(source_cluster, engine, topic_name)

    def is_replaced() -> bool:
        _delete(destination_cluster, engine.state_topic)
        topics.create(destination_cluster.bootstrap_servers, engine.state_topic, config={"cleanup.policy": "delete"})
        return True

    wait_until(is_replaced, 30, "the test to be quicker than the engine")
    _restored(destination_cluster, engine)
    _goes_on(source_cluster, destination_cluster, engine, topic_name)
    topics.alter(destination_cluster.bootstrap_servers, engine.state_topic, {"cleanup.policy": "delete"})
    engine.kill()
    engine.start()
    assert topics.settings(destination_cluster.bootstrap_servers, engine.state_topic)["cleanup.policy"] == "compact"


@pytest.mark.slow
def test_an_engine_that_may_not_make_it_waits_for_somebody_who_does(
    source_cluster: KafkaCluster, creative: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Until then it mirrors, changes nothing, and says what to do."""
    state_topic = f"_state-{topic_name}"
    rights.grant(creative.bootstrap_servers, _USER, rights.local(topic_name, state_topic))
    as_user = ways.plain_text(_USER, _PASSWORD).settings()
    engine = start_engine(creative.sasl_bootstrap_servers, state_topic=state_topic, settings=as_user)
    _mirror(source_cluster, engine, topic_name)
    (create,) = (
        right for right in rights.local(topic_name, state_topic) if right[1::2] == (state_topic, AclOperation.CREATE)
    )
    rights.take_away(creative.bootstrap_servers, _USER, create)
    topics.delete(creative.bootstrap_servers, state_topic)
    with pytest.raises(grpc.RpcError) as refused:
        engine.pause(topic_name)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "The state topic cannot be found, nor made anew: " in (refused.value.details() or "")
    sources.write_transactions(source_cluster.bootstrap_servers, topic_name, partitions=1, rounds=5, seed=1)
    assert_becomes_equal(source_cluster, creative, topic_name, raw=False)
    assert engine.state(topic_name) == "ACTIVE"
    topics.create(creative.bootstrap_servers, state_topic, config={"cleanup.policy": "compact"})
    _restored(creative, engine)
    _goes_on(source_cluster, creative, engine, topic_name)


async def test_whoever_has_claimed_the_new_topic_keeps_it(destination_cluster: KafkaCluster, topic_name: str) -> None:
    """The former process comes late, with everything: it stops, and the topic is as the other one left it."""
    bootstrap = destination_cluster.bootstrap_servers
    cluster, record = LocalCluster(bootstrap_servers=(bootstrap,)), {"acls/link": SyncedAcls(name="link")}
    lost: list[BaseException] = []
    former, latter, reader = (StateTopic(cluster, State(topic=topic_name), lost.append) for _ in range(3))
    try:
        topics.create(bootstrap, topic_name)
        await former.open(Claim(instance_id="former", host="here", pid=1, version="1"), 30)
        topics.delete(bootstrap, topic_name)
        topics.create(bootstrap, topic_name)
        await latter.open(Claim(instance_id="latter", host="there", pid=2, version="1"), 30)
        with pytest.raises(StateFencedError, match="pid 2 on there"):
            await former.write_anew(record)
        assert "acls/link" not in await reader.read(30)
    finally:
        for store in (former, latter, reader):
            await store.close()


async def test_a_new_topic_is_followed(destination_cluster: KafkaCluster, topic_name: str) -> None:
    """Whoever claims it later is noticed there, as in the first one."""
    bootstrap = destination_cluster.bootstrap_servers
    cluster, record = LocalCluster(bootstrap_servers=(bootstrap,)), {"acls/link": SyncedAcls(name="link")}
    lost: list[BaseException] = []
    former, latter = (StateTopic(cluster, State(topic=topic_name), lost.append) for _ in range(2))
    try:
        topics.create(bootstrap, topic_name)
        await former.open(Claim(instance_id="former", host="here", pid=1, version="1"), 30)
        topics.delete(bootstrap, topic_name)
        topics.create(bootstrap, topic_name)
        await former.write_anew(record)
        await former.write({"acls/other": SyncedAcls(name="other")})
        assert not lost
        found = await latter.open(Claim(instance_id="latter", host="there", pid=2, version="1"), 30)
        assert sorted(found) == ["acls/link", "acls/other"]
        await until(lambda: lost, "the former process to notice", 30)
        assert [type(error) for error in lost] == [StateFencedError]
        with pytest.raises(StateFencedError):
            await former.write_anew(record)
    finally:
        for store in (former, latter):
            await store.close()


@pytest.mark.slow
def test_it_is_deleted_again_and_again_while_it_is_written(
    source_cluster: KafkaCluster, three: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The last change that was answered with success is there afterwards, wherever in a transaction the topic goes away."""
    engine = start_engine(three.bootstrap_servers)
    _mirror(source_cluster, engine, topic_name)
    acknowledged, ended = [_OLDEST_MS], threading.Event()

    def change() -> None:
        while not ended.is_set():
            link = v1.Link(name="link", config={_AGE: str(acknowledged[-1] + 1)})
            request = v1.UpdateLinkRequest(link=link, update_mask=FieldMask(paths=["config"]))
            wait_until(lambda: engine.links.UpdateLink(request, timeout=60), 120, "a change to be taken")  # noqa: B023
            acknowledged.append(acknowledged[-1] + 1)

    changing = threading.Thread(target=change, name="changes")
    changing.start()
    try:
        for times in range(1, _DELETIONS + 1):
            before = len(acknowledged)
            wait_until(lambda: len(acknowledged) > before + 4, 120, "changes to be taken")  # noqa: B023
            _delete(three, engine.state_topic)
            _restored(three, engine, times)
    finally:
        ended.set()
        changing.join()
    assert len(acknowledged) > 4 * _DELETIONS
    engine.kill()
    engine.start()
    stored = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    assert stored.config[_AGE] == str(acknowledged[-1])
    _goes_on(source_cluster, three, engine, topic_name)
