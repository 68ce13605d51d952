"""A glance at partitions says of them what their statuses say, however they are asked."""

from itertools import product
from typing import Any

import pytest

from clusterlink_engine.mirror.partition import Partition, ProbeResult
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.status import NOTHING, Glance, glance_at, glance_over, status_of

_SOMEWHERE: Any = object()


def cursor(*, has_source: bool = True, was_sought: bool = True, error: int = 0, seeding: bool = False) -> Cursor:
    made = Cursor(
        Partition("orders-0", 1, first_offset=10 if seeding else 0),
        topic="orders",
        topic_id="2" * 32,
        index=0,
        source_topic="orders",
        source_topic_id="1" * 32,
        producer_id=1,
        tenure=_SOMEWHERE,
        watcher=_SOMEWHERE,
        cutter=_SOMEWHERE,
    )
    made.core.probed(ProbeResult(0, 0, 0, None, None, settled=True))
    made.source = _SOMEWHERE if has_source else None
    made.was_sought = was_sought
    made.fetch_error = error
    return made


@pytest.mark.parametrize(
    ("made", "glance"),
    [
        (cursor(), NOTHING),
        (cursor(has_source=False, was_sought=False), NOTHING),  # nobody has looked yet
        (cursor(has_source=False), Glance(is_readable=False, is_seeding=False)),
        (cursor(error=6), Glance(is_readable=False, is_seeding=False)),
        (cursor(seeding=True), Glance(is_readable=True, is_seeding=True)),
    ],
)
def test_one_partition_decides(made: Cursor, glance: Glance) -> None:
    others = [cursor(), cursor()]
    assert glance_at([*others, made]) == glance_at([made, *others]) == glance
    assert glance_over([]) == glance_at([]) == NOTHING


def test_both_ways_say_the_same() -> None:
    kinds = [
        cursor(has_source=has_source, was_sought=was_sought, error=error, seeding=seeding)
        for has_source, was_sought, error, seeding in product((False, True), (False, True), (0, 6), (False, True))
    ]
    for first, second in product(kinds, kinds):
        together = glance_at([first, second])
        assert together == glance_over([status_of(first), status_of(second)])
        assert together == glance_at([first]).beside(glance_at([second]))
