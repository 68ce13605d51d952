"""What the core knows of a record batch: the header's fields, and the rule of what can be copied exactly."""

from typing import NamedTuple

from clusterlink_engine.model.states import MirrorError

TIMESTAMP_TYPE_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20


class BatchHeader(NamedTuple):
    """The header of a record batch at the source or on the mirror.

    Attributes:
        base_offset: Offset of the first record.
        last_offset: Offset of the last record that was in the batch when it was written.
        records: Number of records that are in it now.
        attributes: Codec in bits 0 to 2, then timestamp type, transactional, control, delete horizon.
        magic: Format, 2 for record batches.
        size: Bytes of the whole batch.
        producer_id: -1 if the producer was not idempotent.
        producer_epoch: -1 likewise.
        base_sequence: -1 likewise.
    """

    base_offset: int
    last_offset: int
    records: int
    attributes: int
    magic: int
    size: int
    producer_id: int
    producer_epoch: int
    base_sequence: int


class Refusal(NamedTuple):
    """Why a partition cannot go on: the error's name, and a text with what and where."""

    error: MirrorError
    message: str


def refuse(batch: BatchHeader, expected_offset: int) -> Refusal | None:
    """Answers why a batch cannot be copied exactly to `expected_offset`, or None if it can.

    Only plain batches can: format 2, without holes, with the producers' timestamps, outside transactions.
    """
    first, last = batch.base_offset, batch.last_offset
    where = f"offset {first}" if first == last else f"offsets {first} to {last}"
    if batch.magic != 2:
        return Refusal(
            MirrorError.UNSUPPORTED_MESSAGE_FORMAT,
            f"The source has records of message format {batch.magic} at offset {first}; only format 2 can be mirrored.",
        )
    if batch.attributes & CONTROL_BIT:
        return Refusal(
            MirrorError.TRANSACTIONAL_RECORDS,
            f"The source has a transaction marker at {where}; this version mirrors no transactional topics.",
        )
    if batch.attributes & TRANSACTIONAL_BIT:
        return Refusal(
            MirrorError.TRANSACTIONAL_RECORDS,
            f"The source has transactional records at {where}; this version mirrors no transactional topics.",
        )
    if first > expected_offset:
        return Refusal(
            MirrorError.OFFSET_GAP,
            f"The source has no records at offsets {expected_offset} to {first - 1} (compaction, or records deleted); this "
            "version mirrors no topics with such holes.",
        )
    if last - first + 1 != batch.records:
        return Refusal(
            MirrorError.OFFSET_GAP,
            f"The source's batch at {where} has {batch.records} records (compaction removed the others); this version mirrors "
            "no topics with such holes.",
        )
    if first < expected_offset:
        return Refusal(
            MirrorError.OFFSET_GAP,
            f"The mirror ends at offset {expected_offset}, in the middle of the source's batch at {where}.",
        )
    if batch.attributes & TIMESTAMP_TYPE_BIT:
        return Refusal(
            MirrorError.LOG_APPEND_TIME_RECORDS,
            f"The source's broker sets the timestamps (LogAppendTime) of the batch at {where}; this version mirrors topics "
            "with message.timestamp.type=CreateTime only.",
        )
    return None
