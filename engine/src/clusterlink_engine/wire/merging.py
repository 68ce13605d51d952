"""Tiny batches of a fetched partition are merged, where they lie in the frame: each costs us and a broker more than its record.

What a consumer sees of a record stays as it is. A record is: its length, an attributes byte, the deltas of timestamp and
offset, then key, value and headers; only the length and the deltas are written anew, as they are in a batch that a producer
made of these records. Nothing is merged but what is plain: uncompressed records with the producers' timestamps, without holes,
of no transaction or of a committed one, written in one leader epoch. Whatever is odd stays a batch of its own, and is copied
whole.
"""

import struct
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from clusterlink_engine.mirror.batches import TRANSACTIONAL_BIT, BatchHeader
from clusterlink_engine.wire.batch import HEADER_BYTES, Batch
from clusterlink_engine.wire.primitives import int64, read_signed_varint, signed_varint
from clusterlink_engine.wire.records import write_header

# A batch with more records costs more to take apart than to send.
MOST_RECORDS = 16

# The records of a merged batch took no more bytes before: four times what a producer fills by default, and far less than the
# buffer of a broker's cleaner, by default 256 KB for each of its threads.
MOST_BYTES = 64 * 1024

_BASE_TIMESTAMP = struct.Struct(">q")
_BASE_TIMESTAMP_AT = 27

# Attributes, timestamp delta and offset delta of the one record of a batch.
_SINGLE = bytes(3)
_FLAGS = bytes(1)


def merge(records: memoryview, batches: Iterable[Batch], aborting: Collection[int]) -> list[Batch]:
    """Merges what can be merged of the batches of a fetched partition.

    Args:
        records: In which they lie one behind the other, from the beginning. Written to: a merged batch takes the place of the
            first of its batches, which are used no more.
        batches: As `wire.batch.split` cut them; their checksums were verified. Nothing of an open transaction is among them.
        aborting: Ids of all producers of which a transaction is aborted here; what they wrote in transactions is not merged.

    Returns:
        Batches like those of `split`, in the same order, with the same offsets. A merged one has no producer, and is of no
        transaction.
    """
    merged: list[Batch] = []
    position = 0
    for run in _runs(batches, aborting):
        end = position + sum(batch.header.size for batch in run)
        one = _merged(records[position:end], run) if len(run) > 1 else None
        merged += [one] if one is not None else run
        position = end
    return merged


def _runs(batches: Iterable[Batch], aborting: Collection[int]) -> Iterator[list[Batch]]:
    """Groups batches that may become one; one that may not be merged is a group of its own."""
    run: list[Batch] = []
    room, following, epoch = 0, -1, -1
    for batch in batches:
        base, last, count, attributes, magic, size, producer_id, _, _, leader_epoch, _ = batch.header
        need = size - HEADER_BYTES
        # No other attribute at all: no codec, no append time, no control records, no delete horizon.
        is_committed = attributes == TRANSACTIONAL_BIT and producer_id not in aborting
        is_dense = last - base < MOST_RECORDS and last - base + 1 == count
        is_plain = (not attributes or is_committed) and magic == 2 and is_dense
        if run and is_plain and base == following and leader_epoch == epoch and need <= room:
            run.append(batch)
        else:
            if run:
                yield run
            run, epoch = [batch], leader_epoch
            room = MOST_BYTES if is_plain else 0
        room -= need
        following = last + 1
    if run:
        yield run


def _merged(view: memoryview, run: list[Batch]) -> Batch | None:
    """Merges batches where they lie; None if they would take more room then, or something in them is not as it should be."""
    data = bytes(view)
    parts: list[bytes] = []
    (base,) = _BASE_TIMESTAMP.unpack_from(data, _BASE_TIMESTAMP_AT)
    newest = -(2**63)
    try:
        for number, (timestamp, flags, rest) in enumerate(_records(data, run)):
            if not number:
                base = timestamp
            if timestamp > newest:
                newest = timestamp
            time, place = signed_varint(int64(timestamp - base)), signed_varint(number)
            parts += (signed_varint(1 + len(time) + len(place) + len(rest)), flags, time, place, rest)
    except (IndexError, ValueError):
        return None  # who can tell what it is: copied whole, it is the broker's to judge
    body = b"".join(parts)
    size = HEADER_BYTES + len(body)
    if size > len(view):
        return None
    first, last = run[0].header, run[-1].header
    count = last.last_offset - first.base_offset + 1
    view = view[:size]
    view[HEADER_BYTES:] = body
    write_header(view, count, 0, base, newest)
    return Batch(
        BatchHeader(first.base_offset, last.last_offset, count, 0, 2, size, -1, -1, -1, first.leader_epoch, newest),
        view,
    )


def _records(data: bytes, run: list[Batch]) -> Iterator[tuple[int, bytes, bytes]]:
    """Takes batches apart: timestamp, attributes byte, and all after the deltas of each record.

    Raises:
        ValueError, IndexError: The records are damaged, or their offsets are not in order.
    """
    position = 0
    for batch in run:
        body, end = position + HEADER_BYTES, position + batch.header.size
        (base,) = _BASE_TIMESTAMP.unpack_from(data, position + _BASE_TIMESTAMP_AT)
        head = _head_of_single(end - body)
        if batch.header.records == 1 and data.startswith(head, body, end):
            yield base, _FLAGS, data[body + len(head) : end]
        else:
            yield from _records_of(data, body, end, base, batch.header.records)
        position = end


def _records_of(data: bytes, position: int, end: int, base: int, count: int) -> Iterator[tuple[int, bytes, bytes]]:
    for number in range(count):
        length, flags = read_signed_varint(data, position)
        time, rest = read_signed_varint(data, flags + 1)
        place, rest = read_signed_varint(data, rest)
        position = flags + length
        if place != number or not rest <= position <= end:
            raise ValueError(f"the record {number} of a batch is impossible")
        yield int64(base + time), data[flags : flags + 1], data[rest:position]
    if position != end:
        raise ValueError("there is more than its records")


@lru_cache(maxsize=MOST_BYTES)
def _head_of_single(size: int) -> bytes:
    """Answers how a record begins that takes so many bytes, without attributes and with deltas of 0, as most that are alone."""
    for length in range(size - 1, max(size - 6, 0), -1):
        prefix = signed_varint(length)
        if len(prefix) + length == size:
            return prefix + _SINGLE
    return bytes(size + 1)  # no record takes so many bytes: nothing begins with this
