"""Measures what a second worker is worth where the brokers are not the limit: the destination acknowledges, and keeps nothing.

The destination is a real broker behind a stub that answers for it when mirror topics are written to; all else it passes on.
The source's batches are small, and are merged by the engine's Python code, so that it has much more to do than the others.
Prints a table of docs/benchmarks.md.
Everything is on one machine and shares its cores, so look at the processor seconds too: with a core for each process, two
workers are as many times as fast as twice the seconds of one are more than the seconds of both.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic
from kafka.record.default_records import DefaultRecordBatchBuilder

from clusterlink_engine.devkit import guard, kafka, ports
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_engine.devkit.settings import Listener
from clusterlink_engine.errors import Side
from clusterlink_engine.settings import LocalCluster
from clusterlink_engine.wire import produce
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.connection import choose_version
from clusterlink_engine.wire.primitives import read_varint, skip_tags, varint
from clusterlink_proto import v1

_SECONDS = 600.0
_TOPIC = "measured"
_STUB = "STUB"
_PRODUCE, _BY_ID = 0, 13

_HEAD = struct.Struct(">hhih")  # API key, version, correlation id, length of the client's id
_ANSWER = struct.Struct(">ihqqq")  # index, error code, base offset, log append time, log start offset


class _Stub:
    """Acknowledges batches without a transactional id, and counts their records; everything else goes to the broker."""

    def __init__(self, broker: int, records: "Synchronized[int]") -> None:
        self._broker = broker
        self._records = records
        self._ends: Counter[tuple[bytes, int]] = Counter()

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=1 << 24)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_broker = await asyncio.open_connection("127.0.0.1", self._broker)
        passing = asyncio.create_task(_pass_on(upstream, writer))
        try:
            while True:
                size = await reader.readexactly(4)
                request = await reader.readexactly(int.from_bytes(size))
                answer = self._answer(request)
                if answer is None:
                    to_broker.write(size + request)
                else:
                    writer.write(len(answer).to_bytes(4) + answer)
        except (asyncio.IncompleteReadError, OSError):
            passing.cancel()
            writer.close()
            to_broker.close()

    def _answer(self, request: bytes) -> bytes | None:
        """Answers a request to write (versions 9 to 13); None if it is another one, or of a transaction."""
        key, version, correlation, client = _HEAD.unpack_from(request)
        body = _HEAD.size + client + 1
        if key != _PRODUCE or request[body]:
            return None
        at = body + 1 + 2 + 4  # no transactional id, acks, timeout
        topics, at = read_varint(memoryview(request), at)
        answer = [correlation.to_bytes(4), b"\0", varint(topics)]
        for _ in range(topics - 1):
            length = 16
            if version < _BY_ID:
                length, at = read_varint(memoryview(request), at)
                length -= 1
                answer.append(varint(length + 1))
            topic = request[at : at + length]
            partitions, at = read_varint(memoryview(request), at + length)
            answer += [topic, varint(partitions)]
            for _ in range(partitions - 1):
                index = int.from_bytes(request[at : at + 4])
                size, at = read_varint(memoryview(request), at + 4)
                count = (
                    int.from_bytes(request[at + 23 : at + 27]) + 1
                )  # after the last offset's delta in a batch's header
                answer.append(_ANSWER.pack(index, 0, self._ends[topic, index], -1, 0) + b"\1\0\0")
                self._ends[topic, index] += count
                self._records.value += count
                at = skip_tags(memoryview(request), at + size - 1)
            answer.append(b"\0")
            at = skip_tags(memoryview(request), at)
        return b"".join([*answer, bytes(4), b"\0"])


async def _pass_on(upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await upstream.read(1 << 16):
        writer.write(data)


def _run_stub(port: int, broker: int, records: "Synchronized[int]") -> None:
    asyncio.run(_Stub(broker, records).serve(port))


class _Engine(EngineProcess):
    """An engine of some workers."""

    workers = 1

    @property
    def command(self) -> list[str]:
        """Returns the command line."""
        return [*super().command, "--workers", str(self.workers)]

    def cpu(self) -> float:
        """Returns the processor seconds of all its processes."""
        processes = [psutil.Process(self.pid), *psutil.Process(self.pid).children()]
        return sum(_cpu(process) for process in processes)


class Bench:
    """The source, the stub, and what an engine does between them."""

    def __init__(self, source: kafka.KafkaCluster, destination: str, stub: int, records: "Synchronized[int]") -> None:
        self._source = source
        self._destination = destination
        self._stub = psutil.Process(stub)
        self._records = records
        self._runs = 0

    async def fill(self, options: argparse.Namespace) -> None:
        """Writes the source topic, each record a batch of its own: by hand, one of each partition in a request."""
        servers = (self._source.bootstrap_servers,)
        admin = AdminClient({"bootstrap.servers": servers[0], "log_level": 0})
        admin.create_topics([NewTopic(_TOPIC, options.partitions, 1)])[_TOPIC].result(_SECONDS)
        cluster = Cluster(Side.REMOTE, servers, LocalCluster(bootstrap_servers=servers), timeout=_SECONDS)
        topic = (await cluster.metadata([_TOPIC])).topics[_TOPIC]
        connection = await cluster.open(topic.partitions[0].leader)
        version = choose_version(connection, produce.API_KEY, produce.LOWEST, produce.HIGHEST)
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        builder.append(
            0, timestamp=time.time_ns() // 1_000_000, key=None, value=bytes(options.record_bytes), headers=[]
        )
        batch = memoryview(bytes(builder.build()))
        entries = [
            produce.ProducePartition(_TOPIC, topic.topic_id, partition, batch)
            for partition in range(options.partitions)
        ]
        body = produce.encode(version, entries, timeout_ms=60_000)
        written, refused, wanted = 0, Counter[int](), options.records
        while written < wanted and refused.total() < wanted:
            answer = await connection.send(produce.API_KEY, version, body, flexible=True)
            answers = produce.decode(version, answer).partitions
            refused.update(answer.error for answer in answers if answer.error)  # a new topic is not led at once
            written += sum(not answer.error for answer in answers)
        assert written >= wanted, refused
        connection.close()
        cluster.close()
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(_TOPIC, partition): latest for partition in range(options.partitions)}
        options.records = sum(end.result(_SECONDS).offset for end in admin.list_offsets(asked).values())

    def run(self, workers: int, options: argparse.Namespace, directory: Path) -> dict[str, float]:
        """Mirrors the topic once; returns records per second, and processor seconds per million of them."""
        self._runs += 1
        self._records.value = 0
        prefix = f"run-{self._runs}."
        place = directory / prefix
        place.mkdir()
        state = {"topic": f"_state-{self._runs}"}
        # The broker behind the stub knows of no record: its logs are not to be looked at.
        replication = {"watch_interval_ms": 3_600_000, "record_code": options.record_code}
        engine = _Engine(self._destination, place, settings={"state": state, "replication": replication})
        engine.workers = workers
        remote = v1.RemoteCluster(bootstrap_servers=self._source.bootstrap_servers.split(","))
        link = v1.Link(name="link", topic_prefix=prefix, remote_cluster=remote)
        mirror = v1.CreateMirrorTopicRequest(mirror_topic=v1.MirrorTopic(link="link", source_topic=_TOPIC))
        with engine, EngineApi(engine.endpoint) as api:
            _wait(lambda: _shares(api) == [64 // workers] * workers)
            api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=_SECONDS)
            source = psutil.Process(self._source.nodes[0].pid)
            used = engine.cpu(), _cpu(source), _cpu(self._stub)
            api.mirror_topics.CreateMirrorTopic(mirror, timeout=_SECONDS)
            _wait(lambda: self._records.value > options.records // 20)  # all are at work
            began, known = time.monotonic(), self._records.value
            _wait(lambda: self._records.value >= options.records * 19 // 20)
            rate = (self._records.value - known) / (time.monotonic() - began)
            _wait(lambda: self._records.value >= options.records)
            now = engine.cpu(), _cpu(source), _cpu(self._stub)
        # Of a stub that keeps nothing nobody learns what has arrived: what is in doubt comes again.
        again = self._records.value - options.records
        parts = [(after - before) / options.records * 1e6 for before, after in zip(used, now, strict=True)]
        return {"records/s": rate, "again": again, **dict(zip(("engine", "source", "stub"), parts, strict=True))}


def _shares(api: EngineApi) -> list[int]:
    engine = api.engine.GetEngine(v1.GetEngineRequest(), timeout=_SECONDS)
    return [process.shards for process in engine.processes]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--record-bytes", type=int, default=150, help="size of a record's value")
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--record-code", default="python", choices=["python", "auto"], help="as in the settings")
    parser.add_argument("--runs", type=int, default=3, help="of each case, alternating")
    options = parser.parse_args()
    directory = guard.scratch_directory("workers")
    stub = ports.free_port()
    source = kafka.KafkaCluster(name="source", java_options=kafka.LARGE)
    listeners = {_STUB: Listener("PLAINTEXT", advertised=f"127.0.0.1:{stub}")}
    destination = kafka.KafkaCluster(name="destination", listeners=listeners)
    records = multiprocessing.get_context("spawn").Value("q", 0, lock=False)
    figures: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with kafka.running(source, destination):
        behind = destination.nodes[0].ports[_STUB]
        process = multiprocessing.get_context("spawn").Process(
            target=_run_stub, args=(stub, behind, records), daemon=True
        )
        process.start()
        assert process.pid is not None
        bench = Bench(source, f"127.0.0.1:{stub}", process.pid, records)
        asyncio.run(bench.fill(options))
        for number in range(options.runs + 1):
            for workers, runs in figures.items():
                measured = bench.run(workers, options, directory)
                print(f"run {number}, {workers} workers: {measured}", file=sys.stderr, flush=True)
                if number:  # the first round warms the source up
                    runs.append(measured)
        process.terminate()
    guard.discard(directory)
    print(
        "| workers | records/s | acknowledged again | CPU-s per M records: engine | source | stub |\n"
        + "|---" * 6
        + "|"
    )
    for workers, runs in figures.items():
        cells = [statistics.median(run[name] for run in runs) for name in runs[0]]
        print(
            f"| {workers} | {cells[0]:,.0f} | {cells[1]:.0f} | "
            + " | ".join(f"{cell:.1f}" for cell in cells[2:])
            + " |"
        )
    one, two = figures.values()
    rates = statistics.median(b["records/s"] / a["records/s"] for a, b in zip(one, two, strict=True))
    costs = statistics.median(2 * a["engine"] / b["engine"] for a, b in zip(one, two, strict=True))
    print(
        f"\nTwo workers are {rates:.2f} times as fast; by their processor seconds, with a core for each: {costs:.2f} times."
    )


if __name__ == "__main__":
    main()
