"""Since when the source has had what its mirror has not: the lag in time. Pure, but for the times it is given."""

from collections import deque

# Ends of the source that are remembered; with more, neighbours become one.
_MOST = 64


class Lag:
    """The lag of one partition, as its fetches have shown the source.

    It is the time since the first end was seen that the mirror has not reached: at most as long as the record that comes next
    has been waiting, and shorter than that by the time between two fetches. Ends that were seen by another process are not
    known. Where many were seen, an older time may stand for a newer one, never the other way round.
    """

    def __init__(self) -> None:
        # (time, end) with both ascending.
        self._seen: deque[tuple[int, int]] = deque()

    def seen(self, now_ms: int, end: int) -> None:
        """The source ends there now."""
        while self._seen and self._seen[-1][1] > end:  # a source that was truncated
            self._seen.pop()
        if self._seen and self._seen[-1][1] == end:
            return
        self._seen.append((now_ms, end))
        if len(self._seen) > _MOST:
            seen = list(self._seen)
            pairs = zip(seen[::2], seen[1::2], strict=False)
            self._seen = deque([(first, last) for (first, _), (_, last) in pairs])
            if len(seen) % 2:
                self._seen.append(seen[-1])

    def since(self, log_end: int) -> int:
        """Answers since when a mirror with this end has been behind, as a time like those given; 0 if it is not."""
        while self._seen and self._seen[0][1] <= log_end:
            self._seen.popleft()
        return self._seen[0][0] if self._seen else 0
