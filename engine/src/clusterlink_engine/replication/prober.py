"""A prober: reads the mirror's log ends at one broker, for all cursors that it leads, many at a time.

It answers the core's probes, looks from time to time whether an idle log has moved, and moves log starts.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.mirror.partition import Phase, Probe, ProbeResult, Producer
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import is_moved, name_of

log = logging.getLogger(__name__)

# Readings of a moving log end before somebody unknown is blamed for it: long enough for answers that are under way.
_PATIENCE = 8

# Between two looks at idle logs there is at least so much time for each of them: however many there are, looking at them takes
# about a hundredth of a processor core.
_WATCH_SECONDS_EACH = 1e-3

# How long a log start stays where it is after the broker refused to move it, for want of a right for example.
_TRIM_AGAIN_SECONDS = 10.0


class Prober:
    """The control loop of one broker of the cluster that is written to."""

    def __init__(
        self, cluster: Cluster, node: int, *, grace: float, watch_interval: float, on_moved: Callable[[], None]
    ) -> None:
        """Makes a prober.

        Args:
            cluster: The one that is written to.
            node: Id of the broker.
            grace: Seconds between a leader's first answer and the reading that counts, where a log end is in doubt.
            watch_interval: Seconds between two looks at idle logs; more if there are very many.
            on_moved: Called when the broker said that it is not the leader.
        """
        self.node = node
        self._cluster = cluster
        self._grace = grace
        self._watch_interval = watch_interval
        self._on_moved = on_moved
        self._cursors: dict[tuple[str, int], Cursor] = {}
        # Those that want something, and maybe some that do not any more.
        self._wanting: dict[Cursor, None] = {}
        self._wake = asyncio.Event()
        self._watch_at = 0.0

    def add(self, cursor: Cursor) -> None:
        """From now on the cursor's log is read here."""
        cursor.prober = self
        cursor.settled_at = None
        self._cursors[cursor.key] = cursor
        self.wake(cursor)

    def remove(self, cursor: Cursor) -> None:
        """From now on the cursor's log is not read here."""
        self._wanting.pop(cursor, None)
        if self._cursors.pop(cursor.key, None) is not None:
            cursor.prober = None

    def wake(self, cursor: Cursor) -> None:
        """The cursor wants something."""
        self._wanting[cursor] = None
        self._wake.set()

    async def run(self) -> None:
        """Reads for ever; comes back from every fault of the broker."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(0.05, 5.0)
        self._watch_at = loop.time() + self._watch_interval
        while True:
            try:
                await self._round(loop)
                backoff.reset()
            except KafkaError as error:
                log.warning("reading log ends at broker %d of the %s cluster: %s", self.node, self._cluster.side, error)
                self._on_moved()
                await backoff.wait()

    async def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        wanting = [cursor for cursor in self._wanting if cursor.wanted_probe is not None]
        trims = [cursor for cursor in self._wanting if cursor.trim_to is not None]
        self._wanting = dict.fromkeys([*wanting, *trims])
        due = [cursor for cursor in wanting if cursor.core.may_probe and self._due_at(cursor) <= now]
        if due:
            await self._probe(loop, due)
        elif trims:
            await self._trim(loop, trims)
        elif now >= self._watch_at:
            await self._watch()
            self._watch_at = loop.time() + max(self._watch_interval, _WATCH_SECONDS_EACH * len(self._cursors))
        else:
            at = min([self._watch_at, *(self._due_at(cursor) for cursor in wanting if cursor.core.may_probe)])
            self._wake.clear()
            try:
                async with asyncio.timeout_at(at):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @staticmethod
    def _due_at(cursor: Cursor) -> float:
        return max(cursor.probe_not_before, cursor.settled_at or 0.0)

    async def _probe(self, loop: asyncio.AbstractEventLoop, cursors: Collection[Cursor]) -> None:
        """Reads the log end, the producer's state, the log start, the log end again, and then the high watermark.

        The order makes the reading one moment's.
        """
        first = await logs.log_ends(self._cluster, self.node, [cursor.key for cursor in cursors])
        readable = [cursor for cursor in cursors if self._readable(cursor, first[cursor.key])]
        settled = []
        for cursor in readable:
            probe = cursor.wanted_probe
            if probe is not None and probe.settle and cursor.settled_at is None:
                cursor.settled_at = loop.time() + self._grace
            else:
                settled.append(cursor)
        if not settled:
            return
        keys = [cursor.key for cursor in settled]
        producers = await logs.producer_states(
            self._cluster, self.node, {cursor.key: cursor.producer_id for cursor in settled}
        )
        starts = await logs.log_starts(self._cluster, self.node, keys)
        second = await logs.log_ends(self._cluster, self.node, keys)
        watermarks = await logs.high_watermarks(self._cluster, self.node, keys)
        steady: list[tuple[Cursor, ProbeResult]] = []
        for cursor in settled:
            key = cursor.key
            state = producers[key]
            errors = [
                second[key].error,
                watermarks[key].error,
                starts[key].error,
                state if isinstance(state, int) else 0,
            ]
            if any(errors):
                self._refused(cursor, next(filter(None, errors)))
                continue
            producer = Producer(*state) if isinstance(state, logs.ProducerState) else None
            end = second[key].offset
            if first[key].offset != end:
                self._unsteady(cursor, first[key].offset, end, producer)
            else:
                is_settled = cursor.settled_at is not None
                result = ProbeResult(end, watermarks[key].offset, starts[key].offset, producer, None, is_settled)
                steady.append((cursor, result))
        await self._read(steady)

    def _unsteady(self, cursor: Cursor, first: int, second: int, producer: Producer | None) -> None:
        cursor.unsteady_readings += 1
        patience = cursor.unsteady_readings < _PATIENCE
        cursor.apply(cursor.core.unsteady(first, second, producer, patience=patience))

    async def _read(self, readings: Collection[tuple[Cursor, ProbeResult]]) -> None:
        """Gives the core what was read; with the last batches, where only they tell whose a log's end is."""
        wanted = [
            logs.LogOffset(cursor.topic, cursor.topic_id, cursor.index, result.log_end - 1)
            for cursor, result in readings
            if result.log_end > result.log_start and cursor.core.needs_last_batch(result.producer, result.log_end)
        ]
        batches = await logs.batches_at(self._cluster, self.node, wanted)
        for cursor, result in readings:
            if cursor.wanted_probe is None or not cursor.core.may_probe:
                continue  # stopped meanwhile
            last_batch = batches.get(cursor.key)
            if isinstance(last_batch, int):
                self._refused(cursor, last_batch)
                continue
            action = cursor.core.probed(result._replace(last_batch=last_batch))
            if cursor.core.phase is Phase.COPYING:
                cursor.probe_done()
            cursor.apply(action)

    async def _watch(self) -> None:
        """Looks whether a log moved in which nothing of ours was in flight."""
        quiet = [(cursor, cursor.activity) for cursor in self._cursors.values() if cursor.core.is_idle]
        if not quiet:
            return
        ends = await logs.log_ends(self._cluster, self.node, [cursor.key for cursor, _ in quiet])
        for cursor, activity in quiet:
            end = ends[cursor.key]
            if end.error:
                if is_moved(end.error):
                    self._on_moved()
            elif cursor.activity == activity:
                cursor.apply(cursor.core.log_end_seen(end.offset))

    async def _trim(self, loop: asyncio.AbstractEventLoop, cursors: Collection[Cursor]) -> None:
        offsets = {cursor.key: cursor.trim_to or 0 for cursor in cursors}
        for cursor in cursors:
            cursor.trim_to = None
        starts: dict[logs.TopicPartition, logs.LogEnd] = {}
        try:
            starts = await logs.delete_records(self._cluster, self.node, offsets)
        finally:
            for cursor in cursors:
                start = starts.get(cursor.key)
                if start is not None and not start.error and start.offset >= offsets[cursor.key]:
                    cursor.apply(cursor.core.trimmed(start.offset))
                    continue
                if start is not None:
                    log.warning("%s-%d: the log start could not be moved: %s", *cursor.key, name_of(start.error))
                loop.call_later(_TRIM_AGAIN_SECONDS, self._trim_again, cursor)

    @staticmethod
    def _trim_again(cursor: Cursor) -> None:
        cursor.apply(cursor.core.trimmed(None))

    def _readable(self, cursor: Cursor, end: logs.LogEnd) -> bool:
        if end.error:
            self._refused(cursor, end.error)
        return not end.error

    def _refused(self, cursor: Cursor, code: int) -> None:
        """The broker did not answer for this partition: it is read again, after a while."""
        moved = is_moved(code)
        # A topic that was just created, or whose leader moves, is known to its broker a moment later: a line each says nothing.
        level = logging.DEBUG if moved else logging.INFO
        log.log(level, "%s-%d: the log end cannot be read: %s", *cursor.key, name_of(code))
        if moved:
            self._on_moved()
        cursor.apply(Probe(settle=cursor.wanted_probe is not None and cursor.wanted_probe.settle, later=True))
