"""One mirrored partition as a state machine: events in, actions out.

The promise: a batch is only ever appended at the offset that it has at the source, and an offset at which nobody may see
anything is only ever filled once. Stock Kafka has no "write at offset", but the sequence numbers of an idempotent producer are
a compare-and-append (KIP-98): the broker appends a batch only if its first sequence follows the last one that the partition
remembers of the producer id in its epoch. Gaps are filled by transaction markers, which have no sequence: for them the log end
is compared, by the one owner that a partition has.

Epoch 0 stands for "no gap was filled yet": there the sequence of a record is its offset modulo 2^31. The first marker raises
the epoch, and from then on sequences count the records since the epoch began.

The caller's duties, in this order:

1. Carry out the action that a method answers before it calls the next one.
2. Write the pieces that `plan` and `Seed` gave, in their order: batches while `may_send`, with what `take` answers, gaps when
   `may_fill`, with what `begin_fill` answers.
3. Call `acknowledge` for each batch in the order of sending and `filled` for each fill, or `lose` once if answers will never
   come.
4. Begin to probe only when nothing is unanswered (`may_probe`), and read in the order that `Probe` describes.
5. Store `source_epochs` when `epochs_unstored`, then call `epochs_stored`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from clusterlink_engine.mirror.batches import CONTROL_BIT, BatchHeader, Refusal
from clusterlink_engine.mirror.pieces import Filler, Gap, Piece, Reading, Recode, read
from clusterlink_engine.model.states import MirrorError

# A broker remembers the last five batches of a producer (ProducerStateEntry): more in flight could not be deduplicated.
WINDOW = 5

SEQUENCE_MASK = 2**31 - 1

# Leader epochs of the source that are remembered of a partition: who makes up new ones must not fill the state.
MOST_EPOCHS = 1000

# Of a producer, in the protocol a signed 16-bit number.
LAST_EPOCH = 2**15 - 1


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
    """A batch that was sent and not answered: offsets from `base_offset` up to and without `end_offset`.

    `next_sequence` follows its last one, in the epoch that it was sent with.
    """

    base_offset: int
    end_offset: int
    epoch: int
    next_sequence: int


class Fill(NamedTuple):
    """A gap that is being filled: offsets from `first` up to and without `end`, by markers of this epoch."""

    first: int
    end: int
    epoch: int


class Producer(NamedTuple):
    """What the partition remembers of our producer id; `last_sequence` is -1 if nothing in this epoch."""

    epoch: int
    last_sequence: int

    @property
    def next_sequence(self) -> int:
        """The sequence that the broker expects next in this epoch."""
        return (self.last_sequence + 1) & SEQUENCE_MASK


class Certainty(NamedTuple):
    """A log end that was read or acknowledged, and what the partition remembered there."""

    offset: int
    epoch: int
    next_sequence: int


class ProbeResult(NamedTuple):
    """What was read of the mirror's log while nothing of ours was unanswered.

    Attributes:
        log_end: Read twice, before and after the rest, with the same result.
        high_watermark: Read after `log_end`.
        log_start: First offset of the log.
        producer: What is remembered of our producer id; None if it is forgotten or was never seen.
        last_batch: The batch that holds the last offset; only needed if `needs_last_batch`.
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


@dataclass(frozen=True, slots=True)
class Seed:
    """Fill what the source has deleted already, as the next piece; a `Trim` removes it when it is written.

    Attributes:
        piece: The offsets.
        lost: How many of them had records once that are not on the mirror.
    """

    piece: Filler
    lost: int


Action = Probe | Fail | Trim | Seed | None


class Partition:
    """The state of one mirrored partition.

    Attributes:
        phase: See Phase.
        log_start: First offset of the mirror's log; -1 before the first probe.
        log_end: End of the mirror's log as far as it is acknowledged or was read; -1 before the first probe.
        began_at: The log end as it was first read; -1 before.
        next_offset: Where the next piece goes. log_end <= next_offset.
        fetch_offset: What to ask the source for. next_offset <= fetch_offset, but for one offset that is only compared.
        source_high_watermark: As last heard from the source; -1 before.
        source_last_stable: Likewise: the offset of the oldest record of an open transaction, or the high watermark.
        source_epochs: Leader epoch of the source and the first offset fetched of it, in order; kept over restarts.
        epochs_unstored: Whether nothing may be written before `source_epochs` is stored.
        failure: Not None exactly in FAILED.
        times_gone_back: How often the mirror's log end was found below what had been acknowledged.
        bulk_until: Gaps below this offset are filled with records, which the mirror's cleaner removes, instead of markers.
            Written by the cursor.
        hold_at: Nothing that ends above this offset is written; None for no such limit. Written by the cursor.
        is_sealing: Whether nothing more is fetched, and one offset is filled as the last thing; for good.
        last_filler: The offset of the last filler record that was planned below `bulk_until`; -1 if there was none.
    """

    def __init__(
        self,
        name: str,
        producer_id: int,
        start_offset: int = 0,
        *,
        first_offset: int = 0,
        settled: bool = True,
        source_epochs: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Begins in PROBING.

        Args:
            name: `topic-partition` of the mirror, for messages.
            producer_id: Of the link.
            start_offset: Log end when this link began to write here: what is below may carry other producer ids.
            first_offset: Where the mirror begins, if the source's log begins before it.
            settled: Whether nothing of an earlier owner can be pending in a broker.
            source_epochs: As an earlier owner stored them.
        """
        self.name = name
        self.phase = Phase.PROBING
        self.log_start = -1
        self.log_end = -1
        self.began_at = -1
        self.next_offset = -1
        self.fetch_offset = -1
        self.source_high_watermark = -1
        self.source_last_stable = -1
        self.source_epochs = list(source_epochs)
        self.epochs_unstored = False
        self.failure: Refusal | None = None
        self.times_gone_back = 0
        self.bulk_until = 0
        self.hold_at: int | None = None
        self.last_filler = -1
        self.is_sealing = False
        # Producer ids other than the link's that fill gaps, or have filled some; and whether they do now.
        self._fillers: frozenset[int] = frozenset()
        self._by_transactions = False
        self._producer_id = producer_id
        self._start_offset = start_offset
        self._first_offset = first_offset
        self._epoch = 0
        self._next_sequence = 0
        # For markers. Above every epoch that an earlier owner can have used, so that its late ones are refused.
        self._fill_epoch = 0
        self._certain: Certainty | None = None
        self._window: deque[Flight] = deque()
        self._fill: Fill | None = None
        # Whether the last offset of the mirror was filled by an earlier owner, and the source has not confirmed yet that it is
        # a gap: a marker that came late, or twice, would have taken the place of a record.
        self._tail_unproven = False
        # A fill that may have happened in part.
        self._doubtful_fill: Fill | None = None
        self._refusal: Refusal | None = None
        self._trimming = False
        self._trimmed_to = 0
        # Where the source's log starts, or the mirror is to; -1 before it was heard.
        self._source_start = -1
        # Below it are fillers that were never at the source, or will be.
        self._seed_end = first_offset
        # Whether the broker remembers our producer id: if not, it takes any sequence, so nothing may follow a batch that is
        # not answered. Set by the first good answer or by a probe.
        self._remembered = False
        # Whether something of ours, or of an earlier owner, may still be pending in a broker; ended by a settled reading only.
        self._in_doubt = not settled

    def __repr__(self) -> str:
        fill = f" filling {self._fill.first}..{self._fill.end}" if self._fill is not None else ""
        return (
            f"<Partition {self.name} {self.phase.value} log {self.log_start}..{self.log_end} next {self.next_offset} fetch "
            f"{self.fetch_offset} in flight {len(self._window)}{fill}{', held' if self.is_held else ''}>"
        )

    def fill_by(self, producer_ids: Iterable[int], *, transactions: bool) -> None:
        """Tells how gaps are filled from now on.

        Args:
            producer_ids: Of the transactions that fill gaps, or may have filled some for an earlier owner.
            transactions: Whether they fill gaps now; else markers of our own do.
        """
        self._fillers = frozenset(producer_ids)
        self._by_transactions = transactions

    @property
    def first_probe(self) -> Probe:
        """What to begin with."""
        return Probe(settle=self._in_doubt)

    def may_send(self, end: int) -> bool:
        """Tells whether the next batch, which ends before the offset `end`, may be sent."""
        return self._may_write(end) and len(self._window) < (WINDOW if self._remembered else 1)

    def may_fill(self, end: int) -> bool:
        """Tells whether the next gap, which ends before the offset `end`, may be filled: all before it is acknowledged."""
        return self._may_write(end) and not self._window

    def _may_write(self, end: int) -> bool:
        may = self.phase is Phase.COPYING and not self.epochs_unstored and self._fill is None
        return may and (self.hold_at is None or end <= self.hold_at)

    @property
    def may_fetch(self) -> bool:
        """Whether what the source answers at `fetch_offset` could be used."""
        return self.phase is Phase.COPYING and self._refusal is None and not self.is_sealing

    @property
    def may_probe(self) -> bool:
        """Whether the mirror's log end means something: nothing of ours is unanswered."""
        return self.phase is Phase.PROBING and not self._window and self._fill is None

    @property
    def in_doubt(self) -> bool:
        """Whether something of ours, or of an earlier owner, may still be pending in a broker."""
        return self._in_doubt

    @property
    def is_idle(self) -> bool:
        """Whether the mirror's log must not move."""
        return self.phase is Phase.COPYING and not self._window and self._fill is None

    @property
    def is_held(self) -> bool:
        """Whether an open transaction at the source is all that the mirror waits for."""
        return self.log_end >= self.source_last_stable >= 0 and self.source_last_stable < self.source_high_watermark

    @property
    def is_seeding(self) -> bool:
        """Whether the mirror has, or gets, fillers at its head that are not deleted yet."""
        return 0 <= self.log_start < self._seed_end

    @property
    def last_fetched_epoch(self) -> int:
        """The source's leader epoch of what was fetched last before `fetch_offset`; -1 if it is not known (KIP-595)."""
        return next((epoch for epoch, start in reversed(self.source_epochs) if start < self.fetch_offset), -1)

    # Events from the source.

    def source_seen(self, log_start: int, high_watermark: int, last_stable: int) -> Action:
        """The source answered a fetch at `fetch_offset` with these ends."""
        if self.phase is not Phase.COPYING:
            return None
        self.source_high_watermark = high_watermark
        self.source_last_stable = last_stable
        self._source_start = max(log_start, self._first_offset)
        self._skip_proof_below(log_start)
        if log_start > self.fetch_offset:
            return self._overtaken(log_start)
        log_start = self._source_start
        if self.log_start > max(log_start, self._trimmed_to):
            return self._fail(
                MirrorError.MIRROR_TOPIC_CHANGED,
                f"{self.name}: the records at offsets {log_start} to {self.log_start - 1} were deleted from the mirror, but "
                "not from the source.",
            )
        return self._trim_if_due()

    def _trim_if_due(self) -> Action:
        """Deletes what the source has deleted, as soon as the mirror's log goes so far; a source may say it only once."""
        due = self.log_start < self._source_start <= self.log_end and self.phase is Phase.COPYING
        if not due or self._trimming or self.is_sealing:
            return None
        self._trimming = True
        return Trim(self._source_start)

    def trimmed(self, log_start: int | None) -> Action:
        """The mirror's log starts here now; None if that did not work and may be tried again."""
        self._trimming = False
        if log_start is not None:
            self.log_start = max(self.log_start, log_start)
            # A new leader of the source may know an older log start for a while.
            self._trimmed_to = max(self._trimmed_to, log_start)
        return self._trim_if_due()

    def source_out_of_range(self, log_start: int, log_end: int) -> Action:
        """The source has nothing at `fetch_offset`: its log has these ends."""
        if self.phase is not Phase.COPYING:
            return None
        self._skip_proof_below(log_start)
        if self.fetch_offset > log_end:
            return self._fail(
                MirrorError.UNEXPECTED_TRUNCATION,
                f"{self.name}: the source's log ends at offset {log_end}, but the mirror has its records up to offset "
                f"{self.fetch_offset - 1}: the source lost records, or was created anew.",
            )
        if self.fetch_offset < log_start:
            return self._overtaken(log_start)
        return None

    def source_diverged(self, epoch: int, end_offset: int) -> Action:
        """The source's log is another one than what was fetched, from `end_offset` on (KIP-595).

        Args:
            epoch: The largest leader epoch in the source's log that is not above the one fetched last.
            end_offset: Where that epoch ends.
        """
        if self.phase is not Phase.COPYING:
            return None
        return self._fail(
            MirrorError.UNEXPECTED_TRUNCATION,
            f"{self.name}: the source lost records that are on the mirror: what was fetched up to offset "
            f"{self.fetch_offset - 1} was written in the leader epoch {self.last_fetched_epoch}, but the source's log has only "
            f"epoch {epoch} there, up to offset {end_offset - 1} (an unclean leader election, or lost disks).",
        )

    def plan(self, batches: Iterable[BatchHeader], aborted: Sequence[tuple[int, int]]) -> list[Piece]:
        """Takes fetched batches; answers what must be written, in this order.

        What cannot be mirrored stops fetching; `settle_refusal` fails the partition when all before it is on the mirror.
        """
        if not self.may_fetch:
            return []
        batches = list(batches)
        reading = self._up_to_hold(read(batches, aborted, self.fetch_offset))
        pieces = reading.pieces
        if self._tail_unproven and pieces:
            self._tail_unproven = False
            rest = _behind_gap(pieces[0], self.log_end)
            if rest is None:
                self.fetch_offset = self.log_end
                self._refusal = _shifted(self.log_end)
                return []
            pieces[:1] = rest
        self._refusal = reading.refusal
        self._note_epochs(batches, reading.end)
        self.fetch_offset = reading.end
        return [part for piece in pieces for part in (self.divide(piece) if isinstance(piece, Gap) else [piece])]

    def _up_to_hold(self, reading: Reading) -> Reading:
        """Leaves out what follows the first piece that must wait: it is fetched when that one may be written."""
        if self.hold_at is None:
            return reading
        for number, piece in enumerate(reading.pieces[:-1]):
            if piece.end > self.hold_at:
                return Reading(reading.pieces[: number + 1], piece.end, None)
        return reading

    def look_again(self) -> Action:
        """What `plan` answered cannot be used: it is fetched again."""
        return None if self.phase is Phase.FAILED else self._probe(later=True)

    def divide(self, gap: Gap) -> list[Gap | Filler]:
        """Answers how a gap is filled: with records as far as that is allowed, then with markers."""
        end = min(gap.end, self.bulk_until)
        if end <= gap.first:
            return [gap]
        self.last_filler = end - 1
        filler = Filler(gap.first, end, gap.timestamp)
        return [filler] if end == gap.end else [filler, Gap(end, gap.end, gap.timestamp)]

    def settle_refusal(self) -> Action:
        """Fails the partition if a batch was refused and everything before it is acknowledged."""
        if self._refusal is None or self.phase is not Phase.COPYING or self.log_end != self.fetch_offset:
            return None
        return self._fail(self._refusal.error, f"{self.name}: {self._refusal.message}")

    def epochs_stored(self, epochs: Sequence[tuple[int, int]]) -> None:
        """These source epochs are stored."""
        if list(epochs) == self.source_epochs:
            self.epochs_unstored = False

    # Events from the mirror.

    def take(self, batch: BatchHeader) -> tuple[int, int]:
        """The next batch is sent now; answers its producer epoch and first sequence."""
        assert self.may_send(batch.last_offset + 1), self  # noqa: S101 - the invariant itself
        assert batch.base_offset == self.next_offset, (self, batch)  # noqa: S101 - the invariant itself
        sequence = self._next_sequence
        self._next_sequence = (sequence + batch.records) & SEQUENCE_MASK
        self.next_offset = batch.last_offset + 1
        self._window.append(Flight(batch.base_offset, self.next_offset, self._epoch, self._next_sequence))
        return self._epoch, sequence

    def begin_fill(self, gap: Gap) -> int:
        """The next gap is filled now; answers the markers' epoch."""
        assert self.may_fill(gap.end), self  # noqa: S101 - the invariant itself
        assert gap.first == self.next_offset, (self, gap)  # noqa: S101 - the invariant itself
        self._fill = Fill(gap.first, gap.end, self._fill_epoch)
        self.next_offset = gap.end
        return self._fill_epoch

    def seal(self) -> None:
        """Nothing more is mirrored; what was planned and not sent is dropped by the caller."""
        self.is_sealing = True
        self._refusal = None
        self.fetch_offset = max(self.next_offset, self.log_end)

    def begin_seal(self) -> Gap:
        """Answers the last gap, to be written like others; only while `is_idle`.

        It takes an offset that the source does not have, or has for something else: from then on the logs differ. Its marker is
        in a new epoch, so that whatever an earlier owner may have sent is refused.
        """
        self._fill_epoch = min(max(self._epoch, self._fill_epoch) + 1, LAST_EPOCH)
        self.fetch_offset = self.next_offset + 1
        return Gap(self.next_offset, self.next_offset + 1)

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
                f"{self.name}: the mirror's cluster refused the source's batch at offsets {flight.base_offset} to "
                f"{flight.end_offset - 1}: {message}.",
            )
        return self._probe(settle=appended is Appended.IN_DOUBT, later=True)

    def filled(self, log_end: int) -> Action:
        """The fill was answered without an error, and the mirror's log end was read after: only that proves anything."""
        fill, self._fill = self._fill, None
        assert fill is not None, self  # noqa: S101 - the invariant itself
        if self.phase is Phase.FAILED:
            return None
        if log_end != fill.end:
            self._doubtful_fill = fill
            return self._probe(settle=True, later=True)
        self.log_end = log_end
        self._follow_gap(fill.epoch)
        self._certain = Certainty(log_end, self._epoch, self._next_sequence)
        return self.settle_refusal() or self._trim_if_due()

    def lose(self) -> Action:
        """What is unanswered will not be answered any more: the connection broke, or an answer is overdue."""
        in_doubt = bool(self._window) or self._fill is not None
        self._window.clear()
        self._doubtful_fill, self._fill = self._fill or self._doubtful_fill, None
        if self.phase is Phase.FAILED:
            return None
        return self._probe(settle=in_doubt, later=True)

    def log_end_seen(self, log_end: int) -> Action:
        """The mirror's log end was read while nothing was in flight, from before the reading until after."""
        if log_end != self.log_end and self.is_idle:
            return self._probe()
        return None

    def unsteady(self, first_end: int, last_end: int, producer: Producer | None, *, patience: bool) -> Action:
        """The log end moved during the probe: somebody is writing.

        If it is our own producer id, it is another process of this link by mistake, and trying again is right. If not, or if
        that cannot be told, it is a foreign writer as soon as patience ends.
        """
        if self.phase is not Phase.PROBING:
            return None
        explained = self._explained(producer, last_end) if producer is not None else None
        if patience or (explained is not None and explained >= first_end):
            return Probe(settle=self._in_doubt, later=True)
        return self._fail(
            MirrorError.FOREIGN_WRITE,
            f"{self.name}: somebody else writes to the mirror: its log end moved from {first_end} to {last_end} while "
            "this link wrote nothing.",
        )

    def needs_last_batch(self, producer: Producer | None, log_end: int) -> bool:
        """Tells whether a probe needs the last batch: what is remembered does not say whose it is."""
        return log_end > self._start_offset and self._may_be_ours(self._explained(producer, log_end), log_end)

    def probed(self, result: ProbeResult) -> Action:
        """The mirror's log was read: goes on copying at its end if everything up to there is ours."""
        if not self.may_probe:
            return None
        end, producer = result.log_end, result.producer
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
        if producer is None and end > self._start_offset and not result.settled:
            # The broker forgot our producer id (its newest record is a day old, or older): sequences protect nothing now.
            return Probe(settle=True)
        if self._doubtful_fill is not None and end < self._doubtful_fill.first:
            return self._fail(
                MirrorError.MIRROR_TOPIC_CHANGED,
                f"{self.name}: the mirror lost its records from offset {end} on while offsets from {self._doubtful_fill.first} "
                "on were being filled: some of the lost ones may be filled instead.",
            )
        explained = self._explained(producer, end)
        if explained == end or end == self._start_offset:
            position = self._position(producer, end)
        elif explained is not None and not self._may_be_ours(explained, end):
            return self._foreign(explained, end)
        elif result.last_batch is None and end > result.log_start:
            return Probe(settle=self._in_doubt or producer is None, later=True)  # whose it is cannot be told yet
        elif self._is_ours(result.last_batch):
            position = self._position_after(result.last_batch, producer, end)
        else:
            ours = result.last_batch.base_offset if result.last_batch is not None else result.log_start
            return self._foreign(ours if explained is None else explained, end)
        return self._copy_from(result, position)

    # Events from outside.

    def condemn(self, refusal: Refusal) -> Action:
        """The topic as a whole cannot go on."""
        return None if self.phase is Phase.FAILED else self._fail(refusal.error, refusal.message)

    # Transitions.

    def _copy_from(self, result: ProbeResult, position: Certainty) -> Action:
        if result.log_end < self.log_end:
            self.times_gone_back += 1
        last = result.last_batch
        self._tail_unproven = self._certain is None and last is not None and bool(last.attributes & CONTROL_BIT)
        in_doubt = self._certain is None or self._in_doubt or self._doubtful_fill is not None
        used = self._doubtful_fill.epoch if self._doubtful_fill is not None else self._fill_epoch
        if in_doubt or position.epoch > self._fill_epoch:
            self._fill_epoch = min(max(position.epoch, used) + 1, LAST_EPOCH)
        self.phase = Phase.COPYING
        self.log_start = result.log_start
        if self.began_at < 0:
            self.began_at = result.log_end
        self.log_end = self.next_offset = self.fetch_offset = result.log_end
        self._certain = position
        self._epoch, self._next_sequence = position.epoch, position.next_sequence
        self._refusal = None
        self._trimming = False
        self._doubtful_fill = None
        remembered = result.producer
        self._remembered = remembered is not None and (remembered.last_sequence >= 0 or remembered.epoch > 0)
        self._in_doubt = False
        if self.log_end < self._first_offset:
            self._tail_unproven = False
            return self._seed(self._first_offset, lost=0)
        if self._tail_unproven and not self.is_sealing:  # a source that may be gone cannot confirm it
            self.fetch_offset -= 1
        return None

    def _skip_proof_below(self, log_start: int) -> None:
        """The source does not have any more what would be compared with the mirror's last offset."""
        if self._tail_unproven and log_start > self.fetch_offset:
            self._tail_unproven = False
            self.fetch_offset = self.log_end

    def _position(self, producer: Producer | None, end: int) -> Certainty:
        """Answers how to continue at a log end that is explained by what the partition remembers."""
        if producer is None or producer.epoch == 0:
            doubtful = self._doubtful_fill
            if producer is not None and doubtful is not None and end > doubtful.first:
                return Certainty(end, 1, 0)  # filled by a transaction: the first gap
            return Certainty(end, 0, end & SEQUENCE_MASK)
        return Certainty(end, producer.epoch, producer.next_sequence)

    def _position_after(self, last: BatchHeader | None, producer: Producer | None, end: int) -> Certainty:
        """Answers how to continue after a last batch that is ours."""
        if producer is not None:
            after_first_gap = producer.epoch == 0  # a gap that another producer id filled
            return Certainty(end, 1, 0) if after_first_gap else Certainty(end, producer.epoch, producer.next_sequence)
        if last is None or (last.producer_id == self._producer_id and last.producer_epoch == 0):
            return Certainty(end, 0, end & SEQUENCE_MASK)
        if last.producer_id != self._producer_id:
            return Certainty(end, 1, 0)
        return Certainty(end, min(last.producer_epoch + 1, LAST_EPOCH), 0)

    def _follow_gap(self, epoch: int) -> None:
        """Sequences after a gap that was filled: a marker in a higher epoch makes them begin anew."""
        if self._by_transactions:
            epoch = max(self._epoch, 1)
        if epoch != self._epoch:
            self._epoch, self._next_sequence = epoch, 0
        if not self._by_transactions:
            self._remembered = True

    def _appended(self, flight: Flight, base_offset: int) -> Action:
        if base_offset != flight.base_offset:
            return self._fail(
                MirrorError.FOREIGN_WRITE,
                f"{self.name}: somebody else wrote to the mirror: the source's records at offsets {flight.base_offset} to "
                f"{flight.end_offset - 1} came to offset {base_offset}. What is below offset "
                f"{min(flight.base_offset, base_offset)} is exact.",
            )
        self._remembered = True
        if flight.end_offset > self.log_end:
            self.log_end = flight.end_offset
            self._certain = Certainty(flight.end_offset, flight.epoch, flight.next_sequence)
        return self.settle_refusal() or self._trim_if_due()

    def _probe(self, *, settle: bool = False, later: bool = False) -> Action:
        self.phase = Phase.PROBING
        self._in_doubt |= settle
        return Probe(settle=self._in_doubt, later=later)

    def _fail(self, error: MirrorError, message: str) -> Fail:
        self.phase = Phase.FAILED
        self.failure = Refusal(error, message)
        return Fail(self.failure)

    def _overtaken(self, log_start: int) -> Action:
        """The source deleted what was not mirrored yet: the offsets are filled, and deleted like the source's."""
        return self._seed(log_start, lost=log_start - self.fetch_offset if self.fetch_offset > 0 else 0)

    def _seed(self, end: int, *, lost: int) -> Seed:
        piece = Filler(self.fetch_offset, end)
        self.fetch_offset = self._seed_end = end
        return Seed(piece, lost)

    def _note_epochs(self, batches: Iterable[BatchHeader], end: int) -> None:
        """Remembers where the source's leader epochs begin, as far as it was fetched."""
        for batch in batches:
            known = self.source_epochs[-1][0] if self.source_epochs else -1
            if batch.leader_epoch > known and batch.base_offset < end:
                while len(self.source_epochs) > 1 and (
                    self.source_epochs[1][1] <= self.log_start or len(self.source_epochs) >= MOST_EPOCHS
                ):
                    del self.source_epochs[0]  # nothing is left of it, or it is the oldest of too many
                self.source_epochs.append((batch.leader_epoch, max(batch.base_offset, self.next_offset)))
                self.epochs_unstored = True

    def _foreign(self, ours: int, end: int) -> Action:
        return self._fail(
            MirrorError.FOREIGN_WRITE,
            f"{self.name}: somebody else wrote to the mirror: it ends at offset {end}, but this link wrote up to offset {ours} "
            f"only (offsets {ours} to {end - 1} are not the source's).",
        )

    # What a log end means.

    def _explained(self, producer: Producer | None, log_end: int) -> int | None:
        """Answers the largest log end, not above `log_end`, that our own writing can have led to; None if that is not known."""
        if producer is None:
            return None
        if producer.epoch == 0:
            return min(self._end_in_epoch_0(producer, log_end) + self._filled_in_doubt(), log_end)
        certain = self._certain
        if certain is None:
            return None
        if producer.epoch == certain.epoch:
            count = _difference(producer.next_sequence, certain.next_sequence)
            if count < 0:
                return None  # the log went back
            return min(certain.offset + count + self._filled_in_doubt(), log_end)
        doubtful = self._doubtful_fill
        if doubtful is not None and producer.epoch == doubtful.epoch and producer.last_sequence < 0:
            return min(doubtful.end, log_end)
        return None  # another owner's

    def _filled_in_doubt(self) -> int:
        """How many offsets a fill in doubt may have filled without a trace in what the partition remembers."""
        fill, certain = self._doubtful_fill, self._certain
        if fill is None or certain is None:
            return 0
        return fill.end - fill.first if self._by_transactions or fill.epoch == certain.epoch else 0

    def _end_in_epoch_0(self, producer: Producer, log_end: int) -> int:
        if producer.last_sequence < 0:
            return self._start_offset
        return log_end - ((log_end - producer.next_sequence) & SEQUENCE_MASK)

    def _may_be_ours(self, explained: int | None, log_end: int) -> bool:
        """Tells whether the last batch can show that a log end is ours, although what is remembered does not explain it.

        Nothing may be known of our producer id; or, for an earlier owner, a transaction filled a gap, which leaves no trace in
        what is remembered. What this owner did is known: more than that is somebody else's, or a marker that came twice.
        """
        return explained is None or (explained != log_end and self._certain is None and bool(self._fillers))

    def _is_ours(self, last: BatchHeader | None) -> bool:
        """Tells whether the last batch was written by this link, as far as it can say so itself."""
        if last is None:
            return True  # the log is empty: nothing is there that could be somebody else's
        is_control = bool(last.attributes & CONTROL_BIT)
        if last.producer_id != self._producer_id:
            return is_control and last.producer_id in self._fillers
        return is_control or last.producer_epoch > 0 or last.base_sequence == last.base_offset & SEQUENCE_MASK


def _behind_gap(piece: Piece, log_end: int) -> list[Piece] | None:
    """Answers what is left of a piece from a log end on, if the offset before it may be a gap; None if it is a record's."""
    if isinstance(piece, Gap):
        return [piece._replace(first=log_end)] if piece.end > log_end else []
    if isinstance(piece, Recode) and piece.batch.records <= piece.batch.last_offset - piece.batch.base_offset:
        # It has holes, and which offsets they are is known only when it is decoded.
        return [piece._replace(first=log_end)] if piece.end > log_end else []
    return None


def _shifted(log_end: int) -> Refusal:
    return Refusal(
        MirrorError.FOREIGN_WRITE,
        f"The mirror has a marker at offset {log_end - 1}, where the source has a record: it was written twice, or too late.",
    )


def _difference(sequence: int, earlier: int) -> int:
    """Answers how far a sequence is behind an earlier one; negative if it is before it. They wrap at 2^31."""
    distance = (sequence - earlier) & SEQUENCE_MASK
    return distance if distance < 2**30 else distance - 2**31
