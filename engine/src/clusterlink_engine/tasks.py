"""Long-lived tasks: each has a name and a guard, so that none ends or fails unseen. And the one back-off."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

FatalHandler = Callable[[BaseException], None]


class Tasks:
    """The tasks of one owner.

    A task that fails is logged with its name and told to `on_fatal`: an engine that lost a task is not to be trusted and
    stops. Owned by one event loop.
    """

    def __init__(self, on_fatal: FatalHandler) -> None:
        self._on_fatal = on_fatal
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task; it may return, but not raise."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def cancel(self) -> None:
        """Cancels all tasks and waits until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("task %s failed", task.get_name(), exc_info=error)
            self._on_fatal(error)


class Backoff:
    """Delays that double from `first` to `longest` seconds, each with up to a quarter of jitter."""

    def __init__(self, first: float = 0.05, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """The last attempt worked."""
        self._next = self._first

    def next(self) -> float:
        """Answers how many seconds to wait before the next attempt."""
        delay, self._next = self._next, min(self._next * 2, self._longest)
        return delay * random.uniform(0.75, 1.0)

    async def wait(self) -> None:
        """Waits before the next attempt."""
        await asyncio.sleep(self.next())
