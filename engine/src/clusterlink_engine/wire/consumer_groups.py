"""Groups of consumers as their coordinators see them: which there are, and what their members have."""

import struct
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from kafka.protocol.admin import DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest, ListGroupsResponse

from clusterlink_engine.wire.cluster import Cluster, as_many
from clusterlink_engine.wire.codes import Code, refused
from clusterlink_engine.wire.messages import ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse

_LIST_GROUPS = (3, 5)  # API key 16; with states from version 4 on (KIP-518), with types from version 5 on (KIP-848)
_DESCRIBE_GROUPS = (3, 5)  # API key 15; groups of the classic protocol
_CONSUMER_GROUP_DESCRIBE = (0, 1)  # API key 69; groups of the newer one (KIP-848)

# A group may have hundreds of members, and have committed thousands of partitions; an answer must stay of a reasonable size.
_GROUPS_AT_ONCE = 100

_CONSUMER, _SHARE = "consumer", "share"  # types of groups; older brokers know no types, and have the classic one only
_PROTOCOL_TYPE = "consumer"  # of classic groups whose members are consumers
_GONE = "Dead"  # or of the other protocol
_AT_REST = ("Empty", _GONE)

_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")


class _Listed(NamedTuple):
    """A group as its coordinator lists it; the state is empty before Kafka 2.6."""

    group_id: str
    state: str
    type: str


async def list_groups(cluster: Cluster, node: int) -> list[str]:
    """Answers the ids of the groups that a broker coordinates; share groups (KIP-932) commit no offsets, and are left out.

    Raises:
        KafkaError: The broker could not be asked, or refused.
    """
    return [group.group_id for group in await _listed(cluster, node)]


async def _listed(cluster: Cluster, node: int) -> list[_Listed]:
    request = ListGroupsRequest(states_filter=[], types_filter=[])
    answer = await cluster.call(node, request, ListGroupsResponse, _LIST_GROUPS)
    if answer.error_code:
        raise refused(answer.error_code, "ListGroups", cluster.side)
    groups = [
        _Listed(group.group_id, group.group_state or "", (group.group_type or "").lower()) for group in answer.groups
    ]
    return [group for group in groups if group.type != _SHARE]


async def groups_with_members(cluster: Cluster, topic: str) -> dict[str, bool]:
    """Answers the groups that have members, and of each whether it is known that a member has partitions of a topic.

    Of a classic group that divides its partitions anew, and of one whose members are no consumers (Kafka Streams, KIP-1071),
    nothing is known.

    Raises:
        BrokerRefusedError: Among others GROUP_ID_NOT_FOUND for a group that became one of the other protocol just now.
        KafkaError: A broker could not be asked: its groups are not known.
    """
    found: dict[str, bool] = {}
    for node in sorted((await cluster.metadata([])).brokers):
        working = [group for group in await _listed(cluster, node) if group.state not in _AT_REST]
        for some in chunks([group.group_id for group in working if group.type == _CONSUMER]):
            found |= await _described_consumers(cluster, node, some, topic)
        for some in chunks([group.group_id for group in working if group.type != _CONSUMER]):
            found |= await _described(cluster, node, some, topic)
    return found


async def _described(cluster: Cluster, node: int, groups: Sequence[str], topic: str) -> dict[str, bool]:
    request = DescribeGroupsRequest(groups=list(groups), include_authorized_operations=False)
    answer = await cluster.call(node, request, DescribeGroupsResponse, _DESCRIBE_GROUPS)
    name = topic.encode()
    for group in _each_once(cluster, groups, answer.groups):
        if group.group_state == _GONE:
            raise refused(Code.GROUP_ID_NOT_FOUND, _looking_at(group.group_id), cluster.side)
    return {
        group.group_id: group.protocol_type == _PROTOCOL_TYPE
        and any(name in _assigned_topics(bytes(member.member_assignment or b"")) for member in group.members)
        for group in answer.groups
        if group.members
    }


async def _described_consumers(cluster: Cluster, node: int, groups: Sequence[str], topic: str) -> dict[str, bool]:
    request = ConsumerGroupDescribeRequest(group_ids=list(groups), include_authorized_operations=False)
    answer = await cluster.call(node, request, ConsumerGroupDescribeResponse, _CONSUMER_GROUP_DESCRIBE)
    return {
        group.group_id: any(
            partitions.topic_name == topic
            for member in group.members
            for assignment in (member.assignment, member.target_assignment)
            for partitions in assignment.topic_partitions
        )
        for group in _each_once(cluster, groups, answer.groups)
        if group.members
    }


def _each_once(cluster: Cluster, asked: Collection[str], groups: Sequence[Any]) -> Sequence[Any]:
    """Answers what was described, if it is what was asked for."""
    for group in groups:
        if group.error_code:
            raise refused(group.error_code, _looking_at(group.group_id), cluster.side)
    as_many(cluster, "the members of groups", sorted({group.group_id for group in groups} & set(asked)), len(asked))
    return as_many(cluster, "the members of groups", groups, len(asked))


def _looking_at(group: str) -> str:
    return f'Looking at the members of the group "{group}"'


def _assigned_topics(assignment: bytes) -> set[bytes]:
    """Answers the names of the topics of which a classic consumer has partitions; none if that cannot be read.

    A member's assignment is made by the group's leader, which is any client. It has a version, then for each topic its name and
    the numbers of partitions, and then what is the assignor's own.
    """
    names = set()
    try:
        (count,) = _INT32.unpack_from(assignment, _INT16.size)
        position = _INT16.size + _INT32.size
        for _ in range(count):
            (size,) = _INT16.unpack_from(assignment, position)
            begin = position + _INT16.size
            position = begin + max(size, 0)
            (partitions,) = _INT32.unpack_from(assignment, position)
            position += _INT32.size + max(partitions, 0) * _INT32.size
            if partitions > 0 and position <= len(assignment):
                names.add(assignment[begin : begin + max(size, 0)])
    except struct.error:
        return set()  # it ends too early, as soon as a count is more than there is
    return names


def chunks(groups: Collection[str]) -> Iterator[list[str]]:
    """Divides groups into as many as are asked about in one request."""
    rest = iter(sorted(groups))
    while some := list(islice(rest, _GROUPS_AT_ONCE)):
        yield some
