"""The memory that fetched frames take until their batches are acknowledged, and who holds how much of it.

A frame is held whole while one batch of it waits, so whoever holds a batch holds its frame: a partition, and the broker that it
is written to. What they hold is bounded by what is left (a dynamic threshold, as switches share their buffers among ports): the
more is held by those that do not get on, the less may any of them have, and something is always left for the others.
"""

import asyncio

from clusterlink_engine.wire.frames import FramePool

# A broker may hold as much as is left, so that one that stalls leaves half to the others; a partition a part of that: as two
# large answers are of all.
_BROKER_SHARE = 1.0
_PARTITION_SHARE = 0.25


class Holding:
    """Bytes of frames that somebody holds; frames that others hold too count whole.

    Attributes:
        bytes: How many.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Budget:
    """Bytes of fetched frames that the process may hold.

    The bound is soft by one response for each source: a response is only asked for while there is room.

    Attributes:
        turn: See Part.
        frames: Where frames are received into.
    """

    def __init__(self, limit: int) -> None:
        self.frames = FramePool()
        self._limit = limit
        self._used = 0
        self._room = asyncio.Event()
        self._room.set()
        # What takes much more memory than its frame is done one after the other.
        self.turn = asyncio.Lock()

    @property
    def room(self) -> int:
        """Bytes that may still be asked for; 0 if there are none."""
        return max(self._limit - self._used, 0)

    def has_room_for(self, partition: Holding, broker: Holding | None) -> bool:
        """Tells whether a partition that is written to a broker may hold more; both may that hold nothing."""
        room = self._limit - self._used
        return (not partition.bytes or partition.bytes < room * _PARTITION_SHARE) and (
            broker is None or not broker.bytes or broker.bytes < room * _BROKER_SHARE
        )

    async def wait(self) -> None:
        """Waits until there is room."""
        await self._room.wait()

    def take(self, amount: int) -> None:
        """Counts a frame."""
        self._used += amount
        if self._used >= self._limit:
            self._room.clear()

    def give_back(self, amount: int) -> None:
        """Counts a frame off."""
        self._used -= amount
        if self._used < self._limit:
            self._room.set()


class Frame:
    """A fetched frame, held until its last part is let go; then its buffer is used again."""

    __slots__ = ("_budget", "_buffer", "_is_lent", "_parts", "_shared")

    def __init__(self, budget: Budget, view: memoryview) -> None:
        """Takes a frame that was received from the budget's pool, and counts all of its buffer."""
        self._budget = budget
        self._buffer: bytearray = view.obj  # type: ignore[assignment] # frames lie in nothing else
        self._is_lent = False
        self._parts = 1  # the source's, while it cuts the frame
        # How many parts each broker has: it holds the frame once.
        self._shared: dict[Holding, int] = {}
        budget.take(len(self._buffer))

    @property
    def turn(self) -> asyncio.Lock:
        """See Part."""
        return self._budget.turn

    def part(self, partition: Holding, broker: Holding | None) -> "Part":
        """Answers the part of a partition that is written to a broker."""
        return Part(self, partition, broker)

    def release(self) -> None:
        """The source has cut the frame."""
        self.let_go()

    def take(self, partition: Holding, broker: Holding | None) -> None:
        """Somebody holds a part."""
        self._parts += 1
        partition.bytes += len(self._buffer)
        if broker is not None:
            parts = self._shared[broker] = self._shared.get(broker, 0) + 1
            if parts == 1:
                broker.bytes += len(self._buffer)

    def let_go(self, partition: Holding | None = None, broker: Holding | None = None) -> None:
        """Somebody does not hold a part any more."""
        if partition is not None:
            partition.bytes -= len(self._buffer)
        if broker is not None:
            self._shared[broker] -= 1
            if not self._shared[broker]:
                broker.bytes -= len(self._buffer)
        self._parts -= 1
        if not self._parts:
            self._budget.give_back(len(self._buffer))
            if not self._is_lent:
                self._budget.frames.give_back(self._buffer)

    def lend(self) -> None:
        """A connection may still have to send something of it, whatever is held: the buffer is not used again."""
        self._is_lent = True


class Part:
    """What a partition has of a frame: the frame is held from its first batch to its last one.

    Attributes:
        turn: Held while something is made of the frame that takes much more memory than it.
    """

    __slots__ = ("_batches", "_broker", "_frame", "_partition", "turn")

    def __init__(self, frame: Frame, partition: Holding, broker: Holding | None) -> None:
        self.turn = frame.turn
        self._frame = frame
        self._partition = partition
        self._broker = broker
        self._batches = 0

    def hold(self) -> None:
        """One more batch refers to the part."""
        if not self._batches:
            self._frame.take(self._partition, self._broker)
        self._batches += 1

    def release(self) -> None:
        """One batch less refers to the part."""
        self._batches -= 1
        if not self._batches:
            self._frame.let_go(self._partition, self._broker)

    def abandon(self) -> None:
        """One batch less refers to the part, but a connection may still have to send it."""
        self._frame.lend()
        self.release()
