"""Tells stories of one mirrored partition: events in, actions and state out, as text that a reviewer can read.

A story is a text file. A line that begins with `> ` is an event; the indented lines after it are what came of it. Everything
else is for the reader and kept as it is. The first event is `> partition`, with `producer_id`, `start_offset`, `first_offset`,
`bulk_until`, `fillers` (a producer id: gaps are filled by its transactions) and the word `unsettled` at will.

Events and their words, of which those with a default can be left out:

    probed end=N [watermark=end] [log_start=0] [producer=EPOCH/LAST_SEQUENCE] [settled]
        [last=A..B/PRODUCER_ID/SEQUENCE[/EPOCH]] [control]                        of the last batch
    fetched A..B [records=N] [control] [transactional] [append_time] [magic=2]     a batch of the source arrives,
        [producer=ID] [epoch=LEADER_EPOCH] [aborted=ID/FIRST]                     in an answer that names an aborted transaction
    send                                                                          the oldest piece that waits is sent, a batch
    fill                                                                          it is filled, a gap
    filled END                                                                    the fill was answered; the log ends there
    answered [base=where it belongs]                                              the oldest in flight is appended
    refused no|no_retry|in_doubt                                                  the oldest in flight is not
    lost                                                                          the connection broke
    log_end N                                                                     a look at an idle log
    unsteady N..N [producer=EPOCH/LAST_SEQUENCE] [patience]
    source log_start=N high_watermark=N [last_stable=high_watermark]
    diverged EPOCH END
    stored                                                                        the source's leader epochs are
    out_of_range log_start=N log_end=N
    trimmed N|failed
    condemn ERROR text
"""

from collections import deque
from collections.abc import Callable

from clusterlink_engine.mirror.batches import (
    CONTROL_BIT,
    TIMESTAMP_TYPE_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Refusal,
)
from clusterlink_engine.mirror.partition import (
    Action,
    Appended,
    Fail,
    Partition,
    Probe,
    ProbeResult,
    Producer,
    Seed,
    Trim,
)
from clusterlink_engine.mirror.pieces import Copy, Filler, Gap, Piece, Recode
from clusterlink_engine.model.states import MirrorError

_BITS = {"control": CONTROL_BIT, "transactional": TRANSACTIONAL_BIT, "append_time": TIMESTAMP_TYPE_BIT}
_APPENDED = {"no": Appended.NO, "no_retry": Appended.NO_RETRY, "in_doubt": Appended.IN_DOUBT}
_OURS = 7


class Words:
    """The words of an event: bare ones in their order, and those with a value."""

    def __init__(self, words: list[str]) -> None:
        self.bare = [word for word in words if "=" not in word]
        self.values = dict(word.split("=", 1) for word in words if "=" in word)

    def number(self, name: str, default: int | None = None) -> int:
        if default is None or name in self.values:
            return int(self.values[name])
        return default


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    return int(first), int(last)


def _producer(words: Words) -> Producer | None:
    text = words.values.get("producer")
    if text is None:
        return None
    epoch, _, sequence = text.partition("/")
    return Producer(int(epoch), int(sequence))


def _last_batch(words: Words) -> BatchHeader | None:
    text = words.values.get("last")
    if text is None:
        return None
    span, producer_id, sequence, *epoch = text.split("/")
    first, last = _span(span)
    attributes = CONTROL_BIT if "control" in words.bare else 0
    return BatchHeader(
        first, last, last - first + 1, attributes, 2, 100, int(producer_id), int(*epoch or "0"), int(sequence)
    )


def told(action: Action) -> str:
    """Puts an action into words."""
    if isinstance(action, Probe):
        return "probe" + (", settle first" if action.settle else "") + (", later" if action.later else "")
    if isinstance(action, Seed):
        lost = f", {action.lost} offsets are lost" if action.lost else ""
        return _piece_told(action.piece) + lost
    if isinstance(action, Trim):
        return f"trim to {action.offset}"
    if isinstance(action, Fail):
        return f"fail {action.refusal.error}: {action.refusal.message}"
    return "nothing to do"


def _piece_told(piece: Piece) -> str:
    match piece:
        case Copy(batch):
            return f"copy {batch.base_offset}..{batch.last_offset}"
        case Recode(batch, first):
            return f"encode {batch.base_offset}..{batch.last_offset} again, from {first}"
        case Gap(first, end):
            return f"gap {first}..{end - 1}"
        case Filler(first, end):
            return f"fillers for {first}..{end - 1}"


class Teller:
    """A partition, and the caller that its core needs: it keeps the batches that wait, and forgets them on a probe."""

    def __init__(self, words: Words) -> None:
        self.partition = Partition(
            "orders-0",
            words.number("producer_id", _OURS),
            words.number("start_offset", 0),
            first_offset=words.number("first_offset", 0),
            settled="unsettled" not in words.bare,
        )
        self.partition.bulk_until = words.number("bulk_until", 0)
        if "fillers" in words.values:
            self.partition.fill_by([words.number("fillers")], transactions=True)
        self._waiting: deque[Piece] = deque()
        self._sent: deque[BatchHeader] = deque()
        self._events: dict[str, Callable[[Words], str]] = {
            "probed": self._probed,
            "fetched": self._fetched,
            "send": self._send,
            "fill": self._fill,
            "filled": lambda words: self._apply(self.partition.filled(int(words.bare[0]))),
            "diverged": lambda words: self._apply(self.partition.source_diverged(*map(int, words.bare))),
            "stored": self._stored,
            "answered": self._answered,
            "refused": self._refused,
            "lost": self._lost,
            "log_end": lambda words: self._apply(self.partition.log_end_seen(int(words.bare[0]))),
            "unsteady": self._unsteady,
            "source": lambda words: self._apply(
                self.partition.source_seen(
                    words.number("log_start"),
                    words.number("high_watermark"),
                    words.number("last_stable", words.number("high_watermark")),
                )
            ),
            "out_of_range": lambda words: self._apply(
                self.partition.source_out_of_range(words.number("log_start"), words.number("log_end"))
            ),
            "trimmed": self._trimmed,
            "condemn": lambda words: self._apply(
                self.partition.condemn(Refusal(MirrorError(words.bare[0]), " ".join(words.bare[1:])))
            ),
        }

    def tell(self, event: str, words: Words) -> list[str]:
        """Lets an event happen; answers what came of it."""
        times = self.partition.times_gone_back
        outcome = [self._events[event](words), repr(self.partition)]
        return [*outcome, "the mirror went back"] if self.partition.times_gone_back > times else outcome

    def _apply(self, action: Action) -> str:
        if isinstance(action, Probe | Fail):
            self._waiting.clear()
        elif isinstance(action, Seed):
            self._waiting.append(action.piece)
        return told(action)

    def _probed(self, words: Words) -> str:
        end = words.number("end")
        result = ProbeResult(
            log_end=end,
            high_watermark=words.number("watermark", end),
            log_start=words.number("log_start", 0),
            producer=_producer(words),
            last_batch=_last_batch(words),
            settled="settled" in words.bare,
        )
        return self._apply(self.partition.probed(result))

    def _fetched(self, words: Words) -> str:
        first, last = _span(words.bare[0])
        attributes = sum(bit for name, bit in _BITS.items() if name in words.bare)
        records = words.number("records", last - first + 1)
        producer, epoch = words.number("producer", 4711), words.number("epoch", -1)
        batch = BatchHeader(first, last, records, attributes, words.number("magic", 2), 100, producer, 3, 99, epoch)
        aborted = [tuple(map(int, words.values["aborted"].split("/")))] if "aborted" in words.values else []
        pieces = self.partition.plan([batch], aborted)  # type: ignore[arg-type] # pairs
        self._waiting.extend(pieces)
        action = self.partition.settle_refusal()
        taken = "; ".join(map(_piece_told, pieces)) or "nothing of it"
        return taken + (f", {self._apply(action)}" if action else "")

    def _send(self, _: Words) -> str:
        piece = self._waiting[0] if self._waiting else None
        if not isinstance(piece, Copy) or not self.partition.may_send(piece.batch.last_offset + 1):
            return "nothing may be sent"
        del self._waiting[0]
        batch = piece.batch
        epoch, sequence = self.partition.take(batch)
        self._sent.append(batch)
        return f"sent {batch.base_offset}..{batch.last_offset} in epoch {epoch} with sequence {sequence}"

    def _fill(self, _: Words) -> str:
        piece = self._waiting[0] if self._waiting else None
        if not isinstance(piece, Gap) or not self.partition.may_fill(piece.end):
            return "nothing may be filled"
        del self._waiting[0]
        return f"filled {piece.first}..{piece.end - 1} in epoch {self.partition.begin_fill(piece)}"

    def _stored(self, _: Words) -> str:
        self.partition.epochs_stored(self.partition.source_epochs)
        return f"source epochs {self.partition.source_epochs}"

    def _answered(self, words: Words) -> str:
        batch = self._sent.popleft()
        return self._apply(self.partition.acknowledge(None, words.number("base", batch.base_offset), ""))

    def _refused(self, words: Words) -> str:
        self._sent.popleft()
        return self._apply(self.partition.acknowledge(_APPENDED[words.bare[0]], -1, "THE_CODE, what the broker says"))

    def _lost(self, _: Words) -> str:
        self._sent.clear()
        return self._apply(self.partition.lose())

    def _unsteady(self, words: Words) -> str:
        first, last = _span(words.bare[0])
        return self._apply(self.partition.unsteady(first, last, _producer(words), patience="patience" in words.bare))

    def _trimmed(self, words: Words) -> str:
        return self._apply(self.partition.trimmed(None if words.bare[0] == "failed" else int(words.bare[0])))


def play(text: str) -> str:
    """Tells a story anew: answers its text with the outcomes that the core gives now."""
    lines: list[str] = []
    teller: Teller | None = None
    after_event = False
    for line in text.splitlines():
        if line.startswith("> "):
            event, *rest = line[2:].split()
            if event == "partition":
                teller = Teller(Words(rest))
                outcome = [repr(teller.partition)]
            else:
                assert teller is not None, "the first event must be `> partition`"
                outcome = teller.tell(event, Words(rest))
            lines += [line, *(f"    {entry}" for entry in outcome)]
            after_event = True
        elif not (after_event and line.startswith("    ")):
            lines.append(line)
            after_event = False
    return "\n".join(lines) + "\n"
