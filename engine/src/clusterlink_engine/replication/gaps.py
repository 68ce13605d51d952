"""Gap writers: fill the offsets at which nobody may see anything, many partitions at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.mirror.pieces import Gap
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.outlet import BrokerOutlet, Outlet
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs
from clusterlink_engine.wire import markers as wire
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, refused
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.markers import Marker
from clusterlink_engine.wire.transactions import (
    TransactionalProducer,
    add_partitions,
    end_transaction,
    init_producer,
)

log = logging.getLogger(__name__)

# Markers of a request, and of one partition in it: an append each, which the broker makes one after the other.
_REQUEST_MARKERS = 1000
_PARTITION_MARKERS = 500

# Of an answer, with a name and a code for each marker.
_MOST_ANSWER_BYTES = 1024 * 1024

_TRANSACTION_PARTITIONS = 200

# Answered for a partition that may not be added; the others of the request are not tried, and not added.
_OF_A_TOPIC = frozenset({Code.UNKNOWN_TOPIC_OR_PARTITION, Code.TOPIC_AUTHORIZATION_FAILED})

_MARKER_SECONDS = 10.0
_MARKER_POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class _Filling:
    """A gap on its way; `generation` is the cursor's when it was sent."""

    cursor: Cursor
    generation: int
    gap: Gap
    epoch: int

    @property
    def is_current(self) -> bool:
        """Whether the cursor still waits for the answer."""
        return self.cursor.generation == self.generation


class MarkerWriter(BrokerOutlet):
    """Fills gaps with transaction markers (WriteTxnMarkers, API key 27), each of which takes one offset and shows nothing.

    Each request for markers has one for the log ends right behind it: an answer is one for all markers of a partition, and so
    proves nothing, but the log end does. A broker begins with the second when it has answered the first.

    No markers are sent before those of the last round are answered, which may take until a replica has followed: the broker
    would not read them, and so might write them long after a partition was given up and looked at, beside those that follow.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        timeout: float,
        *,
        on_moved: Callable[[], None],
        on_forbidden: Callable[[], None],
    ) -> None:
        """Makes the writer of one broker.

        Args:
            cluster: The one that is written to.
            node: Id of the broker.
            timeout: Longest wait for an answer in seconds.
            on_moved: Called when the broker may not be the leader any more.
            on_forbidden: Called when the cluster refuses markers for want of a right.
        """
        super().__init__(cluster, node, timeout, on_moved, most_pending=1)
        self._on_forbidden = on_forbidden

    def _send(self, connection: Connection) -> None:
        """Sends one round of gaps."""
        version = choose_version(connection, wire.API_KEY, wire.LOWEST, wire.HIGHEST)
        fillings: list[_Filling] = []
        markers = 0
        while self._ready and markers < _REQUEST_MARKERS:
            cursor = self._take()
            if cursor.gap_writer is not self or not cursor.may_fill:
                continue
            gap, epoch = cursor.next_gap(_PARTITION_MARKERS)
            fillings.append(_Filling(cursor, cursor.generation, gap, epoch))
            markers += gap.end - gap.first
        if not fillings:
            return
        body = wire.encode(_markers(fillings))
        marked = connection.send(
            wire.API_KEY, version, [body], flexible=True, most=_MOST_ANSWER_BYTES, timeout=self._timeout
        )
        ends = logs.ask_log_ends(connection, [filling.cursor.key for filling in fillings], timeout=self._timeout)
        ends.add_done_callback(partial(self._answered, connection, fillings, marked))

    def _answered(
        self,
        connection: Connection,
        fillings: "list[_Filling]",
        marked: "asyncio.Future[memoryview]",
        asked: "asyncio.Future[memoryview]",
    ) -> None:
        self._wake.set()
        sent = [(filling.cursor, filling.generation) for filling in fillings]
        lost = [future.cancelled() or future.exception() is not None for future in (marked, asked)]
        if any(lost):
            self._lose(sent)
            return
        keys = [filling.cursor.key for filling in fillings]
        try:
            codes, ends = wire.decode(marked.result(), keys), logs.read_offsets(connection, asked.result(), keys)
        except Exception as error:
            log.warning("%s", connection.violated(f"answered WriteTxnMarkers with what cannot be used ({error!r})"))
            self._lose(sent)
            return
        self._backoff.reset()
        for filling in fillings:
            if not filling.is_current:
                continue
            key = filling.cursor.key
            code = codes[key] or ends[key].error
            if code:
                filling.cursor.fill_failed(code)
                if code == Code.CLUSTER_AUTHORIZATION_FAILED:
                    self._on_forbidden()
            else:
                filling.cursor.filled(ends[key].offset)


class TransactionWriter(Outlet):
    """Fills gaps with empty transactions, each of which gives every partition that was added to it one marker.

    Several transactional ids take turns, because one that has just ended is busy until its markers are written.
    """

    def __init__(
        self,
        cluster: Cluster,
        producers: Sequence[TransactionalProducer],
        on_claimed: Callable[[TransactionalProducer], Awaitable[None]],
    ) -> None:
        """Makes the writer.

        Args:
            cluster: The one that is written to.
            producers: One for each transactional id.
            on_claimed: Awaited when a transactional id was claimed again, maybe with another producer id.
        """
        super().__init__()
        self._cluster = cluster
        self._producers = producers
        self._on_claimed = on_claimed

    async def run(self) -> None:
        """Fills for ever; comes back from every fault of the cluster."""
        async with asyncio.TaskGroup() as group:
            for producer in self._producers:
                group.create_task(self._work(producer))

    async def _work(self, producer: TransactionalProducer) -> None:
        backoff = Backoff(0.05, 5.0)
        while True:
            await self._wake.wait()
            try:
                while self._ready:
                    await self._fill(producer)
                    backoff.reset()
                self._wake.clear()
            except KafkaError as error:
                log.warning("filling gaps by transactions: %s", error)
                producer = await self._again(producer, backoff)

    async def _again(self, producer: TransactionalProducer, backoff: Backoff) -> TransactionalProducer:
        """Claims the transactional id anew: then nothing of what was begun with it can come any more."""
        while True:
            await backoff.wait()
            try:
                claimed = await init_producer(self._cluster, producer.transactional_id)
            except KafkaError as error:
                log.warning("preparing to fill gaps by transactions: %s", error)
            else:
                await self._on_claimed(claimed)
                return claimed

    async def _fill(self, producer: TransactionalProducer) -> None:
        """Fills one offset of each of some partitions."""
        fillings: list[_Filling] = []
        while self._ready and len(fillings) < _TRANSACTION_PARTITIONS:
            cursor = self._take()
            if cursor.gap_writer is self and cursor.may_fill:
                gap, epoch = cursor.next_gap(1)
                fillings.append(_Filling(cursor, cursor.generation, gap, epoch))
        if not fillings:
            return
        try:
            added = await self._add(producer, fillings)
            if added:
                await end_transaction(self._cluster, producer)
                await self._wait_for_markers(added)
        except BaseException:
            for filling in fillings:
                if filling.is_current and filling.cursor.is_filling:
                    filling.cursor.lost()
            raise

    async def _add(self, producer: TransactionalProducer, fillings: Sequence[_Filling]) -> Sequence[_Filling]:
        """Adds the partitions to a transaction; answers whose were added: a topic that is refused holds up no other."""
        deadline = asyncio.get_running_loop().time() + _MARKER_SECONDS
        while fillings:
            codes = await add_partitions(self._cluster, producer, [filling.cursor.key for filling in fillings])
            if not any(codes.values()):
                break
            own = {key: code for key, code in codes.items() if code in _OF_A_TOPIC}
            if own:
                for filling in fillings:
                    if filling.cursor.key in own and filling.is_current:
                        filling.cursor.fill_failed(own[filling.cursor.key])
                fillings = [filling for filling in fillings if filling.cursor.key not in own]
                continue
            code = next(filter(None, codes.values()))
            if code != Code.CONCURRENT_TRANSACTIONS or asyncio.get_running_loop().time() > deadline:
                raise refused(code, f'AddPartitionsToTxn of "{producer.transactional_id}"', self._cluster.side)
            await asyncio.sleep(_MARKER_POLL_SECONDS)
        return fillings

    async def _wait_for_markers(self, fillings: Sequence[_Filling]) -> None:
        """Waits until the logs have moved: the end of a transaction is answered before."""
        deadline = asyncio.get_running_loop().time() + _MARKER_SECONDS
        waiting = [filling for filling in fillings if filling.is_current]
        while waiting:
            nodes: dict[int, list[logs.TopicPartition]] = {}
            for filling in waiting:
                if filling.cursor.sink is not None:
                    nodes.setdefault(filling.cursor.sink.node, []).append(filling.cursor.key)
            ends: dict[logs.TopicPartition, logs.LogEnd] = {}
            for node, keys in nodes.items():
                ends.update(await logs.log_ends(self._cluster, node, keys))
            is_late = asyncio.get_running_loop().time() > deadline
            for filling in waiting:
                if not filling.is_current:
                    continue
                end = ends.get(filling.cursor.key)
                if end is not None and not end.error and (end.offset != filling.gap.first):
                    filling.cursor.filled(end.offset)
                elif is_late or end is None or end.error:
                    filling.cursor.fill_failed(end.error if end is not None else Code.REQUEST_TIMED_OUT)
            waiting = [filling for filling in waiting if filling.is_current and filling.cursor.is_filling]
            if waiting:
                await asyncio.sleep(_MARKER_POLL_SECONDS)


def _markers(fillings: Sequence[_Filling]) -> list[Marker]:
    """Answers entries that append as many markers to each partition as its gap has offsets.

    A partition may be named by many entries, but only once in each: a broker would never answer.
    """
    markers: list[Marker] = []
    remaining = list(fillings)
    count = 0
    while remaining:
        groups: dict[tuple[int, int, int], list[logs.TopicPartition]] = {}
        for filling in remaining:
            cursor = filling.cursor
            groups.setdefault((cursor.producer_id, filling.epoch, cursor.tenure.generation), []).append(cursor.key)
        markers.extend(Marker(*owner, tuple(partitions)) for owner, partitions in groups.items())
        count += 1
        remaining = [filling for filling in remaining if filling.gap.end - filling.gap.first > count]
    return markers
