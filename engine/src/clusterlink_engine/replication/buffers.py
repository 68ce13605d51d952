"""The memory that fetched frames take until their batches are acknowledged."""

import asyncio

from clusterlink_engine.wire.frames import FramePool


class Budget:
    """Bytes of fetched frames that the process may hold.

    The bound is soft by one response for each source: a response is only asked for while there is room.

    Attributes:
        turn: See Frame.
    """

    def __init__(self, limit: int) -> None:
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
    """A fetched frame, held until the last batch cut from it is released; then its buffer is used again."""

    __slots__ = ("_budget", "_buffer", "_holders", "_pool")

    def __init__(self, budget: Budget, view: memoryview, pool: FramePool) -> None:
        """Takes a frame that was received from `pool`, and counts all of its buffer."""
        self._budget = budget
        self._pool: FramePool | None = pool
        self._buffer: bytearray = view.obj  # type: ignore[assignment] # frames lie in nothing else
        self._holders = 1  # the source, while it cuts the frame
        budget.take(len(self._buffer))

    @property
    def turn(self) -> asyncio.Lock:
        """Held while something is made of the frame that takes much more memory than it."""
        return self._budget.turn

    def hold(self) -> None:
        """One more batch refers to the frame."""
        self._holders += 1

    def release(self) -> None:
        """One batch less refers to the frame."""
        self._holders -= 1
        if not self._holders:
            self._budget.give_back(len(self._buffer))
            if self._pool is not None:
                self._pool.give_back(self._buffer)

    def abandon(self) -> None:
        """One batch less refers to the frame, but a connection may still have to send it: the buffer is not used again."""
        self._pool = None
        self.release()
