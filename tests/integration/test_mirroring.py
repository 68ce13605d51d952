"""A mirror topic is equal to its source, whatever kind of plain records the source has."""

from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def test_every_kind_of_record(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Written before the mirror exists and while it is copied.

    All codecs, null and empty keys and values, headers, timestamps from 1970 on, one-record batches, 3 MB records, 12
    partitions.
    """
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=12, config={"max.message.bytes": "10000000"})
    produce.write_every_kind(source_cluster.bootstrap_servers, topic_name, 10_000, partitions=12, seed=1)
    produce.write_large(source_cluster.bootstrap_servers, topic_name, partitions=2)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    mirror = engine.create_mirror("link", topic_name)
    assert mirror.partition_count == 12
    produce.write_every_kind(source_cluster.bootstrap_servers, topic_name, 10_000, partitions=12, seed=2)
    produce.write_large(source_cluster.bootstrap_servers, topic_name, partitions=3)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert engine.state(topic_name) == "ACTIVE"
    assert engine.stop() == 0


def test_settings_of_a_mirror_topic_follow_the_source_except_for_what_mirroring_needs(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Synced settings are the source's effective ones, and are mended; the forced ones keep the mirror exact."""
    config = {"segment.bytes": "10485760", "max.message.bytes": "2000000", "retention.ms": "3600000"}
    topics.create(source_cluster.bootstrap_servers, topic_name, config={**config, "compression.type": "gzip"})
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers, topic_config_sync=v1.TopicConfigSync(interval_ms=1000))
    engine.create_mirror("link", topic_name)
    expected = {
        "segment.bytes": "10485760",
        "max.message.bytes": "2147483647",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": "9223372036854775807",
    }
    settings = topics.settings(destination_cluster.bootstrap_servers, topic_name)
    assert {name: settings[name] for name in expected} == expected
    topics.alter(source_cluster.bootstrap_servers, topic_name, {"segment.bytes": "20971520"})
    topics.alter(destination_cluster.bootstrap_servers, topic_name, {"retention.ms": "1000", "max.message.bytes": "99"})
    expected["segment.bytes"] = "20971520"

    def mended() -> bool:
        present = topics.settings(destination_cluster.bootstrap_servers, topic_name)
        return {name: present[name] for name in expected} == expected

    wait_until(mended, 30, "the settings of the mirror to follow")
    # What somebody changed here is counted; what changed at the source is not.
    assert 'clusterlink_mirror_settings_mended_total{link="link"} 2.0' in engine.metrics()


def test_settings_that_the_link_does_not_sync_are_the_mirrors_own(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Some always follow, some if they are included, some never; what mirroring overrides is there in the end."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    independent = "follower.replication.throttled.replicas"
    config = {"segment.bytes": "10485760", "segment.ms": "7000000", "retention.ms": "3600000", independent: "*"}
    topics.create(here, topic_name, config={**config, "max.message.bytes": "2000000"})
    engine = start_engine()
    sync = v1.TopicConfigSync(interval_ms=1000, include=["segment.bytes"])
    engine.create_link("link", here, topic_config_sync=sync)
    engine.create_mirror("link", topic_name, config={"segment.ms": "8000000", "retention.ms": "86400000000"})
    topics.alter(there, topic_name, {independent: "0:1"})

    def has(**wanted: str) -> bool:
        present = topics.settings(there, topic_name)
        return all(present[name.replace("_", ".")] == value for name, value in wanted.items())

    assert has(segment_bytes="10485760", segment_ms="8000000", retention_ms="-1", cleanup_policy="delete")
    topics.alter(here, topic_name, {"cleanup.policy": "compact,delete", "segment.ms": "6000000"})
    topics.alter(here, topic_name, {"segment.bytes": "20971520", "max.message.bytes": "3000000"})
    wait_until(
        lambda: has(segment_bytes="20971520", cleanup_policy="compact,delete"),
        30,
        "the settings of the mirror to follow",
    )
    topics.alter(there, topic_name, {"segment.ms": "5"})
    wait_until(lambda: has(segment_ms="8000000"), 30, "the mirror's own setting to be mended")
    assert topics.settings(there, topic_name)[independent] == "0:1"
    engine.promote(topic_name)
    wait_until(lambda: engine.state(topic_name) == "STOPPED", 30, "the mirror topic to be STOPPED")
    assert has(retention_ms="86400000000", max_message_bytes="3000000", segment_ms="8000000")
    assert topics.settings(there, topic_name)[independent] == "0:1"


def test_a_mirror_keeps_old_records_that_the_local_cluster_would_delete(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Records of 1970 survive the destination's retention check, and a log start that moves at the source is followed."""
    topics.create(source_cluster.bootstrap_servers, topic_name, config={"retention.ms": "-1"})
    old = [produce.Record(b"%d" % number, b"v" * 100, timestamp=1 + number) for number in range(1000)]
    produce.write(source_cluster.bootstrap_servers, topic_name, old)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    topics.delete_records(source_cluster.bootstrap_servers, topic_name, {0: 400})
    starts = {0: 400}
    wait_until(
        lambda: topics.log_starts(destination_cluster.bootstrap_servers, topic_name) == starts,
        30,
        "the mirror's log start to follow",
    )
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)


def test_pause_and_resume_of_a_mirror_topic_and_of_a_link(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A paused mirror stays where it is, and goes on where it was."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    written = 0

    def pause_mirror() -> None:
        engine.mirror_topics.PauseMirrorTopic(v1.PauseMirrorTopicRequest(name=topic_name))

    def resume_mirror() -> None:
        engine.mirror_topics.ResumeMirrorTopic(v1.ResumeMirrorTopicRequest(name=topic_name))

    def pause_link() -> None:
        engine.links.PauseLink(v1.PauseLinkRequest(name="link"))

    def resume_link() -> None:
        engine.links.ResumeLink(v1.ResumeLinkRequest(name="link"))

    for pause, resume, state in (
        (pause_mirror, resume_mirror, "PAUSED"),
        (pause_link, resume_link, "LINK_PAUSED"),
    ):
        pause()
        pause()  # twice is no error
        assert engine.state(topic_name) == state
        written += produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100))
        assert topics.log_ends(destination_cluster.bootstrap_servers, topic_name) == {0: written - 100}
        engine.kill()
        engine.start()
        assert engine.state(topic_name) == state
        resume()
        resume()
        assert_becomes_equal(source_cluster, destination_cluster, topic_name)
        assert engine.state(topic_name) == "ACTIVE"


def test_a_detached_topic_is_taken_up_again_where_it_stopped(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """After a detach the same topic goes on, by a new link too; once somebody wrote to it, it is refused."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=2)
    engine = start_engine()
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(1000, partitions=2))
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    engine.delete_mirror(topic_name, keep=True)
    engine.links.DeleteLink(v1.DeleteLinkRequest(name="link"))
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(1000, partitions=2))
    engine.create_link("other", source_cluster.bootstrap_servers)
    engine.create_mirror("other", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    engine.delete_mirror(topic_name, keep=True)
    produce.write(destination_cluster.bootstrap_servers, topic_name, [produce.Record(b"k", b"foreign")])
    with pytest.raises(Exception, match=r"its log ends moved since it was detached \(partition 0: "):
        engine.create_mirror("other", topic_name)
    assert topics.exists(destination_cluster.bootstrap_servers, topic_name)


def test_a_source_that_grows_is_followed(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """New partitions at the source are mirrored from their first record on."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers, config={"metadata.max.age.ms": "500"})
    engine.create_mirror("link", topic_name)
    topics.grow(source_cluster.bootstrap_servers, topic_name, 3)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(300, partitions=3))
    wait_until(lambda: engine.mirror(topic_name).partition_count == 3, 30, "the mirror topic to grow")
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)


def test_a_prefix_and_several_links_into_one_cluster(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """The same source topic is mirrored by two links under two names."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("plain", source_cluster.bootstrap_servers)
    engine.create_link("prefixed", source_cluster.bootstrap_servers, topic_prefix="dr.")
    engine.create_mirror("plain", topic_name)
    assert engine.create_mirror("prefixed", topic_name).name == f"dr.{topic_name}"
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(500))
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, f"dr.{topic_name}")
