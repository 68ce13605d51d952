"""Which of the engine processes on a state topic works: the one that Kafka's group coordinator says, for as long as its lease.

All processes are members of one group. Its leader names an owner, and goes on naming it while it is a member. The owner's lease
is counted from the *sending* of the last heartbeat that was answered well, and is shorter than the session after which the
coordinator names another one. So at no time two leases hold, however long a process or a machine sleeps.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import NamedTuple

from clusterlink_engine.errors import BrokerRefusedError, KafkaError, StateFencedError
from clusterlink_engine.replication.tenure import Lease, clock
from clusterlink_engine.tasks import Backoff, FatalHandler
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.groups import GROUP, GroupConnection, Joined, find_coordinator

log = logging.getLogger(__name__)

_PROTOCOL_TYPE = "clusterlink"
_PROTOCOL = "owner-1"

# A lease ends so much before the coordinator may name another owner.
_MARGIN_SECONDS = 1.0
_HEARTBEATS_PER_SESSION = 6


class Member(NamedTuple):
    """What processes tell each other of themselves: where they run, and whether one of them is the owner now."""

    host: str
    pid: int
    is_owner: bool = False


class Membership:
    """This process as a member of the group.

    Attributes:
        cluster: The local one.
        lease: Holds only while this process is the owner.
        owned: Set once this process is the owner.
        member_id: As the coordinator gave it; empty before.
    """

    def __init__(self, cluster: Cluster, group: str, me: Member, session_seconds: float, on_lost: FatalHandler) -> None:
        """Prepares; nothing is contacted before `run`.

        Args:
            cluster: The local one.
            group: Id of the group; the same for all processes of a state topic.
            me: Who this process is.
            session_seconds: A process that is silent for so long is replaced.
            on_lost: Told when this process was the owner and is not any more.
        """
        self.lease = Lease()
        self.owned = asyncio.Event()
        self.member_id = ""
        self.cluster = cluster
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

    async def leave(self) -> None:
        """Ends the lease and leaves the group: another process may be the owner at once. Faults do not matter."""
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
            me = self._me._replace(is_owner=self.owned.is_set())
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

    def _assigned(self, owner: Mapping[str, str], sent_at: float) -> None:
        if owner["member_id"] != self.member_id:
            log.info("the engine with pid %s on %s works here; this one stands by", owner["pid"], owner["host"])
            self._lose()
            return
        self._extend(sent_at, begin=True)
        self.owned.set()

    def _extend(self, sent_at: float, *, begin: bool = False) -> None:
        if begin or self.owned.is_set():
            self.lease.extend(sent_at + self._session_seconds - _MARGIN_SECONDS)

    def _refused(self, code: int) -> None:
        """The coordinator does not know us as we think: joins anew, and is not the owner if it was dropped."""
        if code in (Code.ILLEGAL_GENERATION, Code.UNKNOWN_MEMBER_ID):
            self._lose()
            self.member_id = "" if code == Code.UNKNOWN_MEMBER_ID else self.member_id
            self._joined = None
        elif code == Code.REBALANCE_IN_PROGRESS:
            self._joined = None

    def _lose(self) -> None:
        self.lease.end()
        if self.owned.is_set():
            self.owned.clear()
            self._on_lost(
                StateFencedError(
                    "This engine process was silent for longer than its session, and another one may work in its place; this "
                    "one stops."
                )
            )


def _assign(joined: Joined) -> dict[str, bytes]:
    """Answers what each member is told, if this member is the leader: who the owner is."""
    if joined.leader != joined.member_id:
        return {}
    members = {member_id: Member(**json.loads(about)) for member_id, about in joined.members.items()}
    owner = min(members, key=lambda member_id: (not members[member_id].is_owner, member_id))
    about = json.dumps({"member_id": owner, "host": members[owner].host, "pid": members[owner].pid}).encode()
    return dict.fromkeys(members, about)
