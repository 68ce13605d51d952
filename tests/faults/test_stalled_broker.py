"""One of two local brokers stops to take what is written: the partitions that the other one leads go on, in a small memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from clusterlink_engine.devkit import ports
from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.compare import compare_topics
from tests.support.engine import EngineProcess
from tests.support.proxy import PRODUCE, Proxy
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_PARTITIONS = 4
# What waits for one partition is many times as much as the engine may hold.
_MEMORY_BYTES = 2 << 20
_FETCH = {"replica.fetch.max.bytes": "131072", "replica.fetch.response.max.bytes": "262144"}
_RECORDS, _VALUE_BYTES = 24_000, 1000


@pytest.fixture
def two_nodes(start_cluster: Callable[..., KafkaCluster]) -> Iterator[tuple[KafkaCluster, dict[int, Proxy]]]:
    """A cluster of two brokers, and a proxy before each of them, by node id."""
    cluster = start_cluster(nodes=2)
    before = {node.port: ports.free_port() for node in cluster.nodes}
    with ExitStack() as stack:
        yield (
            cluster,
            {
                node.node_id: stack.enter_context(Proxy(node.port, 1, own_port=before[node.port], others=before))
                for node in cluster.nodes
            },
        )


def _leaders(cluster: KafkaCluster, topic: str) -> dict[int, int]:
    found = topics.admin(cluster.bootstrap_servers).list_topics(topic, timeout=10).topics[topic].partitions
    return {number: partition.leader for number, partition in found.items()}


def test_the_partitions_of_the_other_broker_go_on(
    source_cluster: KafkaCluster,
    two_nodes: tuple[KafkaCluster, dict[int, Proxy]],
    start_engine: StartEngine,
    topic_name: str,
) -> None:
    """A backlog is copied to its end where the broker works, and is far from it where it does not; then all becomes equal."""
    destination, proxies = two_nodes
    source = source_cluster.bootstrap_servers
    topics.create(source, topic_name, partitions=_PARTITIONS)
    settings = {"replication": {"buffer_bytes": _MEMORY_BYTES}}
    engine = start_engine(",".join(proxy.bootstrap_servers for proxy in proxies.values()), settings=settings)
    engine.create_link("link", source, config=_FETCH)
    engine.create_mirror("link", topic_name)
    leaders = _leaders(destination, topic_name)
    (keeper,) = _leaders(destination, engine.state_topic).values()  # the engine's own state is written there
    stalled = [number for number, leader in leaders.items() if leader != keeper]
    others = [number for number in leaders if number not in stalled]
    assert stalled, leaders
    assert others, leaders
    # All of them have begun: from here on only the broker makes a difference.
    produce.write(source, topic_name, produce.random_bytes(_PARTITIONS, partitions=_PARTITIONS, seed=1))
    engine.wait_until_caught_up(topic_name, source_cluster)
    for node, proxy in proxies.items():
        if node != keeper:
            proxy.stall(frozenset({PRODUCE}))
    produce.write(source, topic_name, produce.random_bytes(_RECORDS, _VALUE_BYTES, _PARTITIONS, seed=2))
    wanted = topics.log_ends(source, topic_name)

    def there() -> bool:
        ends = topics.log_ends(destination.bootstrap_servers, topic_name)
        return all(ends[number] == wanted[number] for number in others)

    wait_until(there, 60, f"partitions {others} to be copied while {stalled} stall")
    ends = topics.log_ends(destination.bootstrap_servers, topic_name)
    for number in stalled:
        assert ends[number] == 1, f"partition {number} did not stall"
    for proxy in proxies.values():
        proxy.heal()
    engine.wait_until_caught_up(topic_name, source_cluster)
    found = compare_topics(source, destination.bootstrap_servers, topic_name, raw=True)
    assert found.equal, str(found)
    assert engine.state(topic_name) == "ACTIVE"
