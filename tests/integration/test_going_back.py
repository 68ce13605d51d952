"""Reverse, and truncate and restore: a mirror topic becomes the source of its source, and nothing is lost on the way."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import groups, produce, reading, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.mirrored import PARTITIONS, StartEngine, mirrored, refused, write
from tests.support.points import around, in_part
from tests.support.waiting import wait_until

HOME, AWAY = v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL, v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE
BOTH_WAYS = v1.LINK_MODE_BIDIRECTIONAL


def _wait_until_turned(engine: EngineProcess, topic: str, direction: "v1.MirrorDirection.ValueType") -> None:
    def is_turned() -> bool:
        return engine.mirror(topic).direction == direction and engine.state(topic) in ("ACTIVE", "PAUSED")

    wait_until(is_turned, 60, "the mirror topic to be turned")


def test_there_and_back_again(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Twice in each direction, with writes at each end; the topic's own settings come back, and both are always equal."""
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    asked = engine.reverse(topic_name, validate_only=True)
    assert asked.direction == HOME
    for number in range(2):
        ends = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
        assert engine.reverse(topic_name).stop == v1.MIRROR_TOPIC_STOP_REVERSE
        _wait_until_turned(engine, topic_name, AWAY)
        write(destination_cluster, topic_name, 10 + number)
        assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=ends)
        settings = topics.settings(destination_cluster.bootstrap_servers, topic_name)
        assert (settings["compression.type"], settings["retention.ms"]) == ("lz4", "86400000000")
        settings = topics.settings(source_cluster.bootstrap_servers, topic_name)
        assert (settings["compression.type"], settings["retention.ms"]) == ("producer", "-1")
        ends = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
        engine.reverse(topic_name)
        _wait_until_turned(engine, topic_name, HOME)
        write(source_cluster, topic_name, 20 + number)
        assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False, own_until=ends)
        settings = topics.settings(source_cluster.bootstrap_servers, topic_name)
        assert (settings["compression.type"], settings["retention.ms"]) == ("lz4", "86400000000")
    mirror = engine.mirror(topic_name)
    assert (mirror.error, mirror.state_detail) == ("", "")


def test_a_reverse_holds_producers_off_and_loses_nothing_that_was_acknowledged(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    writer = produce.Writer(
        source_cluster.bootstrap_servers, topic_name, PARTITIONS, b"a value that is longer than what passes, number %d"
    )
    try:
        wait_until(lambda: len(writer.acknowledged) > 100, 30, "some records to be written")
        engine.reverse(topic_name)
        wait_until(lambda: writer.refused, 60, "a record to be refused")
    finally:
        writer.stop()  # a producer that goes on would write to the mirror
    own = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    _wait_until_turned(engine, topic_name, AWAY)
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=own)
    assert writer.acknowledged <= set(_values(destination_cluster, topic_name))


@pytest.mark.parametrize(
    "patiently", [pytest.param(False, id="at-once"), pytest.param(True, id="after-a-break", marks=pytest.mark.slow)]
)
def test_a_reverse_waits_while_records_come_and_a_cancel_lets_producers_go(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    patiently: bool,
) -> None:
    """Records that are small enough pass; so they are waited for, and those who write others are let go in between."""
    # As small as they are written: what a broker compresses itself gets larger.
    engine = mirrored(
        source_cluster,
        destination_cluster,
        start_engine(),
        topic_name,
        config={"compression.type": "producer"},
        mode=BOTH_WAYS,
    )
    here = source_cluster.bootstrap_servers

    def size() -> str:
        return topics.settings(here, topic_name)["max.message.bytes"]

    before = size()
    writer = produce.Writer(here, topic_name, PARTITIONS, b"%d")
    try:
        engine.reverse(topic_name)
        wait_until(lambda: size() != before, 60, "the hold")
        assert engine.state(topic_name) == "PENDING_SYNCHRONIZE"
        with refused("STOPPING"):
            engine.promote(topic_name)
        if patiently:
            wait_until(lambda: size() == before, 60, "a break of the hold")
            wait_until(lambda: size() != before, 60, "the hold again")
        assert engine.mirror(topic_name).state_detail
        assert engine.cancel_promote(topic_name).state == v1.MIRROR_TOPIC_STATE_ACTIVE
        wait_until(lambda: size() == before, 60, "the end of the hold")
    finally:
        writer.stop()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False)
    assert engine.state(topic_name) == "ACTIVE"


def test_reverse_and_pause(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    own = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    engine.reverse(topic_name, paused=True)
    _wait_until_turned(engine, topic_name, AWAY)
    assert engine.state(topic_name) == "PAUSED"
    write(destination_cluster, topic_name, 2)
    assert topics.log_ends(source_cluster.bootstrap_servers, topic_name) == own
    engine.resume(topic_name)
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=own)


def test_an_old_primary_that_went_its_own_way_is_restored(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """What it had alone is counted, and gone; groups have their places, not beyond what both had. Then back home."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    with refused("MIRROR_TOPIC_NOT_STOPPED"):
        engine.restore(topic_name)
    engine.pause(topic_name)
    common = topics.log_ends(here, topic_name)
    write(source_cluster, topic_name, 2)  # never mirrored
    alone = {index: end - common[index] for index, end in topics.log_ends(here, topic_name).items()}
    assert all(alone.values())
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    write(destination_cluster, topic_name, 3)
    group = f"{topic_name}-group"
    groups.commit(here, group, topic_name, {0: common[0] - 5, 1: common[1] + 5}, metadata="place")

    with groups.member(here, f"{topic_name}-active", topic_name), refused("CONSUMER_GROUP_IN_USE_ERROR"):
        engine.restore(topic_name)
    asked = engine.restore(topic_name, validate_only=True)
    begun = engine.restore(topic_name)
    for answer in (asked, begun):
        assert {part.partition: part.messages_truncated for part in answer.partitions} == alone
        assert {part.partition: part.offset_truncated_to for part in answer.partitions} == common
        assert answer.messages_truncated == sum(alone.values())
    assert engine.state(topic_name) in ("PENDING_SETUP_FOR_RESTORE", "PENDING_RESTORE", "ACTIVE")
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 60, "the topic to be restored")
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False)
    assert groups.committed(here, group, topic_name, PARTITIONS) == {0: common[0] - 5, 1: common[1]}
    assert groups.metadata(here, group, topic_name, PARTITIONS)[0] == ("place", None)
    assert engine.mirror(topic_name).direction == AWAY

    own = topics.log_ends(there, topic_name)
    engine.reverse(topic_name)
    _wait_until_turned(engine, topic_name, HOME)
    write(source_cluster, topic_name, 4)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False, own_until=own)
    assert topics.settings(here, topic_name)["compression.type"] == "lz4"


def test_who_may_not_turn(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("one-way", source_cluster.bootstrap_servers)
    engine.create_mirror("one-way", topic_name)
    with refused("LINK_NOT_BIDIRECTIONAL"):
        engine.reverse(topic_name)
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    with refused("LINK_NOT_BIDIRECTIONAL"):
        engine.restore(topic_name)
    with pytest.raises(grpc.RpcError) as caught:
        engine.create_link(
            "both", source_cluster.bootstrap_servers, mode=v1.LINK_MODE_BIDIRECTIONAL, topic_prefix="far."
        )
    refusal: Any = caught.value
    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.slow
def test_a_reversed_mirror_goes_on_whatever_dies_and_is_left_when_its_cluster_is_gone(
    start_cluster: Callable[..., KafkaCluster],
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    """Two processes share it; one of them, the remote broker and the local one are killed under load."""
    source = start_cluster(settings={"log.cleaner.backoff.ms": 200})
    engine = mirrored(source, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    own = topics.log_ends(source.bootstrap_servers, topic_name)
    engine.reverse(topic_name)
    _wait_until_turned(engine, topic_name, AWAY)
    other: EngineProcess = start_engine(state_topic=engine.state_topic)
    engine.wait_for_shares(other)

    def kill_engine() -> None:
        engine.kill()
        engine.start()

    def kill(cluster: KafkaCluster) -> None:
        cluster.nodes[0].kill()
        cluster.nodes[0].start()

    faults: list[Callable[[], None]] = [kill_engine, lambda: kill(source), lambda: kill(destination_cluster)]
    for number, fault in enumerate(faults):
        records = produce.varied(20_000, PARTITIONS, seed=number)
        produce.write(destination_cluster.bootstrap_servers, topic_name, records, settings={"batch.num.messages": 10})
        fault()
        write(destination_cluster, topic_name, 50 + number)
        assert_becomes_equal(destination_cluster, source, topic_name, raw=False, own_until=own)
    source.nodes[0].kill()
    write(destination_cluster, topic_name, 60)
    wait_until(
        lambda: "the remote cluster" in engine.mirror(topic_name).state_detail, 60, "it to be said what is missing"
    )
    assert engine.state(topic_name) == "ACTIVE"
    engine.delete_mirror(topic_name, keep=True)
    engine.links.DeleteLink(v1.DeleteLinkRequest(name="link"), timeout=60)
    source.nodes[0].start()


@pytest.mark.slow
def test_a_restore_goes_on_where_no_other_topic_is(
    start_cluster: Callable[..., KafkaCluster],
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    """The settings that a cluster knows cannot be looked up there any more, by a process that begins anew."""
    source = start_cluster(settings={"log.cleaner.backoff.ms": 200})
    engine = mirrored(source, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    engine.crash_at("delete_topic:1:after")
    with suppress(grpc.RpcError):
        engine.restore(topic_name)
    engine.wait(60)
    engine.start()
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 60, "the topic to be restored")
    assert_becomes_equal(destination_cluster, source, topic_name, raw=False)
    settings = topics.settings(source.bootstrap_servers, topic_name)
    assert settings["message.timestamp.before.max.ms"] == "9223372036854775807"


@pytest.mark.parametrize("point", in_part(around(*(f"write:{number}" for number in range(1, 7))), "write:5:after"))
def test_an_engine_that_dies_at_any_step_of_a_reverse_ends_in_the_same_place(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    point: str,
) -> None:
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    own = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    engine.crash_at(point)
    with suppress(grpc.RpcError):
        engine.reverse(topic_name)
    engine.wait(60)
    engine.start()
    if engine.state(topic_name) == "ACTIVE" and engine.mirror(topic_name).direction == HOME:
        engine.reverse(topic_name)  # it died before the wish was stored
    _wait_until_turned(engine, topic_name, AWAY)
    write(destination_cluster, topic_name, 2)
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False, own_until=own)
    assert topics.settings(destination_cluster.bootstrap_servers, topic_name)["compression.type"] == "lz4"


@pytest.mark.parametrize(
    "point",
    in_part(
        around(*(f"write:{number}" for number in range(1, 5)), "delete_topic", "create_topic"), "delete_topic:1:after"
    ),
)
def test_an_engine_that_dies_at_any_step_of_a_restore_ends_in_the_same_place(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    point: str,
) -> None:
    here = source_cluster.bootstrap_servers
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name, mode=BOTH_WAYS)
    common = topics.log_ends(here, topic_name)
    group = f"{topic_name}-group"
    groups.commit(here, group, topic_name, {0: common[0] - 5, 1: common[1] + 5})
    engine.failover(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 60, "the mirror topic to be STOPPED")
    write(source_cluster, topic_name, 2)
    write(destination_cluster, topic_name, 3)
    engine.crash_at(point)
    with suppress(grpc.RpcError):
        engine.restore(topic_name)
    engine.wait(60)
    engine.start()
    if engine.state(topic_name) == "STOPPED":
        engine.restore(topic_name)  # it died before the wish was stored
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 60, "the topic to be restored")
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False)
    assert groups.committed(here, group, topic_name, PARTITIONS) == {0: common[0] - 5, 1: common[1]}


def _values(cluster: KafkaCluster, topic: str) -> Iterator[bytes | None]:
    for index, end in topics.log_ends(cluster.bootstrap_servers, topic).items():
        with reading.consumer(cluster.bootstrap_servers, "read_committed") as reader:
            yield from (content[1] for _, content in reading.records(reader, topic, index, 0, end))
