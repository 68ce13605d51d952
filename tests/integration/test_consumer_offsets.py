"""Consumer offset sync: groups are on the mirror where they are at the source, and what they do there is left alone."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from confluent_kafka import Producer, TopicPartition
from google.protobuf.field_mask_pb2 import FieldMask

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import groups, produce, reading, sources, topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

PARTITIONS = 2
RECORDS = 200


def _sync(*filters: v1.Filter, **fields: object) -> v1.ConsumerOffsetSync:
    return v1.ConsumerOffsetSync(enable=True, interval_ms=1000, group_filters=filters, **fields)  # type: ignore[arg-type]


def _mine(topic: str) -> v1.Filter:
    """The groups of one test: brokers are shared."""
    return v1.Filter(name=topic, pattern_type="PREFIXED")


def _start(
    source: KafkaCluster, start_engine: StartEngine, topic: str, sync: v1.ConsumerOffsetSync, **fields: object
) -> EngineProcess:
    topics.create(source.bootstrap_servers, topic, partitions=PARTITIONS)
    produce.write(source.bootstrap_servers, topic, produce.varied(RECORDS, PARTITIONS))
    engine = start_engine()
    engine.create_link("link", source.bootstrap_servers, consumer_offset_sync=sync, **fields)
    engine.create_mirror("link", topic)
    engine.wait_until_caught_up(str(fields.get("topic_prefix", "")) + topic, source)
    return engine


def _link(engine: EngineProcess) -> v1.Link:
    answer: v1.Link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    return answer


def _task(engine: EngineProcess) -> v1.LinkTask:
    return next(task for task in _link(engine).tasks if task.name == "ConsumerOffsetSync")


def _wait_until_at(cluster: KafkaCluster, group: str, topic: str, offsets: dict[int, int]) -> None:
    wait_until(
        lambda: groups.committed(cluster.bootstrap_servers, group, topic, PARTITIONS) == offsets,
        60,
        f"{group} to be at {offsets}",
    )


def _wait_for_error(engine: EngineProcess, text: str) -> None:
    def told() -> bool:
        task = _task(engine)
        return task.state == v1.TASK_STATE_IN_ERROR and any(
            error.code == "CONSUMER_GROUP_IN_USE_ERROR" and text in error.message for error in task.errors
        )

    wait_until(told, 60, f"the task to say {text!r}")


def _update(engine: EngineProcess, sync: v1.ConsumerOffsetSync) -> None:
    link = v1.Link(name="link", consumer_offset_sync=sync)
    request = v1.UpdateLinkRequest(link=link, update_mask=FieldMask(paths=["consumer_offset_sync"]))
    engine.links.UpdateLink(request, timeout=30)


def test_selected_groups_follow_the_source_on_mirrored_topics_only(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    excluded = v1.Filter(name=f"{topic_name}-not", pattern_type="PREFIXED", filter_type="EXCLUDE")
    engine = _start(source_cluster, start_engine, topic_name, _sync(_mine(topic_name), excluded))
    other = f"{topic_name}-unmirrored"
    for cluster in (here, there):
        topics.create(cluster, other)
    follower, outsider = f"{topic_name}-follower", f"{topic_name}-not-me"
    groups.commit(here, follower, topic_name, {0: 40, 1: 7}, "left by its owner")
    groups.commit(here, follower, other, {0: 0})
    groups.commit(here, outsider, topic_name, {0: 40})
    with groups.member(here, f"{topic_name}-at-work", topic_name) as consumer:
        consumer.commit(offsets=[TopicPartition(topic_name, 1, 33)], asynchronous=False)
        _wait_until_at(destination_cluster, follower, topic_name, {0: 40, 1: 7})
        _wait_until_at(destination_cluster, f"{topic_name}-at-work", topic_name, {1: 33})
    left = "left by its owner"
    assert groups.metadata(here, follower, topic_name, PARTITIONS) == {0: (left, 0), 1: (left, 0)}
    assert groups.metadata(there, follower, topic_name, PARTITIONS) == {0: (left, None), 1: (left, None)}
    assert groups.committed(there, follower, other, 1) == {}
    assert groups.committed(there, outsider, topic_name, PARTITIONS) == {}
    groups.commit(here, follower, topic_name, {0: 12, 1: 50})  # back is where its owner wants it
    _wait_until_at(destination_cluster, follower, topic_name, {0: 12, 1: 50})
    ends = topics.log_ends(there, topic_name)
    groups.commit(here, follower, topic_name, {0: 1_000_000})  # beyond what anybody has
    _wait_until_at(destination_cluster, follower, topic_name, {0: ends[0], 1: 50})
    assert _task(engine).state == v1.TASK_STATE_ACTIVE
    _update(engine, v1.ConsumerOffsetSync())
    wait_until(lambda: _task(engine).state == v1.TASK_STATE_NOT_CONFIGURED, 30, "the task to end")


def test_groups_of_the_new_protocol_follow_too(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    _start(source_cluster, start_engine, topic_name, _sync(_mine(topic_name)))
    group = f"{topic_name}-new"
    settings = {"group.protocol": "consumer"}
    with groups.member(source_cluster.bootstrap_servers, group, topic_name, **settings) as consumer:
        consumer.commit(offsets=[TopicPartition(topic_name, 0, 21)], asynchronous=False)
        _wait_until_at(destination_cluster, group, topic_name, {0: 21})


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_that_works_on_the_mirror_is_left_alone_and_reported(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    protocol: str,
) -> None:
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    engine = _start(source_cluster, start_engine, topic_name, _sync(_mine(topic_name)))
    group = f"{topic_name}-moved"
    groups.commit(here, group, topic_name, {0: 10, 1: 10})
    _wait_until_at(destination_cluster, group, topic_name, {0: 10, 1: 10})
    with groups.member(there, group, topic_name, **{"group.protocol": protocol}) as consumer:
        consumer.commit(offsets=[TopicPartition(topic_name, 0, 60)], asynchronous=False)
        groups.commit(here, group, topic_name, {1: 20})
        _wait_for_error(engine, "has members on the local cluster")
    # It is gone, but it has been here.
    _wait_for_error(engine, "is further on the local cluster")
    _wait_until_at(destination_cluster, group, topic_name, {0: 60, 1: 20})
    engine.stop()
    engine.start()  # what it wrote itself is forgotten, and so is nothing that matters
    _wait_for_error(engine, "is further on the local cluster")
    engine.promote(topic_name)
    wait_until(lambda: group in engine.mirror(topic_name).state_detail, 60, "the promote to wait for the group")
    excluded = v1.Filter(name=group, filter_type="EXCLUDE")
    _update(engine, _sync(_mine(topic_name), excluded))
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    assert groups.committed(there, group, topic_name, PARTITIONS) == {0: 60, 1: 20}


def test_a_promote_ends_with_a_last_sync_and_nothing_is_moved_after_it(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    sync = _sync(_mine(topic_name))
    sync.interval_ms = 3_600_000  # only the promote itself
    engine = _start(source_cluster, start_engine, topic_name, sync)
    second = f"{topic_name}-second"
    topics.create(here, second)
    produce.write(here, second, produce.varied(RECORDS))
    engine.create_mirror("link", second)
    group = f"{topic_name}-last"
    groups.commit(here, group, topic_name, {0: 44, 1: 55})
    engine.promote(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    assert groups.committed(there, group, topic_name, PARTITIONS) == {0: 44, 1: 55}
    _update(engine, _sync(_mine(topic_name)))
    groups.commit(here, group, topic_name, {0: 90, 1: 90})
    groups.commit(here, group, second, {0: 11})
    wait_until(lambda: groups.committed(there, group, second, 1) == {0: 11}, 60, "the other topic to be synced")
    assert groups.committed(there, group, topic_name, PARTITIONS) == {0: 44, 1: 55}


@pytest.mark.parametrize("verb", ["promote", "failover"])
def test_a_consumer_goes_on_where_it_was_in_the_middle_of_a_transactional_stream(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    verb: str,
) -> None:
    """No record twice and none missed; but for a failover those that are not on the mirror yet."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    engine = _start(source_cluster, start_engine, topic_name, _sync(_mine(topic_name)))
    group = groups.MovingGroup(f"{topic_name}-mover", topic_name, PARTITIONS)
    writing = threading.Event()
    writing.set()

    def write() -> None:
        for seed in itertools.takewhile(lambda _: writing.is_set(), itertools.count()):
            sources.write_transactions(here, topic_name, partitions=PARTITIONS, rounds=10, seed=seed)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        group.read(here, most=300)
        if verb == "failover":
            _wait_until_at(destination_cluster, f"{topic_name}-mover", topic_name, group.places(here))
            engine.failover(topic_name)
            wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    finally:
        writing.clear()  # what is written after the last look of a promote would not be there
        writer.join()
    if verb == "promote":
        engine.promote(topic_name)
        wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    group.read(there)
    ends = topics.log_ends(there, topic_name)
    assert sorted(group.seen) == [place for place in reading.visible(here, topic_name) if place[1] < ends[place[0]] - 1]
    if verb == "promote":
        assert sorted(group.seen) == reading.visible(here, topic_name)


def test_groups_get_the_prefix_and_undecided_offsets_wait(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    sync = _sync(_mine(topic_name), group_prefix=True)
    _start(source_cluster, start_engine, topic_name, sync, topic_prefix="far.")
    group = f"{topic_name}-exactly-once"
    producer = Producer({"bootstrap.servers": here, "transactional.id": topic_name, "log_level": 0})
    producer.init_transactions(60)
    with groups.member(here, group, topic_name) as consumer:
        consumer.commit(offsets=[TopicPartition(topic_name, 0, 5)], asynchronous=False)
        producer.begin_transaction()
        producer.send_offsets_to_transaction(
            [TopicPartition(topic_name, 1, 70)], consumer.consumer_group_metadata(), 60
        )
        _wait_until_at(destination_cluster, f"far.{group}", f"far.{topic_name}", {0: 5})
        producer.commit_transaction(60)
        _wait_until_at(destination_cluster, f"far.{group}", f"far.{topic_name}", {0: 5, 1: 70})
    assert groups.committed(there, group, f"far.{topic_name}", PARTITIONS) == {}


def test_what_makes_no_sense_is_refused_at_its_field(source_cluster: KafkaCluster, start_engine: StartEngine) -> None:
    engine = start_engine()
    for sync, field in (
        (v1.ConsumerOffsetSync(enable=True), "group_filters"),
        (_sync(v1.Filter(name="a", filter_type="EXCLUDE")), "group_filters"),
        (_sync(v1.Filter(name="a", pattern_type="ANY")), "group_filters"),
        (_sync(v1.Filter()), "group_filters"),
        (_sync(v1.Filter(name="a"), group_prefix=True), "group_prefix"),
        (v1.ConsumerOffsetSync(interval_ms=999), "interval_ms"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            engine.create_link("never", source_cluster.bootstrap_servers, consumer_offset_sync=sync)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, sync
        wanted = f"link.consumer_offset_sync.{field}".encode()
        assert any(wanted in value for _, value in error.trailing_metadata() if isinstance(value, bytes)), sync
