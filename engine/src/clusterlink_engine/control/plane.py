"""The plane: the part of the mirroring that this process does, brought in line with what it knows and has been granted."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from clusterlink_engine.control.orders import Key, Order
from clusterlink_engine.control.runtime import DRAIN_SECONDS, LinkRuntime
from clusterlink_engine.control.shards import shard_of
from clusterlink_engine.control.view import View
from clusterlink_engine.control.way import Way
from clusterlink_engine.model.resources import MIRRORED, Link, MirrorTopic, Phase, Stored
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.replication.gap_filling import GapFilling
from clusterlink_engine.replication.status import PartitionStatus, status_of
from clusterlink_engine.replication.tenure import Lease, Tenure
from clusterlink_engine.store.records import decode
from clusterlink_engine.tasks import Tasks

log = logging.getLogger(__name__)


class Plane:
    """The links at work in this process, and the partitions of its shards.

    Attributes:
        view: What the process knows.
        leads: Whether it leads: then it syncs what belongs to links and topics as a whole.
        number: Of the last order that was applied.
        on_change: Called whenever there may be something new to report; written by who reports.
        said_goodbye: Set once the process may end.
    """

    def __init__(
        self,
        make: Callable[[Link], LinkRuntime],
        lease: Lease,
        gaps: GapFilling,
        limit: Callable[[float], None],
        tasks: Tasks,
    ) -> None:
        """Begins with nothing.

        Args:
            make: Makes the runtime of a link.
            lease: Of this process.
            gaps: Told the process's slot.
            limit: Told this process's part of what all processes may read.
            tasks: Owner of what goes on in the background.
        """
        self.view = View()
        self.leads = False
        self.number = 0
        self.on_change: Callable[[], None] = lambda: None
        self.said_goodbye = asyncio.Event()
        self.gaps = gaps
        self._make = make
        self._limit = limit
        self._lease = lease
        self._tasks = tasks
        self._runtimes: dict[str, LinkRuntime] = {}
        self._leaving: set[LinkRuntime] = set()
        self._tenures: dict[int, Tenure] = {}
        self._former: dict[int, Tenure] = {}
        self._stopped = False
        self.use(self.view)

    def __getitem__(self, link: str) -> LinkRuntime:
        return self._runtimes[link]

    def way(self, mirror: MirrorTopic) -> Way:
        """Answers the way that a mirror topic goes; only of a link at work."""
        return self._runtimes[mirror.link].way(mirror.direction)

    def find(self, link: str) -> LinkRuntime | None:
        """Answers the runtime of a link; None if it is not at work."""
        return self._runtimes.get(link)

    @property
    def has_grants(self) -> bool:
        """Whether the process may write partitions."""
        return bool(self._tenures)

    @property
    def undrained(self) -> tuple[int, ...]:
        """Shards that were given back, and whose brokers may still have something pending."""
        return tuple(shard for shard, tenure in sorted(self._former.items()) if not tenure.is_drained)

    # What it is told.

    def use(self, view: View, *, leads: bool = False) -> None:
        """Goes on with another view: the process leads now, or follows another one."""
        self.view.listeners[:] = []
        self.view = view
        self.leads = leads
        view.listeners.append(self._changed)
        self._align()

    def apply(self, order: Order) -> None:
        """Does what an order says; what has to wait for brokers goes on in the background."""
        if order.slot is not None:
            self.gaps.use_slot(order.slot)
        if order.fillers is not None:
            self.gaps.know(order.fillers)
        if order.grants is not None:
            self._grant(order.grants)
        if order.records is not None:
            records = {key: decode(key, data.encode()) if data else None for key, data in order.records.items()}
            if order.is_snapshot:
                view = View()
                view.take(records)
                self.use(view)
            else:
                self.view.take(records)
        elif order.grants is not None:
            self._align()
        for (topic, index), hold_at in (order.holds or {}).items():
            self._hold(topic, index, hold_at)
        if order.goodbye:
            self.said_goodbye.set()
        self.number = order.number
        self.on_change()

    def _grant(self, grants: Mapping[int, tuple[int, bool]]) -> None:
        for shard in self._tenures.keys() - grants.keys():
            self._former[shard] = self._tenures.pop(shard)
        for shard, (generation, settled) in grants.items():
            present = self._tenures.get(shard)
            if present is None or present.generation != generation:
                former = self._former.pop(shard, None)
                # An earlier leader took it back, and could not store that before this one gave it again.
                drained = former is None or former.is_drained
                self._tenures[shard] = Tenure(self._lease, generation, settled=settled and drained)

    def _hold(self, topic: str, index: int, hold_at: int) -> None:
        for cursor in self.cursors(topic):
            if cursor.index == index and cursor.core.hold_at is not None:
                cursor.hold_until(max(cursor.core.hold_at, hold_at))

    # What it does.

    def _changed(self, changes: Mapping[str, Stored | None]) -> None:
        kinds = {key.partition("/")[0] for key in changes}
        if "link" in kinds:
            self._align()
        elif "mirror" in kinds:
            gone = [key.partition("/")[2] for key, value in changes.items() if key.startswith("mirror/") and not value]
            for name in gone:
                for runtime in self._runtimes.values():
                    runtime.retire(name)
            links = {value.link for value in changes.values() if isinstance(value, MirrorTopic)}
            mirrors = [value for value in changes.values() if isinstance(value, MirrorTopic)]
            for mirror in mirrors:
                self._align_mirror(mirror)
            if self.leads:
                for link in links:
                    self._lead(link)
            self._share_limits()

    def _align(self) -> None:
        """Brings everything in line."""
        if self._stopped:
            return
        for name in self._runtimes.keys() - self.view.links.keys():
            self._leave(self._runtimes.pop(name))
        for link in self.view.links.values():
            present = self._runtimes.get(link.name)
            if present is None:
                self._start(link)
            elif present.is_outdated(link):
                # There is one at each moment: the new one starts when the old one has stopped.
                self._leave(present, self._start(link, at_once=False))
        for link_name, runtime in self._runtimes.items():
            known = {mirror.name for mirror in self.view.mirrors_of(link_name)}
            for topic in runtime.topics():
                if topic not in known:
                    runtime.retire(topic)
            if self.leads:
                self._lead(link_name)
        for mirror in self.view.mirrors.values():
            self._align_mirror(mirror)
        self._share_limits()

    def _share_limits(self) -> None:
        """Gives each link, and the process, that part of its limit that it has of the partitions: the others have the rest."""
        total: Counter[str] = Counter()
        own: Counter[str] = Counter()
        for mirror in self.view.mirrors.values():
            if self._is_copied(mirror):
                total[mirror.link] += mirror.partition_count - len(self.view.failures(mirror))
        for link, runtime in self._runtimes.items():
            own[link] = sum(len(runtime.cursors(topic)) for topic in runtime.topics())
            runtime.limit(_part(own[link], total[link]))
        self._limit(_part(own.total(), total.total()))

    def _is_copied(self, mirror: MirrorTopic) -> bool:
        """Tells whether the partitions of a mirror topic are copied, by whoever has them."""
        link = self.view.links.get(mirror.link)
        if mirror.phase is Phase.SEALING:  # whatever is paused
            return True
        return mirror.phase in MIRRORED and not mirror.paused and link is not None and not link.paused

    def _start(self, link: Link, *, at_once: bool = True) -> LinkRuntime:
        runtime = self._runtimes[link.name] = self._make(link)
        if at_once:
            runtime.start()
        return runtime

    def _leave(self, runtime: LinkRuntime, successor: LinkRuntime | None = None) -> None:
        self._leaving.add(runtime)
        self._tasks.start(f"stop of link {runtime.name}", self._stop_runtime(runtime, successor))

    async def _stop_runtime(self, runtime: LinkRuntime, successor: LinkRuntime | None) -> None:
        await runtime.stop()
        self._leaving.discard(runtime)
        if successor is not None and self._runtimes.get(runtime.name) is successor:
            successor.start()
            self._align()
        self.on_change()

    def _lead(self, link: str) -> None:
        runtime = self._runtimes.get(link)
        if runtime is not None and runtime.is_started:
            runtime.lead()

    def _align_mirror(self, mirror: MirrorTopic) -> None:
        runtime = self._runtimes.get(mirror.link)
        if runtime is None or not runtime.is_started:
            return
        tenures: dict[int, Tenure] = {}
        if self._is_copied(mirror):
            failures = self.view.failures(mirror)
            present = {cursor.index for cursor in runtime.cursors(mirror.name)}
            for index in range(mirror.partition_count):
                tenure = self._tenures.get(shard_of(mirror.name, index))
                # A partition that fails while it is mirrored stays to be looked at.
                if tenure is not None and (index not in failures or index in present):
                    tenures[index] = tenure
        runtime.mirror(mirror, tenures)
        if mirror.phase is Phase.SEALING:
            for cursor in runtime.cursors(mirror.name):
                cursor.seal()
        if mirror.phase is Phase.ACTIVE:
            for cursor in runtime.cursors(mirror.name):
                if cursor.core.hold_at is not None:  # it was seeded
                    cursor.hold_until(None)
        if tenures:
            runtime.way(mirror.direction).config_sync.hurry_for(mirror.name)

    def retired(self, cursor: Cursor) -> None:
        """Nothing of a cursor is on its way any more."""
        mirror = self.view.mirrors.get(cursor.topic)
        if mirror is not None and not self._stopped:
            self._align_mirror(mirror)  # it may be wanted again
            self._share_limits()
        self.on_change()

    # What it tells.

    def cursors(self, topic: str) -> list[Cursor]:
        """Answers the cursors of a mirror topic, also of links that are being stopped."""
        runtimes = [*self._runtimes.values(), *self._leaving]
        return [cursor for runtime in runtimes for cursor in runtime.cursors(topic)]

    def statuses(self) -> dict[Key, PartitionStatus]:
        """Answers the status of all partitions that the process has."""
        return {cursor.key: status_of(cursor) for cursor in self._all_cursors()}

    def failed(self) -> list[Key]:
        """Answers the partitions of its shards that have failed for good, whoever saw it; none of what is a mirror no more."""
        return [
            (mirror.name, index)
            for mirror in self.view.mirrors.values()
            if mirror.phase is not Phase.STOPPED
            for index in self.view.failures(mirror)
            if shard_of(mirror.name, index) in self._tenures
        ]

    def partitions(self) -> set[Key]:
        """Answers the partitions that the process has something of."""
        return {cursor.key for cursor in self._all_cursors()}

    def _all_cursors(self) -> Iterator[Cursor]:
        for runtime in [*self._leaving, *self._runtimes.values()]:
            for topic in runtime.topics():
                yield from runtime.cursors(topic)

    async def stop(self, timeout: float = DRAIN_SECONDS) -> None:
        """Stops everything; what is in flight is answered first, for at most `timeout` seconds."""
        self._stopped = True
        await asyncio.gather(*(runtime.stop(timeout) for runtime in self._runtimes.values()))


def _part(own: int, total: int) -> float:
    return min(own / total, 1.0) if total else 1.0
