"""A real engine with two links: one to a source whose answers are damaged on the way, and a healthy one."""

import random
import struct
import time
from collections.abc import Callable

import grpc
import psutil
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.wire import batch, fetch
from clusterlink_proto import v1
from tests.support import produce, reading, topics
from tests.support.compare import assert_mirrors
from tests.support.engine import EngineProcess
from tests.support.mutation import mutated
from tests.support.proxy import FETCH, Proxy
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_HEAD = 8  # size and correlation id
_MOST_RESIDENT = 500 << 20
_PARTITIONS = 3
_MOST = 1000


def _damaged(randomness: random.Random, key: int, frame: bytes) -> bytes:
    """Damages an answer anywhere, its size and its correlation id now and then, too.

    Addresses stay: a test must not have the engine call just anybody. So do offsets of batches that are whole otherwise:
    Kafka's checksum does not cover them, and nobody can know that they were others.
    """
    if randomness.random() < 0.1:
        return mutated(randomness, frame)
    body = mutated(randomness, frame[_HEAD:])
    found = struct.pack(">i", len(body) + 4) + frame[4:_HEAD] + body
    if key == FETCH:
        return frame if _is_believed(found, frame) else found
    return found if found.count(b"127.0.0.1") == frame.count(b"127.0.0.1") else frame


def _is_believed(found: bytes, frame: bytes) -> bool:
    """Tells whether a damaged answer has batches with good checksums in other places than the answer had."""
    return any(not entry <= _batches(frame).get(index, set()) for index, entry in _batches(found).items())


def _batches(frame: bytes) -> dict[int, set[tuple[int, bytes]]]:
    try:
        answer = fetch.decode(fetch.HIGHEST, memoryview(frame)[_HEAD:], _MOST)
        return {
            entry.partition: {(b.header.base_offset, bytes(b.view[16:])) for b in batch.split(entry.records)}
            for entry in answer.partitions
        }
    except Exception:
        return {}


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(1, 4), *(pytest.param(seed, 25, marks=pytest.mark.slow) for seed in (2, 3))],
)
def test_a_hostile_source_harms_nobody_but_its_own_mirrors(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    seed: int,
    rounds: int,
) -> None:
    source, destination = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    engine = start_engine()
    process = psutil.Process(engine.pid)
    good, bad = f"{topic_name}-good", f"{topic_name}-bad"
    for topic in (good, bad):
        topics.create(source, topic, partitions=_PARTITIONS)
    settings = {"metadata.max.age.ms": "1000", "request.timeout.ms": "3000"}
    with Proxy(source_cluster.nodes[0].port, seed) as proxy:
        engine.create_link("good", source)
        engine.create_link("bad", proxy.bootstrap_servers, config=settings)
        engine.create_mirror("good", good)
        engine.create_mirror("bad", bad)
        proxy.damage(0.15, _damaged)
        resident = 0
        for number in range(rounds):
            for topic in (good, bad):
                records = produce.varied(400, _PARTITIONS, seed=100 * seed + number)
                produce.write(source, topic, records, settings={"batch.num.messages": 20})
            engine.wait_until_caught_up(good, source_cluster)
            resident = max(resident, _resident_until(process, proxy, 5 * (number + 1)))
            _assert_nothing_else(source, destination, bad)
        assert proxy.faults > 5 * rounds
        assert resident < _MOST_RESIDENT
        assert process.cpu_times().user < 0.9 * (time.time() - process.create_time()), "it is busy with the damaged one"
        proxy.heal()
        wait_until(lambda: _has_ended(engine, bad, source_cluster), 60, "the link to recover, or to have failed")
        assert process.is_running()
        assert_mirrors(source, destination, good)
        _assert_nothing_else(source, destination, bad)
        found = engine.mirror(bad)
        print(f"{proxy.faults} faults, {resident >> 20} MiB at most, in the end {engine.state(bad)} {found.error}")
        if engine.state(bad) == "ACTIVE":
            assert_mirrors(source, destination, bad)
    assert "\x1b" not in engine.log()
    assert "Traceback" not in engine.log()


def _has_ended(engine: EngineProcess, topic: str, source: KafkaCluster) -> bool:
    try:
        mirror = engine.mirror(topic)
    except grpc.RpcError:
        return False
    if mirror.state == v1.MIRROR_TOPIC_STATE_FAILED:
        assert mirror.error
        assert topic in mirror.error_message
        return True
    return engine.is_caught_up(topic, source)


def _assert_nothing_else(source: str, mirror: str, topic: str) -> None:
    """Each record of the mirror is, at its offset, the source's."""
    ours, theirs = _records(mirror, topic), _records(source, topic)
    for place, content in ours.items():
        assert theirs.get(place) == content, (topic, place)


def _records(bootstrap: str, topic: str) -> dict[tuple[int, int], reading.Content]:
    starts = topics.log_starts(bootstrap, topic)
    with reading.consumer(bootstrap, "read_committed") as reader:
        return {
            (index, offset): content
            for index, end in topics.log_ends(bootstrap, topic).items()
            for offset, content in reading.records(reader, topic, index, starts[index], end)
        }


def _resident_until(process: psutil.Process, proxy: Proxy, faults: int) -> int:
    """Waits until more answers were damaged, however slow the machine is; answers the largest memory seen meanwhile."""
    most = 0

    def are_damaged() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return proxy.faults > faults

    wait_until(are_damaged, 60, f"{faults} answers to be damaged")
    return most
