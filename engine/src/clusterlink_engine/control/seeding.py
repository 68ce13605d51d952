"""Seeding: brings a new mirror topic to where its source's log starts, and fills the holes of a compacted one in bulk.

Fillers are records that nobody may see in an ACTIVE mirror. At the head they are deleted once they are written. In the holes of
a compacted topic they are tombstones of one reserved key: the mirror's cleaner removes them, and their offsets stay. Each
replica cleans for itself, and the last filler is the last one to go: it must lie in a segment that is closed, be cleaned once
to get its delete horizon (KIP-534), and once more, for which another segment must have been closed. A segment is closed only by
an append. So the copying is held some way before the source's end, and goes on piece by piece until the filler is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from clusterlink_engine.control.state import State
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import KafkaError
from clusterlink_engine.replication.cursor import FILLER_KEY
from clusterlink_engine.replication.status import PartitionStatus
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.batch import TornBatchError
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.topic_admin import TopicAdmin

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

    def __init__(self, name: str, cluster: Cluster, admin: TopicAdmin, state: State, workforce: Workforce) -> None:
        """Prepares.

        Args:
            name: Of a mirror topic in phase SEEDING.
            cluster: The destination.
            admin: Of the destination.
            state: What is stored.
            workforce: Whoever mirrors the topic's partitions.
        """
        self._name = name
        self._cluster = cluster
        self._admin = admin
        self._state = state
        self._workforce = workforce

    async def run(self) -> None:
        """Returns when nothing of a filler is left; comes back from every fault of the cluster."""
        await self._until(self._is_copied)
        fillers = self._fillers()
        if fillers:
            await self._alter(_ROLL_AT_ONCE)
            while await self._is_left(fillers):
                self._release_piece()
                await asyncio.sleep(_PIECE_SECONDS)

    def _is_copied(self) -> bool:
        """Tells whether each partition has its head, and waits at its hold or has nothing to wait for."""
        statuses = self._working()
        return statuses is not None and all(_has_head(status) and _is_held(status) for status in statuses.values())

    def _fillers(self) -> dict[int, tuple[int, int]]:
        """Answers where fillers of each partition may be: the last one if it is known, else everything."""
        fillers: dict[int, tuple[int, int]] = {}
        for index, status in (self._working() or {}).items():
            if not status.bulk_until:
                continue
            if status.last_filler >= 0:
                fillers[index] = (status.last_filler, status.last_filler + 1)
            elif status.began_at > status.log_start:
                fillers[index] = (status.log_start, status.bulk_until)  # written before a restart or a pause
        return fillers

    def _release_piece(self) -> None:
        statuses = self._workforce.statuses(self._name)
        self._workforce.hold(
            {(self._name, index): status.waits_at for index, status in statuses.items() if status.waits_at >= 0}
        )

    async def _is_left(self, fillers: Mapping[int, tuple[int, int]]) -> bool:
        """Tells whether a replica has a filler, or cannot be asked."""
        name, topic_id = self._name, self._state.mirrors[self._name].topic_id
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

    def _working(self) -> dict[int, PartitionStatus] | None:
        """Answers the statuses of all partitions that did not fail; None while one is not mirrored."""
        mirror = self._state.mirrors[self._name]
        failures, statuses = self._state.failures(mirror), self._workforce.statuses(self._name)
        working = {index: status for index, status in statuses.items() if not status.has_failed}
        missing = set(range(mirror.partition_count)) - failures.keys() - statuses.keys()
        return working if statuses and not missing else None

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - of many partitions, some of other processes
            await asyncio.sleep(_POLL_SECONDS)

    async def _alter(self, settings: Mapping[str, str]) -> None:
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                await self._admin.alter(self._name, dict(settings))
            except KafkaError as error:
                log.warning("seeding of %s: %s", self._name, error)
                await backoff.wait()
            else:
                await asyncio.sleep(_SETTING_SECONDS)
                return


def _has_head(status: PartitionStatus) -> bool:
    return status.is_copying and not status.is_seeding


def _is_held(status: PartitionStatus) -> bool:
    return status.hold_at < 0 or status.log_end >= status.hold_at or status.waits_at >= 0
