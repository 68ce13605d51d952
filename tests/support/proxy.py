"""Stands between a client and one Kafka broker, and makes the faults of a network.

It knows of the protocol only what it needs: frames with their length, the API key of a request, and the broker's own address in
the answers that tell it, which it replaces by its own.
"""

import asyncio
import random
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from clusterlink_engine.devkit import ports

PRODUCE, FETCH, LIST_OFFSETS, WRITE_MARKERS = 0, 1, 2, 27

_SIZE = struct.Struct(">i")

# Answers what is sent instead of an answer to an API key; both with their sizes before them.
Damaged = Callable[[random.Random, int, bytes], bytes]


class Proxy:
    """A proxy for one broker on loopback, in a thread of its own; a context manager.

    Broker and proxy have ports of five digits, so that an address can be replaced without a length that changes.

    Attributes:
        faults: How many faults it made.
    """

    def __init__(self, port: int, seed: int, *, own_port: int = 0, others: Mapping[int, int] | None = None) -> None:
        """Describes it.

        Args:
            port: Of the broker.
            seed: Of the moments that are drawn.
            own_port: Where it listens; 0: a free one.
            others: Ports of the other brokers of the cluster, and of the proxies before them; they are replaced, too.
        """
        self.port = own_port or ports.free_port()
        self.faults = 0
        self._target = port
        self._replaced = {**(others or {}), port: self.port}
        self._stalled: frozenset[int] = frozenset()
        self._random = random.Random(seed)
        self._cut_request = self._cut_answer = self._lose_answer = 0.0
        self._keys: frozenset[int] = frozenset()
        self._delay = self._damage = 0.0
        self._damaged: Damaged = lambda _, __, frame: frame
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address that clients use."""
        return f"127.0.0.1:{self.port}"

    def make_faults(
        self,
        keys: frozenset[int],
        *,
        cut_request: float = 0,
        cut_answer: float = 0,
        lose_answer: float = 0,
        delay: float = 0,
    ) -> None:
        """Makes faults from now on.

        Args:
            keys: API keys that are hit.
            cut_request: Part of the requests in the middle of which the connection breaks.
            cut_answer: Part of the answers in the middle of which it does.
            lose_answer: Part of the answers after which it breaks before anything of them is sent: the broker has done it.
            delay: Seconds by which each answer comes later, at most.
        """
        self._keys = keys
        self._cut_request, self._cut_answer, self._lose_answer, self._delay = (
            cut_request,
            cut_answer,
            lose_answer,
            delay,
        )

    def damage(self, part: float, damaged: Damaged) -> None:
        """Damages a part of all answers from now on."""
        self._damage, self._damaged = part, damaged

    def stall(self, keys: frozenset[int]) -> None:
        """Keeps requests of these API keys back from now on, and whatever comes after them on the same connection."""
        self._stalled = keys

    def heal(self) -> None:
        """Makes no more faults; what was kept back goes on."""
        self.make_faults(frozenset())
        self._stalled = frozenset()
        self._damage = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the proxy does not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connect(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: writer.close())  # also where it is cancelled before it has begun

        server = await asyncio.start_server(accept, "127.0.0.1", self.port, limit=1 << 26)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 26)
        except OSError:
            return
        asked: asyncio.Queue[int] = asyncio.Queue()
        both = [
            asyncio.ensure_future(self._requests(reader, back_writer, asked)),
            asyncio.ensure_future(self._answers(back_reader, writer, asked)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back_writer.close()
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: "asyncio.Queue[int]"
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                (key,) = struct.unpack_from(">h", frame, 4)
                while key in self._stalled:  # noqa: ASYNC110 - another thread ends it
                    await asyncio.sleep(0.01)
                if self._happens(key, self._cut_request):
                    writer.write(frame[: self._random.randrange(1, len(frame))])
                    await writer.drain()
                    return
                asked.put_nowait(key)
                writer.write(frame)
                await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: "asyncio.Queue[int]"
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                key = await asked.get()
                if key not in (PRODUCE, FETCH):
                    for theirs, ours in self._replaced.items():
                        frame = frame.replace(b"127.0.0.1" + _SIZE.pack(theirs), b"127.0.0.1" + _SIZE.pack(ours))
                if self._delay and key in self._keys:
                    await asyncio.sleep(self._random.uniform(0, self._delay))
                if self._happens(key, self._lose_answer):
                    return
                if self._happens(key, self._cut_answer):
                    writer.write(frame[: self._random.randrange(1, len(frame))])
                    await writer.drain()
                    return
                if self._random.random() < self._damage:
                    self.faults += 1
                    frame = self._damaged(self._random, key, frame)
                writer.write(frame)
                await writer.drain()

    def _happens(self, key: int, part: float) -> bool:
        happens = key in self._keys and self._random.random() < part
        self.faults += happens
        return happens


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(_SIZE.size)
    return head + await reader.readexactly(_SIZE.unpack(head)[0])
