"""The replication of one link in one direction: the sources of the brokers that are read, and the cursors of mirrors."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from clusterlink_engine.mirror.partition import Partition
from clusterlink_engine.model.properties import value_of
from clusterlink_engine.model.resources import Link, MirrorTopic, PartitionProgress, Phase
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Cursor, Watcher
from clusterlink_engine.replication.destination import Destination
from clusterlink_engine.replication.fetch_sizes import MOST_BYTES, FetchLimits
from clusterlink_engine.replication.metadata import MetadataWatch
from clusterlink_engine.replication.source import Source
from clusterlink_engine.replication.tenure import Tenure
from clusterlink_engine.replication.throttle import Throttle
from clusterlink_engine.tasks import Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata
from clusterlink_engine.wire.cutting import Cutter

# Batches in flight are answered in milliseconds; a broker that is away must not hold up a pause.
_DRAIN_SECONDS = 10.0


class LinkReplication:
    """Moves cursors to where they are led, and stops them.

    Attributes:
        cluster: The one that is read.
        watch: What is known of it.
    """

    def __init__(
        self,
        link: Link,
        cluster: Cluster,
        *,
        destination: Destination,
        producer_id: Callable[[], int],
        budget: Budget,
        throttle: Throttle,
        tasks: Tasks,
        progress: Callable[[str, str, int], PartitionProgress],
        on_retired: Callable[[Cursor], None],
        on_metadata: Callable[[Metadata], None],
        watcher: Watcher,
        cutter: Cutter,
        merges: bool,
    ) -> None:
        """Makes the replication of a link.

        Args:
            link: As stored.
            cluster: The one that is read.
            destination: Where mirror topics are written.
            producer_id: Answers the producer id that the link has there.
            budget: For fetched frames.
            throttle: Of the link.
            tasks: Owner of this link's tasks.
            progress: Answers what is remembered of a mirror partition by topic, topic id and number.
            on_retired: Told when nothing of a cursor is on its way any more.
            on_metadata: Told every reading of the read cluster's metadata.
            watcher: Told what cursors have to tell.
            cutter: Cuts what is fetched into batches.
            merges: Whether tiny batches are merged.
        """
        self.cluster = cluster
        max_age = value_of(link.config, "metadata.max.age.ms") / 1000
        self.watch = MetadataWatch(cluster, max_age, self._refreshed, self._hold)
        self._link = link
        self._destination = destination
        self._producer_id = producer_id
        self._budget = budget
        self._throttle = throttle
        self._tasks = tasks
        self._on_metadata = on_metadata
        self._on_retired = on_retired
        self._progress = progress
        self._watcher = watcher
        self._cutter = cutter
        self._merges = merges
        self._limits = _limits(link)
        self._cursors: dict[str, dict[int, Cursor]] = {}
        self._retiring: dict[Cursor, asyncio.Task[None]] = {}
        self._watched: set[str] = set()
        # By which all cursors were placed, but for those that have no source.
        self._placed_by: Metadata | None = None
        self._sources: dict[int, tuple[Source, asyncio.Task[None]]] = {}

    def start(self) -> None:
        """Starts reading metadata."""
        self._tasks.start(f"metadata of link {self._link.name} at the {self.cluster.side} cluster", self.watch.run())

    def watch_sources(self, topics: Iterable[str]) -> None:
        """Reads the metadata of these source topics, whether their partitions are mirrored by this process or not."""
        wanted = set(topics)
        for topic in wanted - self._watched:
            self.watch.watch(topic)
        for topic in self._watched - wanted:
            self.watch.unwatch(topic)
        self._watched = wanted

    def cursors(self, topic: str) -> list[Cursor]:
        """Answers the cursors of a mirror topic that this process has, those that are being retired too."""
        return list(self._cursors.get(topic, {}).values())

    def topics(self) -> list[str]:
        """Answers the mirror topics that this process has cursors of."""
        return list(self._cursors)

    def mirror(self, mirror: MirrorTopic, tenures: Mapping[int, Tenure]) -> None:
        """Mirrors exactly these partitions of a topic: those that are not mirrored yet are started, others are retired.

        A partition that is being retired is started anew when that has ended and this is called again.
        """
        cursors = self._cursors.get(mirror.name, {})
        for index, cursor in list(cursors.items()):
            if tenures.get(index) is not cursor.tenure:
                self._retire(cursor, _DRAIN_SECONDS)
        for index, tenure in tenures.items():
            if index in cursors:
                continue
            cursor = Cursor(
                self._core(mirror, index, tenure),
                topic=mirror.name,
                topic_id=mirror.topic_id,
                index=index,
                source_topic=mirror.source_topic,
                source_topic_id=mirror.source_topic_id,
                producer_id=self._producer_id(),
                tenure=tenure,
                watcher=self._watcher,
                cutter=self._cutter,
                merges=self._merges,
            )
            self._cursors.setdefault(mirror.name, {})[index] = cursor
            self._destination.add(cursor)
            self.watch.watch(mirror.source_topic)

    def _core(self, mirror: MirrorTopic, index: int, tenure: Tenure) -> Partition:
        core = Partition(
            f"{mirror.name}-{index}",
            self._producer_id(),
            mirror.start_offsets.get(index, 0),
            first_offset=mirror.first_offsets.get(index, 0),
            settled=tenure.settled,
            source_epochs=self._progress(mirror.name, mirror.topic_id, index).source_epochs,
        )
        if mirror.phase is Phase.SEEDING:
            core.bulk_until = mirror.seed_until.get(index, 0)
            core.hold_at = core.bulk_until or None
        return core

    def retire(self, topic: str) -> None:
        """Stops mirroring a topic."""
        for cursor in self.cursors(topic):
            self._retire(cursor, _DRAIN_SECONDS)

    def _retire(self, cursor: Cursor, timeout: float) -> None:
        if cursor not in self._retiring:
            name = f"retire {cursor.topic}-{cursor.index}"
            self._retiring[cursor] = self._tasks.start(name, self._drain(cursor, timeout))

    async def _drain(self, cursor: Cursor, timeout: float) -> None:
        """Everything in flight is answered first, for at most `timeout` seconds."""
        self._move(cursor, -1)
        await cursor.drain(timeout)
        self._move(cursor, -1)  # a reading of the metadata may have come between
        self._destination.remove(cursor)
        self.watch.unwatch(cursor.source_topic)
        cursors = self._cursors[cursor.topic]
        del cursors[cursor.index], self._retiring[cursor]
        if not cursors:
            del self._cursors[cursor.topic]
        self._on_retired(cursor)

    async def stop(self, timeout: float) -> None:
        """Stops mirroring all topics: everything in flight is answered first, for at most `timeout` seconds."""
        for cursor in list(self._all()):
            self._retire(cursor, timeout)
        await asyncio.gather(*self._retiring.values())

    def _all(self) -> Iterable[Cursor]:
        for cursors in self._cursors.values():
            yield from cursors.values()

    def _refreshed(self, metadata: Metadata) -> None:
        is_new, self._placed_by = metadata is not self._placed_by, metadata
        for cursor in self._all():
            if is_new or cursor.source is None:
                self._place(cursor, metadata)
        self._forget_sources(metadata)
        self._on_metadata(metadata)

    def _place(self, cursor: Cursor, metadata: Metadata) -> None:
        # Fetch 12 asks by name: a topic created anew must not be fetched for the old one.
        self._move(cursor, metadata.leader_of(cursor.source_topic, cursor.source_topic_id, cursor.index))
        cursor.was_sought |= cursor.source_topic in metadata.topics

    def _hold(self) -> None:
        for cursor in self._all():
            self._move(cursor, -1)

    def _forget_sources(self, metadata: Metadata) -> None:
        """Ends the sources of brokers that there are no more: who makes up new ones must not have a task for each."""
        for node in self._sources.keys() - metadata.brokers.keys():
            self._sources.pop(node)[1].cancel()  # its cursors were moved away

    def _move(self, cursor: Cursor, leader: int) -> None:
        if (cursor.source.node if cursor.source is not None else -1) == leader:
            return
        if cursor.source is not None:
            cursor.source.remove(cursor)
        if leader >= 0:
            self._source(leader).add(cursor)

    def _source(self, node: int) -> Source:
        if node not in self._sources:
            source = Source(self.cluster, node, self._budget, self._throttle, self._limits, self.watch.hurry)
            name = f"source {node} of link {self._link.name} at the {self.cluster.side} cluster"
            self._sources[node] = source, self._tasks.start(name, source.run())
        return self._sources[node][0]


def _limits(link: Link) -> FetchLimits:
    """Answers what fetches of a link ask for; who sets a size means at most that."""
    partition, response = "replica.fetch.max.bytes", "replica.fetch.response.max.bytes"
    return FetchLimits(
        partition_bytes=value_of(link.config, partition),
        response_bytes=value_of(link.config, response),
        min_bytes=value_of(link.config, "replica.fetch.min.bytes"),
        max_wait_ms=value_of(link.config, "replica.fetch.wait.max.ms"),
        most_partition_bytes=0 if partition in link.config else MOST_BYTES,
        most_response_bytes=0 if response in link.config else MOST_BYTES,
    )
