"""One mirrored partition as a state machine: events in, actions out.

The promise: a batch is only ever appended at the offset that it has at the source. Stock Kafka has no "write at offset",
but the sequence numbers of an idempotent producer are a compare-and-append (KIP-98): the broker appends a batch only if
its first sequence follows the last one that the partition remembers of the producer id. So sequences are a function of the
position in the log, not of who writes: while a log has no gaps, the sequence of a record is its offset modulo 2^31.

The caller's duties, in this order:

1. Carry out the action that a method answers before it calls the next one.
2. Send batches in the order in which `accept` took them, each while `may_send`, with what `take` answers.
3. Call `acknowledge` for each answer in the order of sending, or `lose` once if answers will never come.
4. Begin to probe only when nothing is unanswered (`may_probe`), and read in the order that `Probe` describes.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from clusterlink_engine.mirror.batches import BatchHeader, Refusal, refuse
from clusterlink_engine.model.states import MirrorError

# A broker remembers the last five batches of a producer (ProducerStateEntry): more in flight could not be deduplicated.
WINDOW = 5

SEQUENCE_MASK = 2**31 - 1


class Phase(Enum):
    """What is believed of the mirror's log."""

    PROBING = "PROBING"
    """Its end is not known: nothing is sent until it has been read."""
    COPYING = "COPYING"
    """It ends where we think, and batches are appended to it."""
    FAILED = "FAILED"
    """It cannot be continued exactly. For good."""


class Appended(Enum):
    """What a broker's error code says about a batch that was sent."""

    NO_RETRY = "refused, and it will be again"
    NO = "not appended now"
    IN_DOUBT = "may be appended already, or still later"


class Flight(NamedTuple):
    """A batch that was sent and not answered: offsets from `base_offset` up to and without `end_offset`."""

    base_offset: int
    end_offset: int


class Producer(NamedTuple):
    """What the partition remembers of our producer id; `last_sequence` is -1 if nothing in this epoch."""

    epoch: int
    last_sequence: int


class ProbeResult(NamedTuple):
    """What was read of the mirror's log while nothing of ours was unanswered.

    Attributes:
        log_end: Read twice, before and after the rest, with the same result.
        high_watermark: Read after `log_end`.
        log_start: First offset of the log.
        producer: What is remembered of our producer id; None if it is forgotten or was never seen.
        last_batch: The batch that holds the last offset; only needed if `producer` is None and the log is not empty.
        settled: Whether all was read a grace after the present leader had answered for the first time.
    """

    log_end: int
    high_watermark: int
    log_start: int
    producer: Producer | None
    last_batch: BatchHeader | None
    settled: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Read the mirror's log, then call `probed`.

    Attributes:
        settle: A request may be pending in a broker. Wait for the first answer of the present leader on a new connection,
            then for one grace, and use only what is read after.
        later: Back off first; trying at once would only repeat.
    """

    settle: bool = False
    later: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """Store the failure and stop; the partition is never written to again."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Trim:
    """Delete the mirror's records below `offset`, as the source did, then call `trimmed`."""

    offset: int


Action = Probe | Fail | Trim | None


class Partition:
    """The state of one mirrored partition.

    Attributes:
        phase: See Phase.
        log_start: First offset of the mirror's log; -1 before the first probe.
        log_end: End of the mirror's log as far as it is acknowledged or was read; -1 before the first probe.
        next_offset: Where the next batch goes. log_end <= next_offset.
        fetch_offset: What to ask the source for. next_offset <= fetch_offset.
        source_high_watermark: As last heard from the source; -1 before.
        failure: Not None exactly in FAILED.
        times_gone_back: How often the mirror's log end was found below what had been acknowledged.
    """

    def __init__(self, name: str, producer_id: int, start_offset: int = 0) -> None:
        """Begins in PROBING.

        Args:
            name: `topic-partition` of the mirror, for messages.
            producer_id: Of the link.
            start_offset: Log end when this link began to write here: what is below may carry other producer ids.
        """
        self.name = name
        self.phase = Phase.PROBING
        self.log_start = -1
        self.log_end = -1
        self.next_offset = -1
        self.fetch_offset = -1
        self.source_high_watermark = -1
        self.failure: Refusal | None = None
        self.times_gone_back = 0
        self._producer_id = producer_id
        self._start_offset = start_offset
        self._epoch = 0
        self._next_sequence = 0
        self._window: deque[Flight] = deque()
        self._refusal: Refusal | None = None
        self._trimming = False
        self._trimmed_to = 0
        # Whether the broker remembers our producer id: if not, it takes any sequence, so nothing may follow a batch that is
        # not answered. Set by the first good answer or by a probe.
        self._remembered = False
        # Whether something of ours may still be pending in a broker; ended by a settled reading only.
        self._in_doubt = False

    def __repr__(self) -> str:
        return (
            f"<Partition {self.name} {self.phase.value} log {self.log_start}..{self.log_end} next {self.next_offset} fetch "
            f"{self.fetch_offset} in flight {len(self._window)}>"
        )

    @property
    def may_send(self) -> bool:
        """Whether one more batch may be sent."""
        return self.phase is Phase.COPYING and len(self._window) < (WINDOW if self._remembered else 1)

    @property
    def may_fetch(self) -> bool:
        """Whether what the source answers at `fetch_offset` could be used."""
        return self.phase is Phase.COPYING and self._refusal is None

    @property
    def may_probe(self) -> bool:
        """Whether the mirror's log end means something: nothing of ours is unanswered."""
        return self.phase is Phase.PROBING and not self._window

    @property
    def is_idle(self) -> bool:
        """Whether the mirror's log must not move."""
        return self.phase is Phase.COPYING and not self._window

    # Events from the source.

    def source_seen(self, log_start: int, high_watermark: int) -> Action:
        """The source answered a fetch at `fetch_offset` with these ends."""
        if self.phase is not Phase.COPYING:
            return None
        self.source_high_watermark = high_watermark
        if log_start > self.fetch_offset:
            return self._overtaken(log_start)
        if self.log_start > max(log_start, self._trimmed_to):
            return self._fail(
                MirrorError.MIRROR_TOPIC_CHANGED,
                f"{self.name}: the records at offsets {log_start} to {self.log_start - 1} were deleted from the mirror, but "
                "not from the source.",
            )
        if self.log_start < log_start <= self.log_end and not self._trimming:
            self._trimming = True
            return Trim(log_start)
        return None

    def trimmed(self, log_start: int | None) -> None:
        """The mirror's log starts here now; None if that did not work and may be tried again."""
        self._trimming = False
        if log_start is not None:
            self.log_start = max(self.log_start, log_start)
            # A new leader of the source may know an older log start for a while.
            self._trimmed_to = max(self._trimmed_to, log_start)

    def source_out_of_range(self, log_start: int, log_end: int) -> Action:
        """The source has nothing at `fetch_offset`: its log has these ends."""
        if self.phase is not Phase.COPYING:
            return None
        if self.fetch_offset > log_end:
            return self._fail(
                MirrorError.UNEXPECTED_TRUNCATION,
                f"{self.name}: the source's log ends at offset {log_end}, but the mirror has its records up to offset "
                f"{self.fetch_offset - 1}: the source lost records, or was created anew.",
            )
        if self.fetch_offset < log_start:
            return self._overtaken(log_start)
        return None

    def accept(self, batch: BatchHeader) -> bool:
        """A fetched batch: answers whether it must be sent.

        A batch that cannot be copied exactly stops fetching; `settle_refusal` fails the partition when all before it is
        on the mirror.
        """
        if not self.may_fetch or batch.last_offset < self.fetch_offset:
            return False  # a fetch answers whole batches, the first of which may lie before the offset
        self._refusal = refuse(batch, self.fetch_offset)
        if self._refusal is not None:
            return False
        self.fetch_offset = batch.last_offset + 1
        return True

    def settle_refusal(self) -> Action:
        """Fails the partition if a batch was refused and everything before it is acknowledged."""
        if self._refusal is None or self.phase is not Phase.COPYING or self.log_end != self.fetch_offset:
            return None
        return self._fail(self._refusal.error, f"{self.name}: {self._refusal.message}")

    # Events from the mirror.

    def take(self, batch: BatchHeader) -> tuple[int, int]:
        """The next accepted batch is sent now; answers its producer epoch and first sequence."""
        assert self.may_send, self  # noqa: S101 - the invariant itself
        assert batch.base_offset == self.next_offset, (self, batch)  # noqa: S101 - the invariant itself
        sequence = self._next_sequence
        self._next_sequence = (sequence + batch.records) & SEQUENCE_MASK
        self.next_offset = batch.last_offset + 1
        self._window.append(Flight(batch.base_offset, self.next_offset))
        return self._epoch, sequence

    def acknowledge(self, appended: Appended | None, base_offset: int, message: str) -> Action:
        """The oldest unanswered batch was answered.

        Args:
            appended: None if the broker reported no error.
            base_offset: Where the broker says that the batch is.
            message: The broker's error, for people.
        """
        flight = self._window.popleft()
        if self.phase is Phase.FAILED:
            return None
        if appended is None:
            return self._appended(flight, base_offset)
        if appended is Appended.NO_RETRY:
            return self._fail(
                MirrorError.RECORDS_REFUSED,
                f"{self.name}: the local cluster refused the source's batch at offsets {flight.base_offset} to "
                f"{flight.end_offset - 1}: {message}.",
            )
        return self._probe(settle=appended is Appended.IN_DOUBT, later=True)

    def lose(self) -> Action:
        """No unanswered batch will be answered any more: the connection broke, or an answer is overdue."""
        in_doubt = bool(self._window)
        self._window.clear()
        if self.phase is Phase.FAILED:
            return None
        return self._probe(settle=in_doubt, later=True)

    def log_end_seen(self, log_end: int) -> Action:
        """The mirror's log end was read while nothing was in flight, from before the reading until after."""
        if self.is_idle and log_end != self.log_end:
            return self._probe()
        return None

    def unsteady(self, first_end: int, last_end: int, producer: Producer | None, *, patience: bool) -> Action:
        """The log end moved during the probe: somebody is writing.

        If it is our own producer id, it is another process of this link by mistake, and trying again is right. If not, or if
        nothing is remembered of our producer id, it is a foreign writer as soon as patience ends.
        """
        if self.phase is not Phase.PROBING:
            return None
        ours = producer is not None and self._end_of(producer, last_end) >= first_end
        if ours or patience:
            return Probe(settle=self._in_doubt, later=True)
        return self._fail(
            MirrorError.FOREIGN_WRITE,
            f"{self.name}: somebody else writes to the mirror: its log end moved from {first_end} to {last_end} while "
            "this link wrote nothing.",
        )

    def probed(self, result: ProbeResult) -> Action:
        """The mirror's log was read: goes on copying at its end if everything up to there is ours."""
        if not self.may_probe:
            return None
        end = result.log_end
        if self._in_doubt and not result.settled:
            return Probe(settle=True)
        if result.high_watermark < end:
            # A leader change could still take the offsets above it away.
            return Probe(settle=self._in_doubt, later=True)
        if end < self._start_offset:
            return self._fail(
                MirrorError.MIRROR_TOPIC_CHANGED,
                f"{self.name}: the mirror ends at offset {end}, but it ended at {self._start_offset} when it was taken up.",
            )
        if result.producer is not None:
            ours = self._end_of(result.producer, end)
            if ours != end:
                return self._foreign(ours, end)
            self._epoch = result.producer.epoch
        elif end > self._start_offset:
            # The broker forgot our producer id (its newest record is a day old, or older): sequences protect nothing now.
            if not result.settled:
                return Probe(settle=True)
            if result.last_batch is None and end > result.log_start:
                return Probe(settle=True, later=True)  # whose it is cannot be told yet
            refusal = self._not_ours(result.last_batch)
            if refusal is not None:
                return refusal
        return self._copy_from(result)

    # Events from outside.

    def condemn(self, refusal: Refusal) -> Action:
        """The topic as a whole cannot go on."""
        return None if self.phase is Phase.FAILED else self._fail(refusal.error, refusal.message)

    # Transitions.

    def _copy_from(self, result: ProbeResult) -> Action:
        if result.log_end < self.log_end:
            self.times_gone_back += 1
        self.phase = Phase.COPYING
        self.log_start = result.log_start
        self.log_end = self.next_offset = self.fetch_offset = result.log_end
        self._next_sequence = result.log_end & SEQUENCE_MASK
        self._refusal = None
        self._trimming = False
        self._remembered = result.producer is not None and result.producer.last_sequence >= 0
        self._in_doubt = False
        return None

    def _appended(self, flight: Flight, base_offset: int) -> Action:
        if base_offset != flight.base_offset:
            return self._fail(
                MirrorError.FOREIGN_WRITE,
                f"{self.name}: somebody else wrote to the mirror: the source's records at offsets {flight.base_offset} to "
                f"{flight.end_offset - 1} came to offset {base_offset}. What is below offset "
                f"{min(flight.base_offset, base_offset)} is exact.",
            )
        self._remembered = True
        self.log_end = max(self.log_end, flight.end_offset)
        return self.settle_refusal()

    def _probe(self, *, settle: bool = False, later: bool = False) -> Action:
        self.phase = Phase.PROBING
        self._in_doubt |= settle
        return Probe(settle=self._in_doubt, later=later)

    def _fail(self, error: MirrorError, message: str) -> Fail:
        self.phase = Phase.FAILED
        self.failure = Refusal(error, message)
        return Fail(self.failure)

    def _overtaken(self, log_start: int) -> Action:
        if self.fetch_offset == 0:
            return self._fail(
                MirrorError.LOG_START_ABOVE_ZERO,
                f"{self.name}: the source's log starts at offset {log_start}; this version mirrors only logs that start at 0.",
            )
        return self._fail(
            MirrorError.SOURCE_RETENTION_OVERTOOK,
            f"{self.name}: the source deleted its records at offsets {self.fetch_offset} to {log_start - 1} before they were "
            "mirrored.",
        )

    def _foreign(self, ours: int, end: int) -> Action:
        return self._fail(
            MirrorError.FOREIGN_WRITE,
            f"{self.name}: somebody else wrote to the mirror: it ends at offset {end}, but this link wrote up to offset {ours} "
            f"only (offsets {ours} to {end - 1} are not the source's).",
        )

    def _end_of(self, producer: Producer, log_end: int) -> int:
        """Answers the largest log end up to `log_end` that the producer's last sequence can stand for."""
        if producer.last_sequence < 0:
            return self._start_offset
        return log_end - ((log_end - producer.last_sequence - 1) & SEQUENCE_MASK)

    def _not_ours(self, last: BatchHeader | None) -> Action:
        """Fails if the last batch is there and was not written by this link at its own offset."""
        if last is None or (
            last.producer_id == self._producer_id and last.base_sequence == last.base_offset & SEQUENCE_MASK
        ):
            return None
        return self._foreign(last.base_offset, last.last_offset + 1)
