"""Connections that break in the middle of a request or an answer, answers that are lost after the append, and slow ones."""

import time
from collections.abc import Callable, Iterator

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, sources, topics
from tests.support.compare import compare_topics
from tests.support.engine import EngineProcess
from tests.support.proxy import FETCH, LIST_OFFSETS, PRODUCE, WRITE_MARKERS, Proxy

StartEngine = Callable[..., EngineProcess]

_WRITING = frozenset({PRODUCE, WRITE_MARKERS})
_READING = frozenset({FETCH, LIST_OFFSETS})
# As many as bring the faults that a test is about: how many requests there are depends on how much goes into one.
_ROUNDS, _MOST_ROUNDS, _FAULTS = 5, 25, 3

# Longer than the engine leaves a connection alone.
_IDLE_SECONDS = 40


@pytest.fixture
def behind(source_cluster: KafkaCluster, destination_cluster: KafkaCluster) -> Iterator[Callable[[str, int], Proxy]]:
    """Puts one of the clusters behind a proxy."""
    proxies: list[Proxy] = []

    def start(role: str, seed: int) -> Proxy:
        cluster = source_cluster if role == "source" else destination_cluster
        proxies.append(Proxy(cluster.nodes[0].port, seed).__enter__())
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.__exit__(None, None, None)


FAULTS: dict[str, tuple[str, frozenset[int], dict[str, float]]] = {
    "requests cut": ("destination", _WRITING, {"cut_request": 0.05}),
    "answers cut": ("destination", _WRITING, {"cut_answer": 0.05}),
    "answers lost after the append": ("destination", _WRITING, {"lose_answer": 0.05}),
    "slow": ("destination", _WRITING | _READING, {"delay": 0.05}),
    "markers lost": ("destination", frozenset({WRITE_MARKERS}), {"lose_answer": 0.2, "cut_request": 0.1}),
    "fetches cut": ("source", _READING, {"cut_answer": 0.1, "cut_request": 0.05}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_connection(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    behind: Callable[[str, int], Proxy],
    topic_name: str,
    fault: str,
) -> None:
    """Plain records and transactions are written all the while; afterwards everything is equal, and nothing FAILED."""
    role, keys, what = FAULTS[fault]
    proxy = behind(role, 1)
    addresses = {"source": source_cluster.bootstrap_servers, "destination": destination_cluster.bootstrap_servers}
    addresses[role] = proxy.bootstrap_servers
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=3)
    engine = start_engine(addresses["destination"])
    engine.create_link("link", addresses["source"])
    engine.create_mirror("link", topic_name)
    proxy.make_faults(keys, **what)
    for seed in range(_MOST_ROUNDS):
        if seed >= _ROUNDS and (proxy.faults >= _FAULTS or "delay" in what):
            break
        records = produce.varied(600, 3, seed=seed)
        produce.write(source_cluster.bootstrap_servers, topic_name, records, settings={"batch.num.messages": 10})
        sources.write_transactions(source_cluster.bootstrap_servers, topic_name, partitions=3, rounds=12, seed=seed)
    proxy.heal()
    engine.wait_until_caught_up(topic_name, source_cluster)
    found = compare_topics(
        source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers, topic_name, raw=False
    )
    assert found.equal, str(found)
    assert proxy.faults >= _FAULTS or "delay" in what, f"only {proxy.faults} faults"


@pytest.mark.slow
def test_a_broker_that_ends_idle_connections(
    source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """A gap that comes after a long time does not put in doubt what is copied meanwhile."""
    busy, rare = f"{topic_name}-busy", f"{topic_name}-rare"
    with KafkaCluster(settings={"connections.max.idle.ms": _IDLE_SECONDS * 1000}, name="impatient") as impatient:
        for topic in (busy, rare):
            topics.create(source_cluster.bootstrap_servers, topic)
        engine = start_engine(impatient.bootstrap_servers)
        engine.create_link("link", source_cluster.bootstrap_servers)
        for topic in (busy, rare):
            engine.create_mirror("link", topic)
        sources.abort(source_cluster.bootstrap_servers, rare, partitions=1, records=5)
        engine.wait_until_caught_up(rare, source_cluster)
        began = time.monotonic()
        number = 0
        while time.monotonic() < began + 2.5 * _IDLE_SECONDS:
            produce.write(source_cluster.bootstrap_servers, busy, produce.varied(10, seed=number))
            number += 1
            time.sleep(0.2)
        sources.abort(source_cluster.bootstrap_servers, rare, partitions=1, records=5)
        for topic in (busy, rare):
            engine.wait_until_caught_up(topic, source_cluster)
            found = compare_topics(source_cluster.bootstrap_servers, impatient.bootstrap_servers, topic, raw=False)
            assert found.equal, str(found)
        assert "closed the connection" not in engine.log()
        engine.stop()
