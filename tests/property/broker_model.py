"""A partition's log as a broker keeps it, and writers that copy a source to it with the real core.

The broker's rules are those of Kafka's `ProducerAppendInfo` and `ProducerStateEntry`: a batch with the sequences of one of the
last five is answered as a duplicate, else its first sequence must follow the last one in its epoch; a lower epoch is refused, a
higher one begins with sequence 0; if nothing is remembered of the producer id, any first sequence will do. A marker takes one
offset, is never a duplicate, and is refused if its epoch or its generation is below what is remembered. What happens when is up
to the test.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from clusterlink_engine.mirror.batches import CONTROL_BIT, BatchHeader
from clusterlink_engine.mirror.partition import (
    WINDOW,
    Action,
    Appended,
    Fail,
    Partition,
    Phase,
    Probe,
    ProbeResult,
    Producer,
    Seed,
    Trim,
)
from clusterlink_engine.mirror.pieces import Copy, Gap, Piece, Recode

PRODUCER_ID = 7
MODULUS = 2**31
_PATIENCE = 8


MARKER = -2


class Entry(NamedTuple):
    """A batch in the log.

    `source` is its base offset at the source, -1 if somebody else wrote it. `sequence` is MARKER for a marker, which may stand
    at every offset that has no records.
    """

    base: int
    size: int
    source: int
    sequence: int
    epoch: int = 0


class Request(NamedTuple):
    """A batch on its way, or a marker."""

    source: int
    size: int
    epoch: int
    sequence: int
    generation: int = 0


class Answer(NamedTuple):
    """The answer to a batch; or, with `is_marker`, to the last marker of a gap."""

    appended: Appended | None
    base: int
    is_marker: bool = False


@dataclass
class Broker:
    """The log and what is remembered of our producer id: the last batches in order, none if it is forgotten."""

    entries: list[Entry] = field(default_factory=list)
    remembered: deque[Entry] = field(default_factory=lambda: deque(maxlen=5))
    epoch: int = -1
    generation: int = -1
    misplaced: int = 0
    watermark: int = 0
    visible: frozenset[int] = frozenset()  # offsets that have records at the source, if it has gaps
    foreign_from: int | None = None

    @property
    def end(self) -> int:
        return self.entries[-1].base + self.entries[-1].size if self.entries else 0

    @property
    def producer(self) -> Producer | None:
        if self.epoch < 0:
            return None
        if not self.remembered:
            return Producer(self.epoch, -1)
        last = self.remembered[-1]
        return Producer(self.epoch, (last.sequence + last.size - 1) % MODULUS)

    def produce(self, request: Request) -> tuple[Appended | None, int]:
        """Appends a batch, or answers why not; as in a Produce answer."""
        if request.sequence == MARKER:
            return self._mark(request)
        if request.epoch < self.epoch:
            return Appended.NO, -1  # INVALID_PRODUCER_EPOCH
        if request.epoch > self.epoch >= 0:
            if request.sequence:
                return Appended.NO, -1
            self.remembered.clear()
            return self._append(request)
        for entry in self.remembered:
            if (entry.sequence, entry.size) == (request.sequence, request.size):
                return None, entry.base
        last = self.producer
        if last is not None and request.sequence != last.next_sequence:
            return Appended.NO, -1  # OUT_OF_ORDER_SEQUENCE_NUMBER
        return self._append(request)

    def _append(self, request: Request) -> tuple[Appended | None, int]:
        entry = Entry(self.end, request.size, request.source, request.sequence, request.epoch)
        self.epoch = request.epoch
        self.entries.append(entry)
        self.remembered.append(entry)
        self.misplaced += entry.base != entry.source
        return None, entry.base

    def _mark(self, request: Request) -> tuple[Appended | None, int]:
        if request.epoch < self.epoch or request.generation < self.generation:
            return Appended.NO, -1  # INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED
        if request.epoch > self.epoch:
            self.remembered.clear()
        self.epoch, self.generation = request.epoch, request.generation
        self.entries.append(Entry(self.end, 1, request.source, MARKER, request.epoch))
        self.misplaced += self.entries[-1].base in self.visible
        return None, self.entries[-1].base

    def foreign(self, count: int) -> None:
        """Somebody else writes."""
        if self.foreign_from is None:
            self.foreign_from = self.end
        self.entries.append(Entry(self.end, count, -1, -1))

    def forget(self) -> None:
        """The producer's newest record is a day old."""
        self.remembered.clear()
        self.epoch = self.generation = -1

    def truncate(self) -> None:
        """An unclean election takes the last batch; the producer's state is rebuilt from the log."""
        self.entries.pop()
        ours = [entry for entry in self.entries if entry.source >= 0]
        self.epoch = ours[-1].epoch if ours else -1
        of_epoch = (entry for entry in ours if entry.epoch == self.epoch and entry.sequence != MARKER)
        self.remembered = deque(of_epoch, maxlen=5)
        self.watermark = min(self.watermark, self.end)

    def last_batch(self) -> BatchHeader | None:
        """The header of the last batch, as a fetch would bring it."""
        if not self.entries:
            return None
        last = self.entries[-1]
        ours = last.source >= 0
        is_marker = last.sequence == MARKER
        return BatchHeader(
            base_offset=last.base,
            last_offset=last.base + last.size - 1,
            records=last.size,
            attributes=CONTROL_BIT if is_marker else 0,
            magic=2,
            size=100,
            producer_id=PRODUCER_ID if ours else 99,
            producer_epoch=last.epoch,
            base_sequence=-1 if is_marker else last.sequence,
        )


class Writer:
    """One process with a core, its connection, and the cursor's part of the work."""

    def __init__(
        self,
        broker: Broker,
        source: list[BatchHeader],
        *,
        generation: int = 1,
        settled: bool = True,
        cuts: Iterator[int] | None = None,
    ) -> None:
        """Begins to copy `source`; `cuts` has for each fetch how many batches that follow each other are merged at most."""
        self.broker = broker
        self.source = source
        self.cuts = cuts or repeat(1)
        self.generation = generation
        self.partition = Partition("model-0", PRODUCER_ID, settled=settled)
        self.wanted: Probe | None = self.partition.first_probe
        self.settled = False
        self.first_end: int | None = None
        self.producer: Producer | None = None
        self.producer_read = False
        self.unsteady_readings = 0
        self.queue: deque[Piece] = deque()
        self.requests: deque[Request] = deque()
        self.answers: deque[Answer] = deque()
        self.stale: deque[Request] = deque()  # of a connection that broke, and still in the broker

    @property
    def in_flight(self) -> int:
        return len(self.requests) + len(self.answers)

    def apply(self, action: Action) -> None:
        if isinstance(action, Probe):
            self.queue.clear()
            self.wanted = action
            self.settled = False
            self._forget_reading()
        elif isinstance(action, Fail):
            self.queue.clear()
            self.wanted = None
        else:
            assert not isinstance(action, Trim | Seed)

    def fetch(self) -> None:
        """The source answers up to six batches at the fetch offset."""
        offset = self.partition.fetch_offset
        if not self.partition.may_fetch:
            return
        log_end = self.source[-1].last_offset + 1
        self.apply(self.partition.source_seen(0, log_end, log_end))
        batches = [batch for batch in self.source if batch.last_offset >= offset][:6]
        for piece in self.partition.plan(_merged(batches, next(self.cuts)), []):
            self.queue.extend(_recoded(piece) if isinstance(piece, Recode) else [piece])
        if self.partition.epochs_unstored:
            self.partition.epochs_stored(self.partition.source_epochs)
        self.apply(self.partition.settle_refusal())

    def send(self) -> None:
        piece = self.queue[0] if self.queue else None
        if isinstance(piece, Copy) and self.partition.may_send(piece.batch.last_offset + 1):
            del self.queue[0]
            epoch, sequence = self.partition.take(piece.batch)
            self.requests.append(Request(piece.batch.base_offset, piece.batch.records, epoch, sequence))
            assert self.in_flight <= WINDOW
        elif isinstance(piece, Gap) and self.partition.may_fill(piece.end):
            del self.queue[0]
            epoch = self.partition.begin_fill(piece)
            self.requests.extend(
                Request(offset, 1, epoch, MARKER, self.generation) for offset in range(piece.first, piece.end)
            )

    def arrive(self) -> None:
        """The broker works on the oldest request."""
        if self.requests:
            request = self.requests.popleft()
            answer = self.broker.produce(request)
            if request.sequence == MARKER:
                self._marked(*answer)
            else:
                self.answers.append(Answer(*answer))

    def _marked(self, appended: Appended | None, base: int) -> None:
        """The markers of a gap have one answer, which is that of the last one."""
        if not self.requests:
            self.answers.append(Answer(appended, base, is_marker=True))

    def refuse(self) -> None:
        """The broker does not append the oldest request for a passing reason."""
        if not self.requests:
            return
        if self.requests.popleft().sequence == MARKER:
            self._marked(Appended.NO, -1)
        else:
            self.answers.append(Answer(Appended.NO, -1))

    def doubt(self) -> None:
        """The broker appends the oldest request, but not on enough replicas."""
        if self.requests:
            request = self.requests.popleft()
            refusal, base = self.broker.produce(request)
            if request.sequence == MARKER:
                self._marked(refusal or Appended.IN_DOUBT, base)
            else:
                self.answers.append(Answer(refusal or Appended.IN_DOUBT, base))

    def answer(self) -> None:
        """The oldest answer arrives."""
        if not self.answers:
            return
        answer = self.answers.popleft()
        if not answer.is_marker:
            self.apply(self.partition.acknowledge(answer.appended, answer.base, "a refusal"))
        elif answer.appended is None:
            self.apply(self.partition.filled(self.broker.end))
        else:
            self.apply(self.partition.lose())

    def cut(self, reaching: int) -> None:
        """The connection breaks: answers are lost, and of the requests only the first ones reach the broker, later."""
        self.stale.extend(list(self.requests)[:reaching])
        self.requests.clear()
        self.answers.clear()
        self.apply(self.partition.lose())

    def apply_stale(self) -> None:
        if self.stale:
            self.broker.produce(self.stale.popleft())

    def restart(self) -> None:
        """Another process takes over, later than anything of the old one can arrive."""
        while self.stale:
            self.apply_stale()
        self.__init__(self.broker, self.source, generation=self.generation + 1, cuts=self.cuts)  # type: ignore[misc]

    def succeed(self) -> "Writer":
        """Another process takes over; what this one has sent is on its way, and may arrive up to the other's grace."""
        successor = Writer(self.broker, self.source, generation=self.generation + 1, settled=False, cuts=self.cuts)
        successor.stale = deque([*self.stale, *self.requests])
        self.requests.clear()
        self.answers.clear()
        return successor

    def probe(self) -> None:
        """One step of a reading: log end, then producer, then the rest."""
        if self.wanted is None or not self.partition.may_probe:
            return
        if self.wanted.settle and not self.settled:
            while self.stale:
                self.apply_stale()  # a grace is longer than any of ours can be pending
            self.settled = True
            self._forget_reading()
        elif self.first_end is None:
            self.first_end = self.broker.end
        elif not self.producer_read:
            self.producer, self.producer_read = self.broker.producer, True
        else:
            self._finish_reading(self.first_end, self.broker.end)

    def _finish_reading(self, first: int, end: int) -> None:
        producer = self.producer
        if first != end:
            self.unsteady_readings += 1
            patience = self.unsteady_readings < _PATIENCE
            self._forget_reading()
            self.apply(self.partition.unsteady(first, end, producer, patience=patience))
            return
        last = self.broker.last_batch() if self.partition.needs_last_batch(producer, end) else None
        self._forget_reading()
        action = self.partition.probed(ProbeResult(end, self.broker.watermark, 0, producer, last, self.settled))
        if self.partition.phase is Phase.COPYING:
            self.wanted, self.settled, self.unsteady_readings = None, False, 0
        self.apply(action)

    def _forget_reading(self) -> None:
        self.first_end = None
        self.producer_read = False

    def watch(self) -> None:
        """A look at an idle log."""
        if self.partition.is_idle:
            self.apply(self.partition.log_end_seen(self.broker.end))

    def work(self) -> None:
        """Everything once, without faults."""
        self.broker.watermark = self.broker.end
        for step in (self.apply_stale, self.probe, self.fetch, self.send, self.arrive, self.answer):
            step()

    @property
    def is_done(self) -> bool:
        copied = self.partition.log_end == self.source[-1].last_offset + 1
        return self.partition.phase is Phase.FAILED or (self.partition.is_idle and copied)


def _merged(batches: list[BatchHeader], most: int) -> list[BatchHeader]:
    """Merges whole batches without a jump between them, as the wire does with the bytes of tiny ones."""
    merged: list[BatchHeader] = []
    count = 0
    for batch in batches:
        last = merged[-1] if merged else None
        if last is not None and count < most and _may_join(last, batch):
            records = batch.last_offset - last.base_offset + 1
            merged[-1] = last._replace(last_offset=batch.last_offset, records=records)
            count += 1
        else:
            merged.append(batch)
            count = 1
    return merged


def _may_join(before: BatchHeader, after: BatchHeader) -> bool:
    are_whole = all(
        not batch.attributes and batch.records == batch.last_offset - batch.base_offset + 1 for batch in (before, after)
    )
    return are_whole and after.base_offset == before.last_offset + 1 and after.leader_epoch == before.leader_epoch


def _recoded(piece: Recode) -> list[Piece]:
    """Encodes a batch again of which every second record is left: runs of one record, and gaps between them."""
    pieces: list[Piece] = []
    position = piece.first
    for offset in kept(piece.batch):
        if offset < piece.first:
            continue
        if offset > position:
            pieces.append(Gap(position, offset))
        pieces.append(Copy(piece.batch._replace(base_offset=offset, last_offset=offset, records=1)))
        position = offset + 1
    if position < piece.end:
        pieces.append(Gap(position, piece.end))
    return pieces


def kept(batch: BatchHeader) -> list[int]:
    """The offsets of a batch that have records: all, or so many of them as it has."""
    if batch.attributes & CONTROL_BIT or not batch.records:
        return []
    span = batch.last_offset - batch.base_offset + 1
    return list(range(batch.base_offset, batch.last_offset + 1, 1 if span == batch.records else 2))
