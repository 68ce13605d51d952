"""Records that are encoded again: a broker takes them, and librdkafka reads what the source's consumers read."""

from collections.abc import AsyncIterator

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import Side
from clusterlink_engine.security import Security
from clusterlink_engine.wire import logs, produce, records
from clusterlink_engine.wire.batch import patch, split
from clusterlink_engine.wire.cluster import NO_TOPIC_ID, Cluster
from clusterlink_engine.wire.connection import Connection
from clusterlink_engine.wire.markers import Marker
from tests.support import produce as producing
from tests.support import raw, reading, topics
from tests.support.markers import write_markers

NODE, EPOCH = 1, 0
BY_NAME = 12  # version of Produce


def write(bootstrap: str, topic: str, codec: str) -> None:
    """Writes small records, records that no codec makes smaller, and some larger than the blocks of codecs."""
    settings = {"linger.ms": 50}
    producing.write(bootstrap, topic, producing.varied(2000, seed=1), codec, settings)
    producing.write(bootstrap, topic, producing.random_bytes(30, 5000), codec, settings)
    producing.write(bootstrap, topic, [producing.Record(b"large", b"0123456789" * 40_000)] * 3, codec, settings)


@pytest.fixture
async def cluster(destination_cluster: KafkaCluster) -> AsyncIterator[Cluster]:
    client = Cluster(Side.LOCAL, [destination_cluster.bootstrap_servers], Security())
    await client.metadata([])
    yield client
    client.close()


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Connection]:
    opened = await cluster.open(NODE)
    yield opened
    opened.close()


@pytest.mark.parametrize("stamp", ["CreateTime", "LogAppendTime"])
@pytest.mark.parametrize("codec", producing.CODECS)
async def test_encoded_again(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    cluster: Cluster,
    connection: Connection,
    topic_name: str,
    codec: str,
    stamp: str,
) -> None:
    """Of every third batch that has several records the first ones are left out; markers take their offsets."""
    source, destination = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    topics.create(source, topic_name, config={"message.timestamp.type": stamp, "retention.ms": "-1"})
    topics.create(
        destination, topic_name, config={"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
    )
    write(source, topic_name, codec)
    (end,) = topics.log_ends(source, topic_name).values()
    (leader,) = raw.leaders(source, topic_name).values()
    producer_id, key = await logs.init_producer_id(cluster), (topic_name, 0)
    left_out: list[int] = []
    sequence = 0
    codecs: set[int] = set()
    cut = 0
    for base, data in raw.batches(leader, topic_name, 0, 0, end):
        (fetched,) = split(memoryview(bytearray(data)))
        codecs.add(fetched.header.attributes & 7)
        can_be_cut = fetched.header.records > 1
        first = base + min(2, fetched.header.records - 1) * (can_be_cut and cut % 3 == 0)
        cut += can_be_cut
        markers = [Marker(producer_id, EPOCH, 1, (key,))] * (first - base)
        if markers:
            assert await write_markers(connection, markers) == {key: 0}
            left_out += range(base, first)
        for run in records.recode(fetched, first):
            patch(run.view, producer_id, EPOCH, sequence)
            sequence += run.header.records
            entry = produce.ProducePartition(topic_name, NO_TOPIC_ID, 0, run.view)
            body = produce.encode(BY_NAME, [entry], timeout_ms=30_000)
            answer = await connection.send(produce.API_KEY, BY_NAME, body, flexible=True)
            (acknowledged,) = produce.decode(BY_NAME, answer).partitions
            assert acknowledged.error == 0, acknowledged
            assert acknowledged.base_offset == run.header.base_offset

    assert left_out
    assert producing.CODECS.index(codec) in codecs  # and batches that it did not make smaller
    assert topics.log_ends(destination, topic_name) == {0: end}
    expected = [(o, reading.mirrored(content)) for o, content in read(source, topic_name, end) if o not in left_out]
    assert read(destination, topic_name, end) == expected
    (there,) = raw.leaders(destination, topic_name).values()
    kept = {raw.attributes(data) for _, data in raw.batches(there, topic_name, 0, 0, end)}
    assert kept == {*codecs, raw.CONTROL | raw.TRANSACTIONAL}


def read(bootstrap: str, topic: str, end: int) -> list[tuple[int, reading.Content]]:
    with reading.consumer(bootstrap, "read_uncommitted") as reader:
        return list(reading.records(reader, topic, 0, 0, end))
