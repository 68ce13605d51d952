"""Processes are killed at random moments while records are copied; afterwards nothing is lost, doubled or shifted.

The seed of a failing run is in the test's name; the same seed makes the same choices. `make test` has each of these faults once
in test_chaos.
"""

import random
import time
from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal, caught_up
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

pytestmark = pytest.mark.slow

_KILLS = 10
_RECORDS = 200_000
_PARTITIONS = 4

# Small batches make the copying long enough to be hit.
_SMALL_BATCHES = {"batch.num.messages": 10, "linger.ms": 1}


def _write_share(source: KafkaCluster, topic: str, number: int) -> None:
    """Writes a part of all records, each part with another codec."""
    records = produce.varied(_RECORDS // _KILLS, _PARTITIONS, seed=number)
    codec = produce.CODECS[number % len(produce.CODECS)]
    produce.write(source.bootstrap_servers, topic, records, codec, _SMALL_BATCHES)


def _copied(destination: KafkaCluster, topic: str) -> int:
    """Records on the mirror; a broker that has just started may need a moment."""
    ends = wait_until(lambda: topics.log_ends(destination.bootstrap_servers, topic), 30, "the mirror's log ends")
    return sum(ends.values())


def _wait_until_moving(destination: KafkaCluster, topic: str, before: int) -> None:
    """Waits until more of the topic has been copied than `before`."""
    wait_until(lambda: _copied(destination, topic) > before, 60, "the copying to begin")


@pytest.mark.parametrize("seed", [1])
def test_the_engine_is_killed_ten_times(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    seed: int,
) -> None:
    """SIGKILL while 200,000 records are copied, restarted each time: equal at the end."""
    randomness = random.Random(seed)
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    hit = 0
    for number in range(_KILLS):
        before = _copied(destination_cluster, topic_name)
        engine.kill()
        _write_share(source_cluster, topic_name, number)
        engine.launch()
        _wait_until_moving(destination_cluster, topic_name, before)
        time.sleep(randomness.uniform(0, 0.1))  # the random moment itself
        engine.kill()
        hit += not caught_up(source_cluster, destination_cluster, topic_name)
    assert hit >= 3, f"only {hit} of {_KILLS} kills hit the copying"
    engine.start()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert engine.state(topic_name) == "ACTIVE"


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("role", ["destination", "source"])
def test_a_broker_is_killed_ten_times(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    role: str,
    seed: int,
) -> None:
    """SIGKILL of the only broker while 200,000 records are copied, restarted each time: equal at the end."""
    randomness = random.Random(seed)
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    victim = (destination_cluster if role == "destination" else source_cluster).nodes[0]
    for number in range(_KILLS):
        before = _copied(destination_cluster, topic_name)
        engine_paused = number % 2 == 0  # half of the time everything is there already when the copying begins
        if engine_paused:
            engine.kill()
        _write_share(source_cluster, topic_name, number)
        if engine_paused:
            engine.launch()
            _wait_until_moving(destination_cluster, topic_name, before)
        time.sleep(randomness.uniform(0, 0.1))  # the random moment itself
        victim.kill()
        victim.start()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert engine.state(topic_name) == "ACTIVE"
