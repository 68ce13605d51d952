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


def signed_varint(value: int) -> bytes:
    """Encodes a signed varint (zigzag) of up to 64 bits."""
    return _SIGNED[value] if 0 <= value < _SMALL else varint(value << 1 ^ value >> 63)


# Lengths, and deltas of offsets and times, are small numbers most of the time.
_SMALL = 8192
_SIGNED = [varint(value << 1) for value in range(_SMALL)]


def read_signed_varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a signed varint of up to ten bytes; answers it and the position after it.

    Raises:
        ValueError: It has more than ten bytes.
        IndexError: The data end before it does.
    """
    value = data[position]
    if value & 0x80:
        value &= 0x7F
        for shift in range(7, 70, 7):
            position += 1
            byte = data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise ValueError("a varint of more than ten bytes")
    return value >> 1 ^ -(value & 1), position + 1


def int64(value: int) -> int:
    """Answers a sum or difference as Java's arithmetic has it: readers and writers of timestamps wrap around alike."""
    return (value + 2**63) % 2**64 - 2**63


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
