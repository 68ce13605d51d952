"""Promote and failover: a mirror topic becomes a topic like any other, exactly, and for good."""

from collections.abc import Callable
from contextlib import suppress

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, raw, reading, sources, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal, caught_up
from tests.support.mirrored import PARTITIONS, StartEngine, mirrored, refused, write
from tests.support.points import around, in_part
from tests.support.waiting import wait_until


def _contents(cluster: KafkaCluster, topic: str, ends: dict[int, int]) -> dict[int, list[tuple[int, reading.Content]]]:
    """What consumers of either kind see, below these offsets."""
    seen: dict[int, list[tuple[int, reading.Content]]] = {}
    for index, end in ends.items():
        with reading.consumer(cluster.bootstrap_servers, "read_committed") as reader:
            seen[index] = list(reading.records(reader, topic, index, 0, end))
    return seen


def _wait_until_stopped(engine: EngineProcess, topic: str) -> v1.MirrorTopic:
    wait_until(lambda: engine.state(topic) == "STOPPED", 60, "the mirror topic to be STOPPED")
    return engine.mirror(topic)


@pytest.mark.parametrize("way", ["markers", "transactions"])
def test_a_promoted_topic_has_everything_and_is_a_topic_like_any_other(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    way: str,
) -> None:
    engine = start_engine(settings={"replication": {"gap_filling": way}})
    config = {"max.message.bytes": "2000000"}
    mirrored(source_cluster, destination_cluster, engine, topic_name, config=config)
    assert topics.settings(destination_cluster.bootstrap_servers, topic_name)["compression.type"] == "producer"
    ends = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    begun = engine.promote(topic_name)
    assert begun.stop == v1.MIRROR_TOPIC_STOP_PROMOTE
    stopped = _wait_until_stopped(engine, topic_name)
    assert (stopped.error, stopped.state_detail) == ("", "")
    # One offset more, which nobody sees.
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == {
        index: end + 1 for index, end in ends.items()
    }
    wanted = _contents(source_cluster, topic_name, ends)
    assert _contents(destination_cluster, topic_name, {index: end + 1 for index, end in ends.items()}) == {
        index: [(at, reading.mirrored(record)) for at, record in records] for index, records in wanted.items()
    }
    settings = topics.settings(destination_cluster.bootstrap_servers, topic_name)
    assert settings["compression.type"] == "lz4"
    assert (settings["retention.ms"], settings["max.message.bytes"]) == ("86400000000", "2000000")
    assert settings["message.timestamp.before.max.ms"] == "9223372036854775807"
    write(destination_cluster, topic_name, 5)  # it is the users' now
    write(source_cluster, topic_name, 6)
    for again in (engine.promote, engine.failover):
        with refused("MIRROR_TOPIC_STOPPED"):
            again(topic_name)
    with refused("MIRROR_TOPIC_STOPPED"):
        engine.pause(topic_name)
    with refused("MIRROR_TOPIC_STOPPED"):
        engine.delete_mirror(topic_name)
    engine.stop()
    engine.start()
    assert engine.state(topic_name) == "STOPPED"
    assert engine.mirror(topic_name).stop == v1.MIRROR_TOPIC_STOP_PROMOTE
    engine.delete_mirror(topic_name, keep=True)
    assert topics.exists(destination_cluster.bootstrap_servers, topic_name)


def test_what_an_earlier_owner_sent_late_is_refused_after_the_seal(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A copy of the link's own last batch: a producer id and an epoch from before the seal."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(50))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    engine.promote(topic_name)
    _wait_until_stopped(engine, topic_name)
    leader = raw.leaders(destination_cluster.bootstrap_servers, topic_name)[0]
    _, batch = next(raw.batches(leader, topic_name, 0, 0, 1))
    late = bytes(8) + bytes(batch)[8:]  # as a producer sends it: the offset is the broker's
    with pytest.raises(AssertionError, match="error 47"):  # INVALID_PRODUCER_EPOCH
        raw.write(destination_cluster.bootstrap_servers, topic_name, late, 1)


def test_a_promote_waits_while_producers_write_and_can_be_cancelled(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name)
    with refused("NOT_PROMOTING"):
        engine.cancel_promote(topic_name)
    writer = produce.Writer(source_cluster.bootstrap_servers, topic_name, PARTITIONS, b"value %d")
    try:
        engine.promote(topic_name)
        wait_until(
            lambda: (
                "are missing in" in engine.mirror(topic_name).state_detail
                or "still writing" in engine.mirror(topic_name).state_detail
            ),
            30,
            "the promote to say what it waits for",
        )
        assert engine.state(topic_name) == "PENDING_STOPPED"
        assert engine.cancel_promote(topic_name).state == v1.MIRROR_TOPIC_STATE_ACTIVE
    finally:
        writer.stop()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False)
    assert engine.state(topic_name) == "ACTIVE"
    engine.promote(topic_name)
    _wait_until_stopped(engine, topic_name)


def test_a_promote_waits_for_an_open_transaction_and_for_a_paused_link(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name)
    with sources.open_transaction(source_cluster.bootstrap_servers, topic_name):
        engine.pause(topic_name)
        engine.promote(topic_name)  # a paused mirror topic goes on for it
        wait_until(
            lambda: "held by an open transaction" in engine.mirror(topic_name).state_detail, 30, "the promote to wait"
        )
    _wait_until_stopped(engine, topic_name)


@pytest.mark.parametrize("before", ["ACTIVE", "PAUSED", "LINK_PAUSED", "FAILED", "PROMOTING"])
def test_a_failover_takes_what_is_there(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    before: str,
) -> None:
    """The state is what it was, and the lag is told first; the mirror has a part, and exactly that."""
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name)
    ends = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
    if before == "PAUSED":
        engine.pause(topic_name)
        write(source_cluster, topic_name, 2)
    elif before == "LINK_PAUSED":
        engine.links.PauseLink(v1.PauseLinkRequest(name="link"), timeout=60)
        write(source_cluster, topic_name, 2)
    elif before == "FAILED":
        foreign = [produce.Record(b"k", b"foreign", partition=0)]
        produce.write(destination_cluster.bootstrap_servers, topic_name, foreign)
        wait_until(lambda: engine.state(topic_name) == "FAILED", 30, "the foreign write to be noticed")
        with refused("MIRROR_TOPIC_FAILED"):
            engine.promote(topic_name)
        ends[0] += 1
    elif before == "PROMOTING":
        engine.links.PauseLink(v1.PauseLinkRequest(name="link"), timeout=60)
        engine.promote(topic_name)
        wait_until(lambda: engine.mirror(topic_name).state_detail == "the link is paused", 30, "the promote to wait")
    asked = engine.failover(topic_name, validate_only=True)
    assert asked.stop != v1.MIRROR_TOPIC_STOP_FAILOVER
    assert engine.failover(topic_name).stop == v1.MIRROR_TOPIC_STOP_FAILOVER
    _wait_until_stopped(engine, topic_name)
    sealed = {index: end + (before != "FAILED" or index != 0) for index, end in ends.items()}
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == sealed
    write(destination_cluster, topic_name, 3)


def test_a_failover_while_the_source_is_dead(
    start_cluster: Callable[..., KafkaCluster],
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    """On the worst night; also by an engine that was started after the source had died."""
    source = start_cluster()
    engine = mirrored(source, destination_cluster, start_engine(), topic_name)
    ends = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
    source.nodes[0].kill()
    wait_until(lambda: engine.state(topic_name) == "SOURCE_UNAVAILABLE", 60, "the source to be missed")
    engine.promote(topic_name)
    wait_until(lambda: bool(engine.mirror(topic_name).state_detail), 30, "the promote to say that it cannot reach it")
    engine.kill()
    engine.start()
    assert engine.state(topic_name) == "PENDING_STOPPED"
    engine.failover(topic_name)
    _wait_until_stopped(engine, topic_name)
    assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == {
        index: end + 1 for index, end in ends.items()
    }
    assert topics.settings(destination_cluster.bootstrap_servers, topic_name)["compression.type"] == "lz4"
    write(destination_cluster, topic_name, 4)


@pytest.mark.parametrize("point", in_part([*around("write", "write:2"), "write:3:before"], "write:2:before"))
@pytest.mark.parametrize("verb", ["promote", "failover"])
def test_an_engine_that_dies_at_any_step_ends_in_the_same_place(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    verb: str,
    point: str,
) -> None:
    """Before and after each step is stored; the seal itself may have been written twice, which nobody sees."""
    engine = mirrored(source_cluster, destination_cluster, start_engine(), topic_name)
    ends = topics.log_ends(source_cluster.bootstrap_servers, topic_name)
    wanted = _contents(source_cluster, topic_name, ends)
    if verb == "failover" and point.startswith("write:3"):
        pytest.skip("a failover stores two steps")
    engine.crash_at(point)
    with suppress(grpc.RpcError):
        getattr(engine, verb)(topic_name)
    engine.wait(30)
    engine.start()
    if point == "write:1:before":
        wait_until(lambda: engine.state(topic_name) == "ACTIVE", 30, "the mirror topic to go on")
        getattr(engine, verb)(topic_name)
    _wait_until_stopped(engine, topic_name)
    sealed = topics.log_ends(destination_cluster.bootstrap_servers, topic_name)
    assert all(end < sealed[index] <= end + 2 for index, end in ends.items())
    assert _contents(destination_cluster, topic_name, sealed) == {
        index: [(at, reading.mirrored(record)) for at, record in records] for index, records in wanted.items()
    }
    assert topics.settings(destination_cluster.bootstrap_servers, topic_name)["compression.type"] == "lz4"
    assert not caught_up(source_cluster, destination_cluster, topic_name)
