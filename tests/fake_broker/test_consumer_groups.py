"""Groups and their members, asked of a broker that answers damage or something else than was asked for."""

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from kafka.protocol.admin import DescribeGroupsResponse, ListGroupsResponse

from clusterlink_engine.errors import BrokerRefusedError, ProtocolViolationError
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.consumer_groups import groups_with_members, list_groups
from clusterlink_engine.wire.messages import ConsumerGroupDescribeResponse
from tests.fake_broker.broker import TOPIC, TOPIC_ID, FakeBroker, Handler, Request, frame

_DESCRIBE_GROUPS, _LIST_GROUPS, _CONSUMER_GROUP_DESCRIBE = 15, 16, 69
_TEXT = "text-of-a-member"

Damage = Callable[[bytes], bytes]
_DAMAGES = {
    "no-text": lambda body: body.replace(_TEXT.encode(), b"\xff" * len(_TEXT)),
    "cut": lambda body: body[: len(body) // 2],
    "many": lambda body: body[:5] + b"\xff\xff\xff\xff\x07" + body[5:],
    "empty": lambda _: b"",
}


def assignment(topic: bytes = TOPIC.encode(), partitions: int = 2, *, count: int = 1) -> bytes:
    """What the leader of a classic group assigns to a member: partitions of a topic."""
    numbers = b"".join(struct.pack(">i", number) for number in range(max(partitions, 0)))
    name = struct.pack(">h", len(topic)) + topic
    return struct.pack(">hi", 3, count) + name + struct.pack(">i", partitions) + numbers + struct.pack(">i", -1)


def _answer(message: Any, damage: Damage = bytes) -> Handler:
    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        body = damage(bytes(message.encode(version=request.version)))
        writer.write(frame(request.correlation, b"\0" + body))

    return handle


def listed(*groups: tuple[str, str, str], damage: Damage = bytes) -> Handler:
    """Lists groups by id, state and type."""
    entries = [
        ListGroupsResponse.ListedGroup(group_id=name, protocol_type=_TEXT, group_state=state, group_type=kind)
        for name, state, kind in groups
    ]
    return _answer(ListGroupsResponse(throttle_time_ms=0, error_code=0, groups=entries), damage)


def classic(
    members: Mapping[str, list[bytes]],
    *,
    state: str = "Stable",
    protocol_type: str = "consumer",
    error: int = 0,
    damage: Damage = bytes,
) -> Handler:
    """Describes groups of the classic protocol by what their members have."""
    group = DescribeGroupsResponse.DescribedGroup
    entries = [
        group(
            error_code=error,
            group_id=name,
            group_state=state,
            protocol_type=protocol_type,
            protocol_data="range",
            members=[
                group.DescribedGroupMember(
                    member_id=_TEXT,
                    group_instance_id=None,
                    client_id="c",
                    client_host="h",
                    member_metadata=b"",
                    member_assignment=assigned,
                )
                for assigned in assignments
            ],
            authorized_operations=set(),
        )
        for name, assignments in members.items()
    ]
    return _answer(DescribeGroupsResponse(throttle_time_ms=0, groups=entries), damage)


def newer(
    members: Mapping[str, list[tuple[str, str]]], *, error: int = 0, text: str | None = None, damage: Damage = bytes
) -> Handler:
    """Describes groups of the newer protocol by the topics that each member has partitions of, and shall have."""
    group = ConsumerGroupDescribeResponse.DescribedGroup
    member = group.Member

    def of(topic: str) -> Any:
        part = member.Assignment.TopicPartitions
        parts = [part(topic_id=UUID(TOPIC_ID), topic_name=topic, partitions=[0])] if topic else []
        return member.Assignment(topic_partitions=parts)

    entries = [
        group(
            error_code=error,
            error_message=text,
            group_id=name,
            group_state="Stable",
            group_epoch=1,
            assignment_epoch=1,
            assignor_name="uniform",
            members=[
                member(
                    member_id=_TEXT,
                    instance_id=None,
                    rack_id=None,
                    member_epoch=1,
                    client_id="c",
                    client_host="h",
                    subscribed_topic_names=[TOPIC],
                    subscribed_topic_regex=None,
                    assignment=of(has),
                    target_assignment=of(shall),
                    member_type=1,
                )
                for has, shall in topics
            ],
            authorized_operations=0,
        )
        for name, topics in members.items()
    ]
    return _answer(ConsumerGroupDescribeResponse(throttle_time_ms=0, groups=entries), damage)


@pytest.fixture
def groups(broker: FakeBroker) -> FakeBroker:
    broker.offered |= {_DESCRIBE_GROUPS: (0, 5), _LIST_GROUPS: (0, 5), _CONSUMER_GROUP_DESCRIBE: (0, 1)}
    return broker


async def test_groups_of_both_protocols_are_told_apart_by_what_their_members_have(
    groups: FakeBroker, cluster: Cluster
) -> None:
    groups.handlers[_LIST_GROUPS] = listed(
        ("on-it", "Stable", "Classic"),
        ("elsewhere", "Stable", "Classic"),
        ("rebalancing", "PreparingRebalance", "Classic"),
        ("empty", "Empty", "Classic"),
        ("dead", "Dead", "Classic"),
        ("new-on-it", "Stable", "Consumer"),
        ("new-coming", "Reconciling", "Consumer"),
        ("new-elsewhere", "Stable", "Consumer"),
        ("left-just-now", "Stable", "Consumer"),
        ("shared", "Stable", "Share"),
    )
    groups.handlers[_DESCRIBE_GROUPS] = classic(
        {
            "on-it": [assignment(b"another"), assignment()],
            "elsewhere": [assignment(b"another"), assignment(partitions=0)],
            "rebalancing": [b""],
        }
    )
    groups.handlers[_CONSUMER_GROUP_DESCRIBE] = newer(
        {
            "new-on-it": [("another", ""), (TOPIC, "")],
            "new-coming": [("", TOPIC)],
            "new-elsewhere": [("another", "another")],
            "left-just-now": [],
        }
    )
    assert await groups_with_members(cluster, TOPIC) == {
        "on-it": True,
        "elsewhere": False,
        "rebalancing": False,
        "new-on-it": True,
        "new-coming": True,
        "new-elsewhere": False,
    }
    assert set(await list_groups(cluster, 1)) >= {"on-it", "empty", "new-on-it"}
    assert "shared" not in await list_groups(cluster, 1)


async def test_a_broker_that_knows_no_types_and_no_states_is_asked_for_all(
    groups: FakeBroker, cluster: Cluster
) -> None:
    del groups.offered[_CONSUMER_GROUP_DESCRIBE]
    groups.offered[_LIST_GROUPS] = (0, 3)
    groups.handlers[_LIST_GROUPS] = listed(("on-it", "", ""), ("empty", "", ""))
    groups.handlers[_DESCRIBE_GROUPS] = classic({"on-it": [assignment()], "empty": []})
    assert await groups_with_members(cluster, TOPIC) == {"on-it": True}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        assignment()[:-5][:20],
        assignment(count=2**31 - 1),
        assignment(partitions=-5),
        struct.pack(">hih", 0, 1, -9),
        struct.pack(">hih", 0, 1, 32767) + TOPIC.encode(),
        struct.pack(">hih", 0, 1, len(TOPIC)) + TOPIC.encode() + struct.pack(">i", 2**31 - 1),
        b"\xff" * 40,
    ],
    ids=["empty", "short", "cut", "many", "negative", "no-name", "long-name", "many-partitions", "ones"],
)
async def test_an_assignment_that_cannot_be_read_is_of_no_topic(
    groups: FakeBroker, cluster: Cluster, data: bytes
) -> None:
    """Any client can lead a group, and assign what it likes."""
    groups.handlers[_LIST_GROUPS] = listed(("odd", "Stable", "Classic"))
    groups.handlers[_DESCRIBE_GROUPS] = classic({"odd": [data]})
    assert await groups_with_members(cluster, TOPIC) == {"odd": False}
    groups.handlers[_DESCRIBE_GROUPS] = classic({"odd": [assignment()]}, protocol_type="connect")
    assert await groups_with_members(cluster, TOPIC) == {"odd": False}


@pytest.mark.parametrize("damage", _DAMAGES.values(), ids=_DAMAGES.keys())
@pytest.mark.parametrize("where", ["listed", "classic", "newer"])
async def test_a_damaged_answer_ends_the_connection_and_nothing_else(
    groups: FakeBroker, cluster: Cluster, damage: Damage, where: str
) -> None:
    """With text that is no UTF-8 a library in the process ended it."""
    harm = dict.fromkeys(("listed", "classic", "newer"), bytes) | {where: damage}

    def set_up(harm: Mapping[str, Damage]) -> None:
        both = (("a", "Stable", "Classic"), ("b", "Stable", "Consumer"))
        groups.handlers[_LIST_GROUPS] = listed(*both, damage=harm["listed"])
        groups.handlers[_DESCRIBE_GROUPS] = classic({"a": [assignment()]}, damage=harm["classic"])
        groups.handlers[_CONSUMER_GROUP_DESCRIBE] = newer({"b": [(TOPIC, TOPIC)]}, damage=harm["newer"])

    set_up(harm)
    with pytest.raises(ProtocolViolationError):
        await groups_with_members(cluster, TOPIC)
    set_up(dict.fromkeys(harm, bytes))
    assert await groups_with_members(cluster, TOPIC) == {"a": True, "b": True}


@pytest.mark.parametrize("names", [(), ("another",), ("a", "another"), ("a", "a")])
@pytest.mark.parametrize("kind", ["Classic", "Consumer"])
async def test_an_answer_about_other_groups_is_none(
    groups: FakeBroker, cluster: Cluster, names: tuple[str, ...], kind: str
) -> None:
    """Nor is one that leaves a group out: its members would not be known."""
    groups.handlers[_LIST_GROUPS] = listed(("a", "Stable", kind))
    groups.handlers[_DESCRIBE_GROUPS] = classic({name: [assignment()] for name in names})
    groups.handlers[_CONSUMER_GROUP_DESCRIBE] = newer({name: [(TOPIC, "")] for name in names})
    if names == ("a", "a"):
        groups.handlers[_DESCRIBE_GROUPS] = groups.handlers[_CONSUMER_GROUP_DESCRIBE] = _twice(kind)
    with pytest.raises(ProtocolViolationError, match="answered the members of groups with"):
        await groups_with_members(cluster, TOPIC)


def _twice(kind: str) -> Handler:
    made = {"Classic": DescribeGroupsResponse, "Consumer": ConsumerGroupDescribeResponse}[kind]

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        group = made.DescribedGroup(group_id="a", members=[], version=request.version)
        body = made(throttle_time_ms=0, groups=[group, group]).encode(version=request.version)
        writer.write(frame(request.correlation, b"\0" + bytes(body)))

    return handle


async def test_a_refusal_names_the_group_and_the_side(groups: FakeBroker, cluster: Cluster) -> None:
    """So does a group that is of the other protocol since it was listed: an older description calls it dead."""
    groups.handlers[_LIST_GROUPS] = listed(("a", "Stable", "Classic"))
    groups.handlers[_DESCRIBE_GROUPS] = classic({"a": []}, error=30)
    with pytest.raises(BrokerRefusedError, match=r'members of the group "a" was refused .*GROUP_AUTHORIZATION_FAILED'):
        await groups_with_members(cluster, TOPIC)
    groups.handlers[_DESCRIBE_GROUPS] = classic({"a": []}, state="Dead")
    with pytest.raises(BrokerRefusedError, match=r'members of the group "a" was refused .*GROUP_ID_NOT_FOUND'):
        await groups_with_members(cluster, TOPIC)
    groups.handlers[_LIST_GROUPS] = listed(("a", "Stable", "Consumer"))
    groups.handlers[_CONSUMER_GROUP_DESCRIBE] = newer({"a": []}, error=69, text="no such\x1b group")
    with pytest.raises(BrokerRefusedError, match=r'members of the group "a" was refused .*GROUP_ID_NOT_FOUND'):
        await groups_with_members(cluster, TOPIC)
