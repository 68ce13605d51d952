"""The lag in time: since when the source has had what its mirror has not."""

import random

import pytest

from clusterlink_engine.replication.lag import Lag


def test_a_mirror_that_has_everything_is_not_behind() -> None:
    lag = Lag()
    assert lag.since(0) == 0
    lag.seen(1000, 5)
    assert lag.since(5) == 0
    assert lag.since(4) == 0, "what was reached once is not looked for again"


def test_it_is_behind_since_the_first_end_that_it_has_not_reached() -> None:
    lag = Lag()
    for now, end in ((1000, 5), (2000, 8), (3000, 8), (4000, 20)):
        lag.seen(now, end)
    assert [lag.since(end) for end in (0, 4, 5, 7, 8, 19, 20)] == [1000, 1000, 2000, 2000, 4000, 4000, 0]


def test_a_source_that_was_truncated_is_seen_anew() -> None:
    lag = Lag()
    lag.seen(1000, 5)
    lag.seen(2000, 9)
    lag.seen(3000, 7)
    assert lag.since(6) == 3000


@pytest.mark.parametrize("seed", range(20))
def test_many_ends_take_little_room_and_it_is_never_said_to_be_less(seed: int) -> None:
    chance = random.Random(seed)
    lag, seen, end = Lag(), [], 0
    for now in range(1, 3000):
        end += chance.randrange(3)
        lag.seen(now, end)
        seen.append((now, end))
    assert len(lag._seen) <= 65
    for reached in sorted(chance.sample(range(end), 50)):
        first = next(now for now, at in seen if at > reached)
        assert 0 < lag.since(reached) <= first
    assert lag.since(end) == 0
