"""The replication of one link: sources of the remote brokers, and the cursors of its mirror topics."""

import asyncio
from collections.abc import Callable, Iterable

from clusterlink_engine.mirror.partition import Partition
from clusterlink_engine.model.properties import value_of
from clusterlink_engine.model.resources import Link, MirrorTopic, PartitionProgress, Phase
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Cursor, Watcher
from clusterlink_engine.replication.local import LocalSide
from clusterlink_engine.replication.metadata import MetadataWatch
from clusterlink_engine.replication.source import FetchLimits, Source
from clusterlink_engine.replication.tenure import Tenure
from clusterlink_engine.tasks import Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata


class LinkReplication:
    """Moves cursors to where they are led, and stops them.

    Attributes:
        cluster: The remote one.
        watch: What is known of it.
    """

    def __init__(
        self,
        link: Link,
        cluster: Cluster,
        *,
        local: LocalSide,
        budget: Budget,
        tasks: Tasks,
        tenure: Tenure,
        progress: Callable[[str, str, int], PartitionProgress],
        on_metadata: Callable[[Metadata], None],
        watcher: Watcher,
    ) -> None:
        """Makes the replication of a link.

        Args:
            link: As stored.
            cluster: The remote one.
            local: Where mirror topics are written.
            budget: For fetched frames.
            tasks: Owner of this link's tasks.
            tenure: Under which this process writes.
            progress: Answers what is remembered of a mirror partition by topic, topic id and number.
            on_metadata: Told every reading of the remote cluster's metadata.
            watcher: Told what cursors have to tell.
        """
        self.cluster = cluster
        self.watch = MetadataWatch(cluster, value_of(link.config, "metadata.max.age.ms") / 1000, self._refreshed)
        self._link = link
        self._local = local
        self._budget = budget
        self._tasks = tasks
        self._on_metadata = on_metadata
        self._tenure = tenure
        self._progress = progress
        self._watcher = watcher
        self._limits = _limits(link)
        self._cursors: dict[str, list[Cursor]] = {}
        self._sources: dict[int, Source] = {}

    def start(self) -> None:
        """Starts reading metadata."""
        self._tasks.start(f"metadata of link {self._link.name}", self.watch.run())

    def cursors(self, topic: str) -> list[Cursor]:
        """Answers the cursors of a mirror topic that are being mirrored now."""
        return self._cursors.get(topic, [])

    def mirror(self, mirror: MirrorTopic) -> None:
        """Mirrors the partitions of a topic that are not mirrored yet and did not fail."""
        cursors = self._cursors.setdefault(mirror.name, [])
        started = {cursor.index for cursor in cursors}
        for index in range(mirror.partition_count):
            if index in started or index in mirror.failures:
                continue
            cursor = Cursor(
                self._core(mirror, index),
                topic=mirror.name,
                topic_id=mirror.topic_id,
                index=index,
                source_topic=mirror.source_topic,
                source_topic_id=mirror.source_topic_id,
                producer_id=self._link.producer_id,
                tenure=self._tenure,
                watcher=self._watcher,
            )
            cursors.append(cursor)
            self._local.add(cursor)
            self.watch.watch(mirror.source_topic)

    def _core(self, mirror: MirrorTopic, index: int) -> Partition:
        core = Partition(
            f"{mirror.name}-{index}",
            self._link.producer_id,
            mirror.start_offsets.get(index, 0),
            first_offset=mirror.first_offsets.get(index, 0),
            settled=self._tenure.settled,
            source_epochs=self._progress(mirror.name, mirror.topic_id, index).source_epochs,
        )
        if mirror.phase is Phase.SEEDING:
            core.bulk_until = mirror.seed_until.get(index, 0)
            core.hold_at = core.bulk_until or None
        return core

    async def stop(self, topic: str, timeout: float) -> None:
        """Stops mirroring a topic: everything in flight is answered first, for at most `timeout` seconds."""
        cursors = self._cursors.get(topic, [])
        for cursor in cursors:
            self._move(cursor, -1)
        await asyncio.gather(*(cursor.drain(timeout) for cursor in cursors))
        if self._cursors.pop(topic, None) is None:
            return  # stopped by two at once, a link and a mirror topic
        for cursor in cursors:
            self._move(cursor, -1)  # a reading of the metadata may have come between
            self._local.remove(cursor)
            self.watch.unwatch(cursor.source_topic)

    async def stop_all(self, timeout: float) -> None:
        """Stops mirroring all topics."""
        await asyncio.gather(*(self.stop(topic, timeout) for topic in list(self._cursors)))

    def _all(self) -> Iterable[Cursor]:
        for cursors in self._cursors.values():
            yield from cursors

    def _refreshed(self, metadata: Metadata) -> None:
        for cursor in self._all():
            topic = metadata.topics.get(cursor.source_topic)
            partition = topic.partitions.get(cursor.index) if topic is not None else None
            # Fetch 12 asks by name: a topic created anew must not be fetched for the old one.
            same = topic is not None and topic.topic_id == cursor.source_topic_id
            leader = partition.leader if partition is not None and same else -1
            self._move(cursor, leader if leader in metadata.brokers else -1)
        self._on_metadata(metadata)

    def _move(self, cursor: Cursor, leader: int) -> None:
        if (cursor.source.node if cursor.source is not None else -1) == leader:
            return
        if cursor.source is not None:
            cursor.source.remove(cursor)
        if leader >= 0:
            self._source(leader).add(cursor)

    def _source(self, node: int) -> Source:
        source = self._sources.get(node)
        if source is None:
            source = self._sources[node] = Source(self.cluster, node, self._budget, self._limits, self.watch.hurry)
            self._tasks.start(f"source {node} of link {self._link.name}", source.run())
        return source


def _limits(link: Link) -> FetchLimits:
    return FetchLimits(
        partition_bytes=value_of(link.config, "replica.fetch.max.bytes"),
        response_bytes=value_of(link.config, "replica.fetch.response.max.bytes"),
        min_bytes=value_of(link.config, "replica.fetch.min.bytes"),
        max_wait_ms=value_of(link.config, "replica.fetch.wait.max.ms"),
    )
