"""What a process tells of a partition that it mirrors."""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

from clusterlink_engine.mirror.partition import Phase
from clusterlink_engine.replication.cursor import Cursor


class PartitionStatus(NamedTuple):
    """A partition at one moment; offsets are -1 where they are not known yet.

    Attributes:
        phase: Name of the core's phase.
        log_start: Of the mirror.
        log_end: Of the mirror, as far as it is acknowledged.
        began_at: The mirror's log end when the process took the partition over.
        fetch_offset: Where the source is read.
        source_high_watermark: As last heard.
        source_last_stable: Likewise.
        is_held: Whether an open transaction at the source is all that it waits for.
        is_seeding: Whether it has, or gets, fillers at its head.
        has_source: Whether the source has a leader, as far as is known.
        has_sink: Whether the mirror has a leader that can be written to, as far as is known.
        fetch_error: Kafka's code of the last fetch that was refused; 0 once one was not.
        offsets_filled: By markers or empty transactions, since the process took it over.
        is_settled: Whether both logs have been read, or its failure is stored.
        bulk_until: Below it the gaps of a compacted topic are filled with records.
        last_filler: The last of these records; -1 if this process wrote none.
        hold_at: Nothing that ends above this offset is written; -1 for no such limit.
        waits_at: The end of what would be written next, if only `hold_at` forbids it; -1 otherwise.
        is_sealed: Whether the last offset that the link will ever write is written.
        behind_since: When the source was first seen to have what the mirror has not, in milliseconds since 1970; 0 if it has
            no such thing.
    """

    phase: str
    log_start: int
    log_end: int
    began_at: int
    fetch_offset: int
    source_high_watermark: int
    source_last_stable: int
    is_held: bool
    is_seeding: bool
    has_source: bool
    has_sink: bool
    fetch_error: int
    offsets_filled: int
    is_settled: bool
    bulk_until: int
    last_filler: int
    hold_at: int
    waits_at: int
    is_sealed: bool
    behind_since: int

    @property
    def is_copying(self) -> bool:
        """Whether it is believed to be known where the mirror's log ends."""
        return self.phase == Phase.COPYING.value

    @property
    def has_failed(self) -> bool:
        """Whether it stopped for good."""
        return self.phase == Phase.FAILED.value


class Glance(NamedTuple):
    """What the states of mirror topics are made of, looked at all the time.

    Attributes:
        is_readable: Whether all partitions can be fetched, as far as is known.
        is_seeding: Whether one has, or gets, fillers at its head.
    """

    is_readable: bool
    is_seeding: bool

    def beside(self, other: "Glance") -> "Glance":
        """Answers what both say together."""
        return Glance(self.is_readable and other.is_readable, self.is_seeding or other.is_seeding)


NOTHING = Glance(is_readable=True, is_seeding=False)


def glance_at(cursors: Iterable[Cursor]) -> Glance:
    """Answers what cursors have to say, without the making of their statuses."""
    found = NOTHING
    for cursor in cursors:
        if cursor.fetch_error or (cursor.source is None and cursor.was_sought) or cursor.core.is_seeding:
            found = found.beside(_glance_of(status_of(cursor)))
    return found


def glance_over(statuses: Iterable[PartitionStatus]) -> Glance:
    """Answers what statuses have to say."""
    return reduce(Glance.beside, map(_glance_of, statuses), NOTHING)


def _glance_of(status: PartitionStatus) -> Glance:
    return Glance(status.has_source and not status.fetch_error, status.is_seeding)


def status_of(cursor: Cursor) -> PartitionStatus:
    """Answers the status of a cursor now."""
    core = cursor.core
    waits_at = cursor.waits_at
    return PartitionStatus(
        phase=core.phase.value,
        log_start=core.log_start,
        log_end=core.log_end,
        began_at=core.began_at,
        fetch_offset=core.fetch_offset,
        source_high_watermark=core.source_high_watermark,
        source_last_stable=core.source_last_stable,
        is_held=core.is_held,
        is_seeding=core.is_seeding,
        has_source=cursor.source is not None or not cursor.was_sought,
        has_sink=cursor.sink is not None or not cursor.was_placed,
        fetch_error=cursor.fetch_error,
        offsets_filled=cursor.offsets_filled,
        is_settled=cursor.settled.is_set(),
        bulk_until=core.bulk_until,
        last_filler=core.last_filler,
        hold_at=-1 if core.hold_at is None else core.hold_at,
        waits_at=-1 if waits_at is None else waits_at,
        is_sealed=cursor.is_sealed,
        behind_since=cursor.lag.since(core.log_end),
    )
