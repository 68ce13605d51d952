"""Everything that the engine asks brokers over its own connections, in pieces that can be recorded and replayed."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from uuid import UUID

from clusterlink_engine.errors import BrokerRefusedError, KafkaError
from clusterlink_engine.model.acls import Acl
from clusterlink_engine.wire import (
    acls,
    attempts,
    brokers,
    consumer_groups,
    fetch,
    groups,
    logs,
    markers,
    offsets,
    produce,
    records,
    transactions,
)
from clusterlink_engine.wire.batch import patch
from clusterlink_engine.wire.connection import choose_version
from clusterlink_engine.wire.groups import GROUP, GroupConnection
from tests.fuzz.replay import SCRAM, AskedCluster

NODE = 1
TOPIC = "fuzzed"  # of two partitions, with records in both
GROUP_ID = "fuzzed-group"
KEY = b"a key that no record has"
_PARTITIONS = [(TOPIC, 0), (TOPIC, 1)]

Scenario = Callable[[AskedCluster], Awaitable[object]]


async def _metadata(cluster: AskedCluster) -> None:
    found = await cluster.metadata([TOPIC])
    for topic in found.topics.values():
        int(topic.topic_id, 16)
        for partition in topic.partitions.values():
            assert partition.leader < 2**31
    (await cluster.open(NODE)).close()


async def _ends(cluster: AskedCluster) -> None:
    for ask in (logs.log_ends, logs.high_watermarks, logs.log_starts, logs.last_stable_offsets):
        await ask(cluster, NODE, _PARTITIONS)
    await logs.offsets_at(cluster, NODE, _PARTITIONS, 0)


async def _producers(cluster: AskedCluster) -> None:
    await logs.producer_states(cluster, NODE, dict.fromkeys(_PARTITIONS, 7))
    await logs.init_producer_id(cluster)


async def _topics(cluster: AskedCluster) -> None:
    topic_id = await logs.create_topic(cluster, "made", partitions=1, replication_factor=1, settings={})
    await logs.delete_topic(cluster, UUID(topic_id).hex)


async def _records(cluster: AskedCluster) -> None:
    at = logs.LogOffset(TOPIC, cluster.topic_id, 0, 1)
    await logs.batches_at(cluster, NODE, [at])
    await logs.has_key(cluster, NODE, at._replace(offset=0), 2, KEY)
    await logs.delete_records(cluster, NODE, {(TOPIC, 1): 1})


async def _produce(cluster: AskedCluster) -> None:
    connection = await cluster.open(NODE)
    version = choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST)
    made = records.tombstones(0, 3, b"key", 1)
    patch(made.view, -1, -1, -1)
    body = produce.encode(version, [produce.ProducePartition(TOPIC, cluster.topic_id, 0, made.view)], timeout_ms=1000)
    answer = await connection.send(produce.API_KEY, version, body, flexible=True)
    try:
        produce.decode(version, answer)
    except Exception as error:
        raise connection.violated(repr(error)) from error


async def _fetch(cluster: AskedCluster) -> None:
    connection = await cluster.open(NODE)
    version = choose_version(connection, fetch.API_KEY, fetch.LOWEST, fetch.HIGHEST)
    wanted = [fetch.FetchPartition(TOPIC, cluster.topic_id, index, 0, 1 << 20) for index in (0, 1)]
    body = fetch.encode(version, wanted, max_wait_ms=0, min_bytes=0, max_bytes=1 << 20)
    answer = await connection.send(fetch.API_KEY, version, [body], flexible=True)
    try:
        fetch.decode(version, answer, 2)
    except Exception as error:
        raise connection.violated(repr(error)) from error


async def _groups(cluster: AskedCluster) -> None:
    node = await groups.find_coordinator(cluster, GROUP_ID, GROUP)
    await groups.find_coordinators(cluster, [GROUP_ID], GROUP)
    member = GroupConnection(await cluster.open(node), GROUP_ID, "clusterlink", "test")
    joined = await member.join("", b"about", session_seconds=6, rebalance_seconds=6)
    await member.sync(joined, {joined.member_id: b"work"})
    await member.heartbeat(joined)
    await member.leave(joined.member_id)


async def _offsets(cluster: AskedCluster) -> None:
    connection = await cluster.open(NODE)
    wanted = dict.fromkeys(_PARTITIONS, offsets.Committed(1, "text"))
    codes = await offsets.commit_offsets(connection, GROUP_ID, wanted)
    assert codes.keys() <= wanted.keys()
    await consumer_groups.list_groups(cluster, NODE)
    found, errors = await offsets.fetch_offsets(cluster, NODE, [GROUP_ID])
    assert {*found, *errors} <= {GROUP_ID}


async def _members(cluster: AskedCluster) -> None:
    found = await consumer_groups.groups_with_members(cluster, TOPIC)
    assert all(has_partitions in (False, True) for has_partitions in found.values())


async def _acls(cluster: AskedCluster) -> None:
    names = ("TOPIC", TOPIC, "LITERAL", "User:x", "*", "WRITE", "DENY")
    acl = Acl(**dict(zip(Acl.model_fields, names, strict=True)))
    await acls.create_acls(cluster, [acl])
    await acls.describe_acls(cluster)
    await acls.delete_acls(cluster, [acl])
    await acls.may_describe(cluster, NODE, TOPIC)
    await acls.may_be_open(cluster, NODE)


async def _markers(cluster: AskedCluster) -> None:
    connection = await cluster.open(NODE)
    version = choose_version(connection, markers.API_KEY, markers.LOWEST, markers.HIGHEST)
    body = markers.encode([markers.Marker(7, 1, 1, tuple(_PARTITIONS))])
    answer = await connection.send(markers.API_KEY, version, [body], flexible=True)
    try:
        markers.decode(answer, _PARTITIONS)
    except Exception as error:
        raise connection.violated(repr(error)) from error
    await markers.may_write_markers(cluster, TOPIC)


async def _attempts(cluster: AskedCluster) -> None:
    for resource_type, operation in attempts.ATTEMPTED:
        codes = await attempts.attempt(cluster, resource_type, operation, ["attempted"])
        assert all(isinstance(code, int) for code in codes.values())
    await attempts.cluster_operations(cluster)


async def _brokers(cluster: AskedCluster) -> None:
    await brokers.broker_settings(cluster, NODE, ["auto.create.topics.enable"])
    await brokers.topic_settings(cluster, [TOPIC], ["cleanup.policy"])
    with suppress(BrokerRefusedError):  # without the right
        await brokers.controller_time(cluster)
    await brokers.not_understood(cluster)


async def _transactions(cluster: AskedCluster) -> None:
    producer = await transactions.init_producer(cluster, "fuzzed-id")
    await transactions.add_partitions(cluster, producer, _PARTITIONS)
    await transactions.end_transaction(cluster, producer)


async def _everything(cluster: AskedCluster) -> None:
    await cluster.topic_names()


async def _scram(cluster: AskedCluster) -> None:
    with suppress(KafkaError):  # the recorded broker answers another nonce, always
        await cluster.metadata([])


SCENARIOS: Mapping[str, Scenario] = {
    "metadata": _metadata,
    "topic names": _everything,
    "log ends": _ends,
    "producers": _producers,
    "topics": _topics,
    "records": _records,
    "produce": _produce,
    "fetch": _fetch,
    "groups": _groups,
    "offsets": _offsets,
    "members": _members,
    "acls": _acls,
    "markers": _markers,
    "transactions": _transactions,
    "attempts": _attempts,
    "brokers": _brokers,
    SCRAM: _scram,
}
