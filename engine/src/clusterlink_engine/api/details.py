"""What a mirror topic waits for, in a sentence for people."""

from collections.abc import Collection, Mapping, Sequence

from clusterlink_engine.errors import Side
from clusterlink_engine.model.resources import Direction, MirrorTopic, Phase
from clusterlink_engine.model.states import MirrorTopicState
from clusterlink_engine.replication.status import PartitionStatus
from clusterlink_engine.wire.codes import name_of

# A rate that was measured for less means nothing.
_RATE_SECONDS = 2.0


Statuses = Mapping[int, PartitionStatus]


def state_detail(
    state: MirrorTopicState, mirror: MirrorTopic, failed: Collection[int], statuses: Statuses, seconds: float
) -> str:
    """Answers the sentence; empty if the mirror topic waits for nothing, or if its state says all.

    Args:
        state: Of the mirror topic, now.
        mirror: As stored.
        failed: Its partitions that stopped for good.
        statuses: Of its partitions that are being mirrored.
        seconds: How long it has been in its state.
    """
    if state in (MirrorTopicState.SEEDING, MirrorTopicState.PENDING_RESTORE):
        return _seeding(mirror, statuses, seconds)
    if state is MirrorTopicState.SOURCE_UNAVAILABLE:
        return _unreadable(statuses)
    if state is MirrorTopicState.FAILED:
        going_on = " the others go on" if len(failed) < mirror.partition_count else " nothing is mirrored"
        return f"{len(failed)} of {mirror.partition_count} partitions failed;{going_on}"
    return _held(mirror, statuses) if state is MirrorTopicState.ACTIVE else ""


def _seeding(mirror: MirrorTopic, statuses: Statuses, seconds: float) -> str:
    targets = {index: _seeded_until(mirror, index, status) for index, status in statuses.items()}
    total = sum(targets.values())
    done = sum(min(max(statuses[index].log_end, 0), target) for index, target in targets.items())
    before = sum(min(max(statuses[index].began_at, 0), target) for index, target in targets.items())
    if done < total:
        sentence = f"seeding: {done:,} of {total:,} offsets"
        if done <= before or seconds < _RATE_SECONDS:
            return sentence
        return f"{sentence}, about {_duration(seconds * (total - done) / (done - before))} left"
    return "seeding: everything is written; the brokers remove what nobody may see" if total else ""


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _seeded_until(mirror: MirrorTopic, index: int, status: PartitionStatus) -> int:
    """Answers the offset below which a partition is filled with what nobody may see."""
    if mirror.phase is Phase.SEEDING:
        return max(mirror.first_offsets.get(index, 0), mirror.seed_until.get(index, 0))
    return status.fetch_offset if status.is_seeding else 0  # its source's retention overtook it


def _unreadable(statuses: Statuses) -> str:
    without_leader = [index for index, status in statuses.items() if not status.has_source]
    if without_leader:
        return f"the source has no leader for {_partitions(without_leader)}"
    refused = {index: status.fetch_error for index, status in statuses.items() if status.fetch_error}
    if not refused:
        return ""
    first = refused[min(refused)]
    return f"the source does not let {_partitions(list(refused))} be read: {name_of(first)}"


def _held(mirror: MirrorTopic, statuses: Statuses) -> str:
    away = [index for index, status in statuses.items() if not status.has_sink]
    if away:
        side = Side.LOCAL if mirror.direction is Direction.REMOTE_TO_LOCAL else Side.REMOTE
        return f"the {side} cluster has no leader that can be written to for {_partitions(away)}"
    held = {index: status.source_last_stable for index, status in statuses.items() if status.is_held}
    if not held:
        return ""
    first, *others = sorted(held)
    sentence = f"held at the last stable offset {held[first]:,} of partition {first} by an open transaction"
    return f"{sentence}; likewise {_partitions(others)}" if others else sentence


def _partitions(indexes: Sequence[int]) -> str:
    first, *others = sorted(indexes)
    return f"partition {first}" + (f" and {len(others)} more" if others else "")
