"""A cluster whose broker is too old, too new, another one than before, or talks nonsense."""

import struct

import pytest

from clusterlink_engine.errors import (
    ClusterUnavailableError,
    KafkaError,
    ProtocolViolationError,
    WrongClusterError,
    is_retriable,
)
from clusterlink_engine.wire.cluster import Cluster
from tests.fake_broker.broker import API_VERSIONS, CLUSTER_ID, METADATA, NODE, TOPIC, TOPIC_ID, FakeBroker, answering


async def test_a_cluster_is_described(broker: FakeBroker, cluster: Cluster) -> None:
    found = await cluster.metadata([TOPIC])
    assert (found.cluster_id, found.brokers) == (CLUSTER_ID, {NODE: ("127.0.0.1", broker.port)})
    assert found.topics[TOPIC].topic_id == TOPIC_ID
    assert {index: info.leader for index, info in found.topics[TOPIC].partitions.items()} == {0: NODE, 1: NODE}


@pytest.mark.parametrize("offered", [(0, 9), (13, 20), None])
async def test_no_common_version_is_said_with_both_ranges(
    broker: FakeBroker, cluster: Cluster, offered: tuple[int, int] | None
) -> None:
    del broker.offered[METADATA]
    if offered is not None:
        broker.offered[METADATA] = offered
    with pytest.raises(
        ProtocolViolationError, match=f"{broker.address} offers API 3 in versions .*; 10 to 12 are needed"
    ):
        await cluster.metadata([])


@pytest.mark.parametrize("body", [b"", b"\0\0\0", struct.pack(">hi", 35, 0), b"\xff" * 30])
async def test_a_broker_that_does_not_know_our_first_question_is_refused(
    broker: FakeBroker, cluster: Cluster, body: bytes
) -> None:
    """Among them the answer of a broker before 2.4: version 0, with UNSUPPORTED_VERSION."""
    broker.handlers[API_VERSIONS] = answering(body)
    with pytest.raises(KafkaError, match=broker.address):
        await cluster.metadata([])


async def test_another_cluster_is_refused_for_good(broker: FakeBroker, cluster: Cluster) -> None:
    await cluster.metadata([])
    broker.cluster_id = "another"
    with pytest.raises(WrongClusterError, match=f"has the id another, but {CLUSTER_ID} was expected") as caught:
        await cluster.metadata([])
    assert not is_retriable(caught.value)


async def test_after_nonsense_the_next_question_has_a_new_connection(broker: FakeBroker, cluster: Cluster) -> None:
    good = broker.handlers[METADATA]
    broker.handlers[METADATA] = answering(b"\0\0\0")
    with pytest.raises(ProtocolViolationError, match=broker.address):
        await cluster.metadata([])
    broker.handlers[METADATA] = good
    assert (await cluster.metadata([])).cluster_id == CLUSTER_ID
    assert broker.opened == 2


async def test_a_broker_that_nobody_mentioned_is_unknown(cluster: Cluster) -> None:
    with pytest.raises(ClusterUnavailableError, match="Broker 7 of the remote cluster is not known"):
        await cluster.open(7)
