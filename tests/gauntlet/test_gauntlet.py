"""Every kind of source topic is mirrored exactly: equal in both isolation levels, with the same log start and log end."""

from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import sources, topics
from tests.support.compare import compare_compacted, compare_topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

# Holds the mirror's cleaner off, so that compacted mirrors can be compared strictly.
_NO_CLEANING = {"min.compaction.lag.ms": "9223372036854775807"}


def test_every_kind_of_source(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    mirror_everything(source_cluster, destination_cluster, start_engine, topic_name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("3.3.2", "3.9.2"),
        ("3.3.2", "4.3.1"),
        ("3.9.2", "4.1.2"),
        ("3.9.2", "4.3.1"),
        ("4.3.1", "3.9.2"),
        ("4.3.1", "4.3.1"),
    ],
)
def test_every_kind_of_source_between_versions(
    start_cluster: Callable[..., KafkaCluster],
    start_engine: StartEngine,
    topic_name: str,
    source: str,
    destination: str,
) -> None:
    """3.3 is the oldest line with KRaft; as destination 3.9 is the oldest."""
    original = start_cluster(source, settings={"log.cleaner.backoff.ms": 200})
    copy = start_cluster(destination)
    mirror_everything(original, copy, start_engine, topic_name)


def mirror_everything(source: KafkaCluster, destination: KafkaCluster, start_engine: StartEngine, prefix: str) -> None:
    """Makes every kind of source topic, mirrors all by one link, and compares."""
    made = {f"{prefix}-{kind.name}": kind for kind in sources.SOURCES}
    visible = {topic: kind.make(source, topic) for topic, kind in made.items()}
    engine = start_engine(destination.bootstrap_servers)
    engine.create_link("link", source.bootstrap_servers, topic_config_sync={"include": ["segment.bytes"]})
    for topic, kind in made.items():
        engine.create_mirror("link", topic, config=_NO_CLEANING if kind.compacted else {})
    for topic in made:
        assert_exact(source, destination, engine, topic, visible[topic])
    assert engine.stop() == 0


def assert_exact(
    source: KafkaCluster,
    destination: KafkaCluster,
    engine: EngineProcess,
    topic: str,
    visible: int,
    *,
    strict: bool = True,
) -> None:
    """Waits until a mirror is ACTIVE and equal to its source."""

    def is_there() -> bool:
        mirror = engine.mirror(topic)
        assert not mirror.error, f"{mirror.error}: {mirror.error_message}"
        ends = topics.log_ends(destination.bootstrap_servers, topic)
        return engine.state(topic) == "ACTIVE" and ends == topics.log_ends(source.bootstrap_servers, topic)

    wait_until(is_there, 90, f"{topic} to be mirrored")
    if not strict:
        wrong = compare_compacted(source.bootstrap_servers, destination.bootstrap_servers, topic)
        assert not wrong, f"{len(wrong)} differences: {wrong[:10]}"
        return
    found = compare_topics(source.bootstrap_servers, destination.bootstrap_servers, topic, raw=False)
    assert found.equal, str(found)
    assert found.records >= 2 * visible, f"expected {visible} records:\n{found}"
