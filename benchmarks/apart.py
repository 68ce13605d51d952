"""Work in processes of its own, so that its processor time can be told and does not hold up the measuring one."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

_spawning = multiprocessing.get_context("spawn")

P = ParamSpec("P")
T = TypeVar("T")

Submit = Callable[..., "Future[Any]"]


def call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function of a module in a process of its own and returns its answer."""
    with ProcessPoolExecutor(1, _spawning, _end_with, (os.getpid(),)) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Offers some processes, started already, to call functions of modules in."""
    with ProcessPoolExecutor(count, _spawning, _end_with, (os.getpid(),)) as pool:
        for future in [pool.submit(time.sleep, 0.1) for _ in range(count)]:
            future.result()
        yield pool


@contextmanager
def running(function: Callable[..., None], *args: object) -> Iterator[int]:
    """Lets a function that has no end run in a process of its own; yields its pid, and ends it."""
    process = _spawning.Process(target=_run, args=(os.getpid(), function, args), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
        assert process.is_alive(), f"{function.__name__} ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _run(parent: int, function: Callable[..., None], args: tuple[object, ...]) -> None:
    _end_with(parent)
    function(*args)


def _end_with(parent: int) -> None:
    """Ends this process soon after the one that started it, however that ends."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
