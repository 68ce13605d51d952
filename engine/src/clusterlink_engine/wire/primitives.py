"""Primitive types of the Kafka protocol in flexible versions (KIP-482), for what is coded by hand."""


def varint(value: int) -> bytes:
    """Encodes an unsigned varint (0 to 2^64 - 1)."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Reads an unsigned varint; answers it and the position after it.

    Raises:
        ValueError: It has more than five bytes.
        IndexError: The view ends before it does.
    """
    result = view[position]
    if result < 0x80:
        return result, position + 1
    result &= 0x7F
    for shift in (7, 14, 21, 28):
        position += 1
        byte = view[position]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position + 1
    raise ValueError("a varint of more than five bytes")


def compact_string(value: str) -> bytes:
    """Encodes a string with its length + 1 before it."""
    data = value.encode()
    return varint(len(data) + 1) + data


def skip_tags(view: memoryview, position: int) -> int:
    """Answers the position after a section of tagged fields."""
    count, position = read_varint(view, position)
    for _ in range(count):
        _, position = read_varint(view, position)
        size, position = read_varint(view, position)
        position += size
    return position


def skip_compact_bytes(view: memoryview, position: int) -> int:
    """Answers the position after a compact, nullable string or byte string."""
    size, position = read_varint(view, position)
    return position + max(size - 1, 0)
