"""Measures what the syncs of a link take, with a real engine between two local brokers.

Prints the third table of docs/benchmarks.md. Everything is on one machine and shares its cores.
"""

import argparse
import re
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic
from google.protobuf.field_mask_pb2 import FieldMask

from clusterlink_engine.devkit import guard, kafka, ports
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_proto import v1

_SECONDS = 300.0
_GROUPS = 1_000
_PARTITIONS = 20
_TOPICS = 200
_LINK = "link"
_TOPIC = "measured"


class Bench:
    """Two clusters with authorizers, an engine with a link, and what is done with them."""

    def __init__(self, source: kafka.KafkaCluster, destination: kafka.KafkaCluster, directory: Path) -> None:
        self._source, self._destination = (
            AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
            for cluster in (source, destination)
        )
        self._metrics = f"127.0.0.1:{ports.free_port()}"
        self.engine = EngineProcess(
            destination.bootstrap_servers, directory, settings={"http": {"listen": self._metrics}}
        )
        self._bootstrap = source.bootstrap_servers
        self._api = EngineApi(self.engine.endpoint)
        self._moves = 0

    def set_up(self) -> None:
        """Mirrors a topic that has something in each partition."""
        self._create([_TOPIC], _PARTITIONS)
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for number in range(_PARTITIONS * 100):
            producer.produce(_TOPIC, b"x", partition=number % _PARTITIONS)
        producer.flush(_SECONDS)
        remote = v1.RemoteCluster(bootstrap_servers=[self._bootstrap])
        link = v1.Link(name=_LINK, remote_cluster=remote)
        self._api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=_SECONDS)
        mirror = v1.MirrorTopic(link=_LINK, source_topic=_TOPIC)
        self._api.mirror_topics.CreateMirrorTopic(v1.CreateMirrorTopicRequest(mirror_topic=mirror), timeout=_SECONDS)
        request = v1.GetMirrorTopicRequest(name=_TOPIC)
        _wait(
            lambda: all(
                partition.log_end_offset == 100
                for partition in self._api.mirror_topics.GetMirrorTopic(request, timeout=_SECONDS).partitions
            )
        )

        # The topic of the groups' offsets is made by the first commit, and its coordinator is not there at once.
        first = ConsumerGroupTopicPartitions("local", [TopicPartition(_TOPIC, 0, 0)])
        self._destination.alter_consumer_group_offsets([first])["local"].result(_SECONDS)

    # The cases: each returns the figures of one run.

    def offsets(self) -> tuple[float, float, float]:
        """Seconds of a round after all groups moved, of the next, in which none had, and of the engine's processor."""
        self._moves += 1
        process = psutil.Process(self.engine.pid)
        for group in _groups():
            self._source.alter_consumer_group_offsets([self._places(group)])[group].result(_SECONDS)
        before = sum(process.cpu_times()[:2])
        moved, still = self._rounds()
        cpu = sum(process.cpu_times()[:2]) - before
        for group in _groups():
            asked = ConsumerGroupTopicPartitions(group)
            found = self._destination.list_consumer_group_offsets([asked])[group].result(_SECONDS)
            assert found.topic_partitions is not None
            places = {(place.topic, place.partition, place.offset) for place in found.topic_partitions}
            assert places == {(_TOPIC, index, self._moves) for index in range(_PARTITIONS)}, f"{group} is at {places}"
        return moved, still, cpu

    def _rounds(self) -> tuple[float, float]:
        """Lets the sync do two rounds."""
        filters = [v1.Filter(name="*", pattern_type="LITERAL")]
        sync = v1.ConsumerOffsetSync(enable=True, interval_ms=1000, group_filters=filters)
        done = self._metric("rounds_total", "ConsumerOffsetSync")
        self._update(v1.Link(name=_LINK, consumer_offset_sync=sync), "consumer_offset_sync")
        seconds = []
        for number in (1, 2):
            _wait(lambda: self._metric("rounds_total", "ConsumerOffsetSync") >= done + number)  # noqa: B023 - at once
            assert not self._metric("errors", "ConsumerOffsetSync"), "a round had errors"
            seconds.append(self._metric("round_seconds", "ConsumerOffsetSync"))
        self._update(v1.Link(name=_LINK, consumer_offset_sync=v1.ConsumerOffsetSync()), "consumer_offset_sync")
        return seconds[0], seconds[1]

    def _places(self, group: str) -> ConsumerGroupTopicPartitions:
        return ConsumerGroupTopicPartitions(
            group, [TopicPartition(_TOPIC, index, self._moves) for index in range(_PARTITIONS)]
        )

    def topics(self) -> float:
        """Seconds from the enabling until all topics are mirrored."""
        self._moves += 1
        prefix = f"many-{self._moves}-"
        self._create([f"{prefix}{number}" for number in range(_TOPICS)], 1)
        auto = v1.AutoCreateMirrorTopics(enable=True, filters=[v1.Filter(name=prefix, pattern_type="PREFIXED")])
        began = time.monotonic()
        self._update(v1.Link(name=_LINK, auto_create_mirror_topics=auto), "auto_create_mirror_topics")
        request = v1.ListMirrorTopicsRequest(link=_LINK)

        def active() -> int:
            found = self._api.mirror_topics.ListMirrorTopics(request, timeout=_SECONDS).mirror_topics
            return sum(
                mirror.name.startswith(prefix) and mirror.state == v1.MIRROR_TOPIC_STATE_ACTIVE for mirror in found
            )

        _wait(lambda: active() == _TOPICS, 0.5)  # listing them is work for the engine
        return time.monotonic() - began

    def setting(self) -> float:
        """Seconds from a change of a topic's setting until the mirror has it."""
        self._moves += 1
        value = str((self._moves + 100) << 20)
        resource = ConfigResource(ResourceType.TOPIC, _TOPIC)
        entry = ConfigEntry("segment.bytes", value, incremental_operation=AlterConfigOpType.SET)
        change = ConfigResource(ResourceType.TOPIC, _TOPIC, incremental_configs=[entry])
        self._source.incremental_alter_configs([change])[change].result(_SECONDS)

        def present() -> str:
            found: str = self._destination.describe_configs([resource])[resource].result(_SECONDS)[entry.name].value
            return found

        return _seconds_until(lambda: present() == value)

    def acl(self) -> float:
        """Seconds from the creation of an ACL until the local cluster has it."""
        self._moves += 1
        fields = (ResourceType.TOPIC, f"acl-{self._moves}", ResourcePatternType.LITERAL, "User:somebody", "*")
        allow = (AclOperation.READ, AclPermissionType.ALLOW)
        sync = v1.AclSync(enable=True, interval_ms=5000, filters=[v1.AclFilter(resource_type="TOPIC")])
        self._update(v1.Link(name=_LINK, acl_sync=sync), "acl_sync")
        acl = AclBinding(*fields, *allow)
        self._source.create_acls([acl])[acl].result(_SECONDS)
        return _seconds_until(
            lambda: bool(self._destination.describe_acls(AclBindingFilter(*fields, *allow)).result(_SECONDS))
        )

    def _create(self, topics: Iterable[str], partitions: int) -> None:
        new = [NewTopic(topic, num_partitions=partitions, replication_factor=1) for topic in topics]
        for future in self._source.create_topics(new).values():
            future.result(_SECONDS)

    def _update(self, link: v1.Link, field: str) -> None:
        request = v1.UpdateLinkRequest(link=link, update_mask=FieldMask(paths=[field]))
        self._api.links.UpdateLink(request, timeout=_SECONDS)

    def _metric(self, name: str, task: str) -> float:
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=_SECONDS) as answer:
            text = answer.read().decode()
        found = re.search(rf'^clusterlink_task_{name}\{{.*task="{task}".*\}} (\S+)$', text, re.MULTILINE)
        assert found is not None, f"there is no metric of {task}"
        return float(found[1])


def _groups() -> list[str]:
    return [f"group-{number}" for number in range(_GROUPS)]


def _seconds_until(condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    _wait(condition)
    return time.monotonic() - began


def _wait(condition: Callable[[], bool], pause: float = 0.05) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(pause)


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    directory = guard.scratch_directory("syncs")
    source, destination = (
        kafka.KafkaCluster(name=name, users={"somebody": "s"}, java_options=kafka.LARGE)
        for name in ("source", "destination")
    )
    with kafka.running(source, destination):
        bench = Bench(source, destination, directory)
        with bench.engine:
            bench.set_up()
            figures = [bench.offsets() for _ in range(runs + 1)][1:]  # the first round warms the brokers up
            what = f"{_GROUPS:,} groups with {_PARTITIONS} partitions each"
            for number, case in enumerate(
                ("a round in which all moved, s", "a round in which none moved, s", "both, the engine's processor, s")
            ):
                print(_row(f"{what}: {case}", [figure[number] for figure in figures]))
            print(_row(f"{_TOPICS} topics become mirror topics, s", [bench.topics() for _ in range(runs)]))
            print(
                _row("a setting that changed at the source is on the mirror, s", [bench.setting() for _ in range(10)])
            )
            print(_row("an ACL of the source is on the local cluster, s", [bench.acl() for _ in range(10)]))
    guard.discard(directory)


def _row(what: str, figures: list[float]) -> str:
    return f"| {what} | {statistics.median(figures):.2f} [{min(figures):.2f}-{max(figures):.2f}] |"


if __name__ == "__main__":
    main()
