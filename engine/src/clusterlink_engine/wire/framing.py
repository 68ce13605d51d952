"""Cuts the byte stream of a connection into frames: a size of four bytes, and so many bytes after it. Nothing is read here."""

import struct
from collections.abc import Callable

SIZE = struct.Struct(">i")

# Of what comes after a frame; answers to Produce have some hundred bytes.
READ_AHEAD_BYTES = 16 * 1024


class Framing:
    """Says where to read to, and tells the frames.

    What comes next is read ahead: size and body of a small frame come together, since each reading costs a turn of the event
    loop. The rest of a large frame is read straight into its own buffer.
    """

    def __init__(self, begins: Callable[[int], memoryview | None], received: Callable[[memoryview], None]) -> None:
        """Takes who wants the frames.

        Args:
            begins: Answers a buffer of exactly so many bytes for the next frame; None: nothing more is wanted, for good.
            received: Gets each buffer when it is full, before the next frame begins.
        """
        self._begins = begins
        self._received = received
        self._ahead = memoryview(bytearray(READ_AHEAD_BYTES))
        # Bytes read ahead that are in no frame: fewer than a size has, between two readings.
        self._waiting = 0
        # The frame that has begun and is not complete, and how much of it is there.
        self._frame: memoryview | None = None
        self._filled = 0

    def space(self) -> memoryview:
        """Answers where the next bytes go; as many as there are, up to its end."""
        return self._ahead[self._waiting :] if self._frame is None else self._frame[self._filled :]

    def filled(self, count: int) -> None:
        """So many bytes were read to the `space`."""
        if self._frame is None:
            self._waiting += count
            self._cut()
            return
        self._filled += count
        if self._filled == len(self._frame):
            frame, self._frame = self._frame, None
            self._received(frame)

    def _cut(self) -> None:
        """Takes all frames out of what was read ahead, the last of which may only have begun."""
        ahead, position, end = self._ahead, 0, self._waiting
        self._waiting = 0
        while end - position >= SIZE.size:
            (size,) = SIZE.unpack_from(ahead, position)
            frame = self._begins(size)
            if frame is None:
                return
            position += SIZE.size
            here = min(size, end - position)
            frame[:here] = ahead[position : position + here]
            position += here
            if here < size:
                self._frame, self._filled = frame, here
            else:
                self._received(frame)
        self._waiting = end - position
        ahead[: self._waiting] = bytes(ahead[position:end])
