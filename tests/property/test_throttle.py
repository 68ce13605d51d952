"""Limits in bytes per second: what passes in any span of time, and that everything passes."""

from hypothesis import example, given
from hypothesis import strategies as st

from clusterlink_engine.replication.throttle import Bucket, pause

_RATES = st.integers(1, 10_000_000)
_STEPS = st.lists(st.tuples(st.integers(1, 20_000_000), st.floats(0, 3)), min_size=1, max_size=30)


@given(_RATES, _STEPS)
@example(1, [(20_000_000, 0.0), (1, 0.0)])
def test_no_span_of_time_has_more_than_the_limit_allows(rate: int, steps: list[tuple[int, float]]) -> None:
    """But for half a second that was saved up, and the last thing that was taken: it may be larger than what was left."""
    bucket, now = Bucket(rate), 100.0
    taken: list[tuple[float, int]] = []
    for amount, idle in steps:
        now += idle
        now += bucket.seconds(now)
        assert bucket.seconds(now) <= 1e-6 * now, "waiting as long as it says is enough"
        bucket.take(amount, now)
        taken.append((now, amount))
    for first, (began, _) in enumerate(taken):
        for last in range(first, len(taken)):
            span = taken[last][0] - began
            before_last = sum(amount for _, amount in taken[first:last])
            assert before_last <= rate * (span + 0.5) * (1 + 1e-6) + 1


@given(_RATES, st.lists(st.integers(1, 5_000_000), min_size=2, max_size=30))
def test_what_waits_only_for_the_limit_gets_all_of_it(rate: int, amounts: list[int]) -> None:
    bucket, now = Bucket(rate), 100.0
    for amount in amounts:
        now += bucket.seconds(now)
        bucket.take(amount, now)
    assert now - 100.0 <= sum(amounts) / rate * (1 + 1e-6) + 1e-3


@given(_RATES, _RATES, st.integers(1, 50_000_000))
def test_a_changed_limit_holds_from_then_on(before: int, after: int, amount: int) -> None:
    bucket = Bucket(before)
    bucket.take(amount, 100.0)
    owed = bucket.seconds(100.0) * before
    bucket.set_rate(after, 100.0)
    assert abs(bucket.seconds(100.0) * after - owed) <= 1
    bucket.set_rate(0, 100.0)
    assert bucket.seconds(100.0) == 0.0
    assert bucket.at_once(amount) == amount
    bucket.take(amount, 100.0)
    bucket.set_rate(after, 101.0)
    assert bucket.seconds(101.0) * after <= owed, "what was read without a limit is owed to nobody"


@given(_RATES, st.integers(1, 50_000_000))
def test_a_fetch_asks_for_a_part_of_a_second(rate: int, most: int) -> None:
    asked = Bucket(rate).at_once(most)
    assert 1 <= asked <= most
    assert asked <= max(rate / 4, 1)


@given(st.integers(-(2**31), 2**31 - 1))
def test_no_broker_makes_a_connection_wait_for_ever(throttle_ms: int) -> None:
    assert 0 <= pause(throttle_ms) <= 30
    if 0 <= throttle_ms <= 30_000:
        assert pause(throttle_ms) == throttle_ms / 1000
