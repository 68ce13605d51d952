"""Where mirror topics are written: sinks, gap writers and probers of all brokers of one cluster."""

from collections.abc import Callable
from zlib import crc32

from clusterlink_engine.replication.buffers import Holding
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.gap_filling import Gaps
from clusterlink_engine.replication.metadata import MetadataWatch
from clusterlink_engine.replication.prober import Prober
from clusterlink_engine.replication.sink import Sink
from clusterlink_engine.settings import Replication
from clusterlink_engine.tasks import Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata

# How old the metadata may get; foreign changes of mirror topics are noticed in them.
_METADATA_SECONDS = 2.0


class Destination:
    """Gives each cursor to the sink, the gap writer and the prober of its leader.

    Attributes:
        watch: What is known of the cluster.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: Replication,
        tasks: Tasks,
        gaps: Gaps,
        on_metadata: Callable[[Metadata], None],
    ) -> None:
        """Makes it; nothing is contacted before `start`.

        Args:
            cluster: The one that is written to.
            settings: Of the data path.
            tasks: Owner of its tasks.
            gaps: Who fills gaps there.
            on_metadata: Told every reading of the cluster's metadata.
        """
        self.watch = MetadataWatch(cluster, _METADATA_SECONDS, self._refreshed, self._hold)
        gaps.on_change = self._gaps_changed
        self._gaps = gaps
        self._cluster = cluster
        self._settings = settings
        self._tasks = tasks
        self._on_metadata = on_metadata
        self._cursors: dict[tuple[str, int], Cursor] = {}
        self._sinks: dict[tuple[int, int], Sink] = {}
        self._held: dict[int, Holding] = {}
        self._probers: dict[int, Prober] = {}
        # By which all cursors were placed; None if some may have to be placed otherwise now.
        self._placed_by: Metadata | None = None

    def start(self) -> None:
        """Starts reading metadata."""
        self._tasks.start(f"metadata of the {self._cluster.side} cluster", self.watch.run())

    def add(self, cursor: Cursor) -> None:
        """The cursor is to be written."""
        self._cursors[cursor.key] = cursor
        self.watch.watch(cursor.topic)

    def remove(self, cursor: Cursor) -> None:
        """The cursor is not to be written any more; it must be drained."""
        if self._cursors.pop(cursor.key, None) is None:
            return
        self.watch.unwatch(cursor.topic)
        self._assign(cursor, -1)
        self._gaps.remove(cursor)

    def _gaps_changed(self) -> None:
        self._placed_by = None
        self.watch.hurry()

    def _refreshed(self, metadata: Metadata) -> None:
        is_new, self._placed_by = metadata is not self._placed_by, metadata
        for cursor in self._cursors.values():
            if is_new or cursor.prober is None:
                self._place(cursor, metadata)
            if cursor.is_waiting:
                cursor.offer()  # a lease that had run out may hold again
        self._on_metadata(metadata)

    def _place(self, cursor: Cursor, metadata: Metadata) -> None:
        # A topic with another id is somebody else's: nothing may be written there.
        self._assign(cursor, metadata.leader_of(cursor.topic, cursor.topic_id, cursor.index))
        cursor.was_placed |= cursor.topic in metadata.topics

    def _hold(self) -> None:
        for cursor in self._cursors.values():
            self._assign(cursor, -1)

    def _assign(self, cursor: Cursor, leader: int) -> None:
        current = cursor.prober.node if cursor.prober is not None else -1
        number = crc32(f"{cursor.topic}-{cursor.index}".encode())
        writer = self._gaps.writer(leader, number) if leader >= 0 else None
        if writer is None:
            leader = -1  # an earlier owner's transactions may not be fenced yet
        if current == leader and cursor.gap_writer is writer:
            return
        if cursor.prober is not None:
            cursor.prober.remove(cursor)
        if cursor.sink is not None:
            cursor.sink.remove(cursor)
            cursor.sink = None
            if cursor.gap_writer is not None:
                cursor.gap_writer.remove(cursor)
                cursor.gap_writer = None
            cursor.lost()  # answers of the old leader would come out of order with those of the new one
        if writer is None:
            return
        self._gaps.add(cursor)
        cursor.sink = self._sink(leader, number)
        cursor.sink.add(cursor)
        cursor.gap_writer = writer
        cursor.gap_writer.add(cursor)
        self._prober(leader).add(cursor)

    @property
    def paused_seconds(self) -> float:
        """For which the brokers wanted to be left alone by those that write, since they began; each connection counts."""
        return sum(sink.paused_seconds for sink in self._sinks.values())

    def _sink(self, node: int, number: int) -> Sink:
        key = (node, number % self._settings.produce_connections)
        sink = self._sinks.get(key)
        if sink is None:
            sink = self._sinks[key] = Sink(
                self._cluster,
                node,
                self._settings.request_timeout_ms / 1000,
                self.watch.hurry,
                self._held.setdefault(node, Holding()),
            )
            self._tasks.start(f"sink {node}/{key[1]}", sink.run())
        return sink

    def _prober(self, node: int) -> Prober:
        prober = self._probers.get(node)
        if prober is None:
            prober = self._probers[node] = Prober(
                self._cluster,
                node,
                grace=self._settings.grace_ms / 1000,
                watch_interval=self._settings.watch_interval_ms / 1000,
                on_moved=self.watch.hurry,
            )
            self._tasks.start(f"prober {node}", prober.run())
        return prober
