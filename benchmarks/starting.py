"""Measures how long a real engine takes to start and to stop: ten links, each with a mirror topic of 100 partitions.

Prints a table of docs/benchmarks.md. Everything is on one machine and shares its cores.
"""

import argparse
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from clusterlink_engine.devkit import guard, kafka
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_proto import v1

_SECONDS = 120.0
_TOPIC = "measured"

# Kafka makes room of 10 MB in advance for each of the two indexes of each partition; a first entry then waits for the disk.
_BROKER = {"log.index.size.max.bytes": 1 << 16}


class Bench:
    """Two clusters, and an engine whose links all mirror one source topic, each below a prefix of its own."""

    def __init__(
        self, clusters: tuple[kafka.KafkaCluster, kafka.KafkaCluster], directory: Path, options: argparse.Namespace
    ) -> None:
        self._source, destination = clusters
        self._options = options
        self._admin = AdminClient({"bootstrap.servers": destination.bootstrap_servers, "log_level": 0})
        self._producer = Producer({"bootstrap.servers": self._source.bootstrap_servers, "linger.ms": 5, "log_level": 0})
        self._mirrors = [f"link-{number}.{_TOPIC}" for number in range(options.links)]
        self.engine = EngineProcess(destination.bootstrap_servers, directory, log_file=options.log)

    def set_up(self) -> None:
        """Creates the links and mirror topics, and stops the engine."""
        admin = AdminClient({"bootstrap.servers": self._source.bootstrap_servers, "log_level": 0})
        admin.create_topics([NewTopic(_TOPIC, self._options.partitions, 1)])[_TOPIC].result(_SECONDS)
        self.engine.start()
        remote = v1.RemoteCluster(bootstrap_servers=self._source.bootstrap_servers.split(","))
        with EngineApi(self.engine.endpoint) as api:
            for mirror in self._mirrors:
                prefix = mirror.removesuffix(_TOPIC)
                link = v1.Link(name=prefix[:-1], remote_cluster=remote, topic_prefix=prefix)
                api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=_SECONDS)
                request = v1.CreateMirrorTopicRequest(mirror_topic=v1.MirrorTopic(link=link.name, source_topic=_TOPIC))
                api.mirror_topics.CreateMirrorTopic(request, timeout=_SECONDS)
        self.write()
        _wait(lambda: set(self.ends()) == {1})
        assert self.engine.stop() == 0

    def write(self) -> None:
        """Writes one record to each partition."""
        for partition in range(self._options.partitions):
            self._producer.produce(_TOPIC, b"a record", partition=partition)
        assert self._producer.flush(_SECONDS) == 0

    def ends(self, some: Sequence[int] | None = None) -> list[int]:
        """Returns the log ends of mirror partitions: of all, or those with these numbers among all."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = [
            TopicPartition(topic, partition) for topic in self._mirrors for partition in range(self._options.partitions)
        ]
        wanted = asked if some is None else [asked[number] for number in some]
        answers = self._admin.list_offsets(dict.fromkeys(wanted, latest))
        return [answer.result(_SECONDS).offset for answer in answers.values()]

    def start(self) -> tuple[float, float, float, float]:
        """Starts the engine with a record to be mirrored in each partition.

        Returns the seconds to the first and to the last of them, and the processor seconds of the engine up to then.
        """
        before = self.ends()
        self.write()
        began = time.monotonic()
        self.engine.launch()
        engine = psutil.Process(self.engine.pid)
        some = range(0, len(before), self._options.partitions)
        _wait(lambda: self.ends(some) != [before[at] for at in some])
        first, used = time.monotonic() - began, _cpu(engine)
        _wait(lambda: all(end > known for end, known in zip(self.ends(), before, strict=True)))
        return first, time.monotonic() - began, used, _cpu(engine)

    def stop(self) -> float:
        """Stops the engine while it copies; returns the seconds it took."""
        done = threading.Event()

        def load() -> None:
            for number in itertools.count():
                if done.is_set():
                    return
                try:
                    self._producer.produce(_TOPIC, bytes(1000), partition=number % self._options.partitions)
                except BufferError:
                    self._producer.poll(0.1)
                if not number % 100:
                    self._producer.poll(0)
                    time.sleep(0.1 * 1000 / self._options.load)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            before = sum(self.ends())
            _wait(lambda: sum(self.ends()) > before + self._options.load)
            began = time.monotonic()
            assert self.engine.stop() == 0
            return time.monotonic() - began
        finally:
            done.set()
            thread.join()
            self._producer.flush(_SECONDS)

    def catch_up(self) -> None:
        """Lets a started engine mirror everything, and stops it."""
        self.engine.start()
        _wait(lambda: len({tuple(ends) for ends in _by(self.ends(), self._options.partitions)}) == 1)
        time.sleep(1)
        assert self.engine.stop() == 0


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _by(values: list[int], size: int) -> list[list[int]]:
    return [values[at : at + size] for at in range(0, len(values), size)]


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--links", type=int, default=10)
    parser.add_argument("--partitions", type=int, default=100, help="of each link")
    parser.add_argument(
        "--load", type=int, default=1000, help="records of 1 KB per second at the source, to stop under"
    )
    parser.add_argument("--log", type=Path, help="where the engine's log goes")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    clusters = (
        kafka.KafkaCluster(name="source", java_options=kafka.LARGE, settings=_BROKER),
        kafka.KafkaCluster(name="destination", java_options=kafka.LARGE, settings=_BROKER),
    )
    directory = guard.scratch_directory("starting")
    with kafka.running(*clusters):
        bench = Bench(clusters, directory, options)
        bench.set_up()
        figures: dict[str, list[float]] = {}
        for number in range(1, options.runs + 1):
            first, last, cpu_first, cpu_last = bench.start()
            run = {
                "first record mirrored, s": first,
                "all partitions mirrored, s": last,
                "the engine's processor up to the first, s": cpu_first,
                "the engine's processor up to all, s": cpu_last,
                "stop under load, s": bench.stop(),
            }
            print(
                f"run {number}", {what: round(figure, 2) for what, figure in run.items()}, file=sys.stderr, flush=True
            )
            for what, figure in run.items():
                figures.setdefault(what, []).append(figure)
            bench.catch_up()
    guard.discard(directory)
    print(
        f"\n{options.links} links with {options.partitions} partitions each; medians of {options.runs} runs [lowest-highest]\n"
    )
    print("| | |\n|---|---|")
    for what, found in figures.items():
        print(f"| {what} | {statistics.median(found):.2f} [{min(found):.2f}-{max(found):.2f}] |")


if __name__ == "__main__":
    main()
