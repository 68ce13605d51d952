"""`serve` with several workers: processes that share the work as any engines do, started, watched and stopped as one.

The supervisor does no work of the engine. It answers over HTTP for all of them, lets one of them listen for users, starts a
worker again that has ended, and stops the one that leads last, so that the others can give back what they have. Workers notice
by the connection when it is gone, however it ended.
"""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from clusterlink_engine.http.exposition import merge
from clusterlink_engine.http.listener import Listener, listen_when_free
from clusterlink_engine.settings import Settings
from clusterlink_engine.supervised import LINE_BYTES, STOP_SECONDS
from clusterlink_engine.tasks import Backoff, Tasks

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 4.0

# A worker that has worked for so long is started again at once, or nearly, when it ends.
_STEADY_SECONDS = 60.0

# Workers that do not lead have this time before the one that does is told to stop.
_FOLLOWERS_SECONDS = 12.0


async def supervise(settings: Settings, command: Sequence[str]) -> int:
    """Runs the workers until SIGTERM or SIGINT; answers the exit code: of the first to end if none had started yet.

    Args:
        settings: Of all of them.
        command: Runs a worker when its number and its connection are put at the end.
    """
    return await _Supervisor(settings, command).run()


class _Worker:
    """A process that was started, and the connection to it.

    Attributes:
        number: From 1.
        process: The process.
        has_started: Whether it is at work. Written by `read`.
        listens: Whether it was told to answer users.
    """

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self.process = process
        self.has_started = False
        self.listens = False
        self._reader = reader
        self._writer = writer
        self._asked = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    async def start(cls, number: int, command: Sequence[str]) -> Self:
        """Starts it, in a process group of its own: what a terminal sends is for the supervisor, which knows the order."""
        ours, its = socket.socketpair()
        with its:
            descriptor = its.fileno()
            process = await asyncio.create_subprocess_exec(
                *command, str(number), str(descriptor), pass_fds=[descriptor], process_group=0
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES)
        return cls(number, process, reader, writer)

    async def read(self, on_started: Callable[[], None]) -> None:
        """Takes what it says until its end."""
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if message.get("started"):
                    self.has_started = True
                    on_started()
                waiting = self._waiting.get(message.get("to", 0))
                if waiting is not None and not waiting.done():
                    waiting.set_result(message["answer"])
        except ConnectionError:
            pass  # it was killed
        finally:
            self._writer.close()
            for waiting in self._waiting.values():
                waiting.cancel()

    async def ask(self, what: str) -> Any:
        """Answers what the worker answers; None if it does not, or is not at work."""
        if not self.has_started:
            return None
        self._asked += 1
        number, waiting = self._asked, asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._send({"ask": what, "number": number})
        try:
            await asyncio.wait([waiting], timeout=_ANSWER_SECONDS)
            return waiting.result() if waiting.done() and not waiting.cancelled() else None
        finally:
            del self._waiting[number]

    def listen(self) -> None:
        """From now on it is this worker that answers users."""
        self.listens = True
        self._send({"listen": True})

    def _send(self, message: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")  # to one that has ended: nothing happens

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it has not ended."""
        if self.process.returncode is None:
            self.process.send_signal(number)


class _Supervisor:
    """The workers of one command."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        self._command = command
        self._workers: dict[int, _Worker] = {}
        self._has_started = False
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks = Tasks(self._failed)

    async def run(self) -> int:
        """See `supervise`."""
        for asked in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(asked, self._end, 0)
        listener = Listener(self._settings.http.listen, self._metrics, self._is_ready)
        if self._settings.http.listen:
            self._tasks.start("listen for http", listen_when_free(listener.start))
        for number in range(1, self._settings.workers + 1):
            self._tasks.start(f"worker {number}", self._keep(number))
        try:
            code = await asyncio.shield(self._ended)
        finally:
            was_clean = await self._stop()
            await self._tasks.cancel()
            await listener.stop()
        return code if code or was_clean else 1

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _failed(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    # Workers.

    async def _keep(self, number: int) -> None:
        """Keeps a worker at work."""
        backoff, clock = Backoff(1.0, 30.0), asyncio.get_running_loop().time
        while not self._ended.done():
            worker = self._workers[number] = await _Worker.start(number, self._command)
            began = clock()
            reading = self._tasks.start(f"words of worker {number}", worker.read(self._let_one_listen))
            code = await worker.process.wait()
            await reading
            del self._workers[number]
            if self._ended.done():
                return
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            if not self._has_started:
                log.error("worker %d %s before any had started", number, how)
                self._end(code if code > 0 else 1)
                return
            if clock() - began > _STEADY_SECONDS:
                backoff.reset()
            delay = backoff.next()
            log.error("worker %d %s; it is started again in %.1f s", number, how, delay)
            self._let_one_listen()
            await asyncio.sleep(delay)

    def _let_one_listen(self) -> None:
        """One of those at work answers users."""
        at_work = [worker for worker in self._workers.values() if worker.has_started]
        self._has_started |= bool(at_work)
        if at_work and not any(worker.listens for worker in at_work):
            at_work[0].listen()

    async def _stop(self) -> bool:
        """Stops all workers, the one that leads last; answers whether all ended as they should."""
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS - 1.0
        workers = list(self._workers.values())
        leads = await asyncio.gather(*(worker.ask("leads") for worker in workers))
        followers = [worker for worker, leading in zip(workers, leads, strict=True) if not leading]
        await _terminate(followers, _FOLLOWERS_SECONDS)
        # Those that have led since, or are slow, are told twice; that changes nothing.
        await _terminate(workers, deadline - asyncio.get_running_loop().time())
        for worker in workers:
            if worker.process.returncode is None:
                log.error("worker %d does not stop, and is killed", worker.number)
                worker.signal(signal.SIGKILL)
                await worker.process.wait()
        # One that had not even set its signals up has nothing to leave in order.
        return all(
            worker.process.returncode == 0 or (not worker.has_started and worker.process.returncode == -signal.SIGTERM)
            for worker in workers
        )

    # HTTP.

    async def _metrics(self) -> str:
        texts = await asyncio.gather(*(worker.ask("metrics") for worker in self._workers.values()))
        return merge(text for text in texts if text)

    async def _is_ready(self) -> bool:
        return any(await asyncio.gather(*(worker.ask("ready") for worker in self._workers.values())))


async def _terminate(workers: Sequence[_Worker], seconds: float) -> None:
    """Tells workers to stop, and waits until they have, for so long at most."""
    for worker in workers:
        worker.signal(signal.SIGTERM)
    ending = [asyncio.ensure_future(worker.process.wait()) for worker in workers]
    if ending:
        _, pending = await asyncio.wait(ending, timeout=max(seconds, 0.0))
        for late in pending:
            late.cancel()
