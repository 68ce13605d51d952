"""Memory for received frames, used again: clearing new memory for each large frame costs more than reading it."""

_SMALLEST_POOLED = 64 * 1024
_MOST_FREE_BYTES = 64 * 1024 * 1024


class FramePool:
    """Buffers that large frames are received into. Owned by one event loop."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self._free_bytes = 0

    def take(self, size: int) -> bytearray:
        """Answers a buffer of at least `size` bytes; its content is left from its last use."""
        for index, buffer in enumerate(self._free):
            if size <= len(buffer) <= 4 * size:
                del self._free[index]
                self._free_bytes -= len(buffer)
                return buffer
        return bytearray(_rounded(size) if size >= _SMALLEST_POOLED else size)

    def give_back(self, buffer: bytearray) -> None:
        """Takes a buffer back that nobody reads or writes any more."""
        if len(buffer) >= _SMALLEST_POOLED and self._free_bytes + len(buffer) <= _MOST_FREE_BYTES:
            self._free.append(buffer)
            self._free_bytes += len(buffer)


def _rounded(size: int) -> int:
    """Answers a size that others are rounded to as well, larger by an eighth at most."""
    step = 1 << ((size - 1).bit_length() - 4)
    return -(-size // step) * step
