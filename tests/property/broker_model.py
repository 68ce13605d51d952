"""A partition's log as a broker keeps it, and writers that copy a source to it with the real core.

The broker's rules are those of Kafka's `ProducerAppendInfo` and `ProducerStateEntry`: a batch with the sequences of one of the
last five is answered as a duplicate, else its first sequence must follow the last one; if nothing is remembered of the
producer id, any first sequence will do. What happens when is up to the test.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from clusterlink_engine.mirror.batches import BatchHeader
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
    Trim,
)

PRODUCER_ID = 7
MODULUS = 2**31
_PATIENCE = 8


class Entry(NamedTuple):
    """A batch in the log; `source` is its base offset at the source, -1 if somebody else wrote it."""

    base: int
    size: int
    source: int
    sequence: int


class Request(NamedTuple):
    """A batch on its way."""

    source: int
    size: int
    epoch: int
    sequence: int


@dataclass
class Broker:
    """The log and what is remembered of our producer id: the last batches in order, none if it is forgotten."""

    entries: list[Entry] = field(default_factory=list)
    remembered: deque[Entry] = field(default_factory=lambda: deque(maxlen=5))
    epoch: int = 0
    misplaced: int = 0
    watermark: int = 0
    foreign_from: int | None = None

    @property
    def end(self) -> int:
        return self.entries[-1].base + self.entries[-1].size if self.entries else 0

    @property
    def producer(self) -> Producer | None:
        if not self.remembered:
            return None
        last = self.remembered[-1]
        return Producer(self.epoch, (last.sequence + last.size - 1) % MODULUS)

    def produce(self, request: Request) -> tuple[Appended | None, int]:
        """Appends a batch, or answers why not; as in a Produce answer."""
        if request.epoch != self.epoch:
            return Appended.NO, -1  # INVALID_PRODUCER_EPOCH; no epoch but the first is used here
        for entry in self.remembered:
            if (entry.sequence, entry.size) == (request.sequence, request.size):
                return None, entry.base
        last = self.producer
        if last is not None and request.sequence != (last.last_sequence + 1) % MODULUS:
            return Appended.NO, -1  # OUT_OF_ORDER_SEQUENCE_NUMBER
        entry = Entry(self.end, request.size, request.source, request.sequence)
        self.entries.append(entry)
        self.remembered.append(entry)
        self.misplaced += entry.base != entry.source
        return None, entry.base

    def foreign(self, count: int) -> None:
        """Somebody else writes."""
        if self.foreign_from is None:
            self.foreign_from = self.end
        self.entries.append(Entry(self.end, count, -1, -1))

    def forget(self) -> None:
        """The producer's newest record is a day old."""
        self.remembered.clear()

    def truncate(self) -> None:
        """An unclean election takes the last batch; the producer's state is rebuilt from the log."""
        self.entries.pop()
        self.remembered = deque((entry for entry in self.entries if entry.source >= 0), maxlen=5)
        self.watermark = min(self.watermark, self.end)

    def last_batch(self) -> BatchHeader | None:
        """The header of the last batch, as a fetch would bring it."""
        if not self.entries:
            return None
        last = self.entries[-1]
        ours = last.source >= 0
        return BatchHeader(
            last.base, last.base + last.size - 1, last.size, 0, 2, 100, PRODUCER_ID if ours else 99, 0, last.sequence
        )


class Writer:
    """One process with a core, its connection, and the cursor's part of the work."""

    def __init__(self, broker: Broker, source: list[BatchHeader]) -> None:
        self.broker = broker
        self.source = source
        self.partition = Partition("model-0", PRODUCER_ID)
        self.wanted: Probe | None = Probe()
        self.settled = False
        self.first_end: int | None = None
        self.producer: Producer | None = None
        self.producer_read = False
        self.unsteady_readings = 0
        self.queue: deque[BatchHeader] = deque()
        self.requests: deque[Request] = deque()
        self.answers: deque[tuple[Appended | None, int]] = deque()
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
            assert not isinstance(action, Trim)

    def fetch(self) -> None:
        """The source answers up to six batches at the fetch offset."""
        offset = self.partition.fetch_offset
        if not self.partition.may_fetch:
            return
        log_end = self.source[-1].last_offset + 1
        self.apply(self.partition.source_seen(0, log_end))
        for batch in [batch for batch in self.source if batch.last_offset >= offset][:6]:
            if self.partition.accept(batch):
                self.queue.append(batch)
        self.apply(self.partition.settle_refusal())

    def send(self) -> None:
        if self.queue and self.partition.may_send:
            batch = self.queue.popleft()
            epoch, sequence = self.partition.take(batch)
            self.requests.append(Request(batch.base_offset, batch.records, epoch, sequence))
            assert self.in_flight <= WINDOW

    def arrive(self) -> None:
        """The broker works on the oldest request."""
        if self.requests:
            self.answers.append(self.broker.produce(self.requests.popleft()))

    def refuse(self) -> None:
        """The broker does not append the oldest request for a passing reason."""
        if self.requests:
            self.requests.popleft()
            self.answers.append((Appended.NO, -1))

    def doubt(self) -> None:
        """The broker appends the oldest request, but not on enough replicas."""
        if self.requests:
            refusal, base = self.broker.produce(self.requests.popleft())
            self.answers.append((refusal or Appended.IN_DOUBT, base))

    def answer(self) -> None:
        """The oldest answer arrives."""
        if self.answers:
            appended, base = self.answers.popleft()
            self.apply(self.partition.acknowledge(appended, base, "a refusal"))

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
        self.__init__(self.broker, self.source)  # type: ignore[misc]

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
        last = self.broker.last_batch() if producer is None and self.settled else None
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
