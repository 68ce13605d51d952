"""The codecs of record batches, as Kafka frames them."""

import mmap
import struct
import zlib
from typing import Any

import cramjam

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

# What the records of a batch may take in memory: a few bytes can pretend to be many gigabytes.
MAX_BYTES = 128 * 1024 * 1024

_GZIP_WINDOW = 16 + zlib.MAX_WBITS

# Snappy in the frame of xerial's SnappyOutputStream: a header, then blocks after their lengths.
_XERIAL_MAGIC = b"\x82SNAPPY\0"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK_BYTES = 32 * 1024
_XERIAL_LENGTH = struct.Struct(">i")

# An LZ4 frame as Kafka's Java client insists on: version 1, independent blocks, of at most 64 KB, without checksums. The last
# byte is the checksum of the two before it.
_LZ4_HEADER = b"\x04\x22\x4d\x18\x60\x40\x82"
_LZ4_BLOCK_BYTES = 64 * 1024
_LZ4_LENGTH = struct.Struct("<I")
_LZ4_UNCOMPRESSED = 1 << 31
_LZ4_END = bytes(4)


class CompressionError(ValueError):
    """Compressed records cannot be read: they are damaged, too large, or of an unknown codec."""


def decompress(codec: int, data: memoryview) -> bytes | memoryview:
    """Answers the records of a batch as they were before compression.

    Raises:
        CompressionError: They are damaged or take more than MAX_BYTES, or the codec is unknown.
    """
    try:
        return _decompress(codec, data)
    except (zlib.error, cramjam.DecompressionError, struct.error) as error:
        raise CompressionError(f"the compressed records cannot be read ({error})") from error


def compress(codec: int, data: bytes | bytearray) -> bytes:
    """Compresses the records of a batch; `codec` is one that `decompress` knows."""
    if codec == GZIP:
        packer = zlib.compressobj(wbits=_GZIP_WINDOW)
        return packer.compress(data) + packer.flush()
    if codec == SNAPPY:
        return _xerial(data)
    if codec == LZ4:
        return _lz4_frame(data)
    if codec == ZSTD:
        return bytes(cramjam.zstd.compress(data))
    return bytes(data)


def _decompress(codec: int, data: memoryview) -> bytes | memoryview:
    if codec == NONE:
        return data
    if codec == GZIP:
        plain = zlib.decompressobj(wbits=_GZIP_WINDOW).decompress(data, MAX_BYTES + 1)
        _check_size(len(plain))
        return plain
    if codec == SNAPPY:
        return _from_snappy(data)
    if codec == LZ4:
        return _bounded(cramjam.lz4, data)
    if codec == ZSTD:
        return _bounded(cramjam.zstd, data)
    raise CompressionError(f"the codec {codec} is not known")


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise CompressionError(f"the records take more than {MAX_BYTES} bytes")


def _bounded(codec: Any, data: memoryview) -> bytes:
    """Decompresses into memory that is reserved, and really taken only as far as it is written."""
    with mmap.mmap(-1, MAX_BYTES) as reserved:
        return reserved[: codec.decompress_into(data, reserved)]


def _xerial(data: bytes | bytearray) -> bytes:
    parts = [_XERIAL_HEADER]
    view = memoryview(data)
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(view[start : start + _XERIAL_BLOCK_BYTES]))
        parts += [_XERIAL_LENGTH.pack(len(block)), block]
    return b"".join(parts)


def _from_snappy(data: memoryview) -> bytes:
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return _snappy_block(data, 0)  # some producers do without the frame
    parts: list[bytes] = []
    size = 0
    position = len(_XERIAL_HEADER)
    while position < len(data):
        (length,) = _XERIAL_LENGTH.unpack_from(data, position)
        position += _XERIAL_LENGTH.size
        if not 0 <= length <= len(data) - position:
            raise CompressionError(f"a block of {length} bytes cannot be")
        parts.append(_snappy_block(data[position : position + length], size))
        size += len(parts[-1])
        position += length
    return b"".join(parts)


def _snappy_block(block: memoryview, before: int) -> bytes:
    """Decompresses a block, which says in its first bytes how large it is; `before` bytes are there already."""
    _check_size(before + cramjam.snappy.decompress_raw_len(block))
    return bytes(cramjam.snappy.decompress_raw(block))


def _lz4_frame(data: bytes | bytearray) -> bytes:
    parts = [_LZ4_HEADER]
    view = memoryview(data)
    for start in range(0, len(data), _LZ4_BLOCK_BYTES):
        plain = view[start : start + _LZ4_BLOCK_BYTES]
        block = bytes(cramjam.lz4.compress_block(plain, store_size=False))
        if len(block) < len(plain):
            parts += [_LZ4_LENGTH.pack(len(block)), block]
        else:
            parts += [_LZ4_LENGTH.pack(len(plain) | _LZ4_UNCOMPRESSED), bytes(plain)]
    return b"".join([*parts, _LZ4_END])
