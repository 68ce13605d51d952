"""Who fills the gaps of mirror topics on a cluster, and how.

Markers are the way; on the local cluster, where it refuses them for want of a right, empty transactions.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import StrEnum

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.gaps import MarkerWriter, TransactionWriter
from clusterlink_engine.replication.outlet import Outlet
from clusterlink_engine.settings import Replication
from clusterlink_engine.tasks import Backoff, Tasks
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.markers import may_write_markers
from clusterlink_engine.wire.transactions import TransactionalProducer, init_producer

log = logging.getLogger(__name__)

_IDS_OF_A_SLOT = 3


def transactional_ids(state_topic: str, slot: int) -> list[str]:
    """Answers the transactional ids of a slot: each process has a slot of its own."""
    first = slot * _IDS_OF_A_SLOT
    return [f"clusterlink-{state_topic}-gaps-{number}" for number in range(first, first + _IDS_OF_A_SLOT)]


class GapFillingWay(StrEnum):
    """How gaps are filled."""

    MARKERS = "MARKERS"
    TRANSACTIONS = "TRANSACTIONS"


class Gaps:
    """The filling of gaps by markers, and by nothing else: so it is on remote clusters.

    Attributes:
        way: As it was found out, or as it must be; None until then.
        on_change: Called when partitions have to be given to other writers, and when leaders may have moved. Written by the
            destination.
    """

    def __init__(self, cluster: Cluster, settings: Replication, tasks: Tasks) -> None:
        """Makes it.

        Args:
            cluster: The one that is written to; it must allow ALTER or CLUSTER_ACTION.
            settings: How patiently.
            tasks: Owner of the writers' tasks.
        """
        self.way: GapFillingWay | None = GapFillingWay.MARKERS
        self.on_change: Callable[[], None] = lambda: None
        self._cluster = cluster
        self._settings = settings
        self._tasks = tasks
        self._markers: dict[tuple[int, int], MarkerWriter] = {}

    def writer(self, node: int, number: int) -> Outlet | None:
        """Answers who fills the gaps of a partition; None while that is not known.

        Args:
            node: Its leader.
            number: The partition's own, for ever: its markers always take the same connection.
        """
        key = (node, number % self._settings.produce_connections)
        if key not in self._markers:
            self._markers[key] = MarkerWriter(
                self._cluster,
                node,
                self._settings.request_timeout_ms / 1000,
                on_moved=self._moved,
                on_forbidden=self._forbidden,
            )
            name = f"gap writer {node}/{key[1]} of the {self._cluster.side} cluster"
            self._tasks.start(name, self._markers[key].run())
        return self._markers[key]

    def add(self, cursor: Cursor) -> None:
        """The cursor is written to from now on."""

    def remove(self, cursor: Cursor) -> None:
        """The cursor is not written to any more."""

    def _moved(self) -> None:
        self.on_change()

    def _forbidden(self) -> None:
        """The cluster refuses markers: each partition tells that, and tries again."""


class GapFilling(Gaps):
    """The filling of gaps on the local cluster, by what it allows.

    Attributes:
        claimed: Producer ids of the transactional ids that this process has claimed.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: Replication,
        tasks: Tasks,
        *,
        state_topic: str,
        on_claimed: Callable[[], None],
    ) -> None:
        """Makes it; `run` finds out what the cluster allows.

        Args:
            cluster: The local one.
            settings: How, and how patiently.
            tasks: Owner of the writers' tasks.
            state_topic: Names the transactional ids; exists.
            on_claimed: Called when `claimed` has grown: nothing is filled before `know` has heard of it.
        """
        super().__init__(cluster, settings, tasks)
        self.way = None
        self.claimed: frozenset[int] = frozenset()
        self._state_topic = state_topic
        self._on_claimed = on_claimed
        self._slot: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._known = asyncio.Event()
        self._transactions: TransactionWriter | None = None
        self._producers: list[TransactionalProducer] = []
        self._producer_ids: frozenset[int] = frozenset()
        self._cursors: set[Cursor] = set()

    def use_slot(self, slot: int) -> None:
        """This process takes the transactional ids of a slot; for good."""
        if not self._slot.done():
            self._slot.set_result(slot)

    def know(self, producer_ids: Iterable[int]) -> None:
        """Every process knows by now, or will before it writes, that these producer ids may have filled gaps."""
        if not self._producer_ids.issuperset(producer_ids):
            self._producer_ids |= frozenset(producer_ids)
            for cursor in self._cursors:
                self._tell(cursor)
        if self.claimed <= self._producer_ids:
            self._known.set()

    async def run(self) -> None:
        """Finds out how gaps can be filled, as often as it takes.

        The transactional ids are claimed in any case: an earlier owner may have filled gaps with them, and what it left
        unfinished would write its markers later.
        """
        names = transactional_ids(self._state_topic, await self._slot)
        backoff = Backoff(0.1, 5.0)
        way: GapFillingWay | None = None
        while way is None:
            try:
                while len(self._producers) < len(names):
                    self._producers.append(await init_producer(self._cluster, names[len(self._producers)]))
                way = await self._find_out()
            except KafkaError as error:
                log.warning("finding out how gaps can be filled: %s", error)
                await backoff.wait()
        await self._publish(self._producers)
        self._use(way)

    async def _publish(self, producers: Iterable[TransactionalProducer]) -> None:
        """Waits until all know of these producers."""
        self.claimed |= {producer.producer_id for producer in producers}
        self._known.clear()
        self._on_claimed()
        self.know(())  # an earlier process may have had the same ids
        await self._known.wait()

    async def _find_out(self) -> GapFillingWay:
        if self._settings.gap_filling != "auto":
            return GapFillingWay(self._settings.gap_filling.upper())
        allowed = await may_write_markers(self._cluster, self._state_topic)
        return GapFillingWay.MARKERS if allowed else GapFillingWay.TRANSACTIONS

    def writer(self, node: int, number: int) -> Outlet | None:
        """See Gaps."""
        if self.way is not GapFillingWay.MARKERS:
            return self._transactions
        return super().writer(node, number)

    def add(self, cursor: Cursor) -> None:
        """Tells a cursor, now and whenever it changes, whose markers fill its gaps."""
        self._cursors.add(cursor)
        self._tell(cursor)

    def remove(self, cursor: Cursor) -> None:
        """See Gaps."""
        self._cursors.discard(cursor)

    def _tell(self, cursor: Cursor) -> None:
        cursor.core.fill_by(self._producer_ids, transactions=self.way is GapFillingWay.TRANSACTIONS)

    async def _claimed(self, producer: TransactionalProducer) -> None:
        await self._publish([producer])

    def _use(self, way: GapFillingWay) -> None:
        self.way = way
        log.info("gaps are filled by %s", "markers" if way is GapFillingWay.MARKERS else "empty transactions")
        if way is GapFillingWay.TRANSACTIONS and self._transactions is None:
            self._transactions = TransactionWriter(self._cluster, self._producers, self._claimed)
            self._tasks.start("gap writer", self._transactions.run())
        for cursor in self._cursors:
            self._tell(cursor)
        self.on_change()

    def _forbidden(self) -> None:
        if self._settings.gap_filling == "auto" and self.way is GapFillingWay.MARKERS:
            log.warning("the local cluster does not allow markers any more (ALTER on the cluster)")
            self._use(GapFillingWay.TRANSACTIONS)
