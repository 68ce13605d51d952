"""What a process must have before it writes to mirror topics: a lease that runs out by itself, and a generation."""

import time


def clock() -> float:
    """Seconds on a clock that goes on while the machine sleeps, so that a lease cannot outlive a suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The time up to which nobody else can have been given the right to write."""

    def __init__(self) -> None:
        """Begins without any time."""
        self._until = 0.0

    def extend(self, until: float) -> None:
        """The lease holds up to this moment of `clock`; it is shortened by `end` only."""
        self._until = max(self._until, until)

    def end(self) -> None:
        """The lease is over."""
        self._until = 0.0

    def holds(self) -> bool:
        """Tells whether the lease holds at this moment."""
        return clock() < self._until


class Tenure:
    """The right of this process to write to mirror topics.

    Attributes:
        lease: Asked right before each send.
        generation: Larger than that of every earlier owner, within int32; markers carry it as the coordinator's epoch.
        settled: Whether nothing that was sent before can be pending in a broker any more: an earlier owner stopped in peace, or
            there was none, and nothing was given up since. Written by cursors that give something up.
    """

    def __init__(self, lease: Lease, generation: int, *, settled: bool) -> None:
        """Begins.

        Args:
            lease: Of this process.
            generation: See the attribute.
            settled: Whether an earlier owner left nothing behind.
        """
        self.lease = lease
        self.generation = generation
        self.settled = settled
        self._drained = True

    def gave_up(self) -> None:
        """Something that was sent will not be waited for."""
        self.settled = self._drained = False

    @property
    def is_drained(self) -> bool:
        """Whether a successor need not wait for anything that this process has sent, once it sends nothing more."""
        return self._drained

    def holds(self) -> bool:
        """Tells whether this process may write at this moment."""
        return self.lease.holds()
