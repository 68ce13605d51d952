"""A worker's side of the connection to its supervisor: one JSON object a line, over a pair of sockets."""

import asyncio
import json
import os
import select
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

# Within this time a process stops; what is left of it is killed.
STOP_SECONDS = 30.0

# The metrics of some 100,000 partitions are one line.
LINE_BYTES = 256 * 1024 * 1024


class Supervised:
    """A process that is one of several workers, and ends with its supervisor.

    Attributes:
        number: Of the worker, from 1.
        may_listen: Set once it is this worker that answers users: one of them does.
    """

    def __init__(self, number: int, connection: int) -> None:
        """Takes over the connection, a file descriptor."""
        self.number = number
        self.may_listen = asyncio.Event()
        self._socket = socket.socket(fileno=connection)
        self._writer: asyncio.StreamWriter | None = None

    def end_with(self, end: Callable[[], None]) -> None:
        """Calls `end` on the event loop when the supervisor is gone, and ends the process by force if that takes too long."""
        watched = os.dup(self._socket.fileno())
        loop = asyncio.get_running_loop()

        def watch() -> None:
            hang_up = select.poll()
            hang_up.register(watched, 0)  # of a pair of sockets nothing but the end is told then
            hang_up.poll()
            try:
                loop.call_soon_threadsafe(end)
            except RuntimeError:
                return  # it has ended by itself
            time.sleep(STOP_SECONDS)
            os._exit(1)

        threading.Thread(target=watch, name="supervisor", daemon=True).start()

    async def run(self, answers: Mapping[str, Callable[[], Awaitable[Any]]]) -> None:
        """Does what the supervisor says, and answers what it asks, until it is gone; returns then."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=LINE_BYTES)
        self._send({"started": True})
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if message.get("listen"):
                    self.may_listen.set()
                if "ask" in message:
                    self._send({"to": message["number"], "answer": await answers[message["ask"]]()})
        except ConnectionError:
            pass
        finally:
            self._writer.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._writer is not None  # noqa: S101 - only `run` sends
        self._writer.write(json.dumps(message).encode() + b"\n")
