"""Waiting for a condition with a deadline, instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_PAUSE_SECONDS = 0.05

T = TypeVar("T")


def wait_until(condition: Callable[[], T], deadline: float, what: str) -> T:
    """Calls `condition` until its answer is true, and returns the answer.

    Args:
        condition: What is asked; an exception counts as no, and is shown if it stays.
        deadline: Seconds from now.
        what: What is waited for, for the message.
    """
    end = time.monotonic() + deadline
    while True:
        answer, trouble = None, None
        try:
            answer = condition()
            if answer:
                return answer
        except Exception as error:
            trouble = error
        if time.monotonic() > end:
            raise AssertionError(_message(what, deadline, answer, trouble)) from trouble
        time.sleep(_PAUSE_SECONDS)


async def wait_until_async(condition: Callable[[], Awaitable[T]], deadline: float, what: str) -> T:
    """Is `wait_until` for a condition that is awaited."""
    end = time.monotonic() + deadline
    while True:
        answer, trouble = None, None
        try:
            answer = await condition()
            if answer:
                return answer
        except Exception as error:
            trouble = error
        if time.monotonic() > end:
            raise AssertionError(_message(what, deadline, answer, trouble)) from trouble
        await asyncio.sleep(_PAUSE_SECONDS)


async def until(condition: Callable[[], object], what: str, deadline: float = 10.0) -> None:
    """Lets other tasks work until a condition of this process is true."""

    async def asked() -> object:
        return condition()

    await wait_until_async(asked, deadline, what)


def _message(what: str, deadline: float, answer: object, trouble: Exception | None) -> str:
    last = f"error {trouble!r}" if trouble is not None else f"answer {answer!r}"
    return f"waited {deadline:g} s for {what}; the last {last}"
