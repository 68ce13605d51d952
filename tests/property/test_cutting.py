"""Compiled record code beside that in Python: the same batches, the same bytes, the same errors, whatever comes in."""

import ctypes
import random
import struct

import fastcrc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clusterlink_engine.wire import cutting
from clusterlink_engine.wire.batch import HEADER_BYTES, TornBatchError
from clusterlink_engine.wire.cutting import Cutter, cut_compiled, cut_in_python, cutter
from clusterlink_engine.wire.merging import MOST_BYTES, MOST_RECORDS
from tests.fuzz.batches import damaged_log
from tests.property.test_batches import old_message
from tests.property.test_merging import ABORTING, Record, encoded, logs, sealed, singles
from tests.support.mutation import mutated

pytestmark = pytest.mark.skipif(
    not cutting.IS_COMPILED, reason="the engine was installed without a C compiler: there is nothing to compare"
)

_VARINT_OF_70_BITS = b"\xff" * 9 + b"\x7f"
_VARINT_OF_77_BITS = b"\xff" * 10 + b"\x7f"
_LEAST = b"\xff" * 9 + b"\x01"  # -2^63
_MOST = b"\xfe" + b"\xff" * 8 + b"\x01"  # 2^63 - 1


def outcome(cut: Cutter, data: bytes, aborting: frozenset[int], *, merges: bool) -> tuple[object, bytes]:
    """All that can be seen of a cut: the batches or the error, and what became of the bytes."""
    # Of just this size, as bytearrays are not, so that a sanitizer sees the first byte beyond.
    buffer = (ctypes.c_ubyte * len(data)).from_buffer_copy(data) if data else bytearray()
    view = memoryview(buffer).cast("B") if data else memoryview(buffer)
    try:
        found = cut(view, aborting, merges=merges)
    except TornBatchError as error:
        return str(error), bytes(buffer)
    return (found.found, [(one.header, bytes(one.view)) for one in found.batches]), bytes(buffer)


def compare(data: bytes, aborting: frozenset[int] = frozenset()) -> None:
    for merges in (True, False):
        expected = outcome(cut_in_python, data, aborting, merges=merges)
        assert outcome(cut_compiled, data, aborting, merges=merges) == expected
        if isinstance(expected[0], str):
            assert expected[1] == data


def is_decided(data: bytes) -> bool:
    """Whether the compiled code answers at all."""
    answer = cutting._compiled.cut(  # type: ignore[union-attr]
        memoryview(bytearray(data)), frozenset(), True, MOST_RECORDS, MOST_BYTES, fastcrc.crc32.iscsi
    )
    return answer is not None


def raw(
    body: bytes, count: int, *, base: int = 0, time: int = 1_700_000_000_000, last_delta: int | None = None
) -> bytes:
    """A batch with any bytes as its records, and a checksum that fits."""
    data = bytearray(HEADER_BYTES) + body
    struct.pack_into(">qiib", data, 0, base, len(data) - 12, 3, 2)
    delta = count - 1 if last_delta is None else last_delta
    struct.pack_into(">hiqqqhii", data, 21, 0, delta, time, time, -1, -1, -1, count)
    return sealed(data)


def varint(value: int) -> bytes:
    """A signed varint, however many bits that takes."""
    value = value << 1 if value >= 0 else (-value << 1) - 1
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def record(time: bytes, place: bytes, rest: bytes = b"\x01\x01\0", *, longer: int = 0) -> bytes:
    return varint(1 + len(time) + len(place) + len(rest) + longer) + b"\0" + time + place + rest


@settings(max_examples=60)
@given(logs(), st.integers(0, 100), ABORTING)
def test_of_logs(made: list[bytes], missing: int, aborting: frozenset[int]) -> None:
    data = b"".join(made)
    data = data[: len(data) - missing] if missing < len(data) else data
    compare(data, aborting)
    assert is_decided(data)


@settings(max_examples=150)
@given(
    logs(),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3),
    st.none() | st.tuples(st.integers(0, 11), st.integers(-1, 20)),
    st.booleans(),
    ABORTING,
)
def test_of_damaged_logs(
    made: list[bytes],
    changes: list[tuple[int, int, int]],
    count: tuple[int, int] | None,
    fits: bool,
    aborting: frozenset[int],
) -> None:
    damaged = [bytearray(one) for one in made]
    for number, at, value in changes:
        one = damaged[number % len(damaged)]
        one[at % len(one)] = value
    if count is not None:
        struct.pack_into(">i", damaged[count[0] % len(damaged)], 57, count[1])
    compare(b"".join(sealed(one) if fits else bytes(one) for one in damaged), aborting)


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_of_bytes(data: bytes) -> None:
    compare(data)


_NUMBERS = st.sampled_from([_VARINT_OF_70_BITS, _VARINT_OF_77_BITS, _LEAST, _MOST, b"\x80", b"\x80\0", b""]) | (
    st.integers(-2, 20).map(varint) | st.integers(-(2**63), 2**63 - 1).map(varint)
)
_BODIES = st.lists(
    st.builds(
        record, _NUMBERS, _NUMBERS, st.binary(max_size=6), longer=st.sampled_from([0] * 8 + [-3, -1, 1, 2**31, 2**63])
    ),
    max_size=3,
).map(b"".join)


@settings(max_examples=300)
@given(st.lists(st.tuples(_BODIES, st.integers(0, 3), st.integers(-(2**63), 2**63 - 1)), min_size=2, max_size=4))
@example([(record(b"\0", b"\0"), 1, 5), (record(_VARINT_OF_70_BITS, b"\0"), 1, 5)])
@example([(record(b"\0", b"\0"), 1, 5), (record(_VARINT_OF_77_BITS, b"\0"), 1, 5)])
@example([(record(_LEAST, b"\0"), 1, -(2**63)), (record(_MOST, b"\0"), 1, 2**63 - 1)])
@example([(b"", 0, 0), (b"", 1, 0)])
@example([(b"\0", 1, 0), (b"\0", 1, 0)])
@example([(record(b"\0", b"\0"), 1, 5), (b"\x80", 1, 5)])
@example([(record(b"\0", b"\0"), 1, 5), (record(b"\0", b"\0", longer=1), 1, 5)])
@example([(record(b"\0", b"\0"), 1, 5), (record(b"\0", b"\0", longer=-1), 1, 5)])
@example([(record(b"\0", b"\0"), 1, 5), (b"\x08\0\x80", 1, 5)])
def test_of_records_that_no_producer_writes(bodies: list[tuple[bytes, int, int]]) -> None:
    """With right checksums: whoever sends batches can make them."""
    made, base = b"", 0
    for body, count, time in bodies:
        made += raw(body, count, base=base, time=time, last_delta=max(count - 1, 0))
        base += max(count, 1)
    compare(made)


def test_nothing_is_written_before_all_is_seen() -> None:
    """The first ones could be merged; the last one is for Python to decide."""
    good = [raw(record(b"\0", b"\0"), 1, base=number) for number in range(2)]
    odd = [raw(record(_VARINT_OF_70_BITS, b"\0"), 1, base=10 + number) for number in range(2)]
    data = bytearray(b"".join(good + odd))
    before = bytes(data)
    view = memoryview(data)
    answer = cutting._compiled.cut(view, frozenset(), True, MOST_RECORDS, MOST_BYTES, fastcrc.crc32.iscsi)  # type: ignore[union-attr]
    assert answer is None
    assert bytes(data) == before
    compare(before)


@pytest.mark.parametrize("size", [1, 55, 60, 1900, 2000, 2040, 8184, 70_000])
def test_of_sizes(size: int) -> None:
    """Around the lengths at which a varint grows, and a checksum is the library's."""
    compare(b"".join(singles(max(4, 200_000 // size) if size > 1 else 10_000, size)))


def test_of_what_would_grow() -> None:
    """Up to the last byte: times that take more bytes told from another one, and just as many as before."""
    for distance in (2**62, 2**27, 2**20, 8192, 64, 1):
        for count in range(1, MOST_RECORDS + 1):
            first = [Record(number, 0, None, b"", ()) for number in range(count)]
            second = [Record(count + number, distance, None, b"", ()) for number in range(count)]
            third = [Record(2 * count + number, 0, None, b"", ()) for number in range(MOST_RECORDS)]
            compare(b"".join(map(encoded, (first, second, third))))


@pytest.mark.parametrize("attributes", range(-1, 9))
def test_of_attributes(attributes: int) -> None:
    """All codecs that there are, and some that there are not."""
    batch = bytearray(singles(1, 5)[0])
    struct.pack_into(">h", batch, 21, attributes)
    compare(sealed(batch))


@pytest.mark.parametrize("missing", [0, 1, 2, 12, 39, 40, 41, HEADER_BYTES])
def test_of_a_batch_shorter_than_its_header(missing: int) -> None:
    """With a checksum that fits as much as it has."""
    data = bytearray(singles(1, 5)[0])
    size = HEADER_BYTES - missing
    struct.pack_into(">i", data, 8, size - 12)
    struct.pack_into(">I", data, 17, fastcrc.crc32.iscsi(bytes(data[21:size])))
    compare(bytes(data))


@pytest.mark.parametrize(("more", "merged"), [(4, 1), (5, 1), (6, 3)])
def test_of_what_needs_just_as_much_room(more: int, merged: int) -> None:
    """Two headers less, 122 bytes, and times that take 9 bytes more in each of 13 records, and 1 byte in each of some more."""
    made, base = [], 0
    for time, count in ((0, 1), (2**62, 13), (64, more)):
        made.append(encoded([Record(base + number, time, None, b"", ()) for number in range(count)]))
        base += count
    data = b"".join(made)
    compare(data)
    found = cut_compiled(memoryview(bytearray(data)), frozenset(), merges=True).batches
    assert len(found) == merged
    assert (sum(one.header.size for one in found) == len(data)) == (more > 4)


def test_of_as_many_bytes_as_may_be_merged() -> None:
    (size,) = [size for size in range(4000, 4096) if len(singles(1, size)[0]) == HEADER_BYTES + 4096]
    data = b"".join(singles(2 * MOST_BYTES // 4096, size))
    compare(data)
    assert len(cut_compiled(memoryview(bytearray(data)), frozenset(), merges=True).batches) == 2


def test_of_old_messages_and_the_ends_of_offsets() -> None:
    one = singles(1, 5)[0]
    for base in (2**63 - 1, 2**63 - 2, -1, 0):
        moved = bytearray(one)
        struct.pack_into(">q", moved, 0, base)
        compare(bytes(moved))
        compare(one + bytes(moved))
    compare(one + bytes(old_message(1)))
    compare(one + bytes(old_message(0))[:-1])
    compare(b"")


def test_of_the_campaign() -> None:
    """The logs of the campaign of damaged batches, in all codecs."""
    for seed in range(2000):
        compare(bytes(damaged_log(random.Random(seed))), frozenset({9} if seed % 3 else ()))


def test_of_mutations() -> None:
    for seed in range(2000):
        randomness = random.Random(seed)
        compare(bytes(mutated(randomness, b"".join(singles(randomness.randint(1, 6), 20)))))


def test_of_buffers_that_are_parts_of_others() -> None:
    """As in a frame: nothing beyond the view is read or written."""
    data = b"".join(singles(50, 30))
    frame = bytearray(b"\xaa" * 100 + data + b"\xbb" * 100)
    cut_compiled(memoryview(frame)[100:-100], frozenset(), merges=True)
    assert frame[:100] == b"\xaa" * 100
    assert frame[-100:] == b"\xbb" * 100
    alone = bytearray(data)
    cut_in_python(memoryview(alone), frozenset(), merges=True)
    assert frame[100:-100] == alone


def test_both_ways_to_a_checksum() -> None:
    for size in [*range(70), 1000, 4096, 4099]:
        data = random.Random(size).randbytes(size)
        assert cutting._compiled.checksums(data) == (fastcrc.crc32.iscsi(data),) * 2  # type: ignore[union-attr]


def test_an_error_of_the_checksum_is_passed_on() -> None:
    def broken(data: memoryview) -> int:
        raise ZeroDivisionError

    data = memoryview(bytearray(singles(1, 5000)[0]))
    with pytest.raises(ZeroDivisionError):
        cutting._compiled.cut(data, frozenset(), True, MOST_RECORDS, MOST_BYTES, broken)  # type: ignore[union-attr]
    with pytest.raises(OverflowError):
        cutting._compiled.cut(data, frozenset(), True, MOST_RECORDS, MOST_BYTES, lambda _: -1)  # type: ignore[union-attr]


def test_an_error_of_the_look_up_is_passed_on() -> None:
    class Broken(frozenset[int]):
        def __contains__(self, _: object) -> bool:
            raise ZeroDivisionError

    transactional = [encoded([Record(base, 5, None, b"", ())], attributes=0x10) for base in range(2)]
    data = memoryview(bytearray(b"".join(transactional)))
    before = bytes(data)
    with pytest.raises(ZeroDivisionError):
        cut_compiled(data, Broken(), merges=True)
    assert bytes(data) == before


def test_what_is_read_only_is_not_written_to() -> None:
    with pytest.raises(BufferError):
        cut_compiled(memoryview(singles(1, 5)[0]), frozenset(), merges=True)
    assert cut_compiled(memoryview(singles(1, 5)[0]), frozenset(), merges=False).found == 1


def test_which_code_is_used() -> None:
    assert cutter(compiled=True) is cut_compiled
    assert cutter(compiled=False) is cut_in_python
