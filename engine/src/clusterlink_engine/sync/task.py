"""What the syncs of a link have in common: a round every interval, and what is known of the last one."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from clusterlink_engine.errors import ClusterlinkError, KafkaError, StateUnavailableError
from clusterlink_engine.model.resources import Link
from clusterlink_engine.printable import printable

log = logging.getLogger(__name__)

# More errors of one round are counted, not told one by one.
_MOST_ERRORS = 20

AUTHORIZATION_ERROR = "AUTHORIZATION_ERROR"
CONSUMER_GROUP_IN_USE_ERROR = "CONSUMER_GROUP_IN_USE_ERROR"
SECURITY_DISABLED_ERROR = "SECURITY_DISABLED_ERROR"
SUPPRESSED_ERRORS = "SUPPRESSED_ERRORS"
TOPIC_EXISTS_ERROR = "TOPIC_EXISTS_ERROR"


@dataclass(frozen=True, slots=True)
class TaskError:
    """What went wrong in a round: a name of Cluster Linking's task errors, and a sentence."""

    code: str
    message: str


class SyncTask(ABC):
    """One sync of one link; runs in the process that leads.

    Attributes:
        name: Of the task, as Cluster Linking names it.
        errors: Of the last round. Written by `run`.
        rounds: How many there were, those with errors too. Written by `run`.
        seconds: How long the last round took. Written by `run`.
    """

    name: str

    def __init__(self, link: Callable[[], Link]) -> None:
        """Makes the task; `link` answers the link as it is now."""
        self.errors: tuple[TaskError, ...] = ()
        self.rounds = 0
        self.seconds = 0.0
        self._link = link
        self._wake = asyncio.Event()

    @property
    @abstractmethod
    def is_enabled(self) -> bool:
        """Whether the link wants it; it rests while the link is paused."""

    @property
    @abstractmethod
    def interval_ms(self) -> int:
        """From the end of a round to the beginning of the next."""

    @abstractmethod
    async def work(self) -> list[TaskError]:
        """Does one round; answers what went wrong and did not end it.

        Raises:
            ClusterlinkError: The round was ended by it.
        """

    def hurry(self) -> None:
        """Something changed: begin a round now."""
        self._wake.set()

    async def run(self) -> None:
        """Works for ever; a fault is logged, once as long as it stays the same, and tried again in the next round."""
        while True:
            try:
                async with asyncio.timeout(self.interval_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._take(await self._round() if self.is_enabled and not self._link().paused else [])

    async def _round(self) -> list[TaskError]:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await self.work()
        except (KafkaError, StateUnavailableError) as error:
            return [task_error(error)]
        finally:
            self.rounds += 1
            self.seconds = clock() - began

    def _take(self, errors: list[TaskError]) -> None:
        errors = [TaskError(error.code, printable(error.message)) for error in dict.fromkeys(errors)]
        more = len(errors) - _MOST_ERRORS
        if more > 0:
            errors = [*errors[:_MOST_ERRORS], TaskError(SUPPRESSED_ERRORS, f"There are {more} more errors.")]
        for error in errors:
            if error not in self.errors:
                log.warning("%s of link %s: %s: %s", self.name, self._link().name, error.code, error.message)
        if self.errors and not errors:
            log.info("%s of link %s works again", self.name, self._link().name)
        self.errors = tuple(errors)


def task_error(error: ClusterlinkError) -> TaskError:
    """Makes a task's error of one of the engine's."""
    name = error.metadata.get("kafka_error", error.reason)
    return TaskError(AUTHORIZATION_ERROR if name.endswith("AUTHORIZATION_FAILED") else error.reason, str(error))
