"""Where a new mirror topic begins, and how it gets there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from clusterlink_engine.control.seeding import COMPACTED_SETTINGS, HEAD_SETTINGS, LIVE_TAIL
from clusterlink_engine.control.topics import read_offsets
from clusterlink_engine.errors import FailedPreconditionError
from clusterlink_engine.model.resources import EARLIEST, LATEST, MirrorTopic
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a mirror topic begins.

    Attributes:
        first_offsets: Where each partition begins, if not at 0.
        seed_until: Below this offset the gaps of each partition are filled with records.
        settings: Of the topic while it is seeded; empty if there is nothing to seed.
    """

    first_offsets: dict[int, int] = field(default_factory=dict)
    seed_until: dict[int, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


async def begin_of(source: Cluster, mirror: MirrorTopic, start: str, *, is_compacted: bool) -> Beginning:
    """Reads from the source where a mirror topic has to begin; `start` is as `Link.mirror_start_offset`.

    Raises:
        FailedPreconditionError: The source topic was replaced since it was looked at.
        KafkaError: The source does not answer, or refuses.
    """
    topic = (await source.metadata([mirror.source_topic])).topics[mirror.source_topic]
    if topic.topic_id != mirror.source_topic_id:
        raise FailedPreconditionError(
            f'The source topic "{mirror.source_topic}" was deleted or created anew meanwhile; try again.',
            field="mirror_topic.source_topic",
            reason="SOURCE_TOPIC_NOT_FOUND",
        )
    starts = await read_offsets(source, topic, logs.log_starts)
    ends = await read_offsets(source, topic, logs.last_stable_offsets)
    wanted = dict(starts)
    if start == LATEST:
        wanted = ends
    elif start != EARLIEST:
        time = int(datetime.fromisoformat(start).timestamp() * 1000)
        found = await read_offsets(
            source, topic, lambda cluster, node, partitions: logs.offsets_at(cluster, node, partitions, time)
        )
        wanted = {index: offset if offset >= 0 else ends[index] for index, offset in found.items()}
    first = {index: max(offset, starts[index]) for index, offset in wanted.items() if max(offset, starts[index]) > 0}
    bulk: dict[int, int] = {}
    if is_compacted:
        bulk = {index: end - LIVE_TAIL for index, end in ends.items() if end - first.get(index, 0) > 2 * LIVE_TAIL}
    if bulk:
        return Beginning(first, bulk, COMPACTED_SETTINGS)
    if not first:
        return Beginning()
    return Beginning(
        first, {}, {**HEAD_SETTINGS, "cleanup.policy": "compact,delete"} if is_compacted else HEAD_SETTINGS
    )
