"""A cursor: one mirrored partition on its way between sources, sinks, gap writers and probers.

It carries out what the core decides, and holds the pieces that were fetched and not yet written.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from clusterlink_engine.mirror.batches import Refusal
from clusterlink_engine.mirror.partition import Action, Appended, Fail, Partition, Phase, Probe, Seed, Trim
from clusterlink_engine.mirror.pieces import Copy, Filler, Gap, Piece, Recode
from clusterlink_engine.printable import printable
from clusterlink_engine.replication.buffers import Budget, Frame, Holding, Part
from clusterlink_engine.replication.lag import Lag
from clusterlink_engine.replication.tenure import Tenure
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import records
from clusterlink_engine.wire.batch import Batch, TornBatchError, patch
from clusterlink_engine.wire.codes import Code, appended, is_moved, name_of
from clusterlink_engine.wire.cutting import Cut, Cutter
from clusterlink_engine.wire.fetch import FetchedPartition
from clusterlink_engine.wire.produce import Acknowledgement, ProducePartition

if TYPE_CHECKING:
    from clusterlink_engine.replication.outlet import Outlet
    from clusterlink_engine.replication.prober import Prober
    from clusterlink_engine.replication.sink import Sink
    from clusterlink_engine.replication.source import Source

log = logging.getLogger(__name__)

# Gaps are numbers only, but each one that waits costs a round trip.
_MAX_QUEUED_PIECES = 4096

# An answer for one partition with more takes some milliseconds: after it, others have their turn.
_MANY_BATCHES = 500

# Batches with more are encoded again in a thread.
_RECODED_AT_ONCE = 500
_RECODED_AT_ONCE_BYTES = 64 * 1024

# Records of a filler batch. More make the broker slower, and cost its memory.
_FILLER_RECORDS = 100_000

# Key of filler records: random once, so that it is nobody's. They never outlive the seeding of a topic.
FILLER_KEY = bytes.fromhex("c1a5f0d2e37b4986a0c4d85e1f92b763")


class Waiting(NamedTuple):
    """A batch that waits to be sent; `part` holds its bytes, None if they are its own."""

    batch: Batch
    part: Part | None

    @property
    def end(self) -> int:
        """The offset after the batch."""
        return self.batch.header.last_offset + 1


class Cursor:
    """A partition that is being mirrored.

    Attributes:
        topic: Mirror topic, with its `topic_id` and the partition's `index`.
        source_topic: Source topic, with its `source_topic_id`.
        producer_id: Of the link.
        tenure: Until when this process may write, and with which generation.
        core: What may be done.
        source: Where it is fetched from now; written by the replicator.
        sink: Where it is written to now; written by the local side.
        gap_writer: Who fills its gaps now; written by the local side.
        prober: Who reads its log end; written by the local side.
        generation: Grows whenever everything in flight was given up; answers of an older one are ignored.
        activity: Grows with everything that is sent; tells whether a reading fell into a quiet time.
        wanted_probe: What the core wants read; None if nothing.
        probe_not_before: On the loop's clock.
        settled_at: On the loop's clock; from then on a reading counts as settled. None until the leader has answered.
        fetch_not_before: On the loop's clock.
        settled: Set once both logs have been read; or, by `control`, once the partition's failure is stored.
        trim_to: Offset below which the mirror's records are to be deleted; None for nothing.
        offsets_filled: How many offsets were filled by markers or empty transactions since this process owns it.
        was_sought: Whether the source's metadata have been read since the cursor is there; written by the replicator.
        was_placed: Likewise the local cluster's; written by the local side.
        is_sealed: Whether the last offset that this link will ever write is written.
        fetch_error: Kafka's code of the last fetch that was refused; 0 once one was not.
    """

    def __init__(
        self,
        core: Partition,
        *,
        topic: str,
        topic_id: str,
        index: int,
        source_topic: str,
        source_topic_id: str,
        producer_id: int,
        tenure: Tenure,
        watcher: "Watcher",
        cutter: Cutter,
        merges: bool = True,
    ) -> None:
        """Begins with what the core wants read.

        Args:
            core: New.
            topic: See the attributes; likewise all up to `tenure`.
            topic_id: Of the mirror topic.
            index: Of the partition.
            source_topic: Name of the source topic.
            source_topic_id: Its id.
            producer_id: Of the link.
            tenure: Of the partition's shard.
            watcher: Told what there is to tell.
            cutter: Cuts what is fetched into batches.
            merges: Whether tiny batches that are fetched together are merged.
        """
        self.core = core
        self.topic, self.topic_id, self.index = topic, topic_id, index
        self.source_topic, self.source_topic_id = source_topic, source_topic_id
        self.producer_id = producer_id
        self.tenure = tenure
        self.source: Source | None = None
        self.sink: Sink | None = None
        self.gap_writer: Outlet | None = None
        self.prober: Prober | None = None
        self.generation = 0
        self.activity = 0
        self.wanted_probe: Probe | None = core.first_probe
        self.probe_not_before = 0.0
        self.settled_at: float | None = None
        self.unsteady_readings = 0
        self.fetch_not_before = 0.0
        self.settled = asyncio.Event()
        self.trim_to: int | None = None
        self.offsets_filled = 0
        self.fetch_error = 0
        self.was_sought = self.was_placed = False
        self.is_sealed = False
        self._seal: Gap | None = None
        self.lag = Lag()
        self._watcher = watcher
        self._cutter = cutter
        self._merges = merges
        self._merged_until = 0  # below it batches may be merged ones
        self._stopping = False
        self._drained = asyncio.Event()
        self._queue: deque[Waiting | Filler | Gap] = deque()
        self._planning = False  # pieces of the last fetch are still being queued
        self._drops = 0
        self._held = Holding()
        self._in_flight: deque[Part | None] = deque()
        self._filling: Gap | None = None
        self._probe_backoff = Backoff(0.05, 5.0)
        self._fetch_backoff = Backoff(0.1, 5.0)

    def __repr__(self) -> str:
        return f"<Cursor {self.core!r} generation {self.generation}>"

    @property
    def key(self) -> tuple[str, int]:
        """Mirror topic and partition."""
        return self.topic, self.index

    @property
    def is_waiting(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._queue)

    def has_room(self, budget: Budget) -> bool:
        """Tells whether more may be fetched for it."""
        sink = self.sink.held if self.sink is not None else None
        return len(self._queue) < _MAX_QUEUED_PIECES and budget.has_room_for(self._held, sink)

    def may_fetch(self, now: float) -> bool:
        """Whether it can go into a fetch, room aside."""
        core = self.core
        if not core.may_fetch or self._planning or self._stopping or now < self.fetch_not_before:
            return False
        return core.hold_at is None or not self._queue or self._queue[-1].end <= core.hold_at

    @property
    def is_coming(self) -> bool:
        """Whether it will most likely be fetched in a moment: the end of its mirror's log is being read."""
        return self.core.phase is Phase.PROBING and not self._stopping

    @property
    def may_send(self) -> bool:
        """Whether `next` would answer a batch."""
        piece = self._queue[0] if self._queue else None
        if piece is None or isinstance(piece, Gap) or self._stopping:
            return False
        end = min(piece.first + _FILLER_RECORDS, piece.end) if isinstance(piece, Filler) else piece.end
        return self.core.may_send(end) and self.tenure.holds()

    @property
    def may_fill(self) -> bool:
        """Whether `next_gap` would answer a gap."""
        piece = self._queue[0] if self._queue else None
        return isinstance(piece, Gap) and not self._stopping and self.core.may_fill(piece.end) and self.tenure.holds()

    @property
    def waits_at(self) -> int | None:
        """The end of the next piece, if only `core.hold_at` forbids to write it; else None."""
        hold, core = self.core.hold_at, self.core
        if hold is None or not self._queue or not core.is_idle or core.epochs_unstored:
            return None
        end = self._queue[0].end
        return end if end > hold else None

    # The source's side.

    def cut(self, answer: FetchedPartition, most: int) -> Cut:
        """Cuts the record bytes that were fetched, for `fetched`, which must have them at once; of at most so many bytes.

        Tiny batches are merged, and then go the way of all others: none of what follows knows a difference.

        Raises:
            TornBatchError: They are damaged.
        """
        aborting = {producer_id for producer_id, _ in answer.aborted}
        return self._cutter(answer.records[:most], aborting, merges=self._merges)

    async def fetched(self, cut: Cut, frame: Frame, answer: FetchedPartition) -> None:
        """Takes what a fetch at the core's fetch offset brought; nothing else is fetched before it returns."""
        self._fetch_backoff.reset()
        self.fetch_error = 0
        core = self.core
        part = frame.part(self._held, self.sink.held if self.sink is not None else None)
        self.lag.seen(time.time_ns() // 1_000_000, answer.high_watermark)
        self.apply(core.source_seen(answer.log_start_offset, answer.high_watermark, answer.last_stable_offset))
        if answer.diverging is not None:
            self.apply(core.source_diverged(*answer.diverging))
        batches = cut.batches
        if len(batches) < cut.found:
            self._merged_until = batches[-1].header.last_offset + 1
        elif not self._merges and core.phase is Phase.COPYING:  # again: everything that was on its way is answered
            self._merged_until = 0
        pieces = core.plan([batch.header for batch in batches], answer.aborted)
        if core.epochs_unstored:
            self._watcher.epochs_changed(self)
        self._planning = True
        try:
            await self._queue_pieces(pieces, {batch.header.base_offset: batch for batch in batches}, part)
        except BaseException:  # the source is there no more: what is not queued would be missing before what comes next
            self.apply(core.look_again())
            raise
        finally:
            self._planning = False
            self._tell_source()
        self.apply(core.settle_refusal())
        if core.failure is None:
            self.settled.set()
        self.offer()
        if cut.found + len(answer.aborted) > _MANY_BATCHES:
            # An answer has many partitions: heartbeats, and what is ready to be sent, cannot wait.
            await asyncio.sleep(0)

    def fetch_failed(self, code: int) -> None:
        """A fetch was refused for this partition: it is left out for a while."""
        self.fetch_error = code
        loop = asyncio.get_running_loop()
        self.fetch_not_before = loop.time() + self._fetch_backoff.next()
        loop.call_at(self.fetch_not_before, self._tell_source)
        self.ask_again()
        log.debug("fetch of %s-%d refused: %s", self.source_topic, self.index, name_of(code))

    def ask_again(self) -> None:
        """What the source said last was not used, or is wanted again: it says the ends of a log only when they change."""
        if self.source is not None:
            self.source.renew(self)

    def _tell_source(self) -> None:
        """Whether, or from where on, the source fetches for it may have changed."""
        if self.source is not None:
            self.source.changed(self)

    async def _queue_pieces(self, pieces: Iterable[Piece], by_offset: Mapping[int, Batch], part: Part) -> None:
        drops = self._drops
        for piece in pieces:
            if isinstance(piece, Copy):
                self._queue.append(self._waiting(by_offset[piece.batch.base_offset], part))
            elif isinstance(piece, Recode):
                try:
                    runs = await self._recode(by_offset[piece.batch.base_offset], piece.first, part)
                except TornBatchError as error:
                    log.error("%s-%d: the source sent damaged records: %s", self.source_topic, self.index, error)
                    self.apply(self.core.look_again())
                    self.fetch_failed(Code.CORRUPT_MESSAGE)
                    return
                if self._drops != drops:
                    return  # what was planned is not wanted any more
                self._push_runs(runs, piece)
                self.offer()
            else:
                self._push_gap(piece)

    def _waiting(self, batch: Batch, part: Part) -> Waiting:
        """Holds a batch; one that waits for others to get on has bytes of its own, for they need the memory."""
        hold_at = self.core.hold_at
        if hold_at is not None and batch.header.last_offset >= hold_at:
            return Waiting(Batch(batch.header, memoryview(bytearray(batch.view))), None)
        part.hold()
        return Waiting(batch, part)

    async def _recode(self, batch: Batch, first: int, part: Part) -> list[Batch]:
        """Encodes a batch again, a large one in a thread: a few bytes may be a million records, and others have work too."""
        if batch.header.records <= _RECODED_AT_ONCE and batch.header.size <= _RECODED_AT_ONCE_BYTES:
            return records.recode(batch, first)
        async with part.turn:
            return await asyncio.to_thread(records.recode, batch, first)

    def _push_runs(self, runs: Iterable[Batch], piece: Recode) -> None:
        """Queues the runs of a batch that was encoded again, and the gaps between them."""
        position = piece.first
        for run in runs:
            self._push_hole(position, run.header.base_offset, run.header.max_timestamp)
            self._queue.append(Waiting(run, None))
            position = run.header.last_offset + 1
        self._push_hole(position, piece.end, piece.batch.max_timestamp)

    def _push_hole(self, first: int, end: int, timestamp: int) -> None:
        if first < end:
            for part in self.core.divide(Gap(first, end, timestamp)):
                self._push_gap(part)

    def _push_gap(self, piece: Gap | Filler) -> None:
        """Queues a gap, as one with the gap of its kind before it if there is one."""
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, Waiting) and type(last) is type(piece):
            self._queue[-1] = piece._replace(first=last.first)
        else:
            self._queue.append(piece)

    # The sink's side.

    def next(self) -> ProducePartition:
        """Answers the next batch to send, patched; only if `may_send`."""
        batch, part = self._pop()
        epoch, sequence = self.core.take(batch.header)
        patch(batch.view, self.producer_id, epoch, sequence)
        self._in_flight.append(part)
        self.activity += 1
        return ProducePartition(self.topic, self.topic_id, self.index, batch.view)

    def _pop(self) -> Waiting:
        piece = self._queue.popleft()
        if isinstance(piece, Filler):
            count = min(piece.end - piece.first, _FILLER_RECORDS)
            if piece.first + count < piece.end:
                self._queue.appendleft(Filler(piece.first + count, piece.end, piece.timestamp))
            return Waiting(records.tombstones(piece.first, count, FILLER_KEY, max(piece.timestamp, 0)), None)
        assert not isinstance(piece, Gap)  # noqa: S101 - the caller looked at may_send
        return piece

    def acknowledged(self, answer: Acknowledgement) -> None:
        """Takes the answer for the oldest batch in flight."""
        part = self._in_flight.popleft()
        if part is not None:
            part.release()
            self._tell_source()  # there is room
        code = answer.error
        if not code:
            self.apply(self.core.acknowledge(None, answer.base_offset, ""))
            self._probe_backoff.reset()
            self.go_on_sealing()
        else:
            detail = f"{name_of(code)}, {printable(answer.message)}" if answer.message else name_of(code)
            log.info("%s-%d: a batch was not taken: %s", self.topic, self.index, detail)
            self.apply(self.core.acknowledge(self._meaning(code), answer.base_offset, detail))
            self._moved(code)
        self.offer()
        self._probe_if_it_can()
        self._check_drained()

    def _meaning(self, code: int) -> Appended:
        """Answers what an error code says about a batch; that a merged one is refused says nothing about the source's own."""
        said = appended(code)
        if said is Appended.NO_RETRY and self.core.log_end < self._merged_until:
            # It may be too large for the topic's segments, for example. So may be others that are on their way.
            if self._merges:
                self._merges = False
                log.info("%s-%d: its batches are not merged any more", self.topic, self.index)
            return Appended.NO
        return said

    # The gap writer's side.

    def next_gap(self, most: int) -> tuple[Gap, int]:
        """Answers the next gap, at most `most` offsets of it, and the epoch of its markers; only if `may_fill`."""
        piece = self._queue.popleft()
        assert isinstance(piece, Gap)  # noqa: S101 - the caller looked at may_fill
        gap = Gap(piece.first, min(piece.end, piece.first + most))
        if gap.end < piece.end:
            self._queue.appendleft(Gap(gap.end, piece.end, piece.timestamp))
        self.activity += 1
        self._filling = gap
        return gap, self.core.begin_fill(gap)

    def seal(self) -> None:
        """Nothing more is mirrored: what is in flight is answered, then one offset is filled as the last thing."""
        if not self.core.is_sealing:
            self._drop_queue()
            self.core.seal()
            self._tell_source()
        self.go_on_sealing()

    def go_on_sealing(self) -> None:
        """Begins to fill the last offset, if it is time."""
        if self.core.is_sealing and not self.is_sealed and self.core.is_idle and not self._queue:
            self._seal = self.core.begin_seal()
            self._queue.append(self._seal)
            self.offer()

    @property
    def is_filling(self) -> bool:
        """Whether a gap was handed out and not answered."""
        return self._filling is not None

    def filled(self, log_end: int) -> None:
        """The gap was filled without an error, and the log ends here after it."""
        gap, self._filling = self._filling, None
        if gap is not None and gap.end == log_end:
            self.offsets_filled += gap.end - gap.first
            self._probe_backoff.reset()
            self._tell_source()
        self.apply(self.core.filled(log_end))
        self.is_sealed |= gap is not None and gap == self._seal and gap.end == log_end
        self.go_on_sealing()
        self.offer()
        self._probe_if_it_can()
        self._check_drained()

    def fill_failed(self, code: int) -> None:
        """The gap was answered with an error, after which nothing is known."""
        log.info("%s-%d: a gap was not filled: %s", self.topic, self.index, name_of(code))
        self._moved(code)
        self.lost()

    def lost(self) -> None:
        """Gives up everything in flight: the connection broke."""
        self.apply(self.core.lose())
        self._give_up()

    def offer(self) -> None:
        """Tells the sink or the gap writer if there is something to write."""
        if self.sink is not None and self.may_send:
            self.sink.ready(self)
        elif self.gap_writer is not None and self.may_fill:
            self.gap_writer.ready(self)

    def hold_until(self, offset: int | None) -> None:
        """Nothing that ends above this offset is written; None for no such limit."""
        self.core.hold_at = offset
        self._tell_source()
        self.offer()

    def epochs_stored(self, epochs: list[tuple[int, int]]) -> None:
        """The source's leader epochs are stored: what was fetched in them may be written."""
        self.core.epochs_stored(epochs)
        self.offer()

    def _moved(self, code: int) -> None:
        if self.sink is not None and is_moved(code):
            self.sink.on_moved()

    def _probe_if_it_can(self) -> None:
        if self.core.may_probe and self.prober is not None:
            self.prober.wake(self)  # the last answer that it had to wait for

    # What the core wants.

    def apply(self, action: Action) -> None:
        """Carries out an action of the core."""
        if action is not None:
            self._tell_source()
        if isinstance(action, Probe):
            if self.is_sealed:
                return  # others may write now: how far the log goes is no business of the link any more
            self._drop_queue()
            loop_time = asyncio.get_running_loop().time()
            self.wanted_probe = action
            self.probe_not_before = loop_time + (self._probe_backoff.next() if action.later else 0.0)
            self.settled_at = None
            if self.prober is not None:
                self.prober.wake(self)
        elif isinstance(action, Trim):
            self.trim_to = action.offset
            if self.prober is not None:
                self.prober.wake(self)
        elif isinstance(action, Seed):
            log.info("%s: the offsets %d to %d are gone at the source", self.core.name, *action.piece[:2])
            self._push_gap(action.piece)
            if action.lost:
                self._watcher.overtaken(self, action.lost)
            self.offer()
        elif isinstance(action, Fail):
            self._drop_queue()
            self.wanted_probe = None
            log.error("FAILED %s: %s", action.refusal.error, action.refusal.message)
            self._watcher.failed(self, action.refusal)

    def probe_done(self) -> None:
        """The core has what it wanted; after this it copies, unless `apply` gets a new action."""
        self.wanted_probe = None
        self.settled_at = None
        self.unsteady_readings = 0
        self.go_on_sealing()
        self.ask_again()

    # Stopping.

    async def drain(self, timeout: float) -> None:
        """Stops sending and waits until everything in flight is answered, at most `timeout` seconds."""
        self._stopping = True
        self._tell_source()
        self._drop_queue()
        self._check_drained()
        try:
            async with asyncio.timeout(timeout):
                await self._drained.wait()
        except TimeoutError:
            log.warning("%s-%d: gave up waiting for batches in flight", self.topic, self.index)
        if not self._drained.is_set() or self.core.in_doubt:
            self.tenure.gave_up()
        self._give_up()

    def _check_drained(self) -> None:
        if self._stopping and not self._in_flight and self._filling is None:
            self._drained.set()

    def _give_up(self) -> None:
        self.generation += 1
        for part in self._in_flight:
            if part is not None:
                part.abandon()
        self._in_flight.clear()
        self._filling = None
        self._drop_queue()
        self._check_drained()

    def _drop_queue(self) -> None:
        self._drops += 1
        for piece in self._queue:
            if isinstance(piece, Waiting) and piece.part is not None:
                piece.part.release()
        self._queue.clear()
        self._tell_source()


class Watcher:
    """What cursors tell of themselves; the methods return at once."""

    def __init__(
        self,
        *,
        failed: Callable[[Cursor, Refusal], None],
        epochs_changed: Callable[[Cursor], None],
        overtaken: Callable[[Cursor, int], None],
    ) -> None:
        """Takes the listeners.

        Args:
            failed: A partition cannot go on.
            epochs_changed: `core.source_epochs` must be stored; then `epochs_stored` is called with what was stored.
            overtaken: The source deleted so many offsets before they were mirrored.
        """
        self.failed = failed
        self.epochs_changed = epochs_changed
        self.overtaken = overtaken
