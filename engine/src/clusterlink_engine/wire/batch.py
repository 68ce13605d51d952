"""Record batches (magic 2) as they lie in a fetched frame: cut, verified, patched in place. Records are never touched.

Layout of the 61-byte header (Kafka's "Record Batch" format): base offset 0, length 8, partition leader epoch 12, magic 16,
CRC-32C 17, attributes 21, last offset delta 23, base timestamp 27, max timestamp 35, producer id 43, producer epoch 51,
base sequence 53, record count 57. The CRC covers everything from the attributes on.
"""

import struct
from zlib import crc32

import fastcrc

from clusterlink_engine.mirror.batches import DELETE_HORIZON_BIT, TRANSACTIONAL_BIT, BatchHeader

_LENGTHS = struct.Struct(">qiib")  # base offset, length after this field, leader epoch, magic
_REST = struct.Struct(">Ihiqqqhii")  # from the CRC on
_ATTRIBUTES = struct.Struct(">h")
_PLACE = struct.Struct(">qii")  # base offset, length, leader epoch
_PRODUCER = struct.Struct(">qhi")
_CRC = struct.Struct(">I")

_NOT_COPIED = TRANSACTIONAL_BIT | DELETE_HORIZON_BIT

_CRC_AT = 17
_ATTRIBUTES_AT = 21
_PRODUCER_AT = 43
HEADER_BYTES = 61
_PREFIX_BYTES = 12  # base offset and length field, not counted by the length

crc32c = fastcrc.crc32.iscsi


# The largest offset of a record: the one after it must be a number that the protocol has.
LAST_OFFSET = 2**63 - 2

_MAGIC = 2
_OLD = (0, 1)
_OLD_CRC_AT = 12
CODEC_BITS = 0x07
_LAST_CODEC = 4  # zstd (KIP-110)


class TornBatchError(ValueError):
    """A batch in a fetched frame is damaged, or none that a broker can have: its lengths, offsets or checksum do not fit."""


class Batch:
    """A whole batch in a fetched frame.

    Attributes:
        header: What the core decides on.
        view: The batch's bytes, writable, a view into the frame.
    """

    __slots__ = ("header", "view")

    def __init__(self, header: BatchHeader, view: memoryview) -> None:
        self.header = header
        self.view = view

    def __repr__(self) -> str:
        return f"<Batch {self.header.base_offset}..{self.header.last_offset}, {len(self.view)} bytes>"


def split(records: memoryview) -> list[Batch]:
    """Cuts the record bytes of a fetched partition into its whole batches; the cut-off last one is left out.

    Every checksum is verified here, before anything is written: otherwise the new checksum would bless damage in transit. The
    base offset is not covered by it, and whoever sends batches can make checksums; so what is answered is in order too: batches
    follow each other, and have no more records than offsets.

    Raises:
        TornBatchError: A length or an offset is impossible or a checksum differs; nothing of `records` may be used.
    """
    batches: list[Batch] = []
    position, end, last_offset = 0, len(records), -1
    while end - position >= HEADER_BYTES:
        base_offset, length, leader_epoch, magic = _LENGTHS.unpack_from(records, position)
        size = length + _PREFIX_BYTES
        if magic in _OLD:
            if position + size <= end:
                batches.append(_old(records[position : position + size], base_offset, magic))
            return batches
        if magic != _MAGIC:
            raise TornBatchError(f"the batch at offset {base_offset} has a format that there is not, {magic}")
        if size < HEADER_BYTES:
            raise TornBatchError(f"the batch at offset {base_offset} has an impossible length of {length}")
        if position + size > end:
            return batches
        view = records[position : position + size]
        crc, attributes, last_delta, _, newest, producer_id, epoch, sequence, count = _REST.unpack_from(view, _CRC_AT)
        if crc32c(view[_ATTRIBUTES_AT:]) != crc:
            raise TornBatchError(f"the batch at offset {base_offset} does not fit its checksum")
        if not 0 <= count <= last_delta + 1 or last_delta < 0 or attributes & CODEC_BITS > _LAST_CODEC:
            raise TornBatchError(f"the batch at offset {base_offset} has impossible counts or an unknown codec")
        if base_offset <= last_offset or base_offset + last_delta > LAST_OFFSET:
            raise TornBatchError(f"the batch at offset {base_offset} cannot follow offset {last_offset}")
        last_offset = base_offset + last_delta
        header = BatchHeader(
            base_offset,
            last_offset,
            count,
            attributes,
            magic,
            size,
            producer_id,
            epoch,
            sequence,
            leader_epoch,
            newest,
        )
        batches.append(Batch(header, view))
        position += size
    return batches


def _old(view: memoryview, base_offset: int, magic: int) -> Batch:
    """Answers a message of format 0 or 1, which has its magic at the same place; the core refuses it by that, for good.

    Raises:
        TornBatchError: It is none: only its checksum, a CRC-32 after the length, shows that the magic is not damaged.
    """
    if len(view) <= _OLD_CRC_AT + _CRC.size:
        raise TornBatchError(f"the message at offset {base_offset} has an impossible length")
    (crc,) = _CRC.unpack_from(view, _OLD_CRC_AT)
    if crc32(view[_OLD_CRC_AT + _CRC.size :]) != crc:
        raise TornBatchError(f"the message at offset {base_offset} does not fit its checksum")
    return Batch(BatchHeader(base_offset, base_offset, 0, 0, magic, len(view), -1, -1, -1), view)


def patch(view: memoryview, producer_id: int, epoch: int, sequence: int) -> None:
    """Makes a fetched batch one of ours, in place.

    Written are the base offset (a broker refuses any but 0 from a client, KIP-98's INVALID_RECORD), the leader epoch, the
    producer's fields and the checksum. Of the attributes, two bits go: "transactional", because the transaction was decided
    at the source, and "delete horizon" (KIP-534), because it is the source's cleaner's, and the broker would believe it.

    Args:
        view: The whole batch.
        producer_id: Of the link.
        epoch: Of the producer, 0 to 32767.
        sequence: Of the first record, 0 to 2^31 - 1.
    """
    (length,) = struct.unpack_from(">i", view, 8)
    _PLACE.pack_into(view, 0, 0, length, -1)
    (attributes,) = _ATTRIBUTES.unpack_from(view, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(view, _ATTRIBUTES_AT, attributes & ~_NOT_COPIED)
    _PRODUCER.pack_into(view, _PRODUCER_AT, producer_id, epoch, sequence)
    _CRC.pack_into(view, _CRC_AT, crc32c(view[_ATTRIBUTES_AT:]))


def peek(records: memoryview) -> BatchHeader | None:
    """Answers the header of the first batch, which may be cut off after it; None if there is not even a header."""
    if len(records) < HEADER_BYTES:
        return None
    base_offset, length, leader_epoch, magic = _LENGTHS.unpack_from(records)
    _, attributes, last_delta, _, newest, producer_id, epoch, sequence, count = _REST.unpack_from(records, _CRC_AT)
    return BatchHeader(
        base_offset,
        base_offset + last_delta,
        count,
        attributes,
        magic,
        length + _PREFIX_BYTES,
        producer_id,
        epoch,
        sequence,
        leader_epoch,
        newest,
    )
