"""How many bytes a fetch asks for: more, the longer the way to the broker is. Pure, but for the times it is given.

One request is under way at a time, so between two answers the line is empty for as long as a request takes to a broker and its
answer's first byte takes back. Where that is long, answers are made larger, so that it weighs less: 5 MB per round trip of
50 ms are at most 100 MB/s, 16 MB are three times as much. They are not larger where that does not help: what does not
fit a processor's cache is slower to work on.

An answer is shared by the partitions that are known to have more than they were answered. A broker fills it in their order, and
would else give all of it to the first two; but a request to write takes a batch of each partition that has one, and is the
cheaper the more have.
"""

from dataclasses import dataclass

# With what is in an answer beside records it still fits a frame's buffer of 16 MiB.
MOST_BYTES = 16 * 1024 * 1024 - 64 * 1024

# What a partition is asked for at least, however many there are: a broker sends no more than one batch that is larger, and cuts
# off what does not fit.
_LEAST_BYTES = 1024 * 1024

# A way that is shorter is no long one; what is measured there is a busy machine.
_SHORTEST_DELAY_SECONDS = 0.01

# The part of an answer's time that may pass before its first byte comes.
_DELAY_SHARE = 0.33

# An answer is full that has this part of what was asked for, since it ends with a whole batch; and needless is what was asked
# for if it has less than that one.
_FULL, _NEEDLESS = 0.75, 0.25


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch asks for: bytes per partition and in all, and how long a broker may wait for how many bytes.

    The first two are what is begun with; up to the last two it may become more, as far as is seen that it helps.
    """

    partition_bytes: int
    response_bytes: int
    min_bytes: int
    max_wait_ms: int
    most_partition_bytes: int = 0
    most_response_bytes: int = 0


class FetchSizes:
    """What is asked for now of one broker.

    Attributes:
        response_bytes: Of all together.
    """

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._factor = 1
        self._behind = 0
        self._most_partition_bytes = limits.partition_bytes
        self.response_bytes = limits.response_bytes

    @property
    def partition_bytes(self) -> int:
        """Of one partition."""
        most = self._most_partition_bytes
        return max(min(most, _LEAST_BYTES), min(most, self.response_bytes // max(self._behind, 1)))

    def share(self, behind: int) -> None:
        """So many partitions are known to have more than they were answered, before the next request."""
        self._behind = behind

    def answered(self, sizes: list[int], asked: int, delay: float, transfer: float) -> None:
        """An answer came.

        Args:
            sizes: Bytes of records of each of its partitions, without those that had none.
            asked: Bytes that were asked for in all.
            delay: Seconds until its first byte came.
            transfer: Seconds from then until its last one did.
        """
        is_full = sum(sizes) >= _FULL * asked or max(sizes, default=0) >= _FULL * self.partition_bytes
        if is_full and delay >= max(_SHORTEST_DELAY_SECONDS, _DELAY_SHARE * (delay + transfer)):
            if not self._is_at_its_most():
                self._multiply(self._factor * 2)
        elif sizes and not is_full and sum(sizes) < _NEEDLESS * min(asked, self.partition_bytes) and self._factor > 1:
            self._multiply(self._factor // 2)

    def _is_at_its_most(self) -> bool:
        limits = self._limits
        return (
            self._most_partition_bytes >= limits.most_partition_bytes
            and self.response_bytes >= limits.most_response_bytes
        )

    def _multiply(self, factor: int) -> None:
        limits = self._limits
        self._factor = factor
        self._most_partition_bytes = max(
            limits.partition_bytes, min(limits.partition_bytes * factor, limits.most_partition_bytes)
        )
        self.response_bytes = max(
            limits.response_bytes, min(limits.response_bytes * factor, limits.most_response_bytes)
        )
