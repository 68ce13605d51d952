"""Tiny batches that are merged: bytes as another encoder makes them of the same records, read by two decoders of others."""

import itertools
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c
from kio.records.readers import read_batch

from clusterlink_engine.wire.batch import HEADER_BYTES, Batch, TornBatchError, patch, split
from clusterlink_engine.wire.merging import MOST_BYTES, MOST_RECORDS, merge
from clusterlink_engine.wire.records import recode

_ATTRIBUTES = {"plain": 0, "append time": 0x08, "transactional": 0x10, "control": 0x20, "horizon": 0x40, "codec": 4}
_PRODUCER = slice(43, 57)
_PRODUCERS = (7, 8)

Header = tuple[str, bytes | None]


class Record(NamedTuple):
    """A record as a consumer sees it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def encoded(
    records: list[Record],
    *,
    leader_epoch: int = 3,
    attributes: int = 0,
    last_delta: int | None = None,
    producer_id: int = -1,
) -> bytes:
    """A batch as kafka-python makes it; its offsets are those of the records."""
    builder: Any = DefaultRecordBatchBuilder(2, 0, False, 11, 2, 33, 1 << 24)
    base = records[0].offset
    for record in records:
        appended = builder.append(
            record.offset - base, record.timestamp, record.key, record.value, list(record.headers)
        )
        assert appended is not None
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    struct.pack_into(">i", data, 12, leader_epoch)
    struct.pack_into(">hi", data, 21, attributes, records[-1].offset - base if last_delta is None else last_delta)
    struct.pack_into(">q", data, 43, producer_id)
    return sealed(data)


def sealed(data: bytearray) -> bytes:
    """Gives a batch its checksum, by kafka-python's own arithmetic."""
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    return bytes(data)


def seen_by_kafka_python(batch: Batch) -> list[Record]:
    found: Any = DefaultRecordBatch(_at(batch))
    assert found.validate_crc()
    return [Record(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in found]


def seen_by_kio(batch: Batch) -> list[Record]:
    """It knows times by the second only."""
    found, size = read_batch(_at(batch), 0)
    assert size == len(batch.view)
    return [
        Record(
            record.offset,
            int(record.timestamp.timestamp()),
            record.key,
            record.value,
            tuple((bytes(header.key or b"").decode(), header.value) for header in record.headers),
        )
        for record in found.records
    ]


def _at(batch: Batch) -> bytes:
    """The batch with the base offset that the broker gives it."""
    return struct.pack(">q", batch.header.base_offset) + bytes(batch.view[8:])


# What follows each other in a log: records of a batch, its kind and producer, holes in it and before it, whether a new leader
# wrote it.
_CONTENTS = st.tuples(
    st.sampled_from([0, 1_700_000_000_000, 1_700_000_000_001, 1_700_000_070_000]) | st.integers(-1, 2**45),
    st.none() | st.binary(max_size=8),
    st.none() | st.binary(max_size=100),
    st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
)
_SMALL = st.lists(_CONTENTS, min_size=1, max_size=1) | st.lists(_CONTENTS, min_size=1, max_size=4)
_BATCHES = st.tuples(
    _SMALL | st.lists(_CONTENTS, min_size=MOST_RECORDS + 1, max_size=MOST_RECORDS + 1),
    st.sampled_from(["plain"] * 6 + ["transactional"] * 6 + list(_ATTRIBUTES)),
    st.sampled_from(_PRODUCERS),
    st.sampled_from([0] * 15 + [1]),  # hole before it
    st.sampled_from([0] * 15 + [1]),  # hole in it, or at its end
    st.sampled_from([0] * 15 + [1]),  # how much the leader's epoch has grown
)


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    """Batches of a log, in order."""
    made: list[bytes] = []
    offset, epoch = draw(st.sampled_from([0, 5, 2**31 - 3, 2**60])), 3
    for contents, kind, producer_id, before, inside, newer in draw(st.lists(_BATCHES, min_size=1, max_size=12)):
        offset += before
        epoch += newer
        spread = inside if len(contents) > 1 else 0
        records = [
            Record(offset + number + (spread if number else 0), timestamp, key, value, tuple(headers))
            for number, (timestamp, key, value, headers) in enumerate(contents)
        ]
        last = records[-1].offset - offset + (inside if len(contents) == 1 else 0)
        made.append(
            encoded(
                records,
                leader_epoch=epoch,
                attributes=_ATTRIBUTES[kind],
                last_delta=last,
                producer_id=-1 if kind == "plain" else producer_id,
            )
        )
        offset += last + 1
    return made


ABORTING = st.frozensets(st.sampled_from(_PRODUCERS))
"""Producers of which something is aborted."""


def may_join(before: Batch, after: Batch, aborting: frozenset[int]) -> bool:
    """Whether two batches of a log could be one, by what the documents say."""
    return (
        all(_is_plain(batch, aborting) for batch in (before, after))
        and after.header.base_offset == before.header.last_offset + 1
        and after.header.leader_epoch == before.header.leader_epoch
    )


def _is_plain(batch: Batch, aborting: frozenset[int]) -> bool:
    header = batch.header
    span = header.last_offset - header.base_offset + 1
    is_committed = header.attributes == 0x10 and header.producer_id not in aborting
    return (header.attributes == 0 or is_committed) and header.records == span <= MOST_RECORDS


def _parts(merged: list[Batch], fetched: list[Batch]) -> Iterator[tuple[Batch, list[Batch]]]:
    """Each batch with those that it came from."""
    left = list(fetched)
    for batch in merged:
        own = [left.pop(0)]
        while own[-1].header.last_offset < batch.header.last_offset:
            own.append(left.pop(0))
        assert own[0].header.base_offset == batch.header.base_offset
        assert own[-1].header.last_offset == batch.header.last_offset
        yield batch, own
    assert not left


@settings(max_examples=200)
@given(logs(), ABORTING)
def test_merged_batches_are_as_if_a_producer_had_made_them(made: list[bytes], aborting: frozenset[int]) -> None:
    data = memoryview(bytearray(b"".join(made)))
    fetched = split(memoryview(b"".join(made)))
    merged = merge(data, split(data), aborting)
    for batch, own in _parts(merged, fetched):
        if len(own) == 1:
            assert bytes(batch.view) == bytes(own[0].view)
            assert batch.header == own[0].header
            continue
        assert all(may_join(one, other, aborting) for one, other in itertools.pairwise(own))
        records = [record for one in own for record in seen_by_kafka_python(one)]
        assert seen_by_kafka_python(batch) == records
        if all(record.timestamp >= 0 for record in records):  # kio refuses to read earlier times, such as -1 for none
            by_second = [record for one in own for record in seen_by_kio(one)]
            assert seen_by_kio(batch) == by_second
        expected = encoded(records, leader_epoch=-1)
        assert bytes(batch.view[21:43]) == expected[21:43]  # attributes, last delta, both timestamps
        assert bytes(batch.view[57:]) == expected[57:]
        assert batch.header.attributes == 0
        patch(batch.view, 4711, 3, 9)
        (sent,) = split(batch.view)
        header = batch.header
        assert header.leader_epoch == own[0].header.leader_epoch
        assert sent.header == header._replace(
            base_offset=0,
            last_offset=header.records - 1,
            leader_epoch=-1,
            producer_id=4711,
            producer_epoch=3,
            base_sequence=9,
        )
    # And nothing is left apart that could be one.
    for (_, one), (_, other) in itertools.pairwise(_parts(merged, fetched)):
        assert not may_join(one[-1], other[0], aborting)


@settings(max_examples=100)
@given(logs(), st.integers(0, 40))
def test_a_merged_batch_can_be_encoded_again_from_any_of_its_records_on(made: list[bytes], skipped: int) -> None:
    """As after a crash: a log may end at any batch of the source."""
    data = memoryview(bytearray(b"".join(made)))
    for batch in merge(data, split(data), ()):
        if batch.header.attributes:
            continue
        first = batch.header.base_offset + skipped
        expected = [record for record in seen_by_kafka_python(batch) if record.offset >= first]
        assert [record for run in recode(batch, first) for record in seen_by_kafka_python(run)] == expected


def singles(count: int, size: int, first: int = 0) -> list[bytes]:
    """Batches of one record each, with values of this size."""
    return [
        encoded([Record(first + number, 1_700_000_000_000 + number // 7, None, b"%0*d" % (size, number), ())])
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "size", [1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 150, 8183, 8184, 9000, 70_000]
)
def test_merged_batches_have_a_size(size: int) -> None:
    """Around each length at which a varint grows."""
    made = singles(max(4, 300_000 // size) if size > 1 else 20_000, size)
    data = memoryview(bytearray(b"".join(made)))
    before = [record for batch in split(memoryview(bytes(data))) for record in seen_by_kafka_python(batch)]
    merged = merge(data, split(data), ())
    assert [record for batch in merged for record in seen_by_kafka_python(batch)] == before
    if size > MOST_BYTES:
        assert len(merged) == len(made)
    else:
        assert len(merged) <= -(-sum(len(one) for one in made) // (MOST_BYTES - size - 100))
    assert all(len(batch.view) <= MOST_BYTES * 1.5 for batch in merged if batch.header.records > 1)


def test_what_would_grow_is_left_as_it_is() -> None:
    """Batches of many records with times far apart, each of which takes ten bytes when it is told from the first one's."""
    early = [Record(number, 0, None, b"", ()) for number in range(MOST_RECORDS)]
    late = [Record(MOST_RECORDS + number, 2**62, None, b"", ()) for number in range(MOST_RECORDS)]
    made = [encoded(early), encoded(late)]
    data = memoryview(bytearray(b"".join(made)))
    assert [bytes(batch.view) for batch in merge(data, split(data), ())] == made


def test_times_wrap_around_as_in_java() -> None:
    made = [bytearray(one) for one in singles(3, 5)]
    times = [2**63 - 2, -(2**63), 2**63 - 1]
    for one, time in zip(made, times, strict=True):
        struct.pack_into(">qq", one, 27, time, time)
    data = memoryview(bytearray(b"".join(sealed(one) for one in made)))
    (batch,) = merge(data, split(data), ())
    (found,) = recode(batch, 0)  # whose reading of times is shown elsewhere
    assert bytes(found.view) == bytes(batch.view)
    assert batch.header.max_timestamp == max(times)
    assert struct.unpack_from(">qq", batch.view, 27) == (times[0], max(times))
    apart = [recode(one, 0)[0].view[27:35] for one in split(memoryview(bytearray(b"".join(map(sealed, made)))))]
    assert [struct.unpack(">q", time)[0] for time in apart] == times


@settings(max_examples=300)
@given(
    logs(),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3),
    st.none() | st.tuples(st.integers(0, 11), st.integers(0, 20)),
    ABORTING,
)
def test_nothing_comes_of_damage_that_was_not_there(
    made: list[bytes], changes: list[tuple[int, int, int]], count: tuple[int, int] | None, aborting: frozenset[int]
) -> None:
    """Damaged records with a right checksum: what is merged can be decoded as before, and all else stays as it is."""
    damaged = [bytearray(one) for one in made]
    for number, at, value in changes:
        one = damaged[number % len(damaged)]
        one[HEADER_BYTES + at % (len(one) - HEADER_BYTES)] = value
    if count is not None:
        struct.pack_into(">i", damaged[count[0] % len(damaged)], 57, count[1])
    data = memoryview(bytearray(b"".join(sealed(one) for one in damaged)))
    try:
        fetched = split(memoryview(bytes(data)))
    except TornBatchError:
        return
    for batch, own in _parts(merge(data, split(data), aborting), fetched):
        if len(own) == 1:
            assert bytes(batch.view) == bytes(own[0].view)
        else:
            apart = [run for one in own for run in recode(one, one.header.base_offset)]
            (together,) = recode(batch, batch.header.base_offset)
            assert bytes(together.view) == bytes(batch.view)
            with suppress(Exception):  # keys and values may be anything: only a broker looks into them
                expected = [record for run in apart for record in seen_by_kafka_python(run)]
                assert seen_by_kafka_python(batch) == expected
