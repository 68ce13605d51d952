"""What a process must have before it writes to mirror topics: its tenure, with a lease that runs out by itself."""

import time


def clock() -> float:
    """Seconds on a clock that goes on while the machine sleeps, so that a lease cannot outlive a suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tenure:
    """The right of this process to write to mirror topics.

    Attributes:
        generation: Larger than that of every earlier owner, within int32; markers carry it as the coordinator's epoch.
        clean: Whether nothing of an earlier owner can be pending in a broker: it stopped in peace, or there was none.
    """

    def __init__(self, generation: int, *, clean: bool) -> None:
        """Begins without a lease; see `extend`."""
        self.generation = generation
        self.clean = clean
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<Tenure {self.generation}, {self._until - clock():.1f} s left>"

    def extend(self, until: float) -> None:
        """The lease holds up to this moment of `clock`; never shortened but by `end`."""
        self._until = max(self._until, until)

    def end(self) -> None:
        """The lease is over."""
        self._until = 0.0

    def holds(self) -> bool:
        """Tells whether the lease holds at this moment; to be asked right before each send."""
        return clock() < self._until
