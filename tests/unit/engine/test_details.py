"""The sentence that says what a mirror topic waits for."""

from typing import Any

import pytest

from clusterlink_engine.api.details import state_detail
from clusterlink_engine.mirror.partition import Partition, ProbeResult
from clusterlink_engine.model.resources import Failure, MirrorTopic, Phase
from clusterlink_engine.model.states import MirrorError, MirrorTopicState
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.status import status_of

MIRROR = MirrorTopic(
    name="orders",
    link="eu",
    source_topic="orders",
    source_topic_id="1" * 32,
    topic_id="2" * 32,
    partition_count=3,
    replication_factor=1,
    phase=Phase.ACTIVE,
)
SEEDING = MIRROR.model_copy(update={"phase": Phase.SEEDING, "first_offsets": {0: 1_000_000, 1: 200_000}})
SOMEWHERE: Any = object()


def cursor(index: int, log_end: int = 0, **attributes: Any) -> Cursor:
    """A partition whose log was read once, and that a source and a sink serve."""
    core = Partition(f"orders-{index}", 1, log_end)
    made = Cursor(
        core,
        topic="orders",
        topic_id="2" * 32,
        index=index,
        source_topic="orders",
        source_topic_id="1" * 32,
        producer_id=1,
        tenure=SOMEWHERE,
        watcher=SOMEWHERE,
        cutter=SOMEWHERE,
    )
    core.probed(ProbeResult(log_end, log_end, 0, None, None, settled=True))
    made.source = made.sink = SOMEWHERE
    made.was_sought = made.was_placed = True
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def held(index: int, at: int) -> Cursor:
    made = cursor(index, at)
    made.core.source_seen(0, at + 7, at)
    return made


def detail(state: MirrorTopicState, mirror: MirrorTopic, cursors: list[Cursor], seconds: float) -> str:
    statuses = {made.index: status_of(made) for made in cursors}
    return state_detail(state, mirror, mirror.failures.keys(), statuses, seconds)


def failed(*indexes: int) -> MirrorTopic:
    failure = Failure(error=MirrorError.FOREIGN_WRITE, message="x")
    return MIRROR.model_copy(update={"failures": dict.fromkeys(indexes, failure)})


@pytest.mark.parametrize(
    ("state", "mirror", "cursors", "sentence"),
    [
        (MirrorTopicState.ACTIVE, MIRROR, [cursor(0), cursor(1)], ""),
        (
            MirrorTopicState.ACTIVE,
            MIRROR,
            [cursor(0), held(1, 1234)],
            "held at the last stable offset 1,234 of partition 1 by an open transaction",
        ),
        (
            MirrorTopicState.ACTIVE,
            MIRROR,
            [held(2, 5), held(1, 6)],
            "held at the last stable offset 6 of partition 1 by an open transaction; likewise partition 2",
        ),
        (
            MirrorTopicState.ACTIVE,
            MIRROR,
            [held(0, 5), cursor(2, sink=None)],
            "the local cluster has no leader that can be written to for partition 2",
        ),
        (MirrorTopicState.PAUSED, MIRROR, [], ""),
        (MirrorTopicState.LINK_PAUSED, MIRROR, [], ""),
        (MirrorTopicState.SEEDING, SEEDING, [cursor(0, 300_000), cursor(1)], "seeding: 300,000 of 1,200,000 offsets"),
        (
            MirrorTopicState.SEEDING,
            SEEDING,
            [cursor(0, 1_000_000), cursor(1, 900_000)],
            "seeding: everything is written; the brokers remove what nobody may see",
        ),
        (
            MirrorTopicState.SEEDING,
            SEEDING.model_copy(update={"seed_until": {1: 800_000}}),
            [cursor(0, 1_000_000), cursor(1, 300_000)],
            "seeding: 1,300,000 of 1,800,000 offsets",
        ),
        (MirrorTopicState.SEEDING, SEEDING, [], ""),
        (
            MirrorTopicState.SOURCE_UNAVAILABLE,
            MIRROR,
            [cursor(0), cursor(1, source=None), cursor(2, source=None)],
            "the source has no leader for partition 1 and 1 more",
        ),
        (
            MirrorTopicState.SOURCE_UNAVAILABLE,
            MIRROR,
            [cursor(0), cursor(2, fetch_error=29)],
            "the source does not let partition 2 be read: TOPIC_AUTHORIZATION_FAILED",
        ),
        (MirrorTopicState.SOURCE_UNAVAILABLE, MIRROR, [cursor(0)], ""),
        (MirrorTopicState.FAILED, failed(1), [], "1 of 3 partitions failed; the others go on"),
        (MirrorTopicState.FAILED, failed(0, 1, 2), [], "3 of 3 partitions failed; nothing is mirrored"),
    ],
)
def test_sentences(state: MirrorTopicState, mirror: MirrorTopic, cursors: list[Cursor], sentence: str) -> None:
    assert detail(state, mirror, cursors, 1.0) == sentence


def test_what_the_sources_retention_overtook_is_seeded_to_where_it_begins_now() -> None:
    overtaken = cursor(0, 100)
    overtaken.core.source_seen(500, 900, 900)
    assert detail(MirrorTopicState.SEEDING, MIRROR, [overtaken, cursor(1, 70)], 0.0) == "seeding: 100 of 500 offsets"


@pytest.mark.parametrize(
    ("log_end", "seconds", "said"),
    [
        (100_000, 9.0, ""),
        (325_000, 1.0, ""),
        (325_000, 9.0, ", about 27 s left"),
        (325_000, 90.0, ", about 4 min left"),
        (100_100, 90.0, ", about 225 h left"),
    ],
)
def test_how_long_seeding_may_take(log_end: int, seconds: float, said: str) -> None:
    """Counted from where this process began."""
    mirror = SEEDING.model_copy(update={"first_offsets": {0: 1_000_000}})
    seeded = cursor(0, 100_000)
    seeded.core.log_end = log_end
    sentence = detail(MirrorTopicState.SEEDING, mirror, [seeded], seconds)
    assert sentence == f"seeding: {log_end:,} of 1,000,000 offsets{said}"
