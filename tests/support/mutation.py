"""Damages bytes as a bad network or a hostile program does; the same damage each time for the same randomness."""

import random
import struct
from collections.abc import Callable

_LARGEST = 1 << 16  # of what is put in
_NUMBERS = (0, 1, -1, -2, 127, 128, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**62)
_VARINTS = (b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x00", b"\xff" * 12, b"\x00", b"\x01")


def mutated(randomness: random.Random, data: bytes) -> bytes:
    """Answers other bytes: data after one to four damages."""
    found = bytearray(data)
    for _ in range(randomness.choice((1, 1, 1, 2, 4))):
        randomness.choice(_DAMAGES)(randomness, found)
    return bytes(found)


def _flip(randomness: random.Random, data: bytearray) -> None:
    if data:
        data[randomness.randrange(len(data))] ^= 1 << randomness.randrange(8)


def _set(randomness: random.Random, data: bytearray) -> None:
    if data:
        data[randomness.randrange(len(data))] = randomness.choice((0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF))


def _number(randomness: random.Random, data: bytearray) -> None:
    """Puts an extreme number where another one may have been."""
    size, form = randomness.choice(((2, ">H"), (4, ">I"), (8, ">Q")))
    if len(data) >= size:
        number = randomness.choice(_NUMBERS) & (1 << 8 * size) - 1
        struct.pack_into(form, data, randomness.randrange(len(data) - size + 1), number)


def _varint(randomness: random.Random, data: bytearray) -> None:
    at = randomness.randrange(len(data) + 1)
    data[at : at + randomness.choice((0, 1, 1, 2))] = randomness.choice(_VARINTS)


def _cut(randomness: random.Random, data: bytearray) -> None:
    del data[randomness.randrange(len(data) + 1) :]


def _remove(randomness: random.Random, data: bytearray) -> None:
    at = randomness.randrange(len(data) + 1)
    del data[at : at + randomness.choice((1, 1, 2, 4, 8, 100))]


def _repeat(randomness: random.Random, data: bytearray) -> None:
    start = randomness.randrange(len(data) + 1)
    piece = bytes(data[start : start + randomness.choice((1, 4, 16, 100))])
    at = randomness.randrange(len(data) + 1)
    data[at:at] = (piece * randomness.choice((1, 2, 1000)))[:_LARGEST]


def _fill(randomness: random.Random, data: bytearray) -> None:
    at = randomness.randrange(len(data) + 1)
    data[at:at] = bytes((randomness.randrange(256),)) * randomness.choice((1, 8, 300, 10_000))


_DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _set, _number, _number, _varint, _varint),
    *(_cut, _remove, _repeat, _fill),
)
