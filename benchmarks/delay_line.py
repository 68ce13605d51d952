"""A line to a server that takes its time: bytes come out unchanged, in order, some milliseconds after they went in.

It is not narrow: as much as fits in the buffers is on its way at once. It knows nothing of Kafka; the broker has a listener
that tells clients the line's address as its own.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from benchmarks import apart
from benchmarks.pair import wait
from clusterlink_engine.devkit import ports

_CHUNK = 1 << 18
# On its way in one direction of a connection; more than any copier asks for at once.
_CHUNKS = 1024


@contextmanager
def running(port: int, target: int, round_trip_seconds: float) -> Iterator[None]:
    """Lets a line from one port of loopback to another be, in a process of its own."""
    with apart.running(serve, port, target, round_trip_seconds):
        wait(lambda: not ports.is_free(port), "the line is there")
        yield


class _Piece(NamedTuple):
    """Bytes, empty at the end, and when they come out."""

    due: float
    data: bytes


def serve(port: int, target: int, round_trip_seconds: float) -> None:
    """Serves for ever."""
    asyncio.run(_serve(port, target, round_trip_seconds / 2))


async def _serve(port: int, target: int, delay: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target, limit=_CHUNK)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_carry(reader, far_writer, delay), _carry(far_reader, writer, delay))

    server = await asyncio.start_server(connect, "127.0.0.1", port, limit=_CHUNK)
    await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    line: asyncio.Queue[_Piece] = asyncio.Queue(_CHUNKS)
    async with asyncio.TaskGroup() as group:
        group.create_task(_take(reader, line, delay))
        group.create_task(_give(line, writer))


async def _take(reader: asyncio.StreamReader, line: "asyncio.Queue[_Piece]", delay: float) -> None:
    data = b"-"
    while data:
        data = b""
        with suppress(OSError):
            data = await reader.read(_CHUNK)
        await line.put(_Piece(time.monotonic() + delay, data))


async def _give(line: "asyncio.Queue[_Piece]", writer: asyncio.StreamWriter) -> None:
    """Gives on until the end, even if nobody takes it any more: the other task must not wait for room."""
    while True:
        due, data = await line.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if not data:
            writer.close()
            return
        with suppress(OSError):
            writer.write(data)
            await writer.drain()
