"""Which engine process leads, who else is there, and how long each may write: Kafka's group coordinator says it.

All processes are members of one group. The group's leader names one of them to lead the engines, and goes on naming it while
it is a member. A member's lease is counted from the *sending* of the last heartbeat that was answered well, and is shorter than
the session after which the coordinator drops the member. So whoever is not in the group any more cannot write, however long a
process or a machine sleeps.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from clusterlink_engine.errors import BrokerRefusedError, KafkaError, StateFencedError
from clusterlink_engine.replication.tenure import Lease, clock
from clusterlink_engine.tasks import Backoff, FatalHandler
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.groups import GROUP, GroupConnection, Joined, find_coordinator

log = logging.getLogger(__name__)

_PROTOCOL_TYPE = "clusterlink"
_PROTOCOL = "leader-3"

# A lease ends so much before the coordinator may name another owner.
_MARGIN_SECONDS = 1.0
_HEARTBEATS_PER_SESSION = 6


class Member(NamedTuple):
    """What processes tell each other of themselves: where they run, where they listen, and whether one leads now.

    `address` is a socket on the machine where it runs; `remote` is `host:port` for other machines, empty if there is none.
    """

    host: str
    pid: int
    address: str
    remote: str = ""
    leads: bool = False


class Standing(NamedTuple):
    """What a member knows of the group; `leader` is the member id of the process that leads, empty before the first joining."""

    leader: str = ""
    members: Mapping[str, Member] = {}


class Membership:
    """This process as a member of the group.

    Attributes:
        cluster: The local one.
        lease: Holds only while this process is a member.
        standing: As of the last joining.
        member_id: As the coordinator gave it; empty before.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        me: Member,
        session_seconds: float,
        on_lost: FatalHandler,
        *,
        lease: Lease,
        has_work: Callable[[], bool],
    ) -> None:
        """Prepares; nothing is contacted before `run`.

        Args:
            cluster: The local one.
            group: Id of the group; the same for all processes of a state topic.
            me: Who this process is.
            session_seconds: A process that is silent for so long is replaced.
            on_lost: Told when this process had work, or led, and is not a member any more.
            lease: Extended, and ended.
            has_work: Tells whether it has work.
        """
        self.lease = lease
        self.standing = Standing()
        self.member_id = ""
        self.cluster = cluster
        self._has_work = has_work
        self._moved = asyncio.Event()
        self._group = group
        self._me = me
        self._session_seconds = session_seconds
        self._on_lost = on_lost
        self._joined: Joined | None = None

    async def remove(self, member_id: str) -> None:
        """Takes a process that is known to be dead out of the group, so that nobody waits for its session to end.

        Raises:
            KafkaError: The cluster could not be asked.
        """
        group = await self._open()
        try:
            await group.leave(member_id)
        finally:
            group.close()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that leads."""
        return bool(self.member_id) and self.standing.leader == self.member_id

    async def change(self, seen: Standing) -> Standing:
        """Waits until the standing is another one than this, and answers it."""
        while self.standing is seen:
            self._moved.clear()
            await self._moved.wait()
        return self.standing

    async def leave(self) -> None:
        """Ends the lease and leaves the group: others may take over at once. Faults do not matter."""
        self.lease.end()
        if self.member_id:
            try:
                await self.remove(self.member_id)
            except KafkaError as error:
                log.info("leaving the group %s: %s", self._group, error)

    async def run(self) -> None:
        """Stays a member for ever; comes back from every fault of the cluster."""
        backoff = Backoff(0.1, 1.0)
        while True:
            try:
                group = await self._open()
                try:
                    await self._belong(group, backoff)
                finally:
                    group.close()
            except KafkaError as error:
                log.info("membership of the group %s: %s", self._group, error)
                if isinstance(error, BrokerRefusedError):
                    self._refused(error.code)
            await backoff.wait()

    async def _open(self) -> GroupConnection:
        node = await find_coordinator(self.cluster, self._group, GROUP)
        await self.cluster.metadata([])  # the coordinator's address may be new
        return GroupConnection(await self.cluster.open(node), self._group, _PROTOCOL_TYPE, _PROTOCOL)

    async def _belong(self, group: GroupConnection, backoff: Backoff) -> None:
        """Joins if need be, and sends heartbeats until something has to change; then returns."""
        if self._joined is None:
            me = self._me._replace(leads=self.leads)
            joined = await group.join(
                self.member_id,
                json.dumps(me._asdict()).encode(),
                session_seconds=self._session_seconds,
                rebalance_seconds=self._session_seconds,
            )
            self.member_id = joined.member_id
            sent_at = clock()
            assignment = await group.sync(joined, _assign(joined))
            self._joined = joined
            self._assigned(json.loads(assignment), sent_at)
        while self._joined is not None:
            backoff.reset()
            sent_at = clock()
            code = await group.heartbeat(self._joined)
            if code:
                self._refused(code)
                return
            self._extend(sent_at)
            await asyncio.sleep(self._session_seconds / _HEARTBEATS_PER_SESSION)

    def _assigned(self, told: Mapping[str, Any], sent_at: float) -> None:
        self._extend(sent_at)
        members = {member_id: Member(**about) for member_id, about in told["members"].items()}
        before = self.standing.leader
        self.standing = Standing(told["leader"], members)
        if self.standing.leader not in (self.member_id, before):
            leader = members[self.standing.leader]
            log.info("the engine with pid %d on %s leads; this one works beside it", leader.pid, leader.host)
        self._moved.set()

    def _extend(self, sent_at: float) -> None:
        self.lease.extend(sent_at + self._session_seconds - _MARGIN_SECONDS)

    def _refused(self, code: int) -> None:
        """The coordinator does not know us as we think: joins anew, with nothing if it was dropped."""
        if code in (Code.ILLEGAL_GENERATION, Code.UNKNOWN_MEMBER_ID):
            self._lose()
            self.member_id = "" if code == Code.UNKNOWN_MEMBER_ID else self.member_id
            self._joined = None
        elif code == Code.REBALANCE_IN_PROGRESS:
            self._joined = None

    def _lose(self) -> None:
        self.lease.end()
        led, self.standing = self.leads, Standing()
        if led or self._has_work():
            self._on_lost(
                StateFencedError(
                    "This engine process was silent for longer than its session, and another one may work in its place; this "
                    "one stops."
                )
            )


def _assign(joined: Joined) -> dict[str, bytes]:
    """Answers what each member is told, if this member is the group's leader: who leads the engines, and who is there."""
    if joined.leader != joined.member_id:
        return {}
    members = {member_id: Member(**json.loads(about)) for member_id, about in joined.members.items()}
    # One that processes of other machines can reach, rather than one that they cannot work for.
    leader = min(
        members, key=lambda member_id: (not members[member_id].leads, not members[member_id].remote, member_id)
    )
    told = {"leader": leader, "members": {member_id: about._asdict() for member_id, about in members.items()}}
    return dict.fromkeys(members, json.dumps(told).encode())
