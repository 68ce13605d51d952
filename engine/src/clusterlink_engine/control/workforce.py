"""The processes that share the work, as the one that leads sees them: it gives them shards, and takes them back.

What a process may write is stored before the process is told, so that whoever leads next knows it. A shard moves only when its
owner gave it back, or cannot write any more: it is out of the group, so its lease has run out, and its transactional ids are
fenced.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

from clusterlink_engine.control.allocation import NAME, Present, allocate, wanted
from clusterlink_engine.control.membership import Membership
from clusterlink_engine.control.orders import Key, Order, Report
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.shards import shard_of
from clusterlink_engine.control.state import State
from clusterlink_engine.errors import ClusterlinkError, NotLeadingError, StateFencedError, is_retriable
from clusterlink_engine.model.resources import Allocation, MirrorTopic, PartitionProgress, Stored, Worker
from clusterlink_engine.replication.gap_filling import transactional_ids
from clusterlink_engine.replication.status import (
    NOTHING,
    Glance,
    PartitionStatus,
    glance_at,
    glance_over,
    status_of,
)
from clusterlink_engine.replication.tenure import clock
from clusterlink_engine.store.records import encode, key_of
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.transactions import init_producer

log = logging.getLogger(__name__)

# A process that has shards, is in the group, and does not report for so long is put out of the group.
_SILENT_SECONDS = 10.0

_LOOK_SECONDS = 1.0

# What other processes must know to do their part.
_TOLD = ("link/", "mirror/", "partition/")


class _Member:
    """A process as it reports.

    Attributes:
        about: Who it is.
        sent: Number of the last order that was sent.
        applied: Number of the last order that it has carried out.
        grants_sent_in: Number of the order that held the newest grants, with these `grants`.
    """

    def __init__(self, report: Report, send: Callable[[Order], None]) -> None:
        self.about = Worker(slot=-1, host=report.host, pid=report.pid, process=report.process)
        self.member_id = report.member_id
        self.sent = 0
        self.applied = -1
        self.grants: dict[int, tuple[int, bool]] = {}
        self.grants_sent_in = 0
        self.fillers_sent: tuple[int, ...] = ()
        self.has_slot = False
        self.said_goodbye = False
        self.claimed: tuple[int, ...] = ()
        self.undrained: tuple[int, ...] = ()
        self.leaving = False
        self._send = send
        self._statuses: dict[str, dict[int, PartitionStatus]] = {}  # by mirror topic and number

    def take(self, report: Report) -> None:
        """Takes what the process reports."""
        for (topic, index), status in report.changed.items():
            self._statuses.setdefault(topic, {})[index] = status
        for topic, index in report.gone:
            self._statuses.get(topic, {}).pop(index, None)
        self.applied, self.leaving = report.number, report.leaving
        self.claimed, self.undrained = report.claimed, report.undrained

    def send(self, **parts: object) -> None:
        """Sends an order."""
        self.sent += 1
        self._send(Order(number=self.sent, **parts))  # type: ignore[arg-type] # the parts of an order

    def partitions(self) -> set[Key]:
        """Answers the partitions that it has something of."""
        return {(topic, index) for topic, statuses in self._statuses.items() for index in statuses}

    def statuses(self, topic: str) -> Mapping[int, PartitionStatus]:
        """Answers the status of its partitions of a topic."""
        return self._statuses.get(topic, {})

    def glance(self, topic: str) -> Glance:
        """Answers what its partitions of a topic have to say about the topic's state."""
        return glance_over(self.statuses(topic).values())


class _Self(_Member):
    """This process: asked directly, so that nothing of it is ever old."""

    def __init__(self, report: Report, plane: Plane) -> None:
        super().__init__(report, plane.apply)
        self._plane = plane

    def partitions(self) -> set[Key]:
        return self._plane.partitions()

    def statuses(self, topic: str) -> Mapping[int, PartitionStatus]:
        return {cursor.index: status_of(cursor) for cursor in self._plane.cursors(topic)}

    def glance(self, topic: str) -> Glance:
        return glance_at(self._plane.cursors(topic))

    def look(self) -> None:
        """Brings the rest up to date."""
        self.applied = self._plane.number
        self.claimed = tuple(sorted(self._plane.gaps.claimed))
        self.undrained = self._plane.undrained


class Workforce:
    """All processes at work on the state; `run` keeps the allocation as it should be."""

    def __init__(
        self,
        state: State,
        plane: Plane,
        membership: Membership,
        cluster: Cluster,
        *,
        about: Report,
        session_seconds: float,
        state_topic: str,
        initial: Allocation,
    ) -> None:
        """Begins with this process alone.

        Args:
            state: Of this process, which leads.
            plane: Of this process.
            membership: Tells who is in the group.
            cluster: The local one.
            about: Who this process is.
            session_seconds: The longest time that a lease may go on after a member is put out of the group.
            state_topic: Names the transactional ids.
            initial: The allocation to begin with if none is stored.
        """
        self._state = state
        self._plane = plane
        self._membership = membership
        self._cluster = cluster
        self._session_seconds = session_seconds
        self._state_topic = state_topic
        self._initial = initial
        self._self = _Self(about, plane)
        self._members: dict[str, _Member] = {self._self.member_id: self._self}
        # When members with grants were last heard of, and when they were put out of the group; on the lease's clock.
        self._heard: dict[str, float] = {}
        self._expelled: dict[str, float] = {}
        self._stepping = asyncio.Lock()
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        state.listeners.append(self._tell)
        plane.on_change = self._changed

    # What others ask.

    def statuses(self, topic: str) -> dict[int, PartitionStatus]:
        """Answers the status of each partition of a mirror topic that a process has."""
        found: dict[int, PartitionStatus] = {}
        for member in self._members.values():
            found.update(member.statuses(topic))
        return found

    def glance(self, topic: str) -> Glance:
        """Answers what all partitions of a mirror topic have to say about its state."""
        return reduce(Glance.beside, (member.glance(topic) for member in self._members.values()), NOTHING)

    def processes(self) -> list[tuple[Worker, int]]:
        """Answers the processes at work, and how many shards each has."""
        allocation = self._allocation
        counts = {
            member: sum(grant.member_id == member for grant in allocation.grants.values())
            for member in allocation.workers
        }
        return [(worker, counts[member]) for member, worker in allocation.workers.items()]

    async def stopped(self, topic: str) -> None:
        """Waits until no process writes to a mirror topic that the state says is not to be written to."""
        waited_for = {member.member_id: member.sent for member in self._members.values()}
        while not self._is_stopped(topic, waited_for):
            await self._next_news()

    def _is_stopped(self, topic: str, waited_for: Mapping[str, int]) -> bool:
        mirror = self._state.mirrors.get(topic)
        count = mirror.partition_count if mirror is not None else 0
        for shard in {shard_of(topic, index) for index in range(count)}:
            grant = self._allocation.grants.get(shard)
            if grant is not None and grant.member_id not in self._members:
                return False  # it is silent: it comes back, or is put out of the group
        return all(
            member.applied >= waited_for.get(member.member_id, 0) and not member.statuses(topic)
            for member in self._members.values()
        )

    async def settled(self, mirror: MirrorTopic) -> None:
        """Waits until both logs of each partition of a mirror topic have been read, or its failure is stored."""
        while not self._is_settled(mirror.name):
            await self._next_news()

    def _is_settled(self, topic: str) -> bool:
        mirror = self._state.mirrors.get(topic)
        if mirror is None or mirror.paused or self._state.links[mirror.link].paused:
            return True
        statuses, failures = self.statuses(topic), self._state.failures(mirror)
        return all(
            index in failures or (index in statuses and statuses[index].is_settled)
            for index in range(mirror.partition_count)
        )

    def hold(self, holds: Mapping[Key, int]) -> None:
        """Tells whoever has these partitions up to which offset they may be written while they are seeded."""
        for member in self._members.values():
            mine = {key: holds[key] for key in holds if key[1] in member.statuses(key[0])}
            if mine:
                member.send(holds=mine)

    def _changed(self) -> None:
        """This process has something new."""
        self._news.set()
        self._wake.set()

    async def _next_news(self) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(0.05):
                await self._news.wait()
        except TimeoutError:
            pass

    # What other processes say.

    def join(self, report: Report, send: Callable[[Order], None]) -> None:
        """Another process reports for the first time; it gets everything that it must know by orders.

        Raises:
            NotLeadingError: It is not in the group, as far as is known here.
        """
        if report.member_id not in self._membership.standing.members or report.member_id == self._self.member_id:
            raise NotLeadingError("This member of the group is not known here yet.")
        member = self._members[report.member_id] = _Member(report, send)
        member.take(report)
        member.applied = -1
        records: dict[str, Stored] = {
            **{key_of("link", link.name): link for link in self._state.links.values()},
            **{key_of("mirror", mirror.name): mirror for mirror in self._state.mirrors.values()},
            **{key_of("partition", progress.name): progress for progress in self._state.partitions.values()},
        }
        own = {
            shard: (grant.generation, grant.settled)
            for shard, grant in self._allocation.grants.items()
            if grant.member_id == report.member_id
        }
        # The grants with the records: what the process has from an earlier leader goes on undisturbed.
        member.grants = own
        member.send(
            records={key: encode(key, value).decode() for key, value in records.items()},
            is_snapshot=True,
            grants=own,
            fillers=self._allocation.fillers,
        )
        member.fillers_sent = self._allocation.fillers
        log.info("the engine with pid %d on %s shares the work", report.pid, report.host)
        self._wake.set()

    def report(self, report: Report) -> None:
        """Takes a report of a process that has joined."""
        self._members[report.member_id].take(report)
        self._news.set()
        self._wake.set()

    def part(self, member_id: str, send: Callable[[Order], None]) -> None:
        """The connection to a process broke; what it has it keeps for now."""
        member = self._members.get(member_id)
        if member is not None and member._send is send:  # noqa: SLF001 - it may have come again meanwhile
            del self._members[member_id]
            self._heard[member_id] = clock()
            self._wake.set()

    async def store(self, member_id: str, records: Sequence[PartitionProgress]) -> None:
        """Stores what the owner of partitions has learnt.

        Raises:
            StateFencedError: The process does not own all of them.
            StateError: Nothing was stored.
        """

        def check() -> None:
            for record in records:
                topic, _, index = record.name.rpartition("/")
                grant = self._allocation.grants.get(shard_of(topic, int(index)))
                if grant is None or grant.member_id != member_id:
                    raise StateFencedError(f"The partition {record.name} belongs to another engine process.")

        # What is told late, of a topic that is gone, is not remembered.
        mirrors = self._state.mirrors
        present = [
            record
            for record in records
            if (mirror := mirrors.get(record.name.rpartition("/")[0])) and mirror.topic_id == record.topic_id
        ]
        if present:
            await self._state.write(*present, guard=check)

    def _tell(self, changes: Mapping[str, Stored | None]) -> None:
        told = {key: value for key, value in changes.items() if key.startswith(_TOLD)}
        if not told or len(self._members) == 1:
            return
        records = {key: encode(key, value).decode() if value is not None else None for key, value in told.items()}
        for member in self._members.values():
            if member is not self._self:
                member.send(records=records)

    # The allocation.

    @property
    def _allocation(self) -> Allocation:
        return self._state.allocations.get(NAME, self._initial)

    async def run(self) -> None:
        """Keeps the allocation as it should be, for ever."""
        backoff = Backoff(0.1, 5.0)
        while True:
            self._wake.clear()
            try:
                await self.step()
            except ClusterlinkError as error:
                if not is_retriable(error):
                    raise
                log.warning("sharing the work: %s", error)
                await backoff.wait()
                continue
            backoff.reset()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def leave(self, timeout: float) -> None:
        """Gives back everything that this process has, and stores that; at most `timeout` seconds."""
        self._self.leaving = True
        try:
            async with asyncio.timeout(timeout):
                while any(grant.member_id == self._self.member_id for grant in self._allocation.grants.values()):
                    await self.step()
                    await asyncio.sleep(0.01)
        except (TimeoutError, ClusterlinkError) as error:
            log.info("not everything is given back, the next process will wait a moment: %s", error or "time is up")

    async def step(self) -> None:
        """Takes and gives what can be taken and given now.

        Raises:
            ClusterlinkError: The allocation could not be stored, or dead processes not be fenced; nothing was given.
        """
        async with self._stepping:
            await self._step()

    async def _step(self) -> None:
        self._self.look()
        gone = await self._gone()
        present = {name: self._present(member) for name, member in self._members.items() if name not in gone}
        following = allocate(self._allocation, present, gone)
        if following != self._state.allocations.get(NAME):
            await self._state.write(following)
        for name in gone:
            self._expelled.pop(name, None)
            self._heard.pop(name, None)
            self._members.pop(name, None)
        self._order(present)

    def _present(self, member: _Member) -> Present:
        owned = {shard for shard, grant in self._allocation.grants.items() if grant.member_id == member.member_id}
        released: set[int] = set()
        if member.applied >= member.grants_sent_in > 0:
            released = owned - member.grants.keys()
            if released:
                released -= {shard_of(*key) for key in member.partitions()}
        return Present(
            worker=member.about,
            claimed=member.claimed,
            released=released,
            undrained=member.undrained,
            leaving=member.leaving,
        )

    def _order(self, present: Mapping[str, Present]) -> None:
        """Tells each process what has changed for it."""
        allocation = self._allocation
        plan = wanted(allocation, present)
        for name, member in self._members.items():
            worker = allocation.workers.get(name)
            if worker is None:
                if member.leaving and not member.said_goodbye:
                    member.said_goodbye = True
                    member.send(goodbye=True)
                continue
            grants = {
                shard: (grant.generation, grant.settled)
                for shard, grant in allocation.grants.items()
                if grant.member_id == name and plan.get(shard) == name
            }
            parts: dict[str, object] = {}
            if not member.has_slot:
                parts["slot"] = worker.slot
            if grants != member.grants or not member.grants_sent_in:
                parts["grants"] = grants
            if allocation.fillers != member.fillers_sent:
                parts["fillers"] = allocation.fillers
            if parts:
                member.has_slot, member.grants, member.fillers_sent = True, grants, allocation.fillers
                if "grants" in parts:
                    member.grants_sent_in = member.sent + 1
                member.send(**parts)

    async def _gone(self) -> set[str]:
        """Answers the recorded processes that cannot write any more, fenced; puts silent ones out of the group.

        Raises:
            NotLeadingError: This process is not in the group itself.
            KafkaError: They could not be fenced.
        """
        gone: set[str] = set()
        now = clock()
        alive = self._membership.standing.members
        if self._self.member_id not in alive:
            raise NotLeadingError("This process does not know who is in the group.")
        for name, worker in self._allocation.workers.items():
            if name in alive and name not in self._expelled:
                if name in self._members:
                    continue
                if now - self._heard.setdefault(name, now) > _SILENT_SECONDS:
                    log.warning("the engine with pid %d on %s is silent; it is put out", worker.pid, worker.host)
                    await self._membership.remove(name)
                    self._expelled[name] = clock()
                continue
            if name in self._expelled and now - self._expelled[name] < self._session_seconds:
                continue  # its last lease may still hold
            for transactional_id in transactional_ids(self._state_topic, worker.slot):
                await init_producer(self._cluster, transactional_id)
            log.info("the engine with pid %d on %s is gone; its work goes on elsewhere", worker.pid, worker.host)
            gone.add(name)
        return gone
