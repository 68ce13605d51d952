"""Frames that come in any pieces: each whole, in order, and nothing of what comes after the last one that is wanted."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from clusterlink_engine.wire.framing import READ_AHEAD_BYTES, SIZE, Framing

# Around what is read ahead, and around its end.
_SIZES = st.integers(1, 40) | st.integers(READ_AHEAD_BYTES - 6, READ_AHEAD_BYTES + 6) | st.just(3 * READ_AHEAD_BYTES)


class Wanted:
    """Takes so many frames."""

    def __init__(self, most: int) -> None:
        self.begun: list[int] = []
        self.bodies: list[bytes] = []
        self._most = most

    def begins(self, size: int) -> memoryview | None:
        assert len(self.begun) == len(self.bodies), "one frame after the other"
        if len(self.begun) == self._most:
            return None
        self.begun.append(size)
        return memoryview(bytearray(size))

    def received(self, frame: memoryview) -> None:
        self.bodies.append(bytes(frame))


def feed(framing: Framing, data: bytes, pieces: Iterable[int]) -> None:
    """Reads as a transport does: what is there, as far as there is space for it."""
    position = 0
    for piece in pieces:
        end = min(position + piece, len(data))
        while position < end:
            space = framing.space()
            assert len(space), "a transport takes an empty buffer for an error"
            count = min(len(space), end - position)
            space[:count] = data[position : position + count]
            framing.filled(count)
            position += count


@given(
    sizes=st.lists(_SIZES, min_size=1, max_size=12),
    pieces=st.lists(st.integers(1, 9) | st.integers(1, 2 * READ_AHEAD_BYTES), max_size=40),
)
def test_frames_come_out_as_they_went_in(sizes: list[int], pieces: list[int]) -> None:
    bodies = [bytes((number + at) % 251 for at in range(size)) for number, size in enumerate(sizes)]
    data = b"".join(SIZE.pack(len(body)) + body for body in bodies)
    wanted = Wanted(len(bodies))
    framing = Framing(wanted.begins, wanted.received)
    feed(framing, data, [*pieces, len(data)])
    assert wanted.begun == sizes
    assert wanted.bodies == bodies


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), most=st.integers(0, 8))
def test_nothing_is_cut_after_a_frame_that_is_not_wanted(sizes: list[int], most: int) -> None:
    data = b"".join(SIZE.pack(size) + bytes(size) for size in sizes)
    wanted = Wanted(most)
    framing = Framing(wanted.begins, wanted.received)
    feed(framing, data, [len(data)])
    assert wanted.begun == sizes[:most]
