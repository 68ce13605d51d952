"""Copies a topic between two local brokers with a real engine, and measures the plain limits beside it in the same run.

Prints the table of docs/benchmarks.md. Everything is on one machine and shares its cores: trust processor seconds per GB and
ratios of one run, not MB/s. GB are 10^9 bytes of record batches.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from clusterlink_engine.devkit import guard, kafka
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_proto import v1

TOPIC = "measured"
LINK = "benchmark"
_TIMEOUT = 60.0
_COPY_SECONDS = 600.0
_WARM_UP = 2


@dataclass(frozen=True)
class Measure:
    """One measured run of one case; processor seconds are those of the client, the source's and the destination's broker."""

    size: float
    seconds: float
    cpu: float
    source_cpu: float
    destination_cpu: float
    peak_mb: float | None = None

    @property
    def rate(self) -> float:
        """Returns MB/s."""
        return self.size / 1e6 / self.seconds

    def per_gb(self, cpu: float) -> float:
        """Returns processor seconds per GB."""
        return cpu / (self.size / 1e9)


@dataclass(frozen=True)
class Tls:
    """A listener with TLS that both clusters have, and whom to trust there (PEM)."""

    listener: str
    ca_pem: str


class Bench:
    """The two clusters, the filled topic, and the three cases."""

    def __init__(self, source: kafka.KafkaCluster, destination: kafka.KafkaCluster, directory: Path) -> None:
        """Measures between two clusters that are running."""
        self.source = source
        self.destination = destination
        self.directory = directory
        self.ends: list[int] = []
        self.size = 0.0
        self.batches = 0
        self._admins = {
            c.name: AdminClient({"bootstrap.servers": c.bootstrap_servers, "log_level": 0})
            for c in (source, destination)
        }

    def create(self, cluster: kafka.KafkaCluster, topic: str, partitions: int) -> None:
        """Creates a topic that keeps batches as they come."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1)
        self._admins[cluster.name].create_topics([new])[topic].result(_TIMEOUT)

    def delete(self, cluster: kafka.KafkaCluster, topic: str) -> None:
        """Deletes a topic, so that no more than one copy takes room."""
        self._admins[cluster.name].delete_topics([topic])[topic].result(_TIMEOUT)

    def log_ends(self, cluster: kafka.KafkaCluster, topic: str) -> list[int]:
        """Returns the log ends by partition."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        partitions = range(len(self.ends))
        futures = self._admins[cluster.name].list_offsets({TopicPartition(topic, p): latest for p in partitions})
        found = {asked.partition: future.result(_TIMEOUT).offset for asked, future in futures.items()}
        return [found[p] for p in partitions]

    def fill(self, options: argparse.Namespace) -> None:
        """Writes the source topic: records that no codec makes smaller, in full batches."""
        count = int(options.gigabytes * 1e9 / options.record_bytes)
        self.ends = [0] * options.partitions
        self.create(self.source, TOPIC, options.partitions)
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                refused.append(error)

        producer = Producer(
            {
                "bootstrap.servers": self.source.bootstrap_servers,
                "compression.type": options.codec,
                "batch.size": options.batch_bytes,
                "batch.num.messages": 1_000_000,
                "linger.ms": 1000,
                "queue.buffering.max.kbytes": 256 << 10,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
            }
        )
        pool = os.urandom(16 << 20)
        step = len(pool) - options.record_bytes
        for number in range(count):
            at = number * 7919 % step
            while True:
                try:
                    value = pool[at : at + options.record_bytes]
                    producer.produce(TOPIC, value, partition=number % options.partitions, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(_TIMEOUT) == 0, "the source did not take all records"
        assert not refused, f"the source refused {len(refused)} records: {refused[0]}"
        self.ends = self.log_ends(self.source, TOPIC)
        assert sum(self.ends) == count, f"{count} records written, {sum(self.ends)} there"

    def fetch_only(self) -> Measure:
        """Reads everything once."""
        return self._limit({"what": "fetch"})

    def produce_only(self) -> Measure:
        """Writes everything once, into a topic of its own."""
        target = "written"
        self.create(self.destination, target, len(self.ends))
        measured = self._limit({"what": "produce", "destination": self.destination.bootstrap_servers, "target": target})
        assert self.log_ends(self.destination, target) == self.ends, "not all was written"
        self.delete(self.destination, target)
        return measured

    def copy(self, tls: "Tls | None" = None) -> Measure:
        """Lets an engine mirror the topic, from its first record to its last.

        Args:
            tls: How it connects to both clusters; None: in plain text.
        """
        remote = v1.RemoteCluster(bootstrap_servers=self.source.bootstrap_servers.split(","))
        local, settings = self.destination.bootstrap_servers, {}
        if tls is not None:
            servers = self.source.servers(tls.listener).split(",")
            remote = v1.RemoteCluster(bootstrap_servers=servers, security_protocol="SSL", tls=v1.Tls(ca_pem=tls.ca_pem))
            local = self.destination.servers(tls.listener)
            settings = {"local_cluster": {"security_protocol": "SSL", "tls": {"ca_pem": tls.ca_pem}}}
        link = v1.Link(name=LINK, mode=v1.LINK_MODE_DESTINATION, remote_cluster=remote)
        mirror = v1.MirrorTopic(link=LINK, source_topic=TOPIC)
        engine = EngineProcess(local, self.directory, settings=settings)
        with engine, EngineApi(engine.endpoint) as api:
            api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=_TIMEOUT)
            process = psutil.Process(engine.pid)
            brokers = self._broker_cpu()
            used, asked = _cpu(process), time.monotonic()
            api.mirror_topics.CreateMirrorTopic(v1.CreateMirrorTopicRequest(mirror_topic=mirror), timeout=_TIMEOUT)
            begun = asked
            while (ends := self.log_ends(self.destination, TOPIC)) != self.ends:
                now = time.monotonic()
                if not any(ends):
                    # The set-up of the topic is no part of the rate.
                    begun = now
                assert now - asked < _COPY_SECONDS, f"after {_COPY_SECONDS:.0f} s: {ends} of {self.ends}"
                time.sleep(0.02)
            seconds = time.monotonic() - begun
            cpu = _cpu(process) - used
            source, destination = (b - a for a, b in zip(brokers, self._broker_cpu(), strict=True))
            measured = Measure(self.size, seconds, cpu, source, destination, _peak_mb(engine.pid))
            api.mirror_topics.DeleteMirrorTopic(
                v1.DeleteMirrorTopicRequest(name=TOPIC, topic_disposal=v1.TOPIC_DISPOSAL_DELETE_TOPIC), timeout=_TIMEOUT
            )
            api.links.DeleteLink(v1.DeleteLinkRequest(name=LINK), timeout=_TIMEOUT)
        return measured

    def _limit(self, job: dict[str, object]) -> Measure:
        job = {**job, "source": self.source.bootstrap_servers, "topic": TOPIC, "ends": self.ends}
        file = self.directory / "job.json"
        file.write_text(json.dumps(job))
        brokers = self._broker_cpu()
        command = [sys.executable, "-P", str(Path(__file__).with_name("limits.py")), str(file)]
        answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        source, destination = (b - a for a, b in zip(brokers, self._broker_cpu(), strict=True))
        self.size, self.batches = answer["bytes"], answer.get("batches", self.batches)
        return Measure(self.size, answer["seconds"], answer["cpu"], source, destination)

    def _broker_cpu(self) -> tuple[float, float]:
        return (_cpu(psutil.Process(self.source.nodes[0].pid)), _cpu(psutil.Process(self.destination.nodes[0].pid)))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak_mb(pid: int) -> float | None:
    """Returns the largest resident size so far, where the system tells it."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e6


def table(results: dict[str, list[Measure]]) -> list[str]:
    """Renders medians, with the range of all runs in brackets."""
    head = ["", "MB/s", "client CPU-s/GB", "source CPU-s/GB", "destination CPU-s/GB", "peak memory MB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]

    def cell(values: list[float], digits: int) -> str:
        low, middle, high = min(values), statistics.median(values), max(values)
        return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"

    for name, runs in results.items():
        peaks = [run.peak_mb for run in runs if run.peak_mb is not None]
        cells = [
            name,
            cell([run.rate for run in runs], 0),
            cell([run.per_gb(run.cpu) for run in runs], 2),
            "" if name == "produce only" else cell([run.per_gb(run.source_cpu) for run in runs], 2),
            "" if name == "fetch only" else cell([run.per_gb(run.destination_cpu) for run in runs], 2),
            cell(peaks, 0) if peaks else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the records' values")
    parser.add_argument("--record-bytes", type=int, default=1000, help="size of a record's value")
    parser.add_argument("--batch-bytes", type=int, default=65536, help="largest batch at the source")
    parser.add_argument("--partitions", type=int, default=8, help="of the topic")
    parser.add_argument("--codec", default="none", help="at the source")
    parser.add_argument("--runs", type=int, default=3, help="of each case, interleaved")
    parser.add_argument("--kafka", default=kafka.DEFAULT_VERSION, help="version of both brokers")
    options = parser.parse_args()
    directory = guard.scratch_directory("bench")
    source, destination = (
        kafka.KafkaCluster(options.kafka, name=name, java_options=kafka.LARGE) for name in ("source", "destination")
    )
    results: dict[str, list[Measure]] = {"fetch only": [], "produce only": [], "engine": []}
    try:
        with kafka.running(source, destination):
            bench = Bench(source, destination, directory)
            bench.fill(options)
            # The first rounds warm up the brokers, whose compiler needs some GB, and are not counted.
            for number in range(1 - _WARM_UP, options.runs + 1):
                round_ = {
                    "fetch only": bench.fetch_only(),
                    "produce only": bench.produce_only(),
                    "engine": bench.copy(),
                }
                for name, measured in round_.items():
                    text = f"{measured.rate:.0f} MB/s, {measured.per_gb(measured.cpu):.2f} CPU-s/GB"
                    print(
                        f"{'warm-up' if number < 1 else f'run {number}'}  {name:12}  {text}",
                        file=sys.stderr,
                        flush=True,
                    )
                    if number > 0:
                        results[name].append(measured)
    finally:
        guard.discard(directory)
    print(
        f"\nKafka {options.kafka}, {os.cpu_count()} cores shared by all; {bench.size / 1e9:.2f} GB, records of "
        f"{options.record_bytes} B, batches of {bench.size / bench.batches / 1000:.0f} KB, {options.partitions} partitions, "
        f"codec {options.codec}; medians of {options.runs} runs [lowest-highest]\n"
    )
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
