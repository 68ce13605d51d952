"""How fast a link may read: limits in bytes per second, and the pauses that brokers ask for (KIP-219)."""

import asyncio

# What was not used is kept for so long: a link that paused for a moment may catch up, and one that begins does not burst.
_BURST_SECONDS = 0.5

# At most so much of a second's bytes is asked for at once: a low limit is smooth, too.
_AT_ONCE_SECONDS = 0.25

# A changed limit holds for those who wait already after this time.
_LOOK_AGAIN_SECONDS = 0.25

# A quota is kept within one of its windows, of which Kafka looks at eleven, of a second each.
_LONGEST_PAUSE_SECONDS = 30.0


def pause(throttle_ms: int) -> float:
    """Answers for how many seconds a connection is left alone whose last answer had this throttle time."""
    return min(max(throttle_ms, 0) / 1000, _LONGEST_PAUSE_SECONDS)


class Bucket:
    """Bytes that may be read now: a token bucket that may be overdrawn, since a batch larger than it has to go through, too.

    Pure: the time is given, in seconds, and never goes back. In any span of time no more is read than the limit allows in it,
    half a second's worth, and what each of those who read takes at once.

    Attributes:
        rate: Bytes per second; 0 for no limit. Changed by `set_rate`.
    """

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self._level = 0.0
        self._at = 0.0

    def set_rate(self, rate: float, now: float) -> None:
        """Changes the limit from now on; what was overdrawn stays."""
        if rate != self.rate:
            self._fill(now)
            self.rate = rate
            self._level = min(self._level, rate * _BURST_SECONDS)

    def take(self, amount: int, now: float) -> None:
        """Counts bytes that were read."""
        if self.rate:
            self._fill(now)
            self._level -= amount

    def seconds(self, now: float) -> float:
        """Answers how long to wait before more is read; 0 if it may be at once."""
        if not self.rate:
            return 0.0
        self._fill(now)
        return max(-self._level / self.rate, 0.0)

    def at_once(self, most: int) -> int:
        """Answers how many bytes to ask for at once, where `most` are wanted."""
        return max(1, min(most, int(self.rate * _AT_ONCE_SECONDS))) if self.rate else most

    def _fill(self, now: float) -> None:
        self._level = min(self._level + (now - self._at) * self.rate, self.rate * _BURST_SECONDS)
        self._at = now


class Throttle:
    """Holds up the fetches of a link, of all its brokers and both directions, as its limit and that of the process want it.

    Attributes:
        limit: Of the link. Its rate is this process's part, set by `control`.
        fetched_bytes: Of records, since the link is at work here. Written by `took`.
        waited_seconds: For which fetches were held up by the limits, added up over the brokers. Written by `wait`.
        paused_seconds: For which brokers wanted to be left alone, likewise. Written by `obey`.
    """

    def __init__(self, process: Bucket) -> None:
        """Begins without a limit of the link; `process` is the bucket that all links share."""
        self.limit = Bucket()
        self.fetched_bytes = 0
        self.waited_seconds = 0.0
        self.paused_seconds = 0.0
        self._buckets = (process, self.limit)

    async def wait(self) -> None:
        """Waits until more may be fetched."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while seconds := max(bucket.seconds(loop.time()) for bucket in self._buckets):
            await asyncio.sleep(min(seconds, _LOOK_AGAIN_SECONDS))
            now = loop.time()
            self.waited_seconds += now - began
            began = now

    def at_once(self, most: int) -> int:
        """Answers how many bytes to ask for in one fetch, where `most` are wanted."""
        return min(bucket.at_once(most) for bucket in self._buckets)

    def took(self, amount: int) -> None:
        """Counts bytes of records that were fetched."""
        now = asyncio.get_running_loop().time()
        self.fetched_bytes += amount
        for bucket in self._buckets:
            bucket.take(amount, now)

    async def obey(self, throttle_ms: int) -> None:
        """Waits for as long as a broker wants it."""
        seconds = pause(throttle_ms)
        self.paused_seconds += seconds
        await asyncio.sleep(seconds)
