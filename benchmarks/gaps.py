"""Measures what gaps, heads and takeovers cost, with a real engine between two local brokers.

Prints the second table of docs/benchmarks.md. Everything is on one machine and shares its cores.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from clusterlink_engine.devkit import guard, kafka
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_proto import v1

_SECONDS = 300.0
_ABORTED = 3_000
_PARTITIONS = 8
_WRITERS = 6
_COMMIT_SECONDS = 15


class Bench:
    """Two clusters, and what is done with them."""

    def __init__(self, source: kafka.KafkaCluster, destination: kafka.KafkaCluster, directory: Path) -> None:
        self.source = source
        self.destination = destination
        self.directory = directory
        self._count = 0
        self._admins = {
            cluster: AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
            for cluster in (source, destination)
        }

    def engine(self, way: str, state: str = "") -> EngineProcess:
        """Makes an engine on a state of its own."""
        self._count += 1
        place = self.directory / f"engine-{self._count}"
        place.mkdir()
        settings = {"state": {"topic": state or f"_state-{self._count}"}, "replication": {"gap_filling": way}}
        return EngineProcess(self.destination.bootstrap_servers, place, settings=settings)

    def create(self, topic: str, partitions: int) -> None:
        """Creates a source topic."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config={"retention.ms": "-1"})
        self._admins[self.source].create_topics([new])[topic].result(_SECONDS)

    def mirror(self, engine: EngineProcess, topic: str) -> None:
        """Creates a link and a mirror topic."""
        with EngineApi(engine.endpoint) as api:
            remote = v1.RemoteCluster(bootstrap_servers=[self.source.bootstrap_servers])
            link = v1.Link(name="link", remote_cluster=remote)
            api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=_SECONDS)
            wanted = v1.MirrorTopic(link="link", source_topic=topic)
            api.mirror_topics.CreateMirrorTopic(v1.CreateMirrorTopicRequest(mirror_topic=wanted), timeout=_SECONDS)

    def ends(self, cluster: kafka.KafkaCluster, topic: str, partitions: int) -> list[int]:
        """Returns the log ends."""
        asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(partitions)}  # type: ignore[no-untyped-call]
        return [future.result(_SECONDS).offset for future in self._admins[cluster].list_offsets(asked).values()]

    def wait_equal(self, topic: str, partitions: int) -> None:
        """Waits until the mirror has what the source has."""
        wanted = self.ends(self.source, topic, partitions)
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                if self.ends(self.destination, topic, partitions) == wanted:
                    return
            except Exception:
                time.sleep(0.05)  # the topic is not there yet
            assert time.monotonic() < deadline, f"{topic} is not mirrored"
            time.sleep(0.02)

    def forget(self, topic: str) -> None:
        """Deletes the mirror topic, so that it can be made again."""
        admin = self._admins[self.destination]
        admin.delete_topics([topic])[topic].result(_SECONDS)
        while topic in admin.list_topics(timeout=_SECONDS).topics:
            time.sleep(0.05)

    # The cases: each returns the figure of one run.

    def filling(self, way: str, topic: str) -> float:
        """Offsets a second: a topic of which everything was aborted, on one partition."""
        engine = self.engine(way)
        with engine:
            began = time.monotonic()
            self.mirror(engine, topic)
            self.wait_equal(topic, 1)
            seconds = time.monotonic() - began
        self.forget(topic)
        return sum(self.ends(self.source, topic, 1)) / seconds

    def aborted(self, topic: str) -> None:
        """Makes that topic."""
        self.create(topic, 1)
        settings = {"bootstrap.servers": self.source.bootstrap_servers, "transactional.id": topic}
        producer = Producer(settings)
        producer.init_transactions(_SECONDS)
        producer.begin_transaction()
        for number in range(_ABORTED):
            producer.produce(topic, b"%d" % number, partition=0)
        producer.flush(_SECONDS)  # else they would never be sent
        producer.abort_transaction(_SECONDS)

    def transactional(self, commits: int) -> tuple[float, float]:
        """Commits over 8 partitions: the longest lag of those seen each second, in offsets, and the engine's part of a core."""
        topic = f"commits-{commits}-{self._count}"
        self.create(topic, _PARTITIONS)
        engine = self.engine("markers")
        lag = 0
        with engine:
            self.mirror(engine, topic)
            process = psutil.Process(engine.pid)
            before = sum(process.cpu_times()[:2])
            writers = min(_WRITERS, commits)
            with ThreadPoolExecutor(writers) as pool:
                counts = [pool.submit(self._commit, topic, number, commits / writers) for number in range(writers)]
                for _ in range(_COMMIT_SECONDS):
                    time.sleep(1)
                    source = sum(self.ends(self.source, topic, _PARTITIONS))
                    lag = max(lag, source - sum(self.ends(self.destination, topic, _PARTITIONS)))
            self.wait_equal(topic, _PARTITIONS)
            cpu = sum(process.cpu_times()[:2]) - before
        print(f"   {sum(count.result() for count in counts) / _COMMIT_SECONDS:.0f} commits/s were reached")
        return float(lag), cpu / _COMMIT_SECONDS

    def _commit(self, topic: str, number: int, rate: float) -> int:
        """Commits transactions of ten records, each on a partition of its own; answers how many."""
        settings = {"bootstrap.servers": self.source.bootstrap_servers, "linger.ms": 0, "log_level": 0}
        producer = Producer({**settings, "transactional.id": f"{topic}-{number}"})
        producer.init_transactions(_SECONDS)
        began, written = time.monotonic(), 0
        while time.monotonic() - began < _COMMIT_SECONDS:
            producer.begin_transaction()
            for _ in range(10):
                producer.produce(topic, b"x" * 200, partition=(number + written) % _PARTITIONS)
            producer.commit_transaction(_SECONDS)
            written += 1
            time.sleep(max(0.0, began + written / rate - time.monotonic()))
        return written

    def takeover(self) -> float:
        """Seconds from SIGKILL of the engine until another one, which stood by, has mirrored the next record."""
        topic = f"takeover-{self._count}"
        self.create(topic, 1)
        first = self.engine("auto")
        with first:
            self.mirror(first, topic)
            second = self.engine("auto", f"_state-{self._count}")
            second.launch()
            while "stands by" not in second.log_tail(50):
                time.sleep(0.05)
            producer = Producer({"bootstrap.servers": self.source.bootstrap_servers})
            first.kill()
            began = time.monotonic()
            producer.produce(topic, b"after", partition=0)
            producer.flush(_SECONDS)
            self.wait_equal(topic, 1)
            seconds = time.monotonic() - began
            second.stop()
        return seconds


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    directory = guard.scratch_directory("gaps")
    source = kafka.KafkaCluster(name="source", java_options=kafka.LARGE)
    destination = kafka.KafkaCluster(name="destination", java_options=kafka.LARGE)
    with kafka.running(source, destination):
        bench = Bench(source, destination, directory)
        bench.aborted("aborted")
        _told("gaps by markers, offsets/s", lambda: bench.filling("markers", "aborted"), runs)
        _told("gaps by empty transactions, offsets/s", lambda: bench.filling("transactions", "aborted"), runs)
        for commits in (10, 200):
            figures = [bench.transactional(commits) for _ in range(runs)]
            print(_row(f"{commits} commits/s over 8 partitions, longest lag in offsets", [lag for lag, _ in figures]))
            print(
                _row(
                    f"{commits} commits/s over 8 partitions, engine's processor, part of one core",
                    [cpu for _, cpu in figures],
                )
            )
        _told("takeover after SIGKILL, s", bench.takeover, runs)
    guard.discard(directory)


def _told(what: str, case: Callable[[], float], runs: int) -> None:
    print(_row(what, [case() for _ in range(runs)]))


def _row(what: str, figures: list[float]) -> str:
    def short(figure: float) -> str:
        return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"

    return f"| {what} | {short(statistics.median(figures))} [{short(min(figures))}-{short(max(figures))}] |"


if __name__ == "__main__":
    main()
