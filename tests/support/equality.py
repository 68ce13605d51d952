"""Waiting for a mirror, and comparing it."""

from collections.abc import Mapping

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import topics
from tests.support.compare import assert_mirrors
from tests.support.waiting import wait_until


def caught_up(source: KafkaCluster, destination: KafkaCluster, topic: str, mirror: str = "") -> bool:
    """Whether the mirror's log ends are the source's."""
    ends = topics.log_ends(source.bootstrap_servers, topic)
    return ends == topics.log_ends(destination.bootstrap_servers, mirror or topic)


def assert_becomes_equal(
    source: KafkaCluster,
    destination: KafkaCluster,
    topic: str,
    mirror: str = "",
    deadline: float = 60,
    *,
    raw: bool = True,
    own_until: Mapping[int, int] | None = None,
) -> None:
    """Waits until the mirror has everything, and compares it."""
    wait_until(lambda: caught_up(source, destination, topic, mirror), deadline, f"the mirror of {topic} to catch up")
    assert_mirrors(
        source.bootstrap_servers,
        destination.bootstrap_servers,
        topic,
        mirror or topic,
        raw=raw,
        own_until=own_until,
    )
