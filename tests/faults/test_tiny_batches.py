"""Processes that cut a topic of tiny batches differently take over from each other in the middle of merged writing."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, raw, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_PARTITIONS = 8
_OFF = {"replication": {"merge_batches": "off"}}


@contextmanager
def _written(bootstrap: str, topic: str) -> Iterator[None]:
    """Writes batches of one record, some hundred at once, until the block ends."""
    stopping = threading.Event()

    def write() -> None:
        seed = 0
        while not stopping.wait(0.1):
            seed += 1
            produce.write(
                bootstrap,
                topic,
                produce.varied(400, _PARTITIONS, seed),
                settings={"batch.num.messages": 1, "linger.ms": 0},
            )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _sizes(cluster: KafkaCluster, topic: str) -> set[int]:
    """How many records the batches of a topic have."""
    ends = topics.log_ends(cluster.bootstrap_servers, topic)
    leaders = raw.leaders(cluster.bootstrap_servers, topic)
    return {
        raw.last_offset(batch) - base + 1
        for number, end in ends.items()
        for base, batch in raw.batches(leaders[number], topic, number, 0, end)
    }


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_owners_that_cut_differently_take_over_from_each_other(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    seed: int,
) -> None:
    """One process merges and one does not; each is killed while records come in, and the broker, too."""
    randomness = random.Random(seed)
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS)
    merging = start_engine()
    other = start_engine(state_topic=merging.state_topic, settings=_OFF)
    merging.wait_for_shares(other)
    merging.create_link("link", source_cluster.bootstrap_servers)
    merging.create_mirror("link", topic_name)

    def moves() -> None:
        def ends() -> dict[int, int]:
            return topics.log_ends(destination_cluster.bootstrap_servers, topic_name)

        # A broker that has just started may need a moment before it answers.
        before = wait_until(ends, 30, "the mirror's log ends")
        wait_until(lambda: all(ends()[p] > end for p, end in before.items()), 60, "each partition to be written to")
        time.sleep(randomness.uniform(0, 0.3))  # the random moment itself

    with _written(source_cluster.bootstrap_servers, topic_name):
        for victim, survivor in ((merging, other), (other, merging)):
            moves()
            victim.kill()
            survivor.wait_for_shares()
            moves()
            victim.start()
            survivor.wait_for_shares(victim)
        moves()
        destination_cluster.nodes[0].kill()
        destination_cluster.nodes[0].start()
        moves()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert _sizes(source_cluster, topic_name) == {1}
    assert max(_sizes(destination_cluster, topic_name)) > 3
    assert merging.state(topic_name) == "ACTIVE"
