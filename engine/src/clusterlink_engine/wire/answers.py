"""Answers in the messages of kafka-python, decoded after their bytes were looked through.

The library believes a broker: a null where the protocol has none becomes an error far from here, a count or a length decides
how long it works and how much memory it takes, and each section of tagged fields has it copy what is left of the answer. So the
same description of the message that it decodes by is first walked without making anything of it.
"""

import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from clusterlink_engine.wire.primitives import read_varint

# What a decoded answer may take in memory, as counted here: metadata of about 200,000 partitions.
MOST_MEMORY = 128 * 1024 * 1024

# Bytes that CPython takes for an object with slots and for each of them, an entry of a list with its number, and a string.
_OBJECT, _SLOT, _NUMBER, _TEXT = 80, 40, 40, 64

_SIZES = {
    "int8": 1,
    "bool": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "bitfield": 4,
    "int64": 8,
    "float64": 8,
    "uuid": 16,
}
_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")
_API_VERSIONS = 18


def decode(response: Any, body: memoryview, version: int) -> Any:
    """Decodes the body of an answer.

    Args:
        response: Class of kafka-python.
        body: What follows the header.
        version: Of the request.

    Raises:
        ValueError, IndexError, struct.error: The bytes are no such answer, or would take more than MOST_MEMORY.
    """
    if response.API_KEY == _API_VERSIONS and _INT16.unpack_from(body)[0]:
        version = 0  # a broker that does not know the version refuses it in the oldest one (KIP-511)
    _walk_of(response, version)(_Look(body), 0)
    return response.decode(body, version=version)


class _Look:
    """A body that is walked through, and what its message would take so far."""

    __slots__ = ("_memory", "end", "view")

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.end = len(view)
        self._memory = 0

    def at(self, position: int) -> int:
        """Answers a position that the body reaches.

        Raises:
            ValueError: It does not.
        """
        if position > self.end:
            raise ValueError("it ends too early")
        return position

    def spend(self, amount: int) -> None:
        """Counts memory.

        Raises:
            ValueError: It is too much.
        """
        self._memory += amount
        if self._memory > MOST_MEMORY:
            raise ValueError(f"it would take more than {MOST_MEMORY} bytes of memory")


# Answers the position after a part of a message that begins at a position.
_Walk = Callable[[_Look, int], int]


@cache
def _walk_of(response: Any, version: int) -> _Walk:
    flexible = response.flexible_version_q(version)
    return _struct(response._struct, version, compact=flexible, tags=flexible)  # noqa: SLF001 - nothing else has it


def _struct(described: Any, version: int, *, compact: bool, tags: bool | None) -> _Walk:
    """Makes the walk through a struct; `tags` is None where the library wants a section of tagged fields that is empty."""
    steps: list[_Walk] = []
    fixed = 0
    for field in described.untagged_fields(version):
        size = _SIZES.get(field.type_str)
        if size is not None:
            fixed += size
            continue
        steps += [_skip(fixed)] if fixed else []
        steps.append(_field(field, version, compact=compact, tags=tags))
        fixed = 0
    steps += [_skip(fixed)] if fixed else []
    if tags:
        steps.append(_tags(described.fields.values(), version))
    elif tags is None:
        steps.append(_no_tags)
    memory = _OBJECT + _SLOT * len(described.fields)

    def walk(look: _Look, position: int) -> int:
        look.spend(memory)
        for step in steps:
            position = step(look, position)
        return position

    return walk


def _field(field: Any, version: int, *, compact: bool, tags: bool | None) -> _Walk:
    nullable = field.nullable_for_version_q(version)
    if field.is_array():
        return _array(field, version, compact=compact, tags=tags)
    if field.is_struct():
        inner = _struct(field, version, compact=compact, tags=tags)
        return _nullable(inner) if nullable else inner
    size = _SIZES.get(field.type_str)
    if size is not None:
        return _skip(size)
    read = _read_size if compact else _read_int16 if field.type_str == "string" else _read_int32

    def walk(look: _Look, position: int) -> int:
        length, position = read(look, position, nullable)
        look.spend(_TEXT + length)
        return look.at(position + length)

    return walk


def _array(field: Any, version: int, *, compact: bool, tags: bool | None) -> _Walk:
    nullable = field.nullable_for_version_q(version)
    element = field.array_of
    size = _SIZES.get(element.type_str)
    inner = (
        _struct(element, version, compact=compact, tags=tags)
        if element.is_struct()
        else _field(element, version, compact=compact, tags=tags)
    )
    read = _read_size if compact else _read_int32

    def walk(look: _Look, position: int) -> int:
        count, position = read(look, position, nullable)
        if size is not None:
            look.spend(count * _NUMBER)
            return look.at(position + count * size)
        look.at(position + count)  # each has at least one byte
        for _ in range(count):
            position = inner(look, position)
        return position

    return walk


def _tags(fields: Iterable[Any], version: int) -> _Walk:
    """Makes the walk through a section of tagged fields: those that are known must be what they are described to be."""
    known = {
        field.tag: _field(field, version, compact=True, tags=None)
        for field in fields
        if field.for_version_q(version) and field.tagged_field_q(version)
    }

    def walk(look: _Look, position: int) -> int:
        count, position = read_varint(look.view, position)
        if not count:
            return position
        look.spend(look.end - position)  # the library copies it
        for _ in range(count):
            tag, position = read_varint(look.view, position)
            size, position = read_varint(look.view, position)
            end = look.at(position + size)
            look.spend(_TEXT + size)
            if tag in known and known[tag](look, position) != end:
                raise ValueError(f"the tagged field {tag} is longer or shorter than it says")
            position = end
        return position

    return walk


def _no_tags(look: _Look, position: int) -> int:
    if look.view[position]:
        raise ValueError("tagged fields where there are none")
    return position + 1


def _skip(size: int) -> _Walk:
    def walk(look: _Look, position: int) -> int:
        return look.at(position + size)

    return walk


def _nullable(inner: _Walk) -> _Walk:
    """Makes the walk through a struct after a byte that tells whether it is there (KIP-893)."""

    def walk(look: _Look, position: int) -> int:
        return position + 1 if look.view[position] == 0xFF else inner(look, position + 1)

    return walk


def _read_size(look: _Look, position: int, nullable: bool) -> tuple[int, int]:
    size, position = read_varint(look.view, position)
    return _known(size - 1, nullable), position


def _read_int16(look: _Look, position: int, nullable: bool) -> tuple[int, int]:
    return _known(_INT16.unpack_from(look.view, position)[0], nullable), position + 2


def _read_int32(look: _Look, position: int, nullable: bool) -> tuple[int, int]:
    return _known(_INT32.unpack_from(look.view, position)[0], nullable), position + 4


def _known(size: int, nullable: bool) -> int:
    """Answers a length or count; 0 for null.

    Raises:
        ValueError: It is negative, or null where the protocol has no null.
    """
    if size < -1 or (size == -1 and not nullable):
        raise ValueError("a null, or a negative length, where there is none")
    return max(size, 0)
