"""Cutting and patching of record batches, against batches that kafka-python made, in all codecs."""

import struct
import zlib
from typing import Any, NamedTuple

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from clusterlink_engine.mirror.batches import BatchHeader
from clusterlink_engine.wire.batch import HEADER_BYTES, TornBatchError, patch, peek, split

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_CODECS: dict[int, Any] = {SNAPPY: cramjam.snappy.compress_raw, LZ4: cramjam.lz4.compress, ZSTD: cramjam.zstd.compress}
_PATCHED = slice(43, 57)  # producer id, epoch, sequence

INT16 = st.integers(0, 2**15 - 1)
INT32 = st.integers(0, 2**31 - 1)
INT64 = st.integers(0, 2**63 - 1)
OFFSETS = st.integers(0, 2**62)


class Made(NamedTuple):
    """A batch of kafka-python, and what is known of it."""

    data: bytes
    base_offset: int
    records: int
    last_delta: int
    attributes: int
    producer: tuple[int, int, int]


def sealed(batch: bytearray) -> bytes:
    """Gives a batch its length and its checksum, by kafka-python's own arithmetic."""
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


@st.composite
def batches(draw: st.DrawFn) -> Made:
    codec = draw(st.integers(NONE, ZSTD))
    transactional = draw(st.booleans())
    producer = draw(st.just((-1, -1, -1)) | st.tuples(INT64, INT16, INT32))
    builder: Any = DefaultRecordBatchBuilder(2, codec if codec <= GZIP else NONE, transactional, *producer, 1 << 20)
    records = draw(
        st.lists(
            st.tuples(
                st.integers(0, 2**45),
                st.none() | st.binary(max_size=20),
                st.none() | st.binary(max_size=100),
                st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=2),
            ),
            min_size=1,
            max_size=6,
        )
    )
    for number, (timestamp, record_key, value, headers) in enumerate(records):
        assert builder.append(number, timestamp, record_key, value, headers) is not None
    batch = bytearray(builder.build())
    if codec in _CODECS:  # kafka-python lacks the libraries: the same records, compressed by hand
        batch[HEADER_BYTES:] = bytes(_CODECS[codec](bytes(batch[HEADER_BYTES:])))
        struct.pack_into(">h", batch, 21, struct.unpack_from(">h", batch, 21)[0] | codec)
    # LogAppendTime, control and delete-horizon bits, and holes as the cleaner leaves them: the header tells, unchanged.
    (attributes,) = struct.unpack_from(">h", batch, 21)  # gzip is left out where it gains nothing
    attributes |= draw(st.sampled_from([0, 0x08, 0x20, 0x10, 0x40, 0x68]))
    last_delta = len(records) - 1 + draw(st.sampled_from([0, 0, 1, 1000]))
    struct.pack_into(">hi", batch, 21, attributes, last_delta)
    sealed(batch)
    base, epoch = draw(OFFSETS), draw(st.integers(-1, 100))
    struct.pack_into(">q", batch, 0, base)
    struct.pack_into(">i", batch, 12, epoch)
    return Made(bytes(batch), base, len(records), last_delta, attributes, producer)


@st.composite
def logs(draw: st.DrawFn) -> list[Made]:
    """Batches that follow each other, with holes between them or without."""
    made = []
    end = draw(OFFSETS)
    for batch in draw(st.lists(batches(), max_size=4)):
        base = end + draw(st.sampled_from([0, 0, 1, 2**31]))
        made.append(batch._replace(base_offset=base, data=struct.pack(">q", base) + batch.data[8:]))
        end = base + batch.last_delta + 1
    return made


@given(logs(), st.integers(0, 200))
def test_batches_are_cut_where_they_were_joined(made: list[Made], cut_off: int) -> None:
    """The last batch of a fetch may be cut off anywhere; it is left out."""
    whole = b"".join(batch.data for batch in made)
    torn = made[0].data[: min(cut_off, len(made[0].data) - 1)] if made else b""
    data = bytearray(whole + torn)
    found = split(memoryview(data))
    assert [bytes(batch.view) for batch in found] == [batch.data for batch in made]
    assert [batch.header for batch in found] == [
        BatchHeader(
            batch.base_offset,
            batch.base_offset + batch.last_delta,
            batch.records,
            batch.attributes,
            2,
            len(batch.data),
            *batch.producer,
            *struct.unpack_from(">i", batch.data, 12),
            *struct.unpack_from(">q", batch.data, 35),
        )
        for batch in made
    ]
    first = peek(memoryview(data)[: HEADER_BYTES + 5]) if made else None
    assert first == (found[0].header if made else None)


@given(logs().filter(lambda made: len(made) > 1), st.integers(1, 2**40))
def test_batches_that_do_not_follow_each_other_are_refused(made: list[Made], back: int) -> None:
    """The checksum does not cover the base offset."""
    first, second = made[:2]
    data = bytearray(first.data + second.data)
    struct.pack_into(">q", data, len(first.data), max(first.base_offset + first.last_delta + 1 - back, -(2**63)))
    with pytest.raises(TornBatchError, match="cannot follow"):
        split(memoryview(data))


@pytest.mark.parametrize("base", [-1, -(2**63), 2**63 - 1, 2**63 - 3])
@given(batches().filter(lambda made: made.last_delta > 1))
def test_offsets_that_no_log_has_are_refused(base: int, made: Made) -> None:
    data = bytearray(made.data)
    struct.pack_into(">q", data, 0, base)
    with pytest.raises(TornBatchError, match="cannot follow"):
        split(memoryview(data))


@given(batches(), INT64, INT16, INT32)
def test_a_patched_batch_is_ours_and_its_records_are_untouched(
    made: Made, producer_id: int, epoch: int, sequence: int
) -> None:
    data = bytearray(b"before" + made.data + b"after")
    (batch,) = split(memoryview(data)[6:-5])
    patch(batch.view, producer_id, epoch, sequence)
    assert data.startswith(b"before")
    assert data.endswith(b"after")
    ours = bytes(batch.view)
    theirs = DefaultRecordBatch(ours)
    assert theirs.validate_crc()
    assert theirs.base_offset == 0
    assert (theirs.producer_id, theirs.producer_epoch, theirs.base_sequence) == (producer_id, epoch, sequence)
    assert struct.unpack_from(">i", ours, 12) == (-1,)  # leader epoch
    # From the attributes on, nothing else has changed, but the transactional and the delete horizon bits; length and magic
    # neither.
    assert struct.unpack_from(">h", ours, 21) == (made.attributes & ~0x50,)
    assert ours[23 : _PATCHED.start] == made.data[23 : _PATCHED.start]
    assert ours[_PATCHED.stop :] == made.data[_PATCHED.stop :]
    assert ours[8:12] + ours[16:17] == made.data[8:12] + made.data[16:17]
    (again,) = split(memoryview(ours))
    assert again.header == batch.header._replace(
        base_offset=0,
        last_offset=made.last_delta,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        leader_epoch=-1,
        attributes=made.attributes & ~0x50,
    )
    if made.attributes & 7 <= GZIP and not made.attributes & 0x20:  # kafka-python reads control records as such
        assert [record[1:] for record in map(_facts, DefaultRecordBatch(made.data))] == [
            record[1:] for record in map(_facts, theirs)
        ]


def _facts(record: object) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in ("offset", "timestamp", "key", "value", "headers"))


@given(batches(), st.data())
def test_a_single_flipped_bit_after_the_length_is_found(made: Made, data: st.DataObject) -> None:
    """The leader epoch, which nothing covers, is left out; the magic is not covered either, but says how to read the rest."""
    at = data.draw(st.integers(16, len(made.data) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(made.data)
    damaged[at] ^= 1 << bit
    with pytest.raises(TornBatchError, match=f"the (batch|message) at offset {made.base_offset} "):
        split(memoryview(damaged))


@given(batches(), st.integers(0, 31))
def test_a_flipped_bit_of_the_length_never_yields_the_batch(made: Made, bit: int) -> None:
    (length,) = struct.unpack_from(">I", made.data, 8)
    damaged = bytearray(made.data)
    struct.pack_into(">I", damaged, 8, length ^ 1 << bit)
    try:
        found = split(memoryview(damaged))
    except TornBatchError:
        return
    assert found == []  # too long: as if it were cut off


@given(batches(), batches(), st.integers(17, 60), st.integers(0, 7))
def test_damage_in_the_second_batch_spoils_the_whole_answer(first: Made, second: Made, at: int, bit: int) -> None:
    damaged = bytearray(first.data + second.data)
    damaged[len(first.data) + at] ^= 1 << bit
    with pytest.raises(TornBatchError):
        split(memoryview(damaged))


@given(st.binary(max_size=400))
def test_random_bytes_are_no_batch(data: bytes) -> None:
    """Bytes of an old format are answered with their magic, for the core to refuse; nothing else comes through."""
    try:
        found = split(memoryview(bytearray(data)))
    except TornBatchError:
        return
    assert all(batch.header.magic < 2 for batch in found)
    peek(memoryview(data))


@pytest.mark.parametrize(("last_delta", "count"), [(-1, 1), (0, -1)])
def test_impossible_counts_are_damage_even_with_a_right_checksum(last_delta: int, count: int) -> None:
    batch = bytearray(HEADER_BYTES)
    batch[16] = 2
    struct.pack_into(">i", batch, 23, last_delta)
    struct.pack_into(">i", batch, 57, count)
    with pytest.raises(TornBatchError, match="counts"):
        split(memoryview(bytearray(sealed(batch))))


@pytest.mark.parametrize("length", [-1, -(2**31), 0, HEADER_BYTES - 13])
def test_a_length_that_no_batch_can_have_is_damage(length: int) -> None:
    batch = bytearray(HEADER_BYTES)
    batch[16] = 2
    struct.pack_into(">i", batch, 8, length)
    with pytest.raises(TornBatchError, match="length"):
        split(memoryview(batch))


def old_message(magic: int, body: bytes = b"x" * 40) -> bytearray:
    """A message of format 0 or 1: offset, length, CRC-32, magic and the rest, which the checksum covers with the magic."""
    covered = bytes((magic,)) + body
    return bytearray(struct.pack(">qiI", 17, len(covered) + 4, zlib.crc32(covered)) + covered)


@pytest.mark.parametrize("magic", [0, 1])
def test_an_old_format_is_told_by_its_magic(magic: int) -> None:
    data = old_message(magic) + old_message(magic)
    (batch,) = split(memoryview(data))
    assert (batch.header.base_offset, batch.header.magic) == (17, magic)
    assert split(memoryview(old_message(magic, b"x" * 300)[:200])) == []


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("at", [12, 16, 20, 56])
def test_a_damaged_message_of_an_old_format_is_damage(magic: int, at: int) -> None:
    """It would be the end of its partition."""
    data = old_message(magic) + bytes(HEADER_BYTES)
    data[at] ^= 4
    with pytest.raises(TornBatchError, match="offset 17"):
        split(memoryview(data))


@pytest.mark.parametrize("length", [-100, -12, 0, 5, 2**31 - 1])
def test_an_old_format_with_an_impossible_length_is_nothing(length: int) -> None:
    data = old_message(1) + bytes(HEADER_BYTES)
    struct.pack_into(">i", data, 8, length)
    try:
        assert split(memoryview(data)) == []
    except TornBatchError:
        return
