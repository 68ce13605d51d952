"""Fetch sessions (KIP-227) as a real broker has them: what the model in tests/property takes for granted."""

from collections.abc import AsyncIterator

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import Side
from clusterlink_engine.security import Security
from clusterlink_engine.wire import fetch
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.connection import Connection
from clusterlink_engine.wire.fetch_session import FetchRequest, FetchSession
from tests.support import produce, topics

_NODE = 1
_PARTITIONS = 3

pytestmark = pytest.mark.parametrize("version", [12, 13])


@pytest.fixture
async def cluster(source_cluster: KafkaCluster) -> AsyncIterator[Cluster]:
    client = Cluster(Side.REMOTE, [source_cluster.bootstrap_servers], Security(), timeout=20.0)
    await client.metadata([])
    yield client
    client.close()


@pytest.fixture
async def leader(cluster: Cluster) -> AsyncIterator[Connection]:
    connection = await cluster.open(_NODE)
    yield connection
    connection.close()


class Reader:
    """Asks for the partitions of a topic, in a session."""

    def __init__(self, leader: Connection, version: int, topic: str, topic_id: str) -> None:
        self.leader, self.version = leader, version
        self.topic, self.topic_id = topic, topic_id
        self.session: FetchSession[Reader] = FetchSession(version)

    def partition(self, index: int, offset: int) -> fetch.FetchPartition:
        return fetch.FetchPartition(self.topic, self.topic_id, index, offset, 1 << 20)

    def want(self, index: int, offset: int) -> None:
        self.session.want(self, self.partition(index, offset))

    async def send(self, request: FetchRequest) -> fetch.FetchAnswer:
        body = fetch.encode(
            self.version,
            request.partitions,
            max_wait_ms=100,
            min_bytes=1,
            max_bytes=1 << 24,
            session=request.session,
            forgotten=request.forgotten,
        )
        answer = await self.leader.send(fetch.API_KEY, self.version, [body], flexible=True)
        return fetch.decode(self.version, answer, 100)

    async def fetch(self) -> dict[int, tuple[bool, int, int]]:
        """Answers for each partition that was answered whether there were records, and log start and high watermark."""
        answer = await self.send(self.session.request())
        assert not answer.error
        self.session.answered(answer.session_id)
        assert not any(entry.error for entry in answer.partitions)
        return {
            entry.partition: (bool(entry.records), entry.log_start_offset, entry.high_watermark)
            for entry in answer.partitions
        }


@pytest.fixture
async def reader(
    source_cluster: KafkaCluster, cluster: Cluster, leader: Connection, topic_name: str, version: int
) -> Reader:
    """At the ends of the partitions, which have ten records each."""
    servers = source_cluster.bootstrap_servers
    topics.create(servers, topic_name, partitions=_PARTITIONS)
    produce.write(servers, topic_name, produce.random_bytes(30, 10, _PARTITIONS))
    known = (await cluster.metadata([topic_name])).topics[topic_name]
    made = Reader(leader, version, topic_name, known.topic_id)
    for index, end in topics.log_ends(servers, topic_name).items():
        made.want(index, end)
    return made


async def test_an_answer_names_what_has_changed(source_cluster: KafkaCluster, reader: Reader) -> None:
    servers = source_cluster.bootstrap_servers
    ends = topics.log_ends(servers, reader.topic)
    assert await reader.fetch() == {index: (False, 0, end) for index, end in ends.items()}
    assert reader.session.id
    assert await reader.fetch() == {}
    topics.delete_records(servers, reader.topic, {1: 2})
    assert await reader.fetch() == {1: (False, 2, ends[1])}
    produce.write(servers, reader.topic, [produce.Record(b"key", b"value", partition=2)])
    assert await reader.fetch() == {2: (True, 0, ends[2] + 1)}
    assert await reader.fetch() == {2: (True, 0, ends[2] + 1)}  # it is asked at the same offset
    reader.want(2, ends[2] + 1)
    assert await reader.fetch() == {}


async def test_who_is_renewed_is_answered_again_and_who_is_dropped_is_not(
    source_cluster: KafkaCluster, reader: Reader
) -> None:
    ends = topics.log_ends(source_cluster.bootstrap_servers, reader.topic)
    await reader.fetch()
    reader.session.drop(reader, reader.partition(0, 0).key(reader.version))
    reader.session.renew(reader.partition(1, 0).key(reader.version))
    assert await reader.fetch() == {}
    assert reader.session.is_behind
    assert await reader.fetch() == {1: (False, 0, ends[1])}
    produce.write(source_cluster.bootstrap_servers, reader.topic, [produce.Record(b"key", b"value", partition=0)])
    assert await reader.fetch() == {}
    reader.want(0, 0)
    assert await reader.fetch() == {0: (True, 0, ends[0] + 1)}


@pytest.mark.parametrize("of_another", [True, False], ids=["another session", "another epoch"])
async def test_what_the_broker_does_not_know_is_begun_anew(reader: Reader, of_another: bool) -> None:
    await reader.fetch()
    first = reader.session.id
    request = reader.session.request()
    answer = await reader.send(
        request._replace(session=fetch.Session(first ^ 1, 1) if of_another else fetch.Session(first, 7))
    )
    assert answer.error == (Code.FETCH_SESSION_ID_NOT_FOUND if of_another else Code.INVALID_FETCH_SESSION_EPOCH)
    assert reader.session.refused(answer.error)
    assert len(await reader.fetch()) == _PARTITIONS
    assert reader.session.id not in (0, first)
    assert await reader.fetch() == {}


async def test_a_session_that_is_over_is_replaced_over_another_connection(cluster: Cluster, reader: Reader) -> None:
    await reader.fetch()
    over = reader.session.id
    reader.leader = await cluster.open(_NODE)
    try:
        reader.session = FetchSession(reader.version, over)
        reader.want(0, 0)
        assert list(await reader.fetch()) == [0]
        assert reader.session.id not in (0, over)
        answer = await reader.send(FetchRequest(fetch.Session(over, 1), [], []))
        assert answer.error == Code.FETCH_SESSION_ID_NOT_FOUND
    finally:
        reader.leader.close()


async def test_what_the_broker_fails_at_is_not_named_again(reader: Reader) -> None:
    """An id that came damaged, for example: below 0 it is none that a broker looks up without failing."""
    reader.session = FetchSession(reader.version, -986_087_423)
    reader.want(0, 0)
    answer = await reader.send(reader.session.request())
    assert answer.error == -1  # UNKNOWN_SERVER_ERROR
    assert not reader.session.refused(answer.error)
    assert list(await reader.fetch()) == [0]


async def test_a_session_that_has_no_partitions_is_not_continued(reader: Reader) -> None:
    """The broker would end it, and answer nothing of what is asked."""
    await reader.fetch()
    for index in range(_PARTITIONS):
        reader.session.drop(reader, reader.partition(index, 0).key(reader.version))
    reader.session.renew(reader.partition(0, 0).key(reader.version))
    reader.want(0, 0)
    request = reader.session.request()
    assert request.session == (reader.session.id, 0)
    answer = await reader.send(request)
    assert [entry.partition for entry in answer.partitions] == [0]
