"""Gap writers: fill the offsets at which nobody may see anything, at one local broker, many partitions at a time."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.mirror.pieces import Gap
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.connection import Connection
from clusterlink_engine.wire.markers import Marker, write_markers

log = logging.getLogger(__name__)

# Markers of a request, and of one partition in it: an append each, which the broker makes one after the other.
_REQUEST_MARKERS = 1000
_PARTITION_MARKERS = 500


class GapWriter(Protocol):
    """Who fills the gaps of some partitions."""

    def add(self, cursor: Cursor) -> None:
        """The cursor is served here from now on."""

    def ready(self, cursor: Cursor) -> None:
        """The cursor has a gap that may be filled."""

    def remove(self, cursor: Cursor) -> None:
        """The cursor is served elsewhere, or not any more."""

    async def run(self) -> None:
        """Fills for ever; comes back from every fault of the broker."""


@dataclass(frozen=True, slots=True)
class _Filling:
    """A gap on its way; `generation` is the cursor's when it was sent."""

    cursor: Cursor
    generation: int
    gap: Gap
    epoch: int

    @property
    def is_current(self) -> bool:
        """Whether the cursor still waits for the answer."""
        return self.cursor.generation == self.generation


class MarkerWriter:
    """Fills gaps with transaction markers (WriteTxnMarkers, API key 27), each of which takes one offset and shows nothing.

    Attributes:
        node: Id of the broker.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        timeout: float,
        *,
        on_moved: Callable[[], None],
        on_forbidden: Callable[[], None],
    ) -> None:
        """Makes the writer of one broker.

        Args:
            cluster: The local one.
            node: Id of the broker.
            timeout: Longest wait for an answer in seconds.
            on_moved: Called when the broker may not be the leader any more.
            on_forbidden: Called when the cluster refuses markers for want of a right.
        """
        self.node = node
        self._cluster = cluster
        self._timeout = timeout
        self._on_moved = on_moved
        self._on_forbidden = on_forbidden
        self._cursors: dict[Cursor, None] = {}
        self._ready: dict[Cursor, None] = {}
        self._wake = asyncio.Event()

    def add(self, cursor: Cursor) -> None:
        """The cursor is served here from now on."""
        self._cursors[cursor] = None

    def ready(self, cursor: Cursor) -> None:
        """The cursor has a gap that may be filled."""
        self._ready[cursor] = None
        self._wake.set()

    def remove(self, cursor: Cursor) -> None:
        """The cursor is served elsewhere, or not any more."""
        self._cursors.pop(cursor, None)
        self._ready.pop(cursor, None)

    async def run(self) -> None:
        """Fills for ever; comes back from every fault of the broker."""
        backoff = Backoff(0.05, 5.0)
        while True:
            await self._wake.wait()
            try:
                await self._session(backoff)
            except KafkaError as error:
                log.warning("filling gaps at broker %d of the local cluster: %s", self.node, error)
                self._on_moved()
                for cursor in list(self._cursors):
                    cursor.lost()  # the broker may have begun anew, with a shorter log
                await backoff.wait()

    async def _session(self, backoff: Backoff) -> None:
        connection = await self._cluster.open(self.node)
        try:
            while True:
                self._wake.clear()
                while self._ready:
                    await self._fill(connection)
                    backoff.reset()
                await self._wake.wait()
        finally:
            connection.close()

    async def _fill(self, connection: Connection) -> None:
        """Fills one round of gaps. Nothing is awaited between asking the cursors and sending."""
        fillings: list[_Filling] = []
        markers = 0
        while self._ready and markers < _REQUEST_MARKERS:
            cursor = next(iter(self._ready))
            del self._ready[cursor]
            if cursor.gap_writer is not self or not cursor.may_fill:
                continue
            gap, epoch = cursor.next_gap(_PARTITION_MARKERS)
            fillings.append(_Filling(cursor, cursor.generation, gap, epoch))
            markers += gap.end - gap.first
        if not fillings:
            return
        try:
            codes = await write_markers(connection, _markers(fillings), timeout=self._timeout)
            done = [filling for filling in fillings if not codes[filling.cursor.key]]
            # An answer is one for all markers of a partition and proves nothing: the log end does.
            keys = [filling.cursor.key for filling in done]
            ends = await logs.log_ends(self._cluster, self.node, keys) if keys else {}
        except BaseException:
            for filling in fillings:
                if filling.is_current:
                    filling.cursor.lost()
            raise
        for filling in fillings:
            if not filling.is_current:
                continue
            key = filling.cursor.key
            code = codes[key] or ends[key].error
            if code:
                filling.cursor.fill_failed(code)
                if code == Code.CLUSTER_AUTHORIZATION_FAILED:
                    self._on_forbidden()
            else:
                filling.cursor.filled(ends[key].offset)


def _markers(fillings: Sequence[_Filling]) -> list[Marker]:
    """Answers entries that append as many markers to each partition as its gap has offsets.

    A partition may be named by many entries, but only once in each: a broker would never answer.
    """
    markers: list[Marker] = []
    remaining = list(fillings)
    count = 0
    while remaining:
        groups: dict[tuple[int, int, int], list[logs.TopicPartition]] = {}
        for filling in remaining:
            cursor = filling.cursor
            groups.setdefault((cursor.producer_id, filling.epoch, cursor.tenure.generation), []).append(cursor.key)
        markers.extend(Marker(*owner, tuple(partitions)) for owner, partitions in groups.items())
        count += 1
        remaining = [filling for filling in remaining if filling.gap.end - filling.gap.first > count]
    return markers
