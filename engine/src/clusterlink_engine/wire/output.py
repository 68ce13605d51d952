"""Writes requests of many parts to a connection, record bytes among them, without joining the parts first.

Before Python 3.12 asyncio joins them, and keeps what the socket did not take in another copy.
"""

import asyncio
import os
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

# What writev takes at once on Linux and macOS (IOV_MAX).
_MOST_PARTS = 1024


class Output:
    """What is written to one transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Takes the transport, which is open."""
        self._transport = transport
        is_plain = transport.get_extra_info("sslcontext") is None
        self._socket = transport.get_extra_info("socket") if is_plain else None

    def write(self, parts: Sequence[Buffer]) -> None:
        """Writes the parts, in their order: at once what the socket takes, and the rest when it takes more."""
        if self._socket is None:
            self._transport.writelines(parts)
            return
        sent = self._write_now(parts) if not self._transport.get_write_buffer_size() else 0
        for part in parts:
            if sent < len(part):
                self._transport.write(memoryview(part)[sent:])
            sent = max(sent - len(part), 0)

    def _write_now(self, parts: Sequence[Buffer]) -> int:
        """Answers how many bytes the socket took."""
        assert self._socket is not None  # noqa: S101 - see `write`
        total = 0
        for begin in range(0, len(parts), _MOST_PARTS):
            some = parts[begin : begin + _MOST_PARTS]
            try:
                sent = os.writev(self._socket.fileno(), some)
            except OSError:  # it is full, or the connection is lost: the transport finds that out, and tells
                break
            total += sent
            if sent < sum(map(len, some)):
                break
        return total
