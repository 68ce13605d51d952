"""Damaged record batches on their way through the engine, to the bytes that it would send: what it writes is what it says.

Half of the damaged ones get a checksum that fits, as a hostile broker can make it. Then nobody can know what was there before,
but what is written must still be whole batches in the order of their offsets, from the one that was asked for.
"""

import random
import struct
from typing import Any, NamedTuple

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import calc_crc32c

from clusterlink_engine.mirror.partition import ProbeResult, Producer
from clusterlink_engine.replication.buffers import Budget, Frame
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.source import FetchLimits, Source
from clusterlink_engine.replication.throttle import Bucket, Throttle
from clusterlink_engine.wire import records
from clusterlink_engine.wire.batch import HEADER_BYTES, LAST_OFFSET
from clusterlink_engine.wire.compression import CompressionError, compress, decompress
from clusterlink_engine.wire.fetch import FetchedPartition
from clusterlink_engine.wire.frames import FramePool
from clusterlink_engine.wire.primitives import read_signed_varint
from clusterlink_engine.wire.produce import Acknowledgement
from tests.fake_broker.mirroring import PRODUCER_ID, cursor
from tests.fuzz.campaign import Case
from tests.support.mutation import mutated

_BASE = 1000
_TIME = 1_700_000_000_000
_LONGEST_RUN = 50  # of writes that are looked at; a gap can have any length
_UNCHECKED = 21  # what is before it is not covered by the checksum


class _Log(NamedTuple):
    data: bytes
    contents: frozenset[bytes]  # of each batch, what the checksum covers


def _log(randomness: random.Random) -> _Log:
    """Makes a log of one to four batches in all codecs: whole ones, with holes, transactional, with the broker's times."""
    data, contents, base = b"", set(), _BASE
    for _ in range(randomness.randint(1, 4)):
        count, codec = randomness.choice((1, 2, 5, 40)), randomness.randrange(5)
        plain = bytearray(
            records.tombstones(base, count, randomness.randbytes(randomness.choice((1, 9, 60))), _TIME).view
        )
        body = compress(codec, bytes(decompress(4, memoryview(plain)[HEADER_BYTES:])))
        batch = plain[:HEADER_BYTES] + body
        holes = randomness.choice((0, 0, 0, 1, 7))
        attributes = codec | randomness.choice((0, 0, 0, 0x08, 0x10, 0x20, 0x40))
        struct.pack_into(">qi", batch, 0, base, len(batch) - 12)
        struct.pack_into(">hi", batch, 21, attributes, count - 1 + holes)
        struct.pack_into(">qhi", batch, 43, *((9, 0, 0) if attributes & 0x30 else (-1, -1, -1)))
        struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
        data += bytes(batch)
        contents.add(bytes(batch[_UNCHECKED:]))
        base += count + holes + randomness.choice((0, 0, 3))
    return _Log(data, frozenset(contents))


def _sealed(data: bytearray) -> None:
    """Gives whatever looks like a batch a length and a checksum that fit."""
    position = 0
    while len(data) - position >= HEADER_BYTES:
        (length,) = struct.unpack_from(">i", data, position + 8)
        if not HEADER_BYTES - 12 <= length <= len(data) - position - 12:
            length = len(data) - position - 12
            struct.pack_into(">i", data, position + 8, length)
        struct.pack_into(">I", data, position + 17, calc_crc32c(bytes(data[position + 21 : position + 12 + length])))
        position += 12 + length


def case() -> Case:
    """Answers the case: a fetch of damaged bytes, and everything that is written then."""

    async def run(randomness: random.Random) -> str:
        log = _log(randomness)
        data = bytearray(mutated(randomness, log.data))
        hostile = randomness.random() < 0.5
        if hostile:
            _sealed(data)
        wanted = _BASE + randomness.choice((0, 0, 1, 3))
        mirror = cursor(0, merges=randomness.random() < 0.5)
        mirror.apply(mirror.core.lose())
        mirror.apply(mirror.core.probed(ProbeResult(wanted, wanted, 0, Producer(0, wanted - 1), None, True)))
        mirror.probe_done()
        ends = 2**63 - 1
        aborted = [(9, _BASE)] if randomness.random() < 0.3 else []
        entry = FetchedPartition("orders", 0, 0, ends, ends, 0, memoryview(data), aborted)
        budget = Budget(1 << 20)
        source = Source(None, 1, budget, Throttle(Bucket()), FetchLimits(1 << 16, 1 << 16, 1, 10), lambda: None)  # type: ignore[arg-type]
        source.add(mirror)
        frame = Frame(budget, memoryview(data), FramePool())
        await source._deliver(mirror, entry, frame)
        frame.release()
        written = _write(mirror, wanted, None if hostile else log)
        if mirror.core.failure is not None:
            return mirror.core.failure.error
        return "written" if written else "refused" if mirror.fetch_error else "nothing"

    return run


def _write(mirror: Cursor, position: int, log: _Log | None) -> int:
    """Writes what was queued as the sink and the gap writer do, and checks it; answers how much it was."""
    for written in range(_LONGEST_RUN):
        if mirror.may_send:
            position = _check(mirror, bytes(mirror.next().batch), position, log)
            base = mirror.core.next_offset
            start = mirror.core._window[-1].base_offset
            assert (start, base) == (start, position)
            mirror.acknowledged(Acknowledgement("orders", 0, 0, start, ""))
        elif mirror.may_fill:
            gap, epoch = mirror.next_gap(1000)
            assert gap.first == position
            assert gap.first < gap.end <= LAST_OFFSET + 1
            assert 0 <= epoch < 2**15
            position = gap.end
            mirror.filled(position)
        else:
            return written
    return _LONGEST_RUN


def _check(mirror: Cursor, sent: bytes, position: int, log: _Log | None) -> int:
    """Checks a batch that is sent by another's reading of it; answers the offset after it."""
    batch: Any = DefaultRecordBatch(sent)
    assert batch.validate_crc()
    assert (batch.base_offset, batch.magic, batch.producer_id) == (0, 2, PRODUCER_ID)
    assert struct.unpack_from(">i", sent, 8) == (len(sent) - 12,)
    (delta,), (count,) = struct.unpack_from(">i", sent, 23), struct.unpack_from(">i", sent, 57)
    assert count == delta + 1 > 0
    assert batch.attributes & 0x78 == 0  # no times of the broker's, no transaction, no control records, no horizon
    if log is not None:
        _check_is_of(log, sent)
    return position + int(count)


def _check_is_of(log: _Log, sent: bytes) -> None:
    """Checks that the records of a batch are some that the log had, whichever way they were compressed."""
    (attributes,) = struct.unpack_from(">h", sent, 21)
    found = set(_values(attributes, sent[HEADER_BYTES:]))
    had = {
        value
        for content in log.contents
        for value in _values(struct.unpack_from(">h", content)[0], content[HEADER_BYTES - _UNCHECKED :])
    }
    assert found <= had, "a damaged record was written"


def _values(attributes: int, body: bytes) -> list[bytes]:
    """The keys of records as `tombstones` makes them: what comes after the deltas."""
    try:
        plain = bytes(decompress(attributes & 7, memoryview(body)))
    except CompressionError:
        return [b"(cannot be read)"]
    found, position = [], 0
    while position < len(plain):
        length, position = read_signed_varint(plain, position)
        end = position + length
        _, rest = read_signed_varint(plain, position + 1)
        _, rest = read_signed_varint(plain, rest)
        found.append(plain[rest:end])
        position = end
    return found
