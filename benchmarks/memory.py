"""Looks at the memory of an engine that copies at full speed for some minutes: it has to stay where it is.

The source always has some hundred MB that the mirror has not: a writer adds the same batches again and again as the mirror gets
on, and both clusters delete what is old. Prints a table of docs/benchmarks.md, a line for each minute.
"""

import argparse
import asyncio
import os
import time

import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic
from kafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.limits import Topic
from clusterlink_engine.devkit import guard, kafka
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_engine.wire import produce
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_proto import v1

_SECONDS = 120.0
_TOPIC, _MIRROR = "measured", "mirror.measured"
_PARTITIONS = 8
_RECORDS, _VALUE_BYTES = 64, 1000
_AHEAD_BYTES = 200_000_000

# What is deleted is gone a second later: the disk need not hold ten minutes.
_BROKER = {"log.retention.check.interval.ms": 1000}
_KEPT = {"retention.bytes": "128000000", "segment.bytes": "32000000", "file.delete.delay.ms": "1000"}


def _batch() -> memoryview:
    """Returns a batch of records that no codec makes smaller."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    now = time.time_ns() // 1_000_000
    for number in range(_RECORDS):
        builder.append(number, timestamp=now, key=None, value=os.urandom(_VALUE_BYTES), headers=[])
    return memoryview(bytearray(builder.build()))


class _Writer:
    """Keeps the source ahead of the mirror."""

    def __init__(self, source: str, mirror: str) -> None:
        self._topic = Topic(source, _TOPIC)
        self._admin = AdminClient({"bootstrap.servers": mirror, "log_level": 0})
        self._batch = _batch()
        self.written = 0
        self.mirrored = 0

    async def open(self) -> Connection:
        """Connects, when the topic's leader has come up."""
        while True:
            described = (await self._topic.cluster.metadata([_TOPIC])).topics[_TOPIC]
            if all(partition.leader >= 0 for partition in described.partitions.values()):
                return await self._topic.open()
            await asyncio.sleep(0.1)

    async def round(self, connection: Connection) -> None:
        """Writes a batch to each partition, some times, if the mirror has got on."""
        version = choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST)
        entries = [
            produce.ProducePartition(_TOPIC, self._topic.topic_id, partition, self._batch)
            for partition in range(_PARTITIONS)
        ]
        self.mirrored = await asyncio.to_thread(self._mirrored)
        while self.written - self.mirrored < _AHEAD_BYTES:
            body = produce.encode(version, entries, timeout_ms=30_000)
            answer = await connection.send(produce.API_KEY, version, body, flexible=True)
            errors = [entry.error for entry in produce.decode(version, answer).partitions]
            if not any(errors):
                self.written += _PARTITIONS * len(self._batch)

    def _mirrored(self) -> int:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(_MIRROR, partition): latest for partition in range(_PARTITIONS)}
        offsets = sum(answer.result(_SECONDS).offset for answer in self._admin.list_offsets(asked).values())
        return int(offsets * len(self._batch) // _RECORDS)


async def _watch(writer: _Writer, engine: psutil.Process, minutes: int) -> None:
    connection = await writer.open()
    print("| minute | MB/s | resident, MB: least | most |\n|---|---|---|---|", flush=True)
    for minute in range(1, minutes + 1):
        began, before = time.monotonic(), writer.mirrored
        sizes = []
        while time.monotonic() - began < 60:
            await writer.round(connection)
            sizes.append(engine.memory_info().rss / 1e6)
        rate = (writer.mirrored - before) / (time.monotonic() - began) / 1e6
        print(f"| {minute} | {rate:.0f} | {min(sizes):.0f} | {max(sizes):.0f} |", flush=True)
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    source = kafka.KafkaCluster(name="source", java_options=kafka.LARGE, settings=_BROKER)
    destination = kafka.KafkaCluster(name="destination", java_options=kafka.LARGE, settings=_BROKER)
    directory = guard.scratch_directory("memory")
    with kafka.running(source, destination):
        here, there = source.bootstrap_servers, destination.bootstrap_servers
        admin = AdminClient({"bootstrap.servers": here, "log_level": 0})
        admin.create_topics([NewTopic(_TOPIC, _PARTITIONS, 1, config=_KEPT)])[_TOPIC].result(_SECONDS)
        with EngineProcess(there, directory) as engine, EngineApi(engine.endpoint) as api:
            remote = v1.RemoteCluster(bootstrap_servers=here.split(","))
            link = v1.Link(name="link", remote_cluster=remote, topic_prefix="mirror.")
            api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=_SECONDS)
            request = v1.CreateMirrorTopicRequest(mirror_topic=v1.MirrorTopic(link="link", source_topic=_TOPIC))
            api.mirror_topics.CreateMirrorTopic(request, timeout=_SECONDS)
            asyncio.run(_watch(_Writer(here, there), psutil.Process(engine.pid), options.minutes))
    guard.discard(directory)


if __name__ == "__main__":
    main()
