"""Membership, transactions and markers, spoken by ourselves, against every version of Kafka that is supported."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from io import BytesIO
from uuid import uuid4

import pytest
from kafka.protocol.admin import (
    ListGroupsRequest,
    ListGroupsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from kio.schema.share_group_heartbeat.v1.request import ShareGroupHeartbeatRequest
from kio.schema.types import GroupId, TopicName
from kio.serial import entity_writer
from kio.static.primitive import i32

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import BrokerRefusedError, Side
from clusterlink_engine.model.acls import AclOperation, AclResourceType
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security
from clusterlink_engine.wire import (
    attempts,
    consumer_groups,
    groups,
    logs,
    markers,
    produce,
    records,
    transactions,
)
from clusterlink_engine.wire.batch import patch
from clusterlink_engine.wire.cluster import NO_TOPIC_ID, Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.groups import GroupConnection, Joined
from clusterlink_engine.wire.markers import Marker
from tests.support import raw, reading, rights, topics
from tests.support.groups import commit, member
from tests.support.markers import write_markers
from tests.support.waiting import wait_until_async

VERSIONS = ["3.9.2", "4.1.2", "4.3.1"]

# Kafka's names and numbers, as the documents of the protocol have them.
INVALID_PRODUCER_EPOCH, COORDINATOR_FENCED, PRODUCER_FENCED = 47, 52, 90

SESSION_SECONDS = 6.0  # a broker's least
NODE = 1

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module", params=VERSIONS)
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaCluster]:
    """A broker of each version, with an authorizer: whoever does not authenticate may do everything."""
    with KafkaCluster(
        request.param, users={"poor": "p", "rich": "r", "none": "n"}, name=f"wire-{request.param}"
    ) as running:
        yield running


@pytest.fixture
async def cluster(kafka: KafkaCluster) -> AsyncIterator[Cluster]:
    """A client that has no patience: what may take longer must say so."""
    client = Cluster(Side.LOCAL, [kafka.bootstrap_servers], Security(), timeout=4.0)
    await client.metadata([])
    yield client
    client.close()


@pytest.fixture
async def leader(cluster: Cluster) -> AsyncIterator[Connection]:
    connection = await cluster.open(NODE)
    yield connection
    connection.close()


async def open_group(cluster: Cluster, group: str) -> GroupConnection:
    async def open_when_there() -> GroupConnection:
        node = await groups.find_coordinator(cluster, group, groups.GROUP)
        return GroupConnection(await cluster.open(node), group, "clusterlink", "test-1")

    return await wait_until_async(open_when_there, 30, "the coordinator")


async def join(group: GroupConnection, member_id: str, about: bytes) -> Joined:
    return await group.join(member_id, about, session_seconds=SESSION_SECONDS, rebalance_seconds=SESSION_SECONDS)


async def test_members_come_and_go(cluster: Cluster, topic_name: str) -> None:
    one, other = await open_group(cluster, topic_name), await open_group(cluster, topic_name)
    # A broker that has just made the groups' topic says at first that it does not coordinate it.
    first = await wait_until_async(lambda: join(one, "", b"first"), 30, "the coordinator")
    assert first.member_id
    assert first.leader == first.member_id
    assert first.members == {first.member_id: b"first"}
    assert await one.sync(first, {first.member_id: b"all"}) == b"all"
    assert await one.heartbeat(first) == Code.NONE

    # Another one comes: its answer waits until the first has joined again.
    joining = asyncio.create_task(join(other, "", b"second"))

    async def is_called() -> bool:
        return await one.heartbeat(first) == Code.REBALANCE_IN_PROGRESS

    await wait_until_async(is_called, 10, "a rebalance")
    again, second = await asyncio.gather(join(one, first.member_id, b"first again"), joining)
    assert again.member_id == first.member_id
    assert again.generation == second.generation > first.generation
    assert again.leader == second.leader == first.member_id
    assert again.members == {first.member_id: b"first again", second.member_id: b"second"}
    assert second.members == {}
    waiting = asyncio.create_task(other.sync(second, {}))
    assignments = {first.member_id: b"half", second.member_id: b"other half"}
    assert await one.sync(again, assignments) == b"half"
    assert await waiting == b"other half"
    assert [await one.heartbeat(again), await other.heartbeat(second)] == [Code.NONE, Code.NONE]

    # What is out of date is told so.
    assert await one.heartbeat(first) == Code.ILLEGAL_GENERATION
    assert await one.heartbeat(again._replace(member_id="nobody")) == Code.UNKNOWN_MEMBER_ID
    with pytest.raises(BrokerRefusedError, match=rf'SyncGroup of the group "{topic_name}"') as refusal:
        await one.sync(first, {})
    assert refusal.value.code == Code.ILLEGAL_GENERATION
    with pytest.raises(BrokerRefusedError, match="JoinGroup") as refusal:
        await join(one, "nobody", b"")
    assert refusal.value.code == Code.UNKNOWN_MEMBER_ID

    # The first one is taken out, by the other; once more does no harm.
    await other.leave(first.member_id)
    await other.leave(first.member_id)
    assert await one.heartbeat(again) == Code.UNKNOWN_MEMBER_ID
    alone = await join(other, second.member_id, b"second")
    assert alone.leader == second.member_id
    assert alone.members == {second.member_id: b"second"}
    one.close()
    other.close()


async def test_a_silent_member_is_replaced(cluster: Cluster, topic_name: str) -> None:
    """The answer to the next one takes the session's time: longer than a connection waits otherwise."""
    silent, next_one = await open_group(cluster, topic_name), await open_group(cluster, topic_name)
    first = await wait_until_async(lambda: join(silent, "", b""), 30, "the coordinator")
    await silent.sync(first, {first.member_id: b""})
    second = await join(next_one, "", b"")
    assert second.leader == second.member_id
    assert list(second.members) == [second.member_id]
    assert await silent.heartbeat(first) == Code.UNKNOWN_MEMBER_ID
    silent.close()
    next_one.close()


async def create(kafka: KafkaCluster, cluster: Cluster, topic: str, partitions: int = 1) -> None:
    """Creates a topic and waits until its leader leads all of it: that is later than metadata say so."""
    topics.create(kafka.bootstrap_servers, topic, partitions)

    async def is_led() -> bool:
        keys = [(topic, partition) for partition in range(partitions)]
        return not any(end.error for end in (await logs.log_ends(cluster, NODE, keys)).values())

    await wait_until_async(is_led, 30, f"the logs of {topic}")


async def log_end(cluster: Cluster, topic: str, partition: int = 0) -> int:
    found = (await logs.log_ends(cluster, NODE, [(topic, partition)]))[topic, partition]
    assert not found.error
    return found.offset


async def wait_for_end(cluster: Cluster, topic: str, partition: int, offset: int) -> None:
    async def is_there() -> bool:
        return await log_end(cluster, topic, partition) == offset

    await wait_until_async(is_there, 10, f"a marker in {topic}-{partition}")


async def test_empty_transactions(kafka: KafkaCluster, cluster: Cluster, topic_name: str) -> None:
    """Each fills one offset of each of its partitions, and nobody sees it; a successor fences and tidies up."""
    await create(kafka, cluster, topic_name, partitions=3)
    producer = await transactions.init_producer(cluster, topic_name)
    for number in range(3):

        async def add(producer: transactions.TransactionalProducer = producer) -> bool:
            codes = await transactions.add_partitions(cluster, producer, [(topic_name, 0), (topic_name, 2)])
            assert set(codes) == {(topic_name, 0), (topic_name, 2)}
            assert set(codes.values()) <= {Code.NONE, Code.CONCURRENT_TRANSACTIONS}
            return not any(codes.values())

        await wait_until_async(add, 10, "the end of the transaction before")
        assert await log_end(cluster, topic_name) == number
        await transactions.end_transaction(cluster, producer)
        await wait_for_end(cluster, topic_name, 0, number + 1)
        await wait_for_end(cluster, topic_name, 2, number + 1)
    assert await log_end(cluster, topic_name, 1) == 0

    async def end_again() -> bool:
        await transactions.end_transaction(cluster, producer)
        return True

    await wait_until_async(end_again, 10, "a repetition, which is answered alike and writes nothing")
    assert (await transactions.add_partitions(cluster, producer, [("nowhere", 0), (topic_name, 0)])) == {
        ("nowhere", 0): Code.UNKNOWN_TOPIC_OR_PARTITION,
        (topic_name, 0): 55,  # OPERATION_NOT_ATTEMPTED
    }

    async def begin() -> bool:
        return not any((await transactions.add_partitions(cluster, producer, [(topic_name, 1)])).values())

    await wait_until_async(begin, 10, "a transaction that is left unfinished")
    successor = await transactions.init_producer(cluster, topic_name)
    assert successor.producer_id == producer.producer_id
    assert successor.epoch > producer.epoch
    assert await log_end(cluster, topic_name, 1) == 1, "the marker was not there when the successor began"
    (code,) = (await transactions.add_partitions(cluster, producer, [(topic_name, 1)])).values()
    assert code in (INVALID_PRODUCER_EPOCH, PRODUCER_FENCED)
    with pytest.raises(BrokerRefusedError, match="EndTxn") as refusal:
        await transactions.end_transaction(cluster, producer)
    assert refusal.value.code in (INVALID_PRODUCER_EPOCH, PRODUCER_FENCED)
    assert await log_end(cluster, topic_name, 1) == 1
    assert_nothing_is_seen(kafka, topic_name, {0: 3, 1: 1, 2: 3})


def assert_nothing_is_seen(kafka: KafkaCluster, topic: str, ends: dict[int, int]) -> None:
    assert topics.log_ends(kafka.bootstrap_servers, topic) == ends
    for isolation in ("read_committed", "read_uncommitted"):
        with reading.consumer(kafka.bootstrap_servers, isolation) as reader:
            for partition, end in ends.items():
                assert list(reading.records(reader, topic, partition, 0, end)) == []


async def append(connection: Connection, topic: str, producer: tuple[int, int, int]) -> tuple[int, int]:
    """Appends two records with a producer's id, epoch and sequence; answers error code and base offset."""
    batch = records.tombstones(0, 2, b"key", 1)
    patch(batch.view, *producer)
    version = min(12, choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST))
    body = produce.encode(version, [produce.ProducePartition(topic, NO_TOPIC_ID, 0, batch.view)], timeout_ms=10_000)
    (answer,) = produce.decode(version, await connection.send(produce.API_KEY, version, body, flexible=True)).partitions
    return answer.error, answer.base_offset


async def test_markers_fill_one_offset_each(
    kafka: KafkaCluster, cluster: Cluster, leader: Connection, topic_name: str
) -> None:
    await create(kafka, cluster, topic_name, partitions=3)
    producer_id = await logs.init_producer_id(cluster)
    both = ((topic_name, 0), (topic_name, 2))
    entries = [Marker(producer_id, 4, 7, both), Marker(producer_id, 4, 7, both[:1]), Marker(producer_id, 4, 8, both)]
    assert await write_markers(leader, entries) == dict.fromkeys(both, 0)
    assert [await log_end(cluster, topic_name, partition) for partition in range(3)] == [3, 0, 2]
    # The same once more is written once more: nothing removes duplicates.
    many = [Marker(producer_id, 4, 8, both[:1])] * 500
    assert await write_markers(leader, many) == {both[0]: 0}
    assert await log_end(cluster, topic_name, 0) == 503
    states = await logs.producer_states(cluster, NODE, {both[0]: producer_id})
    assert states == {both[0]: logs.ProducerState(4, -1)}
    assert_nothing_is_seen(kafka, topic_name, {0: 503, 1: 0, 2: 2})


async def test_markers_are_fenced(kafka: KafkaCluster, cluster: Cluster, leader: Connection, topic_name: str) -> None:
    """By the producer's epoch and by the generation; and an answer is one for all entries of a partition."""
    await create(kafka, cluster, topic_name)
    key = (topic_name, 0)
    producer_id = await logs.init_producer_id(cluster)

    async def write(*owners: tuple[int, int]) -> int:
        return (await write_markers(leader, [Marker(producer_id, *owner, (key,)) for owner in owners]))[key]

    assert await write((4, 7)) == 0
    assert await write((3, 9)) == INVALID_PRODUCER_EPOCH
    assert await write((4, 6)) == COORDINATOR_FENCED
    assert await write((5, 6)) == COORDINATOR_FENCED
    assert await log_end(cluster, topic_name) == 1
    await write((4, 7), (4, 6), (4, 8))
    assert await log_end(cluster, topic_name) == 3, "two of the three were good"
    assert await write((4, 7)) == COORDINATOR_FENCED
    elsewhere = ("no-such-topic", 0)
    answers = await write_markers(leader, [Marker(producer_id, 4, 8, (key, elsewhere))])
    assert answers == {key: 0, elsewhere: Code.UNKNOWN_TOPIC_OR_PARTITION}
    with pytest.raises(ValueError, match="twice"):
        await write_markers(leader, [Marker(producer_id, 4, 8, (key, key))])
    assert await log_end(cluster, topic_name) == 4


async def test_data_between_markers(kafka: KafkaCluster, cluster: Cluster, leader: Connection, topic_name: str) -> None:
    """A marker of the same epoch lets the sequence go on; one of a higher epoch fences data and begins at 0."""
    await create(kafka, cluster, topic_name)
    key = (topic_name, 0)
    producer_id = await logs.init_producer_id(cluster)

    async def mark(epoch: int) -> int:
        return (await write_markers(leader, [Marker(producer_id, epoch, 7, (key,))]))[key]

    assert await append(leader, topic_name, (producer_id, 0, 0)) == (0, 0)
    assert await mark(0) == 0
    assert await append(leader, topic_name, (producer_id, 0, 2)) == (0, 3)
    assert await append(leader, topic_name, (producer_id, 0, 2)) == (0, 3), "a duplicate is told its first offset"
    assert await mark(1) == 0
    assert (await logs.producer_states(cluster, NODE, {key: producer_id})) == {key: logs.ProducerState(1, -1)}
    assert (await append(leader, topic_name, (producer_id, 0, 4)))[0] == INVALID_PRODUCER_EPOCH
    assert (await append(leader, topic_name, (producer_id, 1, 4)))[0] == 45  # OUT_OF_ORDER_SEQUENCE_NUMBER
    assert await append(leader, topic_name, (producer_id, 1, 0)) == (0, 6)
    assert await mark(0) == INVALID_PRODUCER_EPOCH
    assert await log_end(cluster, topic_name) == 8
    with reading.consumer(kafka.bootstrap_servers, "read_committed") as reader:
        seen = [offset for offset, _ in reading.records(reader, topic_name, 0, 0, 8)]
    assert seen == [0, 1, 3, 4, 6, 7]


async def test_the_right_to_write_markers(kafka: KafkaCluster, cluster: Cluster, topic_name: str) -> None:
    """It is found out without writing anything, for a topic that may be written."""
    await create(kafka, cluster, topic_name)
    rights.grant(kafka.bootstrap_servers, "poor", rights.local(topic_name, topic_name))
    rights.grant(kafka.bootstrap_servers, "rich", [*rights.local(topic_name, topic_name), rights.MARKERS])
    for user, password, allowed in (("poor", "p", False), ("rich", "r", True)):
        sasl = Sasl(mechanism="SCRAM-SHA-256", username=user, password=password)
        security = Security(security_protocol="SASL_PLAINTEXT", sasl=sasl)
        client = Cluster(Side.LOCAL, [kafka.sasl_bootstrap_servers], security)
        assert await markers.may_write_markers(client, topic_name) is allowed
        client.close()
    assert await markers.may_write_markers(cluster, topic_name)
    assert await log_end(cluster, topic_name) == 0


@pytest.mark.parametrize("right", attempts.ATTEMPTED, ids=lambda right: "-".join(part.name for part in right))
async def test_rights_are_found_out_without_harm(
    kafka: KafkaCluster, cluster: Cluster, topic_name: str, right: tuple[AclResourceType, AclOperation]
) -> None:
    """For what is there and for what is not; an open transaction stays open, and nothing is made."""
    await create(kafka, cluster, topic_name)
    open_one = await transactions.init_producer(cluster, topic_name)
    await transactions.add_partitions(cluster, open_one, [(topic_name, 0)])
    commit(kafka.bootstrap_servers, topic_name, topic_name, {0: 0})
    names = [topic_name, f"{topic_name}-not-there"]
    sasl = Sasl(mechanism="SCRAM-SHA-256", username="none", password="n")  # noqa: S106
    client = Cluster(
        Side.LOCAL, [kafka.sasl_bootstrap_servers], Security(security_protocol="SASL_PLAINTEXT", sasl=sasl)
    )
    for asked, allowed in ((client, False), (cluster, True)):
        codes = await attempts.attempt(asked, *right, names)
        assert {name: attempts.verdict(code) for name, code in codes.items()} == dict.fromkeys(names, allowed)
    assert await attempts.cluster_operations(client) is None
    assert AclOperation.ALTER in (await attempts.cluster_operations(cluster) or ())
    client.close()
    assert topic_name in (found := await cluster.topic_names())
    assert names[1] not in found
    assert names[1] not in await consumer_groups.list_groups(cluster, NODE)
    listed = await cluster.call(
        NODE, ListTransactionsRequest(state_filters=[], producer_id_filters=[]), ListTransactionsResponse, (0, 0)
    )
    states = {entry.transactional_id: entry.transaction_state for entry in listed.transaction_states}
    assert states[topic_name] == "Ongoing"
    assert names[1] not in states
    assert await log_end(cluster, topic_name) == 0
    await transactions.end_transaction(cluster, open_one)


@pytest.mark.parametrize("kafka", ["4.3.1"], indirect=True)
async def test_share_groups_are_left_out(
    kafka: KafkaCluster, leader: Connection, cluster: Cluster, topic_name: str
) -> None:
    """They have no committed offsets of the kind that can be synced."""
    topics.create(kafka.bootstrap_servers, topic_name)
    usual, shared = f"{topic_name}-usual", f"{topic_name}-shared"
    commit(kafka.bootstrap_servers, usual, topic_name, {0: 0})
    join_share_group = ShareGroupHeartbeatRequest(
        group_id=GroupId(shared),
        member_id=str(uuid4()),
        member_epoch=i32(0),
        subscribed_topic_names=(TopicName(topic_name),),
    )
    body = BytesIO()
    entity_writer(ShareGroupHeartbeatRequest)(body, join_share_group)
    key, version = ShareGroupHeartbeatRequest.__api_key__, ShareGroupHeartbeatRequest.__version__

    async def joined() -> bool:
        answer = await leader.send(key, version, [body.getvalue()], flexible=True)
        (code,) = struct.unpack_from(">h", answer, 5)  # after the header's tagged fields and the throttle time
        return bool(code == Code.NONE)

    await wait_until_async(joined, 30, "the share group")
    with raw.Connection("127.0.0.1", kafka.nodes[0].port) as other:
        answer = other.call(ListGroupsRequest(states_filter=[], types_filter=[]), ListGroupsResponse, 5)
    assert {shared, usual} <= {group.group_id for group in answer.groups}
    listed = await consumer_groups.list_groups(cluster, NODE)
    assert usual in listed
    assert shared not in listed


async def test_which_groups_have_members_and_where(kafka: KafkaCluster, cluster: Cluster, topic_name: str) -> None:
    """Of either protocol; also with the oldest versions that are taken. A member that left has nothing any more."""
    here, other = kafka.bootstrap_servers, f"{topic_name}-other"
    topics.create(here, topic_name)
    topics.create(here, other)
    protocols = ["classic"] if kafka.version < "4" else ["classic", "consumer"]
    with ExitStack() as members:
        for protocol in protocols:
            for topic in (topic_name, other):
                settings = {"group.protocol": protocol}
                members.enter_context(member(here, f"{topic}-{protocol}", topic, **settings))
        commit(here, f"{topic_name}-empty", topic_name, {0: 0})

        async def all_there() -> dict[str, bool] | None:
            found = await consumer_groups.groups_with_members(cluster, topic_name)
            mine = {group: on_it for group, on_it in found.items() if group.startswith(topic_name)}
            return mine if len(mine) == 2 * len(protocols) and any(mine.values()) else None

        found = await wait_until_async(all_there, 30, "the members")
        assert found == {
            f"{topic}-{protocol}": topic == topic_name for topic in (topic_name, other) for protocol in protocols
        }
    left = await consumer_groups.groups_with_members(cluster, topic_name)
    assert [group for group in left if group.startswith(topic_name)] == []
