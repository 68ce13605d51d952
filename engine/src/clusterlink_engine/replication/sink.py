"""A sink: writes to one broker, over one connection, for the cursors that are given to it.

A request takes one batch of each cursor that has one; several requests are in flight, and a broker works on the requests
of a connection in their order.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.mirror.partition import WINDOW
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.outlet import Outlet
from clusterlink_engine.replication.throttle import pause
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import produce
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.connection import Connection, choose_version

log = logging.getLogger(__name__)

# A request ends when it has this many bytes; more only cost latency, and a broker's limit is 100 MB.
_REQUEST_BYTES = 4 * 1024 * 1024

Sent = list[tuple[Cursor, int]]


class Sink(Outlet):
    """The produce loop of one connection to a broker.

    Attributes:
        node: Id of the broker.
        on_moved: Called when a broker said that it is not the leader.
        paused_seconds: For which the broker wanted to be left alone, since this began. Written by `_answered`.
    """

    def __init__(self, cluster: Cluster, node: int, timeout: float, on_moved: Callable[[], None]) -> None:
        super().__init__()
        self.node = node
        self.on_moved = on_moved
        self._cluster = cluster
        self._timeout = timeout
        self.paused_seconds = 0.0
        self._paused_until = 0.0  # on the loop's clock

    async def run(self) -> None:
        """Writes for ever; comes back from every fault of the broker."""
        backoff = Backoff(0.05, 5.0)
        while True:
            await self._wake.wait()
            try:
                await self._session(backoff)
            except KafkaError as error:
                log.warning("writing to broker %d of the local cluster: %s", self.node, error)
                self.on_moved()
                self._lose_all()
                await backoff.wait()

    async def _session(self, backoff: Backoff) -> None:
        connection = await self._cluster.open(self.node)
        loop = asyncio.get_running_loop()
        try:
            version = choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST)
            while True:
                if self._paused_until > loop.time():
                    await asyncio.sleep(self._paused_until - loop.time())
                    continue
                await connection.drain()
                if self._ready and connection.pending < WINDOW:
                    self._send(connection, version)
                    backoff.reset()
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            connection.close()

    def _send(self, connection: Connection, version: int) -> None:
        """Sends one request. Nothing is awaited between taking the batches and sending them."""
        sent: Sent = []
        entries: list[produce.ProducePartition] = []
        size = 0
        again: list[Cursor] = []
        while self._ready and size < _REQUEST_BYTES:
            cursor = self._take()
            if cursor.sink is not self or not cursor.may_send:
                continue
            entry = cursor.next()
            sent.append((cursor, cursor.generation))
            entries.append(entry)
            size += len(entry.batch)
            if cursor.may_send:
                again.append(cursor)
        for cursor in again:
            self._ready[cursor] = None
        if not entries:
            return
        entries.sort(key=lambda entry: entry.topic)
        body = produce.encode(version, entries, timeout_ms=int(self._timeout * 1000))
        # The broker itself gives up after the timeout; a little more for its answer to arrive.
        future = connection.send(produce.API_KEY, version, body, flexible=True, timeout=self._timeout + 5)
        future.add_done_callback(partial(self._answered, connection, version, sent))

    def _answered(self, connection: Connection, version: int, sent: Sent, future: "asyncio.Future[memoryview]") -> None:
        self._wake.set()
        if future.cancelled() or future.exception() is not None:
            self._lost(sent)
            return
        try:
            throttle_ms, partitions = produce.decode(version, future.result())
            answers = {(answer.topic, answer.partition): answer for answer in partitions}
            by_id = version >= 13
            matched = [
                (cursor, generation, answers[cursor.topic_id if by_id else cursor.topic, cursor.index])
                for cursor, generation in sent
            ]
        except Exception as error:
            log.warning("%s", connection.violated(f"answered Produce with what cannot be used ({error!r})"))
            self._lost(sent)
            return
        if seconds := pause(throttle_ms):
            self.paused_seconds += seconds
            self._paused_until = asyncio.get_running_loop().time() + seconds
        for cursor, generation, answer in matched:
            if cursor.generation == generation:
                cursor.acknowledged(answer)

    @staticmethod
    def _lost(sent: Sent) -> None:
        for cursor, generation in sent:
            if cursor.generation == generation:
                cursor.lost()
