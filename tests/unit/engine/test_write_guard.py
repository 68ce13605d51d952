"""Whether mirror topics can be guarded, and which: pure parts."""

import pytest

from clusterlink_engine.control.write_guard import Sighting, WriteGuardWay, judge, spoken_of
from clusterlink_engine.model.acls import denial

CANARY = denial("canary", "DESCRIBE")
PROVEN = Sighting(frozenset({CANARY}), is_allowed=True, is_open=False)
UNAWARE = Sighting(frozenset(), is_allowed=True, is_open=False)
DENIED = Sighting(frozenset({CANARY}), is_allowed=False, is_open=False)
NO_RIGHT = Sighting(frozenset(), is_allowed=False, is_open=False)


@pytest.mark.parametrize(
    ("sightings", "way"),
    [
        ([PROVEN], WriteGuardWay.ACL),
        ([PROVEN, PROVEN], WriteGuardWay.ACL),
        ([PROVEN, UNAWARE], None),
        ([PROVEN, None], None),
        ([UNAWARE], None),
        ([None], None),
        ([PROVEN, DENIED], WriteGuardWay.DETECTION_ONLY),
        ([None, DENIED], WriteGuardWay.DETECTION_ONLY),
        ([NO_RIGHT], WriteGuardWay.DETECTION_ONLY),
    ],
)
def test_only_a_super_user_of_every_broker_may_guard(
    sightings: list[Sighting | None], way: WriteGuardWay | None
) -> None:
    assert judge(CANARY, sightings) is way


def test_acls_speak_of_topics_by_their_names_or_prefixes() -> None:
    prefixed = denial("ord").model_copy(update={"pattern_type": "PREFIXED"})
    assert spoken_of({"orders", "a", "b"}, {prefixed, denial("a"), denial("orde")}) == {"orders", "a"}
    assert spoken_of({"a", "b"}, {denial("*")}) == {"a", "b"}
    assert spoken_of({"a", "b"}, ()) == set()
