"""A source: fetches from one broker of a remote cluster for all cursors that it leads.

One request is in flight at a time; while its answer is worked on and written, the next one is under way.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from clusterlink_engine.errors import KafkaError, ProtocolViolationError
from clusterlink_engine.replication.buffers import Budget, Frame
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.throttle import Throttle
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import batch, fetch, logs
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, is_moved, name_of
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.frames import FramePool

log = logging.getLogger(__name__)

# While a partition is left out for want of room, the broker must not keep the request waiting for the others' sake.
_WAIT_WHILE_CROWDED_MS = 10

# How long to sleep when no partition can be fetched; a cursor that can again wakes the source earlier.
_IDLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch asks for: bytes per partition and in all, and how long a broker may wait for how many bytes."""

    partition_bytes: int
    response_bytes: int
    min_bytes: int
    max_wait_ms: int


class Source:
    """The fetch loop of one source broker.

    Attributes:
        node: Id of the broker.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        budget: Budget,
        throttle: Throttle,
        limits: FetchLimits,
        on_moved: Callable[[], None],
    ) -> None:
        self.node = node
        self._throttle = throttle
        self._limits = limits
        self._cluster = cluster
        self._frames = FramePool()
        self._budget = budget
        self._on_moved = on_moved
        self._cursors: dict[tuple[str, int], Cursor] = {}
        self._first = 0
        self._work = asyncio.Event()
        # A broker that has nothing lets the request wait; one that does not must not be asked for ever at full speed.
        self._haste = Backoff(0.005, 1.0)
        self._faults = 0
        # Where the logs of sources start, as far as that was said twice.
        self._starts: dict[tuple[str, int], int] = {}

    def add(self, cursor: Cursor) -> None:
        """From now on the cursor is fetched here."""
        cursor.source = self
        self._cursors[cursor.key] = cursor
        self.wake()

    def remove(self, cursor: Cursor) -> None:
        """From now on the cursor is not fetched here."""
        self._starts.pop(cursor.key, None)
        if self._cursors.pop(cursor.key, None) is not None:
            cursor.source = None

    def wake(self) -> None:
        """A cursor can be fetched that could not before."""
        self._work.set()

    async def run(self) -> None:
        """Fetches for ever; comes back from every fault of the broker."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                await self._session(backoff)
            except KafkaError as error:
                log.warning("fetching from broker %d of the %s cluster: %s", self.node, self._cluster.side, error)
                self._on_moved()
                self._faults += 1
                if self._faults > 1:  # one comes with each restart of a broker
                    for cursor in self._cursors.values():
                        cursor.fetch_error = _code_of(error)
                await backoff.wait()

    async def _session(self, backoff: Backoff) -> None:
        connection = await self._cluster.open(self.node, self._frames)
        try:
            version = choose_version(connection, fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST)
            while True:
                await self._throttle.wait()
                await self._budget.wait()
                await connection.drain()
                wanted, crowded = self._choose()
                if wanted:
                    await self._fetch(connection, version, wanted, crowded)
                    backoff.reset()
                    self._faults = 0
                else:
                    await self._wait_for_work()
        finally:
            connection.close()

    def _choose(self) -> tuple[list[Cursor], bool]:
        """Answers the cursors to fetch, and whether one was left out for want of room.

        Each time another cursor comes first, since a broker fills its answer in that order.
        """
        now = asyncio.get_running_loop().time()
        able = [cursor for cursor in self._cursors.values() if cursor.may_fetch(now)]
        wanted = [cursor for cursor in able if cursor.has_room]
        if wanted:
            self._first = (self._first + 1) % len(wanted)
        return wanted[self._first :] + wanted[: self._first], len(wanted) < len(able)

    async def _wait_for_work(self) -> None:
        self._work.clear()
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._work.wait()
        except TimeoutError:
            pass

    async def _fetch(self, connection: Connection, version: int, cursors: list[Cursor], crowded: bool) -> None:
        limits = self._limits
        asked = {
            (cursor.source_topic_id if version >= 13 else cursor.source_topic, cursor.index): (
                cursor,
                cursor.core.fetch_offset,
            )
            for cursor in cursors
        }
        max_bytes = self._throttle.at_once(max(1, min(limits.response_bytes, self._budget.room)))
        max_wait_ms = min(limits.max_wait_ms, _WAIT_WHILE_CROWDED_MS) if crowded else limits.max_wait_ms
        body = fetch.encode(
            version,
            [
                fetch.FetchPartition(
                    cursor.source_topic,
                    cursor.source_topic_id,
                    cursor.index,
                    offset,
                    limits.partition_bytes,
                    cursor.core.last_fetched_epoch,
                )
                for cursor, offset in asked.values()
            ],
            max_wait_ms=max_wait_ms,
            min_bytes=limits.min_bytes,
            max_bytes=max_bytes,
        )
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        most = fetch.largest_answer(max_bytes)
        view = await connection.send(fetch.API_KEY, version, [body], flexible=True, most=most)
        try:
            answer = fetch.decode(version, view, len(asked))
        except Exception as error:
            raise connection.violated(f"answered Fetch with what cannot be decoded ({error})") from error
        if answer.error:
            raise connection.violated(f"refused Fetch as a whole: {name_of(answer.error)}")
        self._throttle.took(sum(len(entry.records) for entry in answer.partitions))
        frame = Frame(self._budget, view, self._frames)
        try:
            await self._take(answer, asked, frame)
        finally:
            frame.release()
        if any(cursor.core.fetch_offset != offset for cursor, offset in asked.values()):
            self._haste.reset()
        elif loop.time() - asked_at < max_wait_ms / 1000:
            await self._haste.wait()
        await self._throttle.obey(answer.throttle_ms)

    async def _take(
        self, answer: fetch.FetchAnswer, asked: dict[tuple[str, int], tuple[Cursor, int]], frame: Frame
    ) -> None:
        out_of_range: list[Cursor] = []
        for entry in answer.partitions:
            cursor, offset = asked.get((entry.topic, entry.partition), (None, -1))
            if cursor is None or cursor.source is not self or cursor.core.fetch_offset != offset:
                continue  # moved, stopped or reset while the request was under way
            if entry.error == Code.OFFSET_OUT_OF_RANGE:
                out_of_range.append(cursor)
            elif entry.error:
                cursor.fetch_failed(entry.error)
                if is_moved(entry.error):
                    self._on_moved()
            else:
                await self._deliver(cursor, entry, frame)
        if out_of_range:
            await self._look_at_ends(out_of_range)

    async def _deliver(self, cursor: Cursor, entry: fetch.FetchedPartition, frame: Frame) -> None:
        offset = cursor.core.fetch_offset
        try:
            if not self._has_possible_ends(entry, offset):
                raise batch.TornBatchError("the ends of the log do not fit together")
            # Not more than was asked for, but for the one batch that there always is.
            first = batch.peek(entry.records)
            most = max(self._limits.partition_bytes, first.size if first is not None else 0)
            batches = batch.split(entry.records[:most])
        except batch.TornBatchError as error:
            log.error("%s-%d: the source sent damaged records: %s", cursor.source_topic, cursor.index, error)
            cursor.fetch_failed(Code.CORRUPT_MESSAGE)
            return
        entry = entry._replace(log_start_offset=await self._confirmed_start(cursor, entry.log_start_offset))
        if cursor.source is self and cursor.core.fetch_offset == offset:
            await cursor.fetched(batches, frame, entry)

    @staticmethod
    def _has_possible_ends(entry: fetch.FetchedPartition, offset: int) -> bool:
        """Tells whether a log can have such ends that has, or will have, something at an offset (else it is out of range)."""
        start, stable, end = entry.log_start_offset, entry.last_stable_offset, entry.high_watermark
        return 0 <= start <= min(offset, end) and 0 <= stable <= end

    async def _confirmed_start(self, cursor: Cursor, log_start: int) -> int:
        """Answers where the source's log starts, asked for once more if it moved: what is below is deleted on the mirror."""
        known = max(self._starts.get(cursor.key, 0), cursor.core.log_start)
        if log_start <= known:
            return log_start
        partition = cursor.source_topic, cursor.index
        found = (await logs.log_starts(self._cluster, self.node, [partition]))[partition]
        if found.error:
            return min(known, log_start)
        self._starts[cursor.key] = min(found.offset, log_start)
        return self._starts[cursor.key]

    async def _look_at_ends(self, cursors: list[Cursor]) -> None:
        """Finds out why the source has nothing at an offset: truncated, or deleted before it was mirrored."""
        partitions = [(cursor.source_topic, cursor.index) for cursor in cursors]
        starts = await logs.log_starts(self._cluster, self.node, partitions)
        ends = await logs.log_ends(self._cluster, self.node, partitions)
        for cursor, partition in zip(cursors, partitions, strict=True):
            start, end = starts[partition], ends[partition]
            cursor.fetch_failed(Code.OFFSET_OUT_OF_RANGE)
            if start.error or end.error:
                self._on_moved()
            else:
                cursor.apply(cursor.core.source_out_of_range(start.offset, end.offset))


def _code_of(error: KafkaError) -> Code:
    """Answers what a fetch that was not answered is like, in Kafka's own words."""
    return Code.CORRUPT_MESSAGE if isinstance(error, ProtocolViolationError) else Code.NETWORK_EXCEPTION
