"""A sink: writes batches to one broker, for the cursors that are given to it; a request takes one of each that has one."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from clusterlink_engine.mirror.partition import WINDOW
from clusterlink_engine.replication.buffers import Holding
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.outlet import BrokerOutlet, Sent
from clusterlink_engine.replication.throttle import pause
from clusterlink_engine.wire import produce
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.connection import Connection, choose_version

log = logging.getLogger(__name__)

# A request ends when it has this many bytes; more only cost latency, and a broker's limit is 100 MB.
_REQUEST_BYTES = 4 * 1024 * 1024

# Of an answer, which may have a sentence about each record that is refused.
_MOST_ANSWER_BYTES = 8 * 1024 * 1024


class Sink(BrokerOutlet):
    """The produce loop of one connection to a broker.

    Attributes:
        held: What waits for the broker, or is on its way there, by all its connections.
    """

    def __init__(
        self, cluster: Cluster, node: int, timeout: float, on_moved: Callable[[], None], held: Holding
    ) -> None:
        super().__init__(cluster, node, timeout, on_moved, most_pending=WINDOW)
        self.held = held

    def _send(self, connection: Connection) -> None:
        """Sends one request."""
        version = choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST)
        sent: list[tuple[Cursor, int]] = []
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
        timeout = self._timeout + 5
        future = connection.send(
            produce.API_KEY, version, body, flexible=True, most=_MOST_ANSWER_BYTES, timeout=timeout
        )
        future.add_done_callback(partial(self._answered, connection, version, sent))

    def _answered(self, connection: Connection, version: int, sent: Sent, future: "asyncio.Future[memoryview]") -> None:
        self._wake.set()
        if future.cancelled() or future.exception() is not None:
            self._lose(sent)
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
            self._lose(sent)
            return
        self._backoff.reset()
        self._pause(pause(throttle_ms))
        for cursor, generation, answer in matched:
            if cursor.generation == generation:
                cursor.acknowledged(answer)
