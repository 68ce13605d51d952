"""Records inside of batches (magic 2): encoded again where a batch cannot be copied as it is, and made as fillers.

A record is: its length, an attributes byte, the deltas of timestamp and offset, then key, value and headers. Lengths and deltas
are signed varints (zigzag). Whatever follows the deltas is copied as bytes.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

from clusterlink_engine.mirror.batches import DELETE_HORIZON_BIT, TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT, BatchHeader
from clusterlink_engine.wire.batch import CODEC_BITS, HEADER_BYTES, Batch, TornBatchError, crc32c
from clusterlink_engine.wire.compression import ZSTD, CompressionError, compress, decompress
from clusterlink_engine.wire.primitives import int64, read_signed_varint, signed_varint

_HEADER = struct.Struct(">qiibIhiqqqhii")  # from the base offset to the record count
_PREFIX_BYTES = 12
_ATTRIBUTES_AT = 21
_CRC = struct.Struct(">I")
_CRC_AT = 17

# Of a batch that is encoded again: each takes about 200 bytes of memory and 10 microseconds, and a few bytes can be many.
MOST_RECORDS = 1_000_000

_BITS_TO_DROP = TIMESTAMP_TYPE_BIT | TRANSACTIONAL_BIT | DELETE_HORIZON_BIT


def recode(batch: Batch, first: int) -> list[Batch]:
    """Encodes the records of a fetched batch again, from the offset `first` on, in its own codec.

    A broker takes no batch with holes (INVALID_RECORD) and shows what the producers said of the time where LogAppendTime
    batches are copied. So each run of records without a hole becomes a batch, and append times become the records' own. No
    batch gets larger than the fetched one, which the mirror's `max.message.bytes` allows; a run that would is divided.

    Args:
        batch: As `wire.batch.split` answered it; its checksum was verified.
        first: Records before this offset are left out.

    Returns:
        Batches like those of `split`, to be patched: base offset 0, without a producer. Empty if no record is left.

    Raises:
        TornBatchError: The records are damaged, or more than MOST_RECORDS.
    """
    header = batch.header
    (base_timestamp,) = struct.unpack_from(">q", batch.view, 27)
    append_time = header.max_timestamp if header.attributes & TIMESTAMP_TYPE_BIT else None
    runs: list[_Run] = []
    if header.records > MOST_RECORDS:
        raise TornBatchError(f"the batch at offset {header.base_offset} has {header.records} records: too many")
    try:
        data = bytes(decompress(header.attributes & CODEC_BITS, batch.view[HEADER_BYTES:]))
        position = 0
        last = header.base_offset - 1
        for _ in range(header.records):
            length, position = read_signed_varint(data, position)
            end = position + length
            timestamp_delta, rest = read_signed_varint(data, position + 1)
            offset_delta, rest = read_signed_varint(data, rest)
            offset = header.base_offset + offset_delta
            if length < 0 or end > len(data) or rest > end or not last < offset <= header.last_offset:
                raise ValueError(f"the record at {position} is impossible")
            last = offset
            if offset >= first:
                if not runs or runs[-1].end != offset:
                    runs.append(_Run(offset))
                timestamp = append_time if append_time is not None else int64(base_timestamp + timestamp_delta)
                runs[-1].add(data[position : position + 1], timestamp, data[rest:end])
            position = end
        if position != len(data):
            raise ValueError("there is more than its records")
    except (IndexError, ValueError) as error:
        raise TornBatchError(f"the batch at offset {header.base_offset} cannot be decoded: {error}") from error
    attributes = header.attributes & ~_BITS_TO_DROP
    return [encoded for run in runs for encoded in run.encode(attributes, header.size)]


def has_bytes(batch: Batch, wanted: bytes) -> bool:
    """Tells whether the records of a batch contain some bytes, in a key, a value or across them.

    Raises:
        TornBatchError: The records are damaged.
    """
    try:
        return wanted in bytes(decompress(batch.header.attributes & CODEC_BITS, batch.view[HEADER_BYTES:]))
    except CompressionError as error:
        raise TornBatchError(f"the batch at offset {batch.header.base_offset} cannot be decoded: {error}") from error


class _Run:
    """Records that follow each other without a hole: the attributes byte, the timestamp, and all after the deltas of each."""

    def __init__(self, first: int, records: Sequence[tuple[bytes, int, bytes]] = ()) -> None:
        self.first = first
        self._records = list(records)

    @property
    def end(self) -> int:
        return self.first + len(self._records)

    def add(self, attributes: bytes, timestamp: int, rest: bytes) -> None:
        self._records.append((attributes, timestamp, rest))

    def encode(self, attributes: int, largest: int) -> list[Batch]:
        base = self._records[0][1]
        newest = max(timestamp for _, timestamp, _ in self._records)
        data = bytearray()
        for delta, (flags, timestamp, rest) in enumerate(self._records):
            deltas = signed_varint(int64(timestamp - base)) + signed_varint(delta)
            data += signed_varint(1 + len(deltas) + len(rest))
            data += flags
            data += deltas
            data += rest
        batch = _batch(self.first, len(self._records), attributes, base, newest, data)
        half = len(self._records) // 2
        if batch.header.size <= largest or not half:
            return [batch]
        parts = _Run(self.first, self._records[:half]), _Run(self.first + half, self._records[half:])
        return [encoded for part in parts for encoded in part.encode(attributes, largest)]


def tombstones(first: int, count: int, key: bytes, timestamp: int) -> Batch:
    """Makes a batch of records that have a key and nothing else.

    Args:
        first: Offset of the first record.
        count: Number of records; all batches with the same one share the work.
        key: Of each record.
        timestamp: Of each record, in milliseconds.
    """
    return _batch(first, count, ZSTD, timestamp, timestamp, _tombstones(count, key), compressed=True)


@lru_cache(maxsize=16)
def _tombstones(count: int, key: bytes) -> bytes:
    rest = signed_varint(len(key)) + key + signed_varint(-1) + signed_varint(0)  # key, no value, no headers
    data = bytearray()
    for delta in range(count):
        deltas = signed_varint(0) + signed_varint(delta)
        data += signed_varint(1 + len(deltas) + len(rest)) + b"\0" + deltas + rest
    return compress(ZSTD, data)


def _batch(
    first: int,
    count: int,
    attributes: int,
    base_timestamp: int,
    newest: int,
    data: bytes | bytearray,
    *,
    compressed: bool = False,
) -> Batch:
    packed = data if compressed else compress(attributes & CODEC_BITS, data)
    size = HEADER_BYTES + len(packed)
    view = memoryview(bytearray(size))
    view[HEADER_BYTES:] = packed
    write_header(view, count, attributes, base_timestamp, newest)
    header = BatchHeader(
        base_offset=first,
        last_offset=first + count - 1,
        records=count,
        attributes=attributes,
        magic=2,
        size=size,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        max_timestamp=newest,
    )
    return Batch(header, view)


def write_header(view: memoryview, count: int, attributes: int, base_timestamp: int, newest: int) -> None:
    """Writes the header before the records of a batch, to be patched: base offset 0, without a producer.

    Args:
        view: The whole batch; its records are there.
        count: Of its records, which have no holes.
        attributes: Of the batch.
        base_timestamp: To which the records' timestamps are relative, in milliseconds.
        newest: The largest timestamp of the records.
    """
    length = len(view) - _PREFIX_BYTES
    _HEADER.pack_into(view, 0, 0, length, -1, 2, 0, attributes, count - 1, base_timestamp, newest, -1, -1, -1, count)
    _CRC.pack_into(view, _CRC_AT, crc32c(view[_ATTRIBUTES_AT:]))
