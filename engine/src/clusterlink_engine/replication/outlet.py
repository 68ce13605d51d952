"""An outlet: whoever writes for cursors keeps here which ones it serves, and which of them have something to write."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.connection import Connection

log = logging.getLogger(__name__)

# A broker closes a connection that is idle (`connections.max.idle.ms`, ten minutes by default), and what is between may forget
# it within a few minutes without a word: then the next batch or marker puts in doubt what is on its way by other connections.
_QUIET_SECONDS = 30.0

Sent = Iterable[tuple[Cursor, int]]
"""Cursors that something was sent for, each with its generation at that time."""


class Outlet:
    """The cursors of a writer; those that are ready are served in turn."""

    def __init__(self) -> None:
        self._cursors: dict[Cursor, None] = {}
        self._ready: dict[Cursor, None] = {}  # in the order in which they are served
        self._wake = asyncio.Event()

    def add(self, cursor: Cursor) -> None:
        """The cursor is served here from now on."""
        self._cursors[cursor] = None

    def remove(self, cursor: Cursor) -> None:
        """The cursor is served elsewhere, or not any more."""
        self._cursors.pop(cursor, None)
        self._ready.pop(cursor, None)

    def ready(self, cursor: Cursor) -> None:
        """The cursor has something that may be written."""
        self._ready[cursor] = None
        self._wake.set()

    def _take(self) -> Cursor:
        """Answers the cursor whose turn it is; only while one is ready."""
        cursor = next(iter(self._ready))
        del self._ready[cursor]
        return cursor

    @staticmethod
    def _lose(sent: Sent) -> None:
        """There will be no answer for what was sent."""
        for cursor, generation in sent:
            if cursor.generation == generation:
                cursor.lost()

    def _lose_all(self) -> None:
        """The broker may have begun anew, with a shorter log: every cursor looks at its own first."""
        for cursor in list(self._cursors):
            cursor.lost()


class BrokerOutlet(Outlet, ABC):
    """An outlet to one broker, over one connection: several requests are in flight, which the broker works on in their order.

    Attributes:
        node: Id of the broker.
        on_moved: Called when the broker may not be the leader any more.
        paused_seconds: For which the broker wanted to be left alone, since this began. Written by `_pause`.
    """

    def __init__(
        self, cluster: Cluster, node: int, timeout: float, on_moved: Callable[[], None], *, most_pending: int
    ) -> None:
        """Makes it; nothing is contacted before `run`.

        Args:
            cluster: The one that is written to.
            node: Id of the broker.
            timeout: Longest wait for an answer in seconds.
            on_moved: See the attribute.
            most_pending: Nothing is sent while so many requests are not answered.
        """
        super().__init__()
        self.node = node
        self.on_moved = on_moved
        self.paused_seconds = 0.0
        self._cluster = cluster
        self._timeout = timeout
        self._most_pending = most_pending
        self._backoff = Backoff(0.05, 5.0)
        self._paused_until = 0.0  # on the loop's clock

    async def run(self) -> None:
        """Writes for ever; comes back from every fault of the broker."""
        while True:
            await self._wake.wait()
            try:
                await self._use_connection()
            except KafkaError as error:
                log.warning("writing to broker %d of the %s cluster: %s", self.node, self._cluster.side, error)
                self.on_moved()
                self._wake.clear()  # whoever is ready after this wakes it again
                self._lose_all()
                await self._backoff.wait()

    async def _use_connection(self) -> None:
        connection = await self._cluster.open(self.node)
        loop = asyncio.get_running_loop()
        keeper = loop.create_task(self._keep_alive(connection), name=f"keep-alive {connection.address}")
        try:
            while True:
                if self._paused_until > loop.time():
                    await asyncio.sleep(self._paused_until - loop.time())
                    continue
                await connection.drain()
                if self._ready and connection.pending < self._most_pending:
                    self._send(connection)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            keeper.cancel()
            connection.close()

    async def _keep_alive(self, connection: Connection) -> None:
        """Uses a connection that is not used; one that broke is found out by the way."""
        while connection.is_open:
            await asyncio.sleep(_QUIET_SECONDS)
            try:
                if not connection.pending:
                    await connection.touch()
            except KafkaError:
                log.debug("the idle connection to %s has ended", connection.address)
            self._wake.set()  # nothing was sent meanwhile; or there is nothing to send over any more

    @abstractmethod
    def _send(self, connection: Connection) -> None:
        """Sends for some of those that are ready, or takes them away; nothing is awaited between asking them and sending.

        Every answer, or that there is none, has to be followed by `_wake.set()`.

        Raises:
            KafkaError: Nothing can be sent to this broker.
        """

    def _pause(self, seconds: float) -> None:
        """The broker wants to be left alone."""
        if seconds:
            self.paused_seconds += seconds
            self._paused_until = asyncio.get_running_loop().time() + seconds
