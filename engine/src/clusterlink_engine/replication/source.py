"""A source: fetches from one broker of a remote cluster for all cursors that it leads.

One request is in flight at a time; while its answer is worked on and written, the next one is under way.
"""

import asyncio
import logging
from collections.abc import Callable

from clusterlink_engine.errors import KafkaError, ProtocolViolationError
from clusterlink_engine.replication.buffers import Budget, Frame
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.fetch_sizes import FetchLimits, FetchSizes
from clusterlink_engine.replication.throttle import Throttle
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import batch, fetch, logs
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, is_moved, name_of
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.fetch_session import FetchSession

log = logging.getLogger(__name__)

# While a partition is left out for want of room, or for so long after it came, until the end of its mirror's log is known, the
# broker must not keep the request waiting for the others' sake.
_SHORT_WAIT_MS = 10
_COMING_SECONDS = 1.0

# How often those that are left out are looked at, unless they say themselves that they have room: in seconds, and for each.
_LOOK_AGAIN_SECONDS = 0.01
_LOOK_AGAIN_SECONDS_EACH = 20e-6

# After an answer with less there is so much time before the next request: where records come one by one, some of them come
# together then, and each request is work for three processes. Whoever comes after a longer pause does not wait for it.
_SMALL_ANSWER_BYTES = 64 * 1024
_GATHER_SECONDS = 0.003


class Source:
    """The fetch loop of one source broker.

    It looks only at cursors that said that something changed: most may be idle, and then cost nothing.

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
        self._sizes = FetchSizes(limits)
        self._cluster = cluster
        self._budget = budget
        self._on_moved = on_moved
        self._cursors: dict[tuple[str, int], Cursor] = {}
        self._changed: dict[Cursor, None] = {}
        # Could be fetched but for want of room.
        self._crowded: dict[Cursor, None] = {}
        self._look_again_at = 0.0
        # Until then somebody may come who must not wait for the others; on the loop's clock.
        self._short_until = 0.0
        # Had more than they were last answered.
        self._behind: set[Cursor] = set()
        self._work = asyncio.Event()
        self._session: FetchSession[Cursor] = FetchSession(fetch.HIGHEST)
        self._version = fetch.HIGHEST
        # A broker that has nothing lets the request wait; one that does not must not be asked for ever at full speed.
        self._haste = Backoff(0.005, 1.0)
        self._faults = 0
        # Where the logs of sources start, as far as that was said twice.
        self._starts: dict[tuple[str, int], int] = {}

    def add(self, cursor: Cursor) -> None:
        """From now on the cursor is fetched here."""
        cursor.source = self
        self._cursors[cursor.key] = cursor
        self.changed(cursor)

    def remove(self, cursor: Cursor) -> None:
        """From now on the cursor is not fetched here."""
        self._starts.pop(cursor.key, None)
        self._behind.discard(cursor)
        if self._cursors.pop(cursor.key, None) is not None:
            cursor.source = None
            self.changed(cursor)

    def changed(self, cursor: Cursor) -> None:
        """Whether, or from where on, the cursor is to be fetched may be otherwise than before."""
        self._changed[cursor] = None
        self._work.set()

    def renew(self, cursor: Cursor) -> None:
        """The ends of the cursor's log are to be told again."""
        self._session.renew(self._partition(cursor).key(self._version))
        self.changed(cursor)

    async def run(self) -> None:
        """Fetches for ever; comes back from every fault of the broker."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                await self._use_connection(backoff)
            except KafkaError as error:
                log.warning("fetching from broker %d of the %s cluster: %s", self.node, self._cluster.side, error)
                self._on_moved()
                self._faults += 1
                if self._faults > 1:  # one comes with each restart of a broker
                    for cursor in self._cursors.values():
                        cursor.fetch_error = _code_of(error)
                await backoff.wait()

    async def _use_connection(self, backoff: Backoff) -> None:
        connection = await self._cluster.open(self.node, self._budget.frames)
        try:
            self._version = choose_version(connection, fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST)
            self._session = FetchSession(self._version, self._session.id)
            self._changed.update(dict.fromkeys(self._cursors.values()))
            while True:
                await self._throttle.wait()
                await self._budget.wait()
                await connection.drain()
                self._update()
                if self._session.wanted:
                    await self._fetch(connection)
                    backoff.reset()
                    self._faults = 0
                else:
                    await self._wait_for_work()
        finally:
            connection.close()

    def _update(self) -> None:
        """Brings what the session asks in line with what its cursors want."""
        self._sizes.share(len(self._behind))
        now = asyncio.get_running_loop().time()
        if now >= self._look_again_at:
            self._changed.update(self._crowded)
            self._look_again_at = now + _LOOK_AGAIN_SECONDS + _LOOK_AGAIN_SECONDS_EACH * len(self._crowded)
        changed, self._changed = self._changed, {}
        self._work.clear()
        for cursor in changed:
            self._crowded.pop(cursor, None)
            partition = self._partition(cursor)
            if cursor.source is self and cursor.may_fetch(now):
                if cursor.has_room(self._budget):
                    self._session.want(cursor, partition)
                    continue
                self._crowded[cursor] = None
            elif cursor.source is self and cursor.is_coming:
                self._short_until = now + _COMING_SECONDS
            self._session.drop(cursor, partition.key(self._version))

    def _partition(self, cursor: Cursor) -> fetch.FetchPartition:
        core = cursor.core
        return fetch.FetchPartition(
            cursor.source_topic,
            cursor.source_topic_id,
            cursor.index,
            core.fetch_offset,
            self._sizes.partition_bytes,
            core.last_fetched_epoch,
        )

    async def _wait_for_work(self) -> None:
        """Waits until a cursor changed; those that are left out may have room without knowing it."""
        try:
            async with asyncio.timeout_at(self._look_again_at if self._crowded else None):
                await self._work.wait()
        except TimeoutError:
            pass

    async def _fetch(self, connection: Connection) -> None:
        limits, session = self._limits, self._session
        request = session.request()
        max_bytes = self._throttle.at_once(max(1, min(self._sizes.response_bytes, self._budget.room)))
        loop = asyncio.get_running_loop()
        is_short = self._crowded or session.is_behind or loop.time() < self._short_until
        max_wait_ms = min(limits.max_wait_ms, _SHORT_WAIT_MS) if is_short else limits.max_wait_ms
        body = fetch.encode(
            self._version,
            request.partitions,
            max_wait_ms=max_wait_ms,
            min_bytes=limits.min_bytes,
            max_bytes=max_bytes,
            session=request.session,
            forgotten=request.forgotten,
        )
        asked_at = loop.time()
        most = fetch.largest_answer(max_bytes)
        view = await connection.send(fetch.API_KEY, self._version, [body], flexible=True, most=most)
        try:
            answer = fetch.decode(self._version, view, session.told)
        except Exception as error:
            raise connection.violated(f"answered Fetch with what cannot be decoded ({error})") from error
        came_at = loop.time()
        sizes = [len(entry.records) for entry in answer.partitions if entry.records]
        self._throttle.took(sum(sizes))
        self._sizes.answered(
            sizes, max_bytes, connection.answer_began_at - asked_at, came_at - connection.answer_began_at
        )
        frame = Frame(self._budget, view)
        try:
            if answer.error:
                if not session.refused(answer.error):
                    raise connection.violated(f"refused Fetch as a whole: {name_of(answer.error)}")
                has_moved = False
            else:
                session.answered(answer.session_id)
                has_moved = await self._take(answer, frame)
        finally:
            frame.release()
        if has_moved:
            self._haste.reset()
        elif loop.time() - asked_at < max_wait_ms / 1000:
            await self._haste.wait()
        await self._throttle.obey(answer.throttle_ms)
        if sizes and sum(sizes) < _SMALL_ANSWER_BYTES:
            await asyncio.sleep(came_at + _GATHER_SECONDS - loop.time())

    async def _take(self, answer: fetch.FetchAnswer, frame: Frame) -> bool:
        """Gives the cursors what came for them; answers whether one got on by it."""
        out_of_range: list[Cursor] = []
        has_moved = False
        for entry in answer.partitions:
            asked = self._session.asked((entry.topic, entry.partition))
            if asked is None:
                continue
            cursor, offset = asked.owner, asked.partition.offset
            if cursor.source is not self or cursor.core.fetch_offset != offset:
                continue  # moved, stopped or reset while the request was under way
            if entry.error == Code.OFFSET_OUT_OF_RANGE:
                out_of_range.append(cursor)
            elif entry.error:
                cursor.fetch_failed(entry.error)
                if is_moved(entry.error):
                    self._on_moved()
            else:
                await self._deliver(cursor, asked.partition, entry, frame)
            has_moved |= cursor.core.fetch_offset != offset
            if not entry.error and cursor.source is self and cursor.core.fetch_offset < entry.high_watermark:
                self._behind.add(cursor)
            else:
                self._behind.discard(cursor)
        if out_of_range:
            await self._look_at_ends(out_of_range)
        return has_moved

    async def _deliver(
        self, cursor: Cursor, asked: fetch.FetchPartition, entry: fetch.FetchedPartition, frame: Frame
    ) -> None:
        offset = asked.offset
        try:
            if not self._has_possible_ends(entry, offset):
                raise batch.TornBatchError("the ends of the log do not fit together")
            entry = entry._replace(
                log_start_offset=await self._confirmed_start(cursor, entry.log_start_offset),
                # A broker reads the high watermark first, and both may move before it reads the other one.
                last_stable_offset=min(entry.last_stable_offset, entry.high_watermark),
            )
            if cursor.source is not self or cursor.core.fetch_offset != offset:
                return
            # Not more than was asked for, but for the one batch that there always is.
            first = batch.peek(entry.records)
            most = max(asked.max_bytes, first.size if first is not None else 0)
            cut = cursor.cut(entry, most)
        except batch.TornBatchError as error:
            log.error("%s-%d: the source sent damaged records: %s", cursor.source_topic, cursor.index, error)
            cursor.fetch_failed(Code.CORRUPT_MESSAGE)
            return
        await cursor.fetched(cut, frame, entry)

    @staticmethod
    def _has_possible_ends(entry: fetch.FetchedPartition, offset: int) -> bool:
        """Tells whether a log can have such ends that has, or will have, something at an offset (else it is out of range)."""
        start, stable, end = entry.log_start_offset, entry.last_stable_offset, entry.high_watermark
        return 0 <= start <= min(offset, end) and stable >= 0

    async def _confirmed_start(self, cursor: Cursor, log_start: int) -> int:
        """Answers where the source's log starts, asked for once more if it moved: what is below is deleted on the mirror."""
        known = max(self._starts.get(cursor.key, 0), cursor.core.log_start)
        if log_start <= known:
            return log_start
        partition = cursor.source_topic, cursor.index
        found = (await logs.log_starts(self._cluster, self.node, [partition]))[partition]
        if found.error:
            cursor.ask_again()
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
