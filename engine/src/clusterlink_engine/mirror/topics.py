"""What becomes of a mirror topic when its source topic, or the topic itself, is not what it was."""

from dataclasses import dataclass

from clusterlink_engine.mirror.batches import Refusal
from clusterlink_engine.model.states import MirrorError

# Of a topic that is mirrored. Kafka has no limit; but the remote cluster must not decide alone how many partitions are made
# here, each of which takes memory of the engine and of the brokers.
MOST_PARTITIONS = 10_000


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a cluster's metadata says of a topic; `missing_seconds` counts since it was first seen to be missing."""

    exists: bool
    topic_id: str
    partition_count: int
    missing_seconds: float


@dataclass(frozen=True, slots=True)
class Grow:
    """The mirror topic must get more partitions."""

    partition_count: int


def judge_source(
    name: str, topic_id: str, partition_count: int, seen: Sighting, *, patience: float
) -> Refusal | Grow | None:
    """Compares a source topic with what was stored of it; a mirror topic gets MOST_PARTITIONS and no more.

    Args:
        name: Of the source topic.
        topic_id: As stored when the mirror topic was created.
        partition_count: Of the mirror topic.
        seen: What the remote cluster says now.
        patience: Seconds that a topic may be missing; metadata of a starting broker can be incomplete.
    """
    if not seen.exists:
        if seen.missing_seconds < patience:
            return None
        return Refusal(
            MirrorError.SOURCE_TOPIC_MAY_BE_DELETED,
            f'The source topic "{name}" has been missing for {seen.missing_seconds:.0f} s; it may be deleted.',
        )
    if seen.topic_id != topic_id:
        return Refusal(
            MirrorError.SOURCE_TOPIC_ID_CHANGED,
            f'The source topic "{name}" was deleted and created anew: its id is {seen.topic_id}, it was {topic_id}.',
        )
    if seen.partition_count < partition_count:
        return Refusal(
            MirrorError.SOURCE_PARTITIONS_DECREASED,
            f'The source topic "{name}" has {seen.partition_count} partitions, the mirror topic has {partition_count}.',
        )
    wanted = min(seen.partition_count, MOST_PARTITIONS)
    return Grow(wanted) if wanted > partition_count else None


def judge_mirror(name: str, topic_id: str, seen: Sighting, *, patience: float) -> Refusal | None:
    """Compares a mirror topic with what was stored of it; arguments as in `judge_source`."""
    if not seen.exists:
        if seen.missing_seconds < patience:
            return None
        return Refusal(MirrorError.MIRROR_TOPIC_CHANGED, f'The mirror topic "{name}" was deleted by somebody else.')
    if seen.topic_id != topic_id:
        return Refusal(
            MirrorError.MIRROR_TOPIC_CHANGED,
            f'The mirror topic "{name}" was deleted and created anew by somebody else: its id is {seen.topic_id}, it was '
            f"{topic_id}.",
        )
    return None
