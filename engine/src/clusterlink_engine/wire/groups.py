"""Membership of a group on Kafka's group coordinator: the classic protocol (KIP-62), spoken by ourselves.

Libraries show neither when a heartbeat was answered nor the group's generation, and a lease needs both.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from kafka.protocol.consumer.group import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from kafka.protocol.metadata.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse

from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, refused
from clusterlink_engine.wire.connection import Connection, choose_version

GROUP, TRANSACTION = 0, 1

_FIND_COORDINATOR = (3, 3)  # API key 10
_FIND_COORDINATORS = (4, 4)  # likewise, for many keys at once (KIP-699)
_JOIN_GROUP = (7, 7)  # API key 11
_SYNC_GROUP = (5, 5)  # API key 14
_HEARTBEAT = (4, 4)  # API key 12
_LEAVE_GROUP = (4, 4)  # API key 13; from version 3 on anybody may remove a member (KIP-345)

# The broker answers JoinGroup only when all members have come, or their time is up; this much more for its way.
_ANSWER_SECONDS = 5.0


class Joined(NamedTuple):
    """What a member learns by joining.

    Attributes:
        generation: Of the group; grows with each rebalance while the group exists.
        member_id: Of this member.
        leader: Member id of the one that assigns.
        members: What each member told of itself, by member id; empty but for the leader.
    """

    generation: int
    member_id: str
    leader: str
    members: Mapping[str, bytes]


async def find_coordinator(cluster: Cluster, key: str, kind: int) -> int:
    """Asks which broker coordinates a group, or the transactions of a transactional id; answers its node id.

    Raises:
        KafkaError: The cluster could not be asked, or refused; soon after its start COORDINATOR_NOT_AVAILABLE.
    """
    request = FindCoordinatorRequest(key=key, key_type=kind)
    answer = await cluster.call(-1, request, FindCoordinatorResponse, _FIND_COORDINATOR)
    if answer.error_code:
        raise refused(answer.error_code, f'FindCoordinator of "{key}"', cluster.side, answer.error_message)
    return int(answer.node_id)


async def find_coordinators(
    cluster: Cluster, keys: Collection[str], kind: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Asks which brokers coordinate groups, or transactional ids.

    Returns:
        Node ids by key, and Kafka's error code of each key that was refused.

    Raises:
        KafkaError: The cluster could not be asked.
    """
    request = FindCoordinatorRequest(key_type=kind, coordinator_keys=sorted(keys))
    answer = await cluster.call(-1, request, FindCoordinatorResponse, _FIND_COORDINATORS)
    asked = [found for found in answer.coordinators if found.key in keys]
    nodes = {found.key: int(found.node_id) for found in asked if not found.error_code}
    return nodes, {found.key: int(found.error_code) for found in asked if found.error_code}


class GroupConnection:
    """One member's connection to the coordinator of its group."""

    def __init__(self, connection: Connection, group: str, protocol_type: str, protocol: str) -> None:
        """Speaks for a member over an open connection.

        Args:
            connection: To the coordinator.
            group: Id of the group.
            protocol_type: The kind of group; all members must agree.
            protocol: How the assignment works; all members must agree.
        """
        self._connection = connection
        self._group = group
        self._protocol_type = protocol_type
        self._protocol = protocol

    def close(self) -> None:
        """Closes the connection; the member stays in the group until its session ends."""
        self._connection.close()

    async def join(self, member_id: str, about: bytes, *, session_seconds: float, rebalance_seconds: float) -> Joined:
        """Joins the group, or joins it again; the answer comes when all others have, too.

        Args:
            member_id: Empty for a new member.
            about: What the leader will see of this member.
            session_seconds: A member that sends no heartbeat for so long is dropped; a broker's least is 6 s by default.
            rebalance_seconds: How long the coordinator waits for the others.

        Raises:
            BrokerRefusedError: Among others UNKNOWN_MEMBER_ID.
            KafkaError: The broker could not be asked.
        """
        protocols = [JoinGroupRequest.JoinGroupRequestProtocol(name=self._protocol, metadata=about)]
        for _ in range(2):  # a new member gets its id first, and joins with that (KIP-394)
            request = JoinGroupRequest(
                group_id=self._group,
                session_timeout_ms=int(session_seconds * 1000),
                rebalance_timeout_ms=int(rebalance_seconds * 1000),
                member_id=member_id,
                group_instance_id=None,
                protocol_type=self._protocol_type,
                protocols=protocols,
            )
            answer = await self._connection.call(
                request,
                JoinGroupResponse,
                choose_version(self._connection, request.API_KEY, *_JOIN_GROUP),
                timeout=rebalance_seconds + session_seconds + _ANSWER_SECONDS,
            )
            if answer.error_code != Code.MEMBER_ID_REQUIRED:
                break
            member_id = answer.member_id
        self._check(answer.error_code, "JoinGroup")
        members = {member.member_id: bytes(member.metadata) for member in answer.members}
        return Joined(int(answer.generation_id), answer.member_id, answer.leader, members)

    async def sync(self, joined: Joined, assignments: Mapping[str, bytes]) -> bytes:
        """Answers what the leader assigned to this member; the leader gives the assignments.

        Raises:
            BrokerRefusedError: Among others REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID.
            KafkaError: The broker could not be asked.
        """
        assignment_class = SyncGroupRequest.SyncGroupRequestAssignment
        request = SyncGroupRequest(
            group_id=self._group,
            generation_id=joined.generation,
            member_id=joined.member_id,
            group_instance_id=None,
            protocol_type=self._protocol_type,
            protocol_name=self._protocol,
            assignments=[
                assignment_class(member_id=member, assignment=assignment) for member, assignment in assignments.items()
            ],
        )
        version = choose_version(self._connection, request.API_KEY, *_SYNC_GROUP)
        answer = await self._connection.call(request, SyncGroupResponse, version)
        self._check(answer.error_code, "SyncGroup")
        return bytes(answer.assignment)

    async def heartbeat(self, joined: Joined) -> int:
        """Tells the coordinator that the member lives; answers Kafka's error code, for example REBALANCE_IN_PROGRESS.

        Raises:
            KafkaError: The broker could not be asked.
        """
        request = HeartbeatRequest(
            group_id=self._group,
            generation_id=joined.generation,
            member_id=joined.member_id,
            group_instance_id=None,
        )
        version = choose_version(self._connection, request.API_KEY, *_HEARTBEAT)
        answer = await self._connection.call(request, HeartbeatResponse, version)
        return int(answer.error_code)

    async def leave(self, member_id: str) -> None:
        """Removes a member, this one or another that is known to be dead; gone already is fine.

        Raises:
            KafkaError: The broker could not be asked.
        """
        identity = LeaveGroupRequest.MemberIdentity(member_id=member_id, group_instance_id=None)
        request = LeaveGroupRequest(group_id=self._group, members=[identity])
        version = choose_version(self._connection, request.API_KEY, *_LEAVE_GROUP)
        await self._connection.call(request, LeaveGroupResponse, version)

    def _check(self, code: int, what: str) -> None:
        if code:
            raise refused(code, f'{what} of the group "{self._group}"', self._connection.side)
