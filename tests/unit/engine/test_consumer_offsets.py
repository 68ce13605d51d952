"""What is to be done for a group, and which groups are meant."""

import pytest

from clusterlink_engine.model.filters import Filter, selects
from clusterlink_engine.sync.consumer_offsets import Written, plan
from clusterlink_engine.wire.offsets import Committed

KEY = ("orders", 0)


def _at(offset: int, metadata: str = "") -> dict[tuple[str, int], Committed]:
    return {KEY: Committed(offset, metadata)}


@pytest.mark.parametrize(
    ("source", "present", "written", "kind", "offset"),
    [
        (_at(5), {}, {}, "changes", 5),
        (_at(5), _at(3), {}, "changes", 5),
        (_at(5), _at(5), {KEY: Written(5, 10.0)}, "", 0),
        (_at(5), _at(5), {}, "repeats", 5),
        (_at(5), _at(5), {KEY: Written(5, -4000.0)}, "repeats", 5),
        (_at(5), _at(8), {}, "ahead", 0),
        (_at(5), _at(8), {KEY: Written(7, 0.0)}, "ahead", 0),
        (_at(5), _at(8), {KEY: Written(8, 0.0)}, "changes", 5),
        (_at(500), {}, {}, "changes", 100),
        (_at(500), _at(100), {KEY: Written(100, 10.0)}, "", 0),
        (_at(5, "new"), _at(5, "old"), {KEY: Written(5, 10.0)}, "changes", 5),
    ],
)
def test_plan(
    source: dict[tuple[str, int], Committed],
    present: dict[tuple[str, int], Committed],
    written: dict[tuple[str, int], Written],
    kind: str,
    offset: int,
) -> None:
    found = plan(source, present, written, {KEY: 100}, now=20.0)
    assert {name for name in ("changes", "repeats", "ahead") if getattr(found, name)} == ({kind} if kind else set())
    if kind in ("changes", "repeats"):
        assert getattr(found, kind)[KEY].offset == offset


def test_a_partition_whose_end_is_not_known_is_left_alone() -> None:
    found = plan(_at(5), {}, {}, {}, now=0.0)
    assert (found.changes, found.repeats, found.ahead) == ({}, {}, [])


@pytest.mark.parametrize(
    ("filters", "selected"),
    [
        ([], set()),
        ([Filter(name="*")], {"a", "ab", "*", "b"}),
        ([Filter(name="*", pattern_type="PREFIXED")], {"*"}),
        ([Filter(name="a")], {"a"}),
        ([Filter(name="a", pattern_type="PREFIXED")], {"a", "ab"}),
        ([Filter(name="*"), Filter(name="a", pattern_type="PREFIXED", filter_type="EXCLUDE")], {"*", "b"}),
        ([Filter(name="ab"), Filter(name="ab", filter_type="EXCLUDE")], set()),
    ],
)
def test_filters(filters: list[Filter], selected: set[str]) -> None:
    assert {name for name in ("a", "ab", "*", "b") if selects(filters, name)} == selected
