"""Two clusters of one broker each, and what is done to their topics."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic

from clusterlink_engine.devkit import guard, kafka
from clusterlink_engine.devkit.settings import Listener, Value

TIMEOUT = 180.0

Topics = Mapping[str, int]
"""Number of partitions by topic."""


class Unfinished(Exception):  # noqa: N818 - it says what it is
    """Something took longer than it may take, or came out wrong; says what."""


@dataclass(frozen=True)
class Places:
    """How a copier reaches both clusters: bootstrap addresses, and whom to trust if they are to be reached by TLS (PEM)."""

    source: str
    destination: str
    ca_pem: str = field(default="", repr=False)


class Pair:
    """The two clusters.

    Attributes:
        directory: For files of the copiers; goes at the end, with all processes that were started on it.
    """

    def __init__(self, source: kafka.KafkaCluster, destination: kafka.KafkaCluster, directory: Path) -> None:
        """Works on two clusters that are running; see `running`."""
        self.source = source
        self.destination = destination
        self.directory = directory
        self._made = 0
        self._admins = {
            cluster.name: AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
            for cluster in (source, destination)
        }

    @property
    def places(self) -> Places:
        """Returns how copiers reach the clusters without TLS."""
        return Places(self.source.bootstrap_servers, self.destination.bootstrap_servers)

    def admin(self, cluster: kafka.KafkaCluster) -> AdminClient:
        """Returns a client for the administration of a cluster."""
        return self._admins[cluster.name]

    def new_directory(self) -> Path:
        """Makes a directory of its own for one copier."""
        self._made += 1
        directory = self.directory / f"copier-{self._made}"
        directory.mkdir()
        return directory

    def create(self, cluster: kafka.KafkaCluster, topics: Topics, config: Mapping[str, str] | None = None) -> None:
        """Creates topics and waits until they can be used: one by one, since a controller refuses 10,000 partitions at once."""
        for name, partitions in topics.items():
            new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
            self.admin(cluster).create_topics([new], operation_timeout=TIMEOUT)[name].result(TIMEOUT)
        wait(lambda: self.ends(cluster, topics) is not None, "new topics can be used")

    def delete(self, cluster: kafka.KafkaCluster, topics: Topics) -> None:
        """Deletes topics and waits until they are gone."""
        for name in topics:
            self.admin(cluster).delete_topics([name], operation_timeout=TIMEOUT)[name].result(TIMEOUT)
        wait(lambda: not set(topics) & set(self.admin(cluster).list_topics(timeout=TIMEOUT).topics), "topics are gone")

    def ends(self, cluster: kafka.KafkaCluster, topics: Topics) -> dict[tuple[str, int], int] | None:
        """Returns the log ends by topic and partition; None while not all of them are there."""
        admin = self.admin(cluster)
        known = admin.list_topics(timeout=TIMEOUT).topics
        if any(name not in known or len(known[name].partitions) != count for name, count in topics.items()):
            return None
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(name, p): latest for name, count in topics.items() for p in range(count)}
        try:
            futures = admin.list_offsets(asked)
            return {(place.topic, place.partition): f.result(TIMEOUT).offset for place, f in futures.items()}
        except KafkaException:
            return None  # a partition has no leader yet

    def present_ends(self, cluster: kafka.KafkaCluster, topics: Topics) -> dict[tuple[str, int], int]:
        """Returns the log ends of topics that must be there."""
        ends = self.ends(cluster, topics)
        assert ends is not None, f"not all of {list(topics)} are at the {cluster.name}"
        return ends

    def wait_equal(self, topics: Topics, seconds: float) -> None:
        """Waits until the destination's log ends are those of the source.

        Raises:
            Unfinished: They are not, after that many seconds.
        """
        wanted = self.present_ends(self.source, topics)
        wait(lambda: self.ends(self.destination, topics) == wanted, "the destination has what the source has", seconds)


@contextmanager
def running(
    version: str = kafka.DEFAULT_VERSION,
    *,
    listeners: Mapping[str, Listener] | None = None,
    settings: Mapping[str, Value] | None = None,
    users: Mapping[str, str] | None = None,
) -> Iterator[Pair]:
    """Starts two clusters as `KafkaCluster` describes them, with the heap of a broker that runs for long."""
    source, destination = (
        kafka.KafkaCluster(
            version, name=name, listeners=listeners, settings=settings, users=users, java_options=kafka.LARGE
        )
        for name in ("source", "destination")
    )
    directory = guard.scratch_directory("bench")
    try:
        with kafka.running(source, destination):
            yield Pair(source, destination, directory)
    finally:
        guard.discard(directory)


def wait(condition: Callable[[], bool], what: str, seconds: float = TIMEOUT, pause: float = 0.02) -> float:
    """Waits for a condition and returns the seconds it took.

    Raises:
        Unfinished: It did not come in that many seconds.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise Unfinished(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return time.monotonic() - began
