"""Automatic mirror topics: found within seconds, made once, and what a user ended stays ended."""

from collections.abc import Callable

from google.protobuf.field_mask_pb2 import FieldMask

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def _auto(topic: str, *more: v1.Filter) -> v1.AutoCreateMirrorTopics:
    return v1.AutoCreateMirrorTopics(enable=True, filters=[v1.Filter(name=topic, pattern_type="PREFIXED"), *more])


def _task(engine: EngineProcess) -> v1.LinkTask:
    link: v1.Link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    return next(task for task in link.tasks if task.name == "AutoCreateMirror")


def _mirrors(engine: EngineProcess) -> dict[str, v1.MirrorTopic]:
    answer = engine.mirror_topics.ListMirrorTopics(v1.ListMirrorTopicsRequest(link="link"), timeout=30)
    return {mirror.name: mirror for mirror in answer.mirror_topics}


def _set(engine: EngineProcess, auto: v1.AutoCreateMirrorTopics) -> None:
    link = v1.Link(name="link", auto_create_mirror_topics=auto)
    request = v1.UpdateLinkRequest(link=link, update_mask=FieldMask(paths=["auto_create_mirror_topics"]))
    engine.links.UpdateLink(request, timeout=30)


def _create(cluster: KafkaCluster, *names: str) -> None:
    for name in names:
        topics.create(cluster.bootstrap_servers, name)
        produce.write(cluster.bootstrap_servers, name, produce.varied(20))


def test_selected_topics_are_mirrored_and_those_that_come_later_too(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    here = source_cluster
    first, excluded, taken, later = (f"{topic_name}-{name}" for name in ("first", "not", "taken", "later"))
    _create(here, first, excluded, taken)
    topics.create(destination_cluster.bootstrap_servers, taken)
    engine = start_engine()
    auto = _auto(topic_name, v1.Filter(name=excluded, filter_type="EXCLUDE"))
    engine.create_link(
        "link", here.bootstrap_servers, auto_create_mirror_topics=auto, config={"metadata.max.age.ms": "1000"}
    )
    wait_until(lambda: set(_mirrors(engine)) == {first}, 30, "the first topic to be mirrored")
    assert _mirrors(engine)[first].automatic
    assert_becomes_equal(here, destination_cluster, first)

    def told() -> bool:
        task = _task(engine)
        return [error.code for error in task.errors] == ["TOPIC_EXISTS_ERROR"] and taken in task.errors[0].message

    wait_until(told, 30, "the task to tell of the taken name")
    _create(here, later)
    wait_until(lambda: set(_mirrors(engine)) == {first, later}, 30, "the later topic to be mirrored")
    engine.stop()
    engine.start()
    topics.delete(destination_cluster.bootstrap_servers, taken)
    wait_until(lambda: set(_mirrors(engine)) == {first, later, taken}, 30, "the free name to be taken")
    for name in (later, taken):
        assert_becomes_equal(here, destination_cluster, name)
    wait_until(lambda: _task(engine).state == v1.TASK_STATE_ACTIVE, 30, "the task to be without errors")
    # The end that a user gives a mirror topic is one.
    engine.delete_mirror(first, keep=True)
    engine.failover(later)
    wait_until(lambda: engine.state(later) == "STOPPED", 30, "the mirror topic to be STOPPED")
    another = f"{topic_name}-another"
    _create(here, another)
    wait_until(lambda: another in _mirrors(engine), 30, "another topic to be mirrored")
    assert set(_mirrors(engine)) == {later, taken, another}
    assert engine.state(later) == "STOPPED"
    _set(engine, v1.AutoCreateMirrorTopics())
    wait_until(lambda: _task(engine).state == v1.TASK_STATE_NOT_CONFIGURED, 30, "the task to end")
    assert set(_mirrors(engine)) == {later, taken, another}


def test_they_get_the_prefix(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    _create(source_cluster, topic_name)
    engine = start_engine()
    engine.create_link(
        "link", source_cluster.bootstrap_servers, topic_prefix="far.", auto_create_mirror_topics=_auto(topic_name)
    )
    wait_until(lambda: set(_mirrors(engine)) == {f"far.{topic_name}"}, 30, "the topic to be mirrored")
    engine.wait_until_caught_up(f"far.{topic_name}", source_cluster)
