"""Seeding: brings a new mirror topic to where its source's log starts, and fills the holes of a compacted one in bulk.

Fillers are records that nobody may see in an ACTIVE mirror. At the head they are deleted once they are written. In the holes of
a compacted topic they are tombstones of one reserved key: the mirror's cleaner removes them, and their offsets stay. Each
replica cleans for itself, and the last filler is the last one to go: it must lie in a segment that is closed, be cleaned once
to get its delete horizon (KIP-534), and once more, for which another segment must have been closed. A segment is closed only by
an append. So the copying is held some way before the source's end, and goes on piece by piece until the filler is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from clusterlink_engine.admin.topics import TopicAdmin
from clusterlink_engine.errors import KafkaError
from clusterlink_engine.mirror.partition import Phase as PartitionPhase
from clusterlink_engine.model.resources import MirrorTopic
from clusterlink_engine.replication.cursor import FILLER_KEY, Cursor
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.batch import TornBatchError
from clusterlink_engine.wire.cluster import Cluster

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1

# Between two pieces of the tail; a cleaner looks around every 15 s by default.
_PIECE_SECONDS = 1.0

# A setting that was altered reaches the brokers a moment after it can be read.
_SETTING_SECONDS = 1.0

_NO_LIMIT = "-1"

# While a mirror is seeded nothing may be lost, log starts must be movable, and fillers must be removed as soon as it can be.
HEAD_SETTINGS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": _NO_LIMIT,
    "retention.bytes": _NO_LIMIT,
}
COMPACTED_SETTINGS: Mapping[str, str] = {
    **HEAD_SETTINGS,
    "cleanup.policy": "compact,delete",
    "delete.retention.ms": "0",
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0",
    "segment.ms": "3600000",
    "segment.jitter.ms": "0",
}
_ROLL_AT_ONCE: Mapping[str, str] = {"segment.ms": "1"}

# The last offsets of a compacted topic, whose holes are filled by markers: what is appended there closes segments.
LIVE_TAIL = 10_000


class Seeding:
    """The seeding of one mirror topic."""

    def __init__(
        self, mirror: MirrorTopic, cluster: Cluster, admin: TopicAdmin, cursors: Callable[[], Sequence[Cursor]]
    ) -> None:
        """Prepares.

        Args:
            mirror: In phase SEEDING.
            cluster: The local one.
            admin: Of the local one.
            cursors: Answers the topic's cursors that are mirrored now: none while it is paused.
        """
        self._mirror = mirror
        self._cluster = cluster
        self._admin = admin
        self._cursors = cursors

    async def run(self) -> None:
        """Returns when nothing of a filler is left; comes back from every fault of the cluster."""
        await self._until(self._is_copied)
        fillers = self._fillers()
        if fillers:
            await self._alter(_ROLL_AT_ONCE)
            while await self._is_left(fillers):
                self._release_piece()
                await asyncio.sleep(_PIECE_SECONDS)
        for cursor in self._cursors():
            cursor.core.hold_at = None
            cursor.offer()

    def _is_copied(self) -> bool:
        """Tells whether each partition has its head, and waits at its hold or has nothing to wait for."""
        cursors = self._working()
        return cursors is not None and all(_has_head(cursor) and _is_held(cursor) for cursor in cursors)

    def _fillers(self) -> dict[int, tuple[int, int]]:
        """Answers where fillers of each partition may be: the last one if it is known, else everything."""
        fillers: dict[int, tuple[int, int]] = {}
        for cursor in self._working() or ():
            core = cursor.core
            if not core.bulk_until:
                continue
            if core.last_filler >= 0:
                fillers[cursor.index] = (core.last_filler, core.last_filler + 1)
            elif core.began_at > core.log_start:
                fillers[cursor.index] = (core.log_start, core.bulk_until)  # written before a restart or a pause
        return fillers

    def _release_piece(self) -> None:
        for cursor in self._cursors():
            end = cursor.waits_at
            if end is not None:
                cursor.core.hold_at = end
                cursor.offer()

    async def _is_left(self, fillers: Mapping[int, tuple[int, int]]) -> bool:
        """Tells whether a replica has a filler, or cannot be asked."""
        name, topic_id = self._mirror.name, self._mirror.topic_id
        try:
            topic = (await self._cluster.metadata([name])).topics[name]
            for index, (first, end) in fillers.items():
                at = logs.LogOffset(name, topic_id, index, first)
                for replica in topic.partitions[index].replicas:
                    if await logs.has_key(self._cluster, replica, at, end, FILLER_KEY):
                        return True
        except (KafkaError, TornBatchError) as error:
            log.warning("seeding of %s: %s", name, error)
            return True
        return False

    def _working(self) -> Sequence[Cursor] | None:
        """Answers the cursors of all partitions that did not fail; None while they are not mirrored."""
        cursors = self._cursors()
        return [cursor for cursor in cursors if cursor.core.failure is None] if cursors else None

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - of many cursors and cores, none of which knows of seeding
            await asyncio.sleep(_POLL_SECONDS)

    async def _alter(self, settings: Mapping[str, str]) -> None:
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                await self._admin.alter(self._mirror.name, dict(settings))
            except KafkaError as error:
                log.warning("seeding of %s: %s", self._mirror.name, error)
                await backoff.wait()
            else:
                await asyncio.sleep(_SETTING_SECONDS)
                return


def _has_head(cursor: Cursor) -> bool:
    return cursor.core.phase is PartitionPhase.COPYING and not cursor.core.is_seeding


def _is_held(cursor: Cursor) -> bool:
    hold = cursor.core.hold_at
    return hold is None or cursor.core.log_end >= hold or cursor.waits_at is not None
