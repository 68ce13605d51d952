"""What a fetch of the source means for the mirror: which batches are copied, which are encoded again, and what is a gap.

A `read_committed` consumer sees a part of what a fetch brings: control records, aborted data and what compaction removed are
offsets at which it sees nothing. Here every fetched offset becomes a part of one piece, so that the mirror's log can be
continued without a jump.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clusterlink_engine.mirror.batches import (
    CONTROL_BIT,
    TIMESTAMP_TYPE_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Refusal,
)
from clusterlink_engine.model.states import MirrorError


class Copy(NamedTuple):
    """A batch that goes to the mirror as it is.

    Attributes:
        batch: Of the source.
    """

    batch: BatchHeader

    @property
    def end(self) -> int:
        """The offset after the batch."""
        return self.batch.last_offset + 1


class Recode(NamedTuple):
    """A batch whose records must be encoded again.

    It has holes, or the broker's timestamps, or begins before what is wanted.

    Attributes:
        batch: Of the source.
        first: The first offset that is wanted of it.
    """

    batch: BatchHeader
    first: int

    @property
    def end(self) -> int:
        """The offset after the batch."""
        return self.batch.last_offset + 1


class Gap(NamedTuple):
    """Offsets from `first` up to and without `end` at which nobody may see anything.

    Attributes:
        first: The first one.
        end: The one after the last.
        timestamp: Of what follows at the source, in milliseconds; -1 if nothing is known.
    """

    first: int
    end: int
    timestamp: int = -1


class Filler(NamedTuple):
    """Offsets from `first` up to and without `end` that are filled with records which are removed before anybody may look.

    Attributes:
        first: The first one.
        end: The one after the last.
        timestamp: For the records, in milliseconds; -1 for the oldest there is.
    """

    first: int
    end: int
    timestamp: int = -1


Piece = Copy | Recode | Gap | Filler


class Reading(NamedTuple):
    """The meaning of a fetch.

    Attributes:
        pieces: They follow each other without a jump, from the offset that was wanted.
        end: The offset after the last piece.
        refusal: Why nothing behind the last piece can be mirrored; None if there is no reason.
    """

    pieces: list[Piece]
    end: int
    refusal: Refusal | None


def read(batches: Iterable[BatchHeader], aborted: Sequence[tuple[int, int]], wanted: int) -> Reading:
    """Answers the pieces of fetched batches from the offset `wanted` on.

    Args:
        batches: In the order of their offsets, as fetched with isolation level READ_COMMITTED (KIP-98): nothing of an open
            transaction is among them.
        aborted: Producer id and first offset of each aborted transaction that the answer names.
        wanted: The first offset that is not on the mirror yet.
    """
    pieces: list[Piece] = []
    coming = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
    aborting: set[int] = set()
    for batch in batches:
        if batch.magic != 2:
            return Reading(pieces, wanted, _old_format(batch))
        while coming and coming[-1][1] <= batch.last_offset:
            aborting.add(coming.pop()[0])
        is_visible = _is_visible(batch, aborting)
        if batch.attributes & CONTROL_BIT:
            aborting.discard(batch.producer_id)  # its transaction ends here
        if batch.last_offset < wanted:
            continue  # a fetch answers whole batches, the first of which may lie before the offset
        first = max(batch.base_offset, wanted)
        _add_gap(pieces, wanted, batch.last_offset + 1 if not is_visible else first, batch.max_timestamp)
        if is_visible:
            pieces.append(Copy(batch) if _is_whole(batch, first) else Recode(batch, first))
        wanted = batch.last_offset + 1
    return Reading(pieces, wanted, None)


def _is_visible(batch: BatchHeader, aborting: set[int]) -> bool:
    """Tells whether a `read_committed` consumer sees records of a batch."""
    if batch.attributes & CONTROL_BIT or not batch.records:
        return False
    return not (batch.attributes & TRANSACTIONAL_BIT and batch.producer_id in aborting)


def _is_whole(batch: BatchHeader, first: int) -> bool:
    """Tells whether a broker would take a batch from a client and show it unchanged (it refuses holes)."""
    return (
        batch.base_offset == first
        and batch.last_offset - batch.base_offset + 1 == batch.records
        and not batch.attributes & TIMESTAMP_TYPE_BIT
    )


def _add_gap(pieces: list[Piece], first: int, end: int, timestamp: int) -> None:
    if first == end:
        return
    last = pieces[-1] if pieces else None
    if isinstance(last, Gap):
        pieces[-1] = Gap(last.first, end, timestamp)
    else:
        pieces.append(Gap(first, end, timestamp))


def _old_format(batch: BatchHeader) -> Refusal:
    return Refusal(
        MirrorError.UNSUPPORTED_MESSAGE_FORMAT,
        f"The source has records of message format {batch.magic} at offset {batch.base_offset}; only format 2 can be mirrored. "
        "Kafka 3.0 and newer write format 2: mirror a copy of the topic that was written by such a version.",
    )
