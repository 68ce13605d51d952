"""Records that are encoded again, against batches that kafka-python made and reads, in all codecs."""

import itertools
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from typing import Any, NamedTuple

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from clusterlink_engine.mirror.batches import BatchHeader
from clusterlink_engine.wire import records
from clusterlink_engine.wire.batch import HEADER_BYTES, Batch, TornBatchError, patch, split
from clusterlink_engine.wire.compression import MAX_BYTES

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
APPEND_TIME, TRANSACTIONAL, DELETE_HORIZON = 0x08, 0x10, 0x40

_XERIAL = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)


class Record(NamedTuple):
    """A record as a consumer sees it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def compressed(codec: int, data: bytes, *, framed: bool = True) -> bytes:
    """Compresses as producers do; snappy in two blocks, or without a frame."""
    if codec == GZIP:
        packer = zlib.compressobj(wbits=31)
        return packer.compress(data) + packer.flush()
    if codec == SNAPPY and framed:
        blocks = [bytes(cramjam.snappy.compress_raw(part)) for part in (data[:50], data[50:])]
        return _XERIAL + b"".join(struct.pack(">i", len(block)) + block for block in blocks)
    packers: dict[int, Any] = {
        NONE: bytes,
        SNAPPY: cramjam.snappy.compress_raw,
        LZ4: cramjam.lz4.compress,
        ZSTD: cramjam.zstd.compress,
    }
    return bytes(packers[codec](data))


def plain(codec: int, data: bytes) -> bytes:
    """Undoes `compressed`."""
    if codec == GZIP:
        return zlib.decompress(data, wbits=31)
    if codec == SNAPPY and data.startswith(_XERIAL):
        parts, position = b"", len(_XERIAL)
        while position < len(data):
            (length,) = struct.unpack_from(">i", data, position)
            parts += bytes(cramjam.snappy.decompress_raw(data[position + 4 : position + 4 + length]))
            position += 4 + length
        return parts
    unpackers: dict[int, Any] = {
        NONE: bytes,
        SNAPPY: cramjam.snappy.decompress_raw,
        LZ4: cramjam.lz4.decompress,
        ZSTD: cramjam.zstd.decompress,
    }
    return bytes(unpackers[codec](data))


def sealed(batch: bytearray) -> bytearray:
    """Gives a batch its length and its checksum, by kafka-python's own arithmetic."""
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return batch


def seen(batch: bytes | memoryview, base_offset: int) -> list[Record]:
    """Answers what kafka-python sees in a batch if it begins at an offset."""
    (attributes,) = struct.unpack_from(">h", batch, 21)
    unpacked = bytearray(batch[:HEADER_BYTES]) + plain(attributes & 7, bytes(batch[HEADER_BYTES:]))
    struct.pack_into(">q", unpacked, 0, base_offset)
    struct.pack_into(">h", unpacked, 21, attributes & ~7)
    found: Any = DefaultRecordBatch(bytes(sealed(unpacked)))
    return [Record(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in found]


BYTES = st.none() | st.binary(max_size=300)
TIMESTAMPS = st.sampled_from([0, 1_700_000_000_000, 2**62]) | st.integers(0, 2**45)
CONTENTS = st.tuples(
    TIMESTAMPS, BYTES, BYTES, st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=2)
)


@st.composite
def fetched(draw: st.DrawFn) -> bytearray:
    """Makes a batch as a source has it after compaction: with holes in it, before it and after it."""
    codec = draw(st.sampled_from(CODECS))
    contents = draw(st.lists(CONTENTS, min_size=1, max_size=8))
    builder: Any = DefaultRecordBatchBuilder(2, NONE, draw(st.booleans()), 5, 1, 7, 1 << 20)
    delta = draw(st.integers(0, 3))
    for timestamp, key, value, headers in contents:
        assert builder.append(delta, timestamp, key, value, headers) is not None
        delta += draw(st.sampled_from([1, 1, 2, 200]))
    batch = bytearray(builder.build())
    batch[HEADER_BYTES:] = compressed(codec, bytes(batch[HEADER_BYTES:]), framed=draw(st.booleans()))
    (attributes,) = struct.unpack_from(">h", batch, 21)
    attributes |= codec | draw(st.sampled_from([0, 0, APPEND_TIME, DELETE_HORIZON]))
    struct.pack_into(">hi", batch, 21, attributes, delta + draw(st.integers(-1, 2)))
    if attributes & DELETE_HORIZON:
        struct.pack_into(">q", batch, 27, draw(st.integers(0, 2**45)))  # and all timestamps with it
    sealed(batch)
    struct.pack_into(">q", batch, 0, draw(st.integers(0, 2**60)))
    return batch


@settings(max_examples=300)
@given(fetched(), st.integers(-3, 300))
def test_records_stay_what_and_where_they_are(data: bytearray, skipped: int) -> None:
    (batch,) = split(memoryview(data))
    first = max(batch.header.base_offset + skipped, 0)
    expected = [record for record in seen(bytes(data), batch.header.base_offset) if record.offset >= first]
    runs = records.recode(batch, first)
    found: list[Record] = []
    for run in runs:
        header, size = run.header, len(run.view)
        there = seen(run.view, header.base_offset)
        found += there
        assert header == BatchHeader(
            base_offset=there[0].offset,
            last_offset=there[-1].offset,
            records=there[-1].offset - there[0].offset + 1,
            attributes=batch.header.attributes & 7,
            magic=2,
            size=size,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            max_timestamp=max(record.timestamp for record in there),
        )
        assert size <= batch.header.size or header.records == 1
        patch(run.view, 4711, 3, 9)  # as the sink does: then it is a batch that a broker takes
        (sent,) = split(run.view)
        assert sent.header == header._replace(
            base_offset=0, last_offset=header.records - 1, producer_id=4711, producer_epoch=3, base_sequence=9
        )
    assert found == expected
    # Not more batches than holes ask for, if none gets larger.
    holes = sum(after.offset != before.offset + 1 for before, after in itertools.pairwise(expected))
    undivided = records.recode(Batch(batch.header._replace(size=1 << 20), batch.view), first)
    assert len(undivided) == (holes + 1 if expected else 0)


def made(codec: int, contents: list[bytes]) -> Batch:
    """Makes a batch without holes."""
    builder: Any = DefaultRecordBatchBuilder(2, NONE, False, -1, -1, -1, 1 << 26)
    for number, value in enumerate(contents):
        assert builder.append(number, 1000 + number, b"key", value, []) is not None
    batch = bytearray(builder.build())
    batch[HEADER_BYTES:] = compressed(codec, bytes(batch[HEADER_BYTES:]))
    struct.pack_into(">h", batch, 21, codec)
    (whole,) = split(memoryview(sealed(batch)))
    return whole


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_many_blocks(codec: int) -> None:
    """Codecs with blocks, and what they cannot make smaller."""
    noise = cramjam.zstd.compress(struct.pack(">100000I", *(number * 2654435761 % 2**32 for number in range(100_000))))
    values = [bytes(noise)[:70_000], b"a" * 200_000, b"", *(b"%d" % number * 20 for number in range(2000))]
    batch = made(codec, values)
    runs = records.recode(batch, 1)
    assert [record.value for run in runs for record in seen(run.view, run.header.base_offset)] == values[1:]
    assert [record.value for run in records.recode(batch, 0) for record in seen(run.view, 0)] == values


def test_a_batch_that_would_grow_is_divided() -> None:
    """The mirror's `max.message.bytes` is the source's: what the source had must fit."""
    batch = made(ZSTD, [b"%064x" % (number * 0x9E3779B97F4A7C15 % 2**64) for number in range(1000)])
    small = Batch(batch.header._replace(size=batch.header.size // 3), batch.view)
    runs = records.recode(small, 0)
    assert len(runs) > 3
    assert all(run.header.size <= small.header.size for run in runs)
    assert [run.header.base_offset for run in runs][1:] == [run.header.last_offset + 1 for run in runs][:-1]
    assert [r for run in runs for r in seen(run.view, run.header.base_offset)] == seen(batch.view, 0)


@pytest.mark.parametrize("newest", [2**63 - 1, 0])
def test_timestamps_wrap_around_as_in_java(newest: int) -> None:
    batch = made(NONE, [b"a", b"b", b"c"])
    struct.pack_into(">qq", batch.view, 27, 2**63 - 2, newest)
    (run,) = records.recode(batch, 0)
    (base,) = struct.unpack_from(">q", run.view, 27)
    assert base == 2**63 - 2
    (again,) = records.recode(Batch(run.header, run.view), 0)
    assert bytes(again.view) == bytes(run.view)


@settings(max_examples=1000)
@given(
    fetched(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3),
    st.none() | st.integers(0, 2**31 - 1),
    st.none() | st.integers(0, 2**31 - 1),
)
def test_damage_is_told_as_damage(
    data: bytearray, changes: list[tuple[int, int]], count: int | None, last_delta: int | None
) -> None:
    """Whatever is wrong in a batch with a right checksum: it is decoded, or is a torn batch; nothing else happens."""
    for at, value in changes:
        data[HEADER_BYTES + at % max(len(data) - HEADER_BYTES, 1)] = value
    for at, number in ((57, count), (23, last_delta)):
        if number is not None:
            struct.pack_into(">i", data, at, number)
    with suppress(TornBatchError):
        (batch,) = split(memoryview(sealed(data)))
        runs = records.recode(batch, batch.header.base_offset)
        assert sum(run.header.records for run in runs) == batch.header.records


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_records_that_are_cut_off_or_go_on(codec: int, cut: int) -> None:
    batch = made(codec, [b"%d" % number for number in range(20)])
    body = plain(codec, bytes(batch.view[HEADER_BYTES:]))
    for changed in (body[:-cut], body + bytes(cut)):
        data = bytearray(batch.view[:HEADER_BYTES]) + compressed(codec, changed)
        (torn,) = split(memoryview(sealed(data)))
        with pytest.raises(TornBatchError, match="offset 0 cannot be decoded"):
            records.recode(torn, 0)


_BOMBS = """
import resource, struct, zlib
import cramjam
from clusterlink_engine.wire import compression

compression.MAX_BYTES = 1 << 20
zeros = bytes(1 << 20)
gzip, zstd, lz4 = zlib.compressobj(wbits=31), cramjam.zstd.Compressor(), cramjam.lz4.Compressor()
packed = b""
for _ in range(300):
    packed += gzip.compress(zeros)
    zstd.compress(zeros)
    lz4.compress(zeros)
block = bytes(cramjam.snappy.compress_raw(bytes(1 << 19)))
framed = b"\\x82SNAPPY\\0" + struct.pack(">ii", 1, 1) + (struct.pack(">i", len(block)) + block) * 300
bombs = {1: [packed + gzip.flush()], 2: [b"\\xff\\xff\\xff\\xff\\x0f" + block, framed], 3: [bytes(lz4.finish())]}
bombs[4] = [bytes(zstd.finish())]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for codec, kinds in bombs.items():
    for bomb in kinds:
        try:
            compression.decompress(codec, memoryview(bomb))
        except compression.CompressionError:
            continue
        print("codec", codec, "went off")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_few_bytes_cannot_take_all_memory() -> None:
    """Bombs of 300 MB in each codec stop at the bound; another process shows what they took."""
    run = subprocess.run([sys.executable, "-c", _BOMBS], capture_output=True, text=True, check=True)
    taken_kilobytes = int(run.stdout)
    assert taken_kilobytes < 32 * 1024
    assert MAX_BYTES <= 1 << 27


@given(st.integers(1, 2000), st.integers(0, 2**60), st.binary(min_size=1, max_size=40), TIMESTAMPS)
def test_tombstones(count: int, first: int, key: bytes, timestamp: int) -> None:
    made_twice = [records.tombstones(first, count, key, timestamp) for _ in range(2)]
    expected = [Record(first + number, timestamp, key, None, []) for number in range(count)]
    for batch in made_twice:  # what is shared must not be changed by patching
        assert seen(batch.view, batch.header.base_offset) == expected
        patch(batch.view, 1, 2, 3)
        (found,) = split(batch.view)
        assert found.header == batch.header._replace(
            base_offset=0, last_offset=count - 1, producer_id=1, producer_epoch=2, base_sequence=3
        )
        assert records.has_bytes(batch, key)
        assert not records.has_bytes(batch, b"?" + key)
