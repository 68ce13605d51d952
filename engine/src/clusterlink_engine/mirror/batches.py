"""What the core knows of a record batch: the header's fields."""

from typing import NamedTuple

from clusterlink_engine.model.states import MirrorError

TIMESTAMP_TYPE_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40


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
        leader_epoch: Of the leader that appended it; -1 if it is not known (format 0 and 1).
        max_timestamp: Of the records, in milliseconds; the append time if the broker sets the timestamps.
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
    leader_epoch: int = -1
    max_timestamp: int = -1


class Refusal(NamedTuple):
    """Why a partition cannot go on: the error's name, and a text with what and where."""

    error: MirrorError
    message: str
