"""Every kind of source topic is mirrored exactly: equal in both isolation levels, with the same log start and log end."""

from collections.abc import Callable

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
    made = {f"{topic_name}-{source.name}": source for source in sources.SOURCES}
    visible = {topic: source.make(source_cluster, topic) for topic, source in made.items()}
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers, topic_config_sync={"include": ["segment.bytes"]})
    for topic, source in made.items():
        engine.create_mirror("link", topic, config=_NO_CLEANING if source.compacted else {})
    for topic in made:
        assert_exact(source_cluster, destination_cluster, engine, topic, visible[topic])
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
