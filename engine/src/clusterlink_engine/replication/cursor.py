"""A cursor: one mirrored partition on its way between sources, sinks and probers.

It carries out what the core decides, and holds the batches that were fetched and not yet acknowledged.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from clusterlink_engine.mirror.batches import Refusal
from clusterlink_engine.mirror.partition import Action, Fail, Partition, Probe, Trim
from clusterlink_engine.replication.buffers import Frame
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire.batch import Batch, patch
from clusterlink_engine.wire.codes import appended, is_moved, name_of
from clusterlink_engine.wire.produce import Acknowledgement, ProducePartition

if TYPE_CHECKING:
    from clusterlink_engine.replication.prober import Prober
    from clusterlink_engine.replication.sink import Sink
    from clusterlink_engine.replication.source import Source

log = logging.getLogger(__name__)

# Fetched bytes that wait for the sink beyond this stop fetching for the partition: a slow one must not take the budget.
_MAX_QUEUED_BYTES = 8 * 1024 * 1024

FailureHandler = Callable[["Cursor", Refusal], None]


class Cursor:
    """A partition that is being mirrored.

    Attributes:
        topic: Mirror topic, with its `topic_id` and the partition's `index`.
        source_topic: Source topic, with its `source_topic_id`.
        core: What may be done.
        source: Where it is fetched from now; written by the replicator.
        sink: Where it is written to now; written by the local side.
        prober: Who reads its log end; written by the local side.
        generation: Grows whenever everything in flight was given up; answers of an older one are ignored.
        activity: Grows with everything that is sent; tells whether a reading fell into a quiet time.
        wanted_probe: What the core wants read; None if nothing.
        probe_not_before: On the loop's clock.
        settled_at: On the loop's clock; from then on a reading counts as settled. None until the leader has answered.
        fetch_not_before: On the loop's clock.
        settled: Set once both logs have been read; or, by `control`, once the partition's failure is stored.
        trim_to: Offset below which the mirror's records are to be deleted; None for nothing.
    """

    def __init__(
        self,
        *,
        topic: str,
        topic_id: str,
        index: int,
        source_topic: str,
        source_topic_id: str,
        producer_id: int,
        start_offset: int,
        on_failed: FailureHandler,
    ) -> None:
        self.topic, self.topic_id, self.index = topic, topic_id, index
        self.source_topic, self.source_topic_id = source_topic, source_topic_id
        self.producer_id = producer_id
        self.core = Partition(f"{topic}-{index}", producer_id, start_offset)
        self.source: Source | None = None
        self.sink: Sink | None = None
        self.prober: Prober | None = None
        self.generation = 0
        self.activity = 0
        self.wanted_probe: Probe | None = Probe()
        self.probe_not_before = 0.0
        self.settled_at: float | None = None
        self.unsteady_readings = 0
        self.fetch_not_before = 0.0
        self.settled = asyncio.Event()
        self.trim_to: int | None = None
        self._on_failed = on_failed
        self._stopping = False
        self._drained = asyncio.Event()
        self._queue: deque[tuple[Batch, Frame]] = deque()
        self._queued_bytes = 0
        self._in_flight: deque[Frame] = deque()
        self._probe_backoff = Backoff(0.05, 5.0)
        self._fetch_backoff = Backoff(0.1, 5.0)

    def __repr__(self) -> str:
        return f"<Cursor {self.core!r} generation {self.generation}>"

    @property
    def key(self) -> tuple[str, int]:
        """Mirror topic and partition."""
        return self.topic, self.index

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched for it."""
        return self._queued_bytes < _MAX_QUEUED_BYTES

    def may_fetch(self, now: float) -> bool:
        """Whether it can go into a fetch, room aside."""
        return self.core.may_fetch and not self._stopping and now >= self.fetch_not_before

    @property
    def may_send(self) -> bool:
        """Whether `next` would answer a batch."""
        return bool(self._queue) and self.core.may_send and not self._stopping

    # The source's side.

    def fetched(self, batches: list[Batch], frame: Frame, log_start: int, high_watermark: int) -> None:
        """Takes what a fetch at the core's fetch offset brought."""
        self._fetch_backoff.reset()
        self.apply(self.core.source_seen(log_start, high_watermark))
        for batch in batches:
            if self.core.accept(batch.header):
                frame.hold()
                self._queue.append((batch, frame))
                self._queued_bytes += batch.header.size
        self.apply(self.core.settle_refusal())
        if self.core.failure is None:
            self.settled.set()
        self._offer()

    def fetch_failed(self, code: int) -> None:
        """A fetch was refused for this partition: it is left out for a while."""
        self.fetch_not_before = asyncio.get_running_loop().time() + self._fetch_backoff.next()
        log.debug("fetch of %s-%d refused: %s", self.source_topic, self.index, name_of(code))

    # The sink's side.

    def next(self) -> ProducePartition:
        """Answers the next batch to send, patched; only if `may_send`."""
        batch, frame = self._queue.popleft()
        self._queued_bytes -= batch.header.size
        epoch, sequence = self.core.take(batch.header)
        patch(batch.view, self.producer_id, epoch, sequence)
        self._in_flight.append(frame)
        self.activity += 1
        return ProducePartition(self.topic, self.topic_id, self.index, batch.view)

    def acknowledged(self, answer: Acknowledgement) -> None:
        """Takes the answer for the oldest batch in flight."""
        self._in_flight.popleft().release()
        code = answer.error
        if not code:
            self.apply(self.core.acknowledge(None, answer.base_offset, ""))
            self._probe_backoff.reset()
        else:
            detail = f"{name_of(code)}, {answer.message}" if answer.message else name_of(code)
            log.info("%s-%d: a batch was not taken: %s", self.topic, self.index, detail)
            self.apply(self.core.acknowledge(appended(code), answer.base_offset, detail))
            if self.sink is not None and is_moved(code):
                self.sink.on_moved()
        self._offer()
        if self.core.may_probe and self.prober is not None:
            self.prober.wake()  # the last answer that it had to wait for
        self._check_drained()

    def lost(self) -> None:
        """Gives up everything in flight: the connection broke."""
        self.apply(self.core.lose())
        self._give_up()

    def _offer(self) -> None:
        if self.sink is not None and self.may_send:
            self.sink.ready(self)

    # What the core wants.

    def apply(self, action: Action) -> None:
        """Carries out an action of the core."""
        if action is None:
            return
        if isinstance(action, Probe):
            self._drop_queue()
            loop_time = asyncio.get_running_loop().time()
            self.wanted_probe = action
            self.probe_not_before = loop_time + (self._probe_backoff.next() if action.later else 0.0)
            self.settled_at = None
            if self.prober is not None:
                self.prober.wake()
        elif isinstance(action, Trim):
            self.trim_to = action.offset
            if self.prober is not None:
                self.prober.wake()
        elif isinstance(action, Fail):
            self._drop_queue()
            self.wanted_probe = None
            log.error("FAILED %s: %s", action.refusal.error, action.refusal.message)
            self._on_failed(self, action.refusal)

    def probe_done(self) -> None:
        """The core has what it wanted; after this it copies, unless `apply` gets a new action."""
        self.wanted_probe = None
        self.settled_at = None
        self.unsteady_readings = 0
        if self.source is not None:
            self.source.wake()

    # Stopping.

    async def drain(self, timeout: float) -> None:
        """Stops sending and waits until everything in flight is answered, at most `timeout` seconds."""
        self._stopping = True
        self._drop_queue()
        self._check_drained()
        try:
            async with asyncio.timeout(timeout):
                await self._drained.wait()
        except TimeoutError:
            log.warning("%s-%d: gave up waiting for batches in flight", self.topic, self.index)
        self._give_up()

    def _check_drained(self) -> None:
        if self._stopping and not self._in_flight:
            self._drained.set()

    def _give_up(self) -> None:
        self.generation += 1
        for frame in self._in_flight:
            frame.abandon()
        self._in_flight.clear()
        self._drop_queue()
        self._check_drained()

    def _drop_queue(self) -> None:
        for _, frame in self._queue:
            frame.release()
        self._queue.clear()
        self._queued_bytes = 0
