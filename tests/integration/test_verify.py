"""`clusterlink verify` finds what is wrong with a mirror, in every way that one can be wrong, and nothing with a good one."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.model.resources import Link, MirrorTopic, Phase, RemoteCluster, Stored
from clusterlink_engine.store import records
from tests.support import produce, sources, topics
from tests.support.compare import compare_topics
from tests.support.engine import EngineProcess

StartEngine = Callable[..., EngineProcess]
Records = list[produce.Record]

_GOOD = [
    produce.Record(b"key-%d" % (number % 7), b"value-%d" % number, [("h", b"%d" % number)], 1_700_000_000_000 + number)
    for number in range(40)
]


@dataclass(frozen=True)
class Answer:
    """What the command said."""

    code: int
    report: Any
    errors: str

    @property
    def kinds(self) -> set[str]:
        found = (one for topic in self.report["topics"] for part in topic["partitions"] for one in part["differences"])
        return {one["kind"] for one in found}


def verify(config: Path, *arguments: str) -> Answer:
    """Runs the command with a report in JSON."""
    command = [sys.executable, "-m", "clusterlink_engine", "verify", "--config", str(config), "-o", "json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr)


class ByHand:
    """A mirror that was written by hand, and a state that says that it is one."""

    def __init__(self, source: KafkaCluster, destination: KafkaCluster, topic: str, directory: Path) -> None:
        self.source, self.destination, self.topic = source.bootstrap_servers, destination.bootstrap_servers, topic
        self.config = directory / "clusterlink.toml"
        state = f"_state-{topic}"
        self.config.write_text(
            f'[local_cluster]\nbootstrap_servers = ["{self.destination}"]\n[state]\ntopic = "{state}"\n'
        )
        topics.create(self.destination, state)
        remote = RemoteCluster(bootstrap_servers=(self.source,), cluster_id=source.cluster_id)
        self._store(state, "link/link", Link(name="link", link_id="1", remote=remote, producer_id=1))
        mirror = MirrorTopic(
            name=topic,
            link="link",
            source_topic=topic,
            source_topic_id="0" * 32,
            topic_id="1" * 32,
            partition_count=1,
            replication_factor=1,
            phase=Phase.ACTIVE,
        )
        self._store(state, f"mirror/{topic}", mirror)

    def _store(self, topic: str, key: str, value: Stored) -> None:
        producer = Producer({"bootstrap.servers": self.destination})
        producer.produce(topic, records.encode(key, value), key)
        assert producer.flush(30) == 0

    def write(self, source: Records, mirror: Records, config: dict[str, str] | None = None) -> None:
        for bootstrap, content in ((self.source, source), (self.destination, mirror)):
            topics.create(bootstrap, self.topic, config={"retention.ms": "-1", **(config or {})})
            produce.write(bootstrap, self.topic, content)


@pytest.fixture
def by_hand(source_cluster: KafkaCluster, destination_cluster: KafkaCluster, topic_name: str, tmp_path: Path) -> ByHand:
    return ByHand(source_cluster, destination_cluster, topic_name, tmp_path)


def _changed(place: int, **changes: object) -> Records:
    return [replace(record, **changes) if number == place else record for number, record in enumerate(_GOOD)]  # type: ignore[arg-type]


BROKEN = {
    "a missing record at the end": (_GOOD[:-1], {"log end"}),
    "a missing record, and the tail shifted": (
        [*_GOOD[:20], *_GOOD[21:]],
        {"key, value, headers, timestamp", "log end"},
    ),
    "a changed byte": (_changed(7, value=b"valuf-7"), {"value"}),
    "a changed key": (_changed(7, key=b"another"), {"key"}),
    "a changed header": (_changed(7, headers=[("h", b"other")]), {"headers"}),
    "a wrong timestamp": (_changed(7, timestamp=1), {"timestamp"}),
    "a visible filler": ([*_GOOD, produce.Record(None, b"", timestamp=1)], {"log end"}),
    "a filler instead of a record": (_changed(7, key=None, value=None, headers=()), {"key, value, headers"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_mirror_is_found(by_hand: ByHand, name: str) -> None:
    """By the command, and by the tests' own comparison, which shares no code with it."""
    mirror, kinds = BROKEN[name]
    by_hand.write(_GOOD, mirror)
    answer = verify(by_hand.config, "link", by_hand.topic, "--at-rest")
    assert answer.code == 1
    assert kinds <= answer.kinds
    assert answer.report["equal"] is False
    assert not compare_topics(by_hand.source, by_hand.destination, by_hand.topic, raw=False).equal


def test_a_good_mirror(by_hand: ByHand) -> None:
    by_hand.write(_GOOD, _GOOD)
    answer = verify(by_hand.config, "link", "--at-rest")
    assert (answer.code, answer.report["equal"]) == (0, True)
    (topic,) = answer.report["topics"]
    (partition,) = topic["partitions"]
    assert partition["records"] == 2 * len(_GOOD)
    assert partition["source"] == partition["mirror"] == {"start": 0, "end": len(_GOOD)}


def test_a_lag_is_told_and_a_difference_only_at_rest(by_hand: ByHand) -> None:
    by_hand.write(_GOOD, _GOOD[:30])
    answer = verify(by_hand.config, "link")
    assert (answer.code, answer.report["topics"][0]["partitions"][0]["lag"]) == (0, 10)
    assert verify(by_hand.config, "link", "--at-rest").code == 1


def test_ranges_and_samples(by_hand: ByHand) -> None:
    """A difference outside of what is compared is not found; the same seed compares the same."""
    many = [produce.Record(b"%d" % number, b"v", timestamp=1_700_000_000_000) for number in range(10_000)]
    other = [*many[:9_000], replace(many[9_000], value=b"w"), *many[9_001:]]
    by_hand.write(many, other)
    assert verify(by_hand.config, "link", "--to", "9000").code == 0
    assert verify(by_hand.config, "link", "--from", "9001").code == 0
    assert verify(by_hand.config, "link", "--from", "9000", "--to", "9001").code == 1
    sampled = [verify(by_hand.config, "link", "--sample", "40", "--seed", str(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    ranges = [answer.report["topics"][0]["partitions"][0]["ranges"] for answer in sampled]
    assert ranges[0] == ranges[1]
    assert all(sum(end - start for start, end in chosen) == 4_000 for chosen in ranges)
    for answer, chosen in zip(sampled, ranges, strict=True):
        assert answer.code == any(start <= 9_000 < end for start, end in chosen)


_KEYED = [produce.Record(b"key-%d" % (number % 5), b"%d" % number, timestamp=1_700_000_000_000) for number in range(20)]
COMPACTED = {
    "the last value of a key is missing": (_KEYED[:-1], 1),
    "the last value of a key is another one": ([*_KEYED[:-1], replace(_KEYED[-1], value=b"x")], 1),
    "nothing": (_KEYED, 0),
}


@pytest.mark.parametrize("name", COMPACTED)
def test_a_compacted_mirror(by_hand: ByHand, name: str) -> None:
    mirror, code = COMPACTED[name]
    by_hand.write(_KEYED, mirror, {"cleanup.policy": "compact"})
    assert verify(by_hand.config, "link", "--at-rest", "--key-passes", "3").code == code


def test_a_mirror_that_was_cleaned_at_another_time(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Made by the engine, with transactions and gaps, from a source that was cleaned while the mirror was not."""
    sources.compacted("zstd")(source_cluster, topic_name)
    other = f"{topic_name}-transactions"
    sources.committed(source_cluster, other)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers, topic_config_sync={"include": ["segment.bytes"]})
    engine.create_mirror("link", topic_name, config={"min.compaction.lag.ms": "9223372036854775807"})
    engine.create_mirror("link", other)
    sources.write_keyed(source_cluster.bootstrap_servers, topic_name, "zstd", rounds=3, keys=150)
    engine.wait_until_caught_up(topic_name, source_cluster)
    engine.wait_until_caught_up(other, source_cluster)
    answer = verify(engine.config_file, "link")
    assert answer.code == 0, answer.report
    assert engine.stop() == 0
    assert verify(engine.config_file, "link", other, "--at-rest", "--strict").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nobody"], 3, 'knows no link "nobody"'),
        (["link", "nothing"], 3, 'has no mirror topic "nothing"'),
        (["link", "--partition", "7"], 3, "has no partition 7"),
        (["link", "--sample", "0"], 2, "--sample is a percentage above 0"),
        ([], 2, "the following arguments are required: LINK"),
    ],
)
def test_what_cannot_be_compared(by_hand: ByHand, arguments: Sequence[str], code: int, message: str) -> None:
    by_hand.write(_GOOD, _GOOD)
    answer = verify(by_hand.config, *arguments)
    assert answer.code == code
    assert message in answer.errors


@pytest.mark.slow
def test_a_cluster_that_is_away(tmp_path: Path) -> None:
    config = tmp_path / "clusterlink.toml"
    config.write_text('[local_cluster]\nbootstrap_servers = ["127.0.0.1:1"]\n')
    answer = verify(config, "link")
    assert answer.code == 3
    assert "could not be read to its end" in answer.errors
