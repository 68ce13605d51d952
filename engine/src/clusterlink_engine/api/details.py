"""What a mirror topic waits for, in a sentence for people."""

from collections.abc import Sequence

from clusterlink_engine.model.resources import MirrorTopic, Phase
from clusterlink_engine.model.states import MirrorTopicState
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.wire.codes import name_of

# A rate that was measured for less means nothing.
_RATE_SECONDS = 2.0


def state_detail(state: MirrorTopicState, mirror: MirrorTopic, cursors: Sequence[Cursor], seconds: float) -> str:
    """Answers the sentence; empty if the mirror topic waits for nothing, or if its state says all.

    Args:
        state: Of the mirror topic, now.
        mirror: As stored.
        cursors: Of its partitions that are being mirrored.
        seconds: How long it has been in its state.
    """
    if state is MirrorTopicState.SEEDING:
        return _seeding(mirror, cursors, seconds)
    if state is MirrorTopicState.SOURCE_UNAVAILABLE:
        return _unreadable(cursors)
    if state is MirrorTopicState.FAILED:
        going_on = " the others go on" if len(mirror.failures) < mirror.partition_count else " nothing is mirrored"
        return f"{len(mirror.failures)} of {mirror.partition_count} partitions failed;{going_on}"
    return _held(cursors) if state is MirrorTopicState.ACTIVE else ""


def _seeding(mirror: MirrorTopic, cursors: Sequence[Cursor], seconds: float) -> str:
    targets = {cursor: _seeded_until(mirror, cursor) for cursor in cursors}
    total = sum(targets.values())
    done = sum(min(max(cursor.core.log_end, 0), target) for cursor, target in targets.items())
    before = sum(min(max(cursor.core.began_at, 0), target) for cursor, target in targets.items())
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


def _seeded_until(mirror: MirrorTopic, cursor: Cursor) -> int:
    """Answers the offset below which a partition is filled with what nobody may see."""
    if mirror.phase is Phase.SEEDING:
        return max(mirror.first_offsets.get(cursor.index, 0), mirror.seed_until.get(cursor.index, 0))
    return cursor.core.fetch_offset if cursor.core.is_seeding else 0  # its source's retention overtook it


def _unreadable(cursors: Sequence[Cursor]) -> str:
    without_leader = [cursor.index for cursor in cursors if cursor.source is None]
    if without_leader:
        return f"the source has no leader for {_partitions(without_leader)}"
    refused = {cursor.index: cursor.fetch_error for cursor in cursors if cursor.fetch_error}
    if not refused:
        return ""
    first = refused[min(refused)]
    return f"the source does not let {_partitions(list(refused))} be read: {name_of(first)}"


def _held(cursors: Sequence[Cursor]) -> str:
    away = [cursor.index for cursor in cursors if cursor.sink is None]
    if away:
        return f"the local cluster has no leader that can be written to for {_partitions(away)}"
    held = {cursor.index: cursor.core.source_last_stable for cursor in cursors if cursor.core.is_held}
    if not held:
        return ""
    first, *others = sorted(held)
    sentence = f"held at the last stable offset {held[first]:,} of partition {first} by an open transaction"
    return f"{sentence}; likewise {_partitions(others)}" if others else sentence


def _partitions(indexes: Sequence[int]) -> str:
    first, *others = sorted(indexes)
    return f"partition {first}" + (f" and {len(others)} more" if others else "")
