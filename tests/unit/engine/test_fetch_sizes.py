"""How much is asked for: more where the way is long and answers are full, and not for ever."""

from clusterlink_engine.replication.fetch_sizes import FetchLimits, FetchSizes

_MOST = 16_000_000
_FREE = FetchLimits(5_000_000, 10_000_000, 1, 500, _MOST, _MOST)
_SET = FetchLimits(5_000_000, 10_000_000, 1, 500)


def asked(sizes: FetchSizes) -> tuple[int, int]:
    return sizes.partition_bytes, sizes.response_bytes


def test_full_answers_that_are_long_in_coming_become_larger_up_to_a_bound() -> None:
    sizes = FetchSizes(_FREE)
    seen = []
    for _ in range(4):
        sizes.answered([sizes.partition_bytes], sizes.response_bytes, 0.05, 0.02)
        seen.append(asked(sizes))
    assert seen == [(10_000_000, _MOST), (_MOST, _MOST), (_MOST, _MOST), (_MOST, _MOST)]


def test_answers_full_of_many_partitions_count_as_full() -> None:
    sizes = FetchSizes(_FREE)
    sizes.answered([1_000_000] * 9, sizes.response_bytes, 0.05, 0.02)
    assert asked(sizes) == (10_000_000, _MOST)


def test_they_do_not_where_that_would_not_help() -> None:
    sizes = FetchSizes(_FREE)
    sizes.answered([5_000_000], 10_000_000, 0.005, 0.001)  # a short way
    sizes.answered([5_000_000], 10_000_000, 0.05, 0.2)  # a narrow one
    sizes.answered([2_000_000], 10_000_000, 0.05, 0.001)  # there is not more
    sizes.answered([], 10_000_000, 0.5, 0.001)
    assert asked(sizes) == (5_000_000, 10_000_000)


def test_what_somebody_has_set_is_what_is_asked_for() -> None:
    sizes = FetchSizes(_SET)
    sizes.answered([5_000_000], 10_000_000, 0.05, 0.001)
    assert asked(sizes) == (5_000_000, 10_000_000)
    one = FetchSizes(FetchLimits(1000, 10_000_000, 1, 500, 0, _MOST))
    for _ in range(9):
        one.answered([1000], 10_000_000, 0.05, 0.001)
    assert asked(one) == (1000, _MOST)


def test_small_answers_make_them_small_again() -> None:
    sizes = FetchSizes(_FREE)
    for _ in range(4):
        sizes.answered([sizes.partition_bytes], sizes.response_bytes, 0.05, 0.02)
    sizes.answered([], sizes.response_bytes, 0.5, 0.001)  # nothing says nothing
    assert asked(sizes) == (_MOST, _MOST)
    for _ in range(4):
        sizes.answered([1000], sizes.response_bytes, 0.05, 0.001)
    assert asked(sizes) == (5_000_000, 10_000_000)


def test_an_answer_is_shared_by_those_that_have_more_but_not_in_crumbs() -> None:
    sizes = FetchSizes(_FREE)
    seen = []
    for behind in (0, 1, 2, 4, 8, 10_000):
        sizes.share(behind)
        seen.append(sizes.partition_bytes)
    assert seen == [5_000_000, 5_000_000, 5_000_000, 2_500_000, 1_250_000, 1 << 20]
    sizes.share(4)
    for _ in range(2):  # a long way, and each as full as it may be: all become larger
        sizes.answered([sizes.partition_bytes] * 2, sizes.response_bytes, 0.05, 0.02)
    assert asked(sizes) == (4_000_000, _MOST)
    small = FetchSizes(FetchLimits(1000, 10_000_000, 1, 500))
    small.share(100_000)
    assert asked(small) == (1000, 10_000_000)
