"""Faults drawn by a seed, under load of all kinds of source at once: nothing lost, doubled or shifted, and nothing FAILED.

The seed is in the test's name. CLUSTERLINK_TEST_SEED gives another one, CLUSTERLINK_TEST_ROUNDS another number of rounds.
"""

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from clusterlink_engine.devkit import kafka
from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import topics
from tests.support.compare import compare_compacted, compare_topics
from tests.support.engine import EngineProcess
from tests.support.load import Load
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

log = logging.getLogger(__name__)

_SEED = int(os.environ.get("CLUSTERLINK_TEST_SEED", "1"))
_ROUNDS = os.environ.get("CLUSTERLINK_TEST_ROUNDS", "")

# Compacted mirrors are compared strictly.
_NO_CLEANING = {"min.compaction.lag.ms": "9223372036854775807"}


@pytest.fixture(scope="module")
def clusters(log_directory: object) -> Iterator[tuple[KafkaCluster, KafkaCluster]]:
    """A source, and a destination that forgets producers of old records within a second."""
    source = KafkaCluster(name="chaos-source", settings={"log.cleaner.backoff.ms": 200}, log_directory=log_directory)  # type: ignore[arg-type]
    destination = KafkaCluster(
        name="chaos-destination",
        settings={"producer.id.expiration.check.interval.ms": 1000},
        log_directory=log_directory,  # type: ignore[arg-type]
    )
    with kafka.running(source, destination):
        yield source, destination


@dataclass
class Scene:
    """What faults happen to."""

    source: KafkaCluster
    destination: KafkaCluster
    engine: EngineProcess
    start_engine: StartEngine
    randomness: random.Random
    may_be_dropped: bool = False

    def is_caught_up(self, name: str) -> bool:
        """Whether a mirror topic has everything; starts an engine again that its coordinator may have dropped."""
        if self.may_be_dropped:
            self.engine.start_again_if_dropped()
        return self.engine.is_caught_up(name, self.source)

    def moment(self, longest: float = 0.4) -> None:
        """Lets a random time pass: the moment itself is what is drawn."""
        time.sleep(self.randomness.uniform(0, longest))

    def beside(self) -> EngineProcess:
        """Starts another engine that shares the work; either of them becomes the victim, and the other one is answered."""
        other: EngineProcess = self.start_engine(
            self.destination.bootstrap_servers, state_topic=self.engine.state_topic
        )
        self.engine.wait_for_shares(other)
        victim, self.engine = self.randomness.choice([(self.engine, other), (other, self.engine)])
        self.moment()
        return victim

    # The faults.

    def engine_killed(self) -> None:
        self.engine.kill()
        self.moment()
        self.engine.start()

    def engine_killed_beside_another(self) -> None:
        self.beside().kill()
        self.engine.wait_for_shares()

    def engine_asleep_beside_another(self) -> None:
        victim = self.beside()
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            self.engine.wait_for_shares()
            self.moment(3.0)
        finally:
            os.kill(victim.pid, signal.SIGCONT)
        assert victim.wait(30) == 1, victim.log()

    def engine_asleep_for_a_moment(self) -> None:
        os.kill(self.engine.pid, signal.SIGSTOP)
        self.moment(1.5)
        os.kill(self.engine.pid, signal.SIGCONT)

    def engine_stopped_beside_another(self) -> None:
        assert self.beside().stop() == 0
        self.engine.wait_for_shares()

    def destination_killed(self) -> None:
        self.destination.nodes[0].kill()
        self.moment()
        self.destination.nodes[0].start()

    def source_killed(self) -> None:
        self.source.nodes[0].kill()
        self.moment()
        self.source.nodes[0].start()

    def destination_asleep(self) -> None:
        """For longer than the engine's session, maybe: then its lease is lost, and a supervisor starts it again."""
        self.destination.nodes[0].suspend()
        self.moment(4.0)
        self.destination.nodes[0].resume()
        self.may_be_dropped = True

    def source_asleep(self) -> None:
        self.source.nodes[0].suspend()
        self.moment(4.0)
        self.source.nodes[0].resume()


FAULTS = (
    Scene.engine_killed,
    Scene.engine_killed_beside_another,
    Scene.engine_asleep_beside_another,
    Scene.engine_asleep_for_a_moment,
    Scene.engine_stopped_beside_another,
    Scene.destination_killed,
    Scene.source_killed,
    Scene.destination_asleep,
    Scene.source_asleep,
)


def _rounds(count: int, seeds: int, slow: bool) -> list[object]:
    marks = [pytest.mark.slow] if slow else []
    return [
        pytest.param(_SEED + seed, int(_ROUNDS or count), id=f"seed{_SEED + seed}", marks=marks)
        for seed in range(seeds)
    ]


# Each round compares all that was ever written; on a machine that has other work, that adds up to more than the usual.
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "rounds"), [*_rounds(9, 1, slow=False), *_rounds(24, 9, slow=True)[1:]])
def test_faults_under_load(
    clusters: tuple[KafkaCluster, KafkaCluster], start_engine: StartEngine, topic_name: str, seed: int, rounds: int
) -> None:
    """Each round: load, a fault, rest, and a comparison of everything."""
    source, destination = clusters
    randomness = random.Random(seed)
    engine = start_engine(destination.bootstrap_servers)
    with Load(source.bootstrap_servers, topic_name, seed) as load:
        engine.create_link("link", source.bootstrap_servers, topic_config_sync={"include": ["segment.bytes"]})
        for name in load.topics:
            engine.create_mirror("link", name, config=_NO_CLEANING if name in load.compacted else {})
        scene = Scene(source, destination, engine, start_engine, randomness)
        faults = [*FAULTS, *randomness.choices(FAULTS, k=max(0, rounds - len(FAULTS)))]
        randomness.shuffle(faults)
        for number, fault in enumerate(faults[:rounds]):
            load.start()
            scene.may_be_dropped = False
            scene.moment(0.8)
            log.warning("seed %d, round %d: %s", seed, number, fault.__name__)
            fault(scene)
            scene.moment(0.8)
            load.stop()
            for name in load.topics:
                wait_until(lambda found=name: scene.is_caught_up(found), 90, f"{name} to be mirrored")  # type: ignore[misc]
                _assert_equal(source, destination, name, compacted=name in load.compacted)
        assert scene.engine.stop() == 0


@pytest.mark.slow
def test_how_often_a_dying_broker_fails_a_partition_that_is_filled_by_transactions(
    clusters: tuple[KafkaCluster, KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    """Its coordinator may write a marker twice. Then the partition is FAILED, with the reason; a shift is never let pass."""
    source, destination = clusters
    randomness = random.Random(_SEED)
    engine = start_engine(destination.bootstrap_servers, settings={"replication": {"gap_filling": "transactions"}})
    scene = Scene(source, destination, engine, start_engine, randomness)
    failures, rounds = 0, int(_ROUNDS or 30)
    with Load(source.bootstrap_servers, topic_name, _SEED) as load:
        engine.create_link("link", source.bootstrap_servers, topic_config_sync={"include": ["segment.bytes"]})
        name = next(name for name in load.topics if name.endswith("-transactions"))
        engine.create_mirror("link", name)
        for number in range(rounds):
            load.start()
            scene.moment(0.8)
            scene.destination_killed()
            scene.moment(0.8)
            load.stop()
            wait_until(lambda: _is_done(engine, source, name), 60, "the mirror to catch up, or to fail")
            if engine.state(name) == "FAILED":
                failures += 1
                found = [partition for partition in engine.mirror(name).partitions if partition.error]
                log.warning("round %d: %s", number, found[0].error_message)
                assert found[0].error == "FOREIGN_WRITE"
                engine.delete_mirror(name)
                engine.create_mirror("link", name)
            else:
                _assert_equal(source, destination, name, compacted=False)
    log.warning("%d of %d kills failed the mirror", failures, rounds)
    assert engine.stop() == 0


def _is_done(engine: EngineProcess, source: KafkaCluster, name: str) -> bool:
    """Whether each partition has failed, or ends where its source ends."""
    ends = topics.log_ends(source.bootstrap_servers, name)
    return all(
        partition.error or partition.log_end_offset == ends[partition.partition]
        for partition in engine.mirror(name).partitions
    )


def _assert_equal(source: KafkaCluster, destination: KafkaCluster, topic: str, *, compacted: bool) -> None:
    if compacted:  # the source's cleaner goes on while both are read
        wrong = compare_compacted(source.bootstrap_servers, destination.bootstrap_servers, topic)
        assert not wrong, f"{len(wrong)} differences: {wrong[:10]}"
    else:
        found = compare_topics(source.bootstrap_servers, destination.bootstrap_servers, topic, raw=False)
        assert found.equal, str(found)
