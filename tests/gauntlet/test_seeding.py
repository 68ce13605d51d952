"""Heads and holes that are too many for markers: fillers that nobody sees once the mirror is ACTIVE."""

from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.gauntlet.test_gauntlet import assert_exact
from tests.support import produce, reading, sources, topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


@pytest.mark.parametrize("start", [300_000, pytest.param(50_000_000, marks=pytest.mark.slow)])
def test_a_high_head(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    start: int,
) -> None:
    """The mirror's log starts where the source's does."""
    sources.high_head(source_cluster, topic_name, start, 500)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_exact(source_cluster, destination_cluster, engine, topic_name, 500)
    assert topics.log_starts(destination_cluster.bootstrap_servers, topic_name) == {0: start}


@pytest.mark.parametrize("holes", [200_000, pytest.param(20_000_000, marks=pytest.mark.slow)])
def test_a_compacted_topic_with_many_holes(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    holes: int,
) -> None:
    """No filler is left when the mirror is ACTIVE, and everything that the source has is there."""
    visible = sources.many_holes(source_cluster, topic_name, holes)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    mirror = engine.create_mirror("link", topic_name)
    assert mirror.state
    assert_exact(source_cluster, destination_cluster, engine, topic_name, visible, strict=False)


def test_three_replicas_are_cleaned_before_the_mirror_is_active(
    source_cluster: KafkaCluster, start_cluster: Callable[..., KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    """Each replica cleans for itself."""
    destination = start_cluster(nodes=3, settings={"log.cleaner.backoff.ms": 500})
    visible = sources.many_holes(source_cluster, topic_name, 100_000)
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_exact(source_cluster, destination, engine, topic_name, visible, strict=False)


def test_retention_overtakes_a_paused_mirror(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The mirror goes on where the source's log starts now, and says how many offsets it lost."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(300))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_exact(source_cluster, destination_cluster, engine, topic_name, 300)
    engine.pause(topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(700, seed=1))
    topics.delete_records(source_cluster.bootstrap_servers, topic_name, {0: 900})
    engine.resume(topic_name)
    assert_exact(source_cluster, destination_cluster, engine, topic_name, 100)
    assert engine.mirror(topic_name).partitions[0].offsets_lost == 600


def test_a_log_start_that_moves_moves_the_mirrors(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """After DeleteRecords at the source, also of everything."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(300))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_exact(source_cluster, destination_cluster, engine, topic_name, 300)
    for start in (120, 300):
        topics.delete_records(source_cluster.bootstrap_servers, topic_name, {0: start})
        moved = {0: start}
        wait_until(
            lambda moved=moved: topics.log_starts(destination_cluster.bootstrap_servers, topic_name) == moved,  # type: ignore[misc]
            30,
            "the log start to follow",
        )
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(50, seed=2))
    assert_exact(source_cluster, destination_cluster, engine, topic_name, 50)


@pytest.mark.parametrize("where", ["latest", "2023-11-14T22:13:21Z"])
def test_a_mirror_that_begins_later(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    where: str,
) -> None:
    """From the end of the source's log on, or from a time on (the second second of these records)."""
    topics.create(source_cluster.bootstrap_servers, topic_name, config={"retention.ms": "-1"})
    records = [produce.Record(b"k", b"%d" % number, timestamp=1_700_000_000_000 + number * 10) for number in range(500)]
    produce.write(source_cluster.bootstrap_servers, topic_name, records, settings={"batch.num.messages": 7})
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers, mirror_start_offset=where)
    engine.create_mirror("link", topic_name)
    first = 500 if where == "latest" else 100
    wait_until(
        lambda: topics.log_starts(destination_cluster.bootstrap_servers, topic_name) == {0: first}, 30, "the head"
    )
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(50))
    engine.wait_until_caught_up(topic_name, source_cluster)
    for isolation in ("read_committed", "read_uncommitted"):
        with reading.consumer(source_cluster.bootstrap_servers, isolation) as original:
            wanted = list(reading.records(original, topic_name, 0, first, 550))
        with reading.consumer(destination_cluster.bootstrap_servers, isolation) as copy:
            assert list(reading.records(copy, topic_name, 0, first, 550)) == wanted
        assert len(wanted) == 550 - first
