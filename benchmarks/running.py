"""Runs what a case compares, in turns."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from confluent_kafka import KafkaException

from benchmarks import measuring
from benchmarks.copiers import Copier
from benchmarks.copiers.client_loop import client_loop
from benchmarks.copiers.engine import engine
from benchmarks.copiers.mirror_maker import TUNED, mirror_maker
from benchmarks.pair import Unfinished
from benchmarks.results import CLIENT_LOOP, ENGINE, MM2_DEFAULT, MM2_TUNED, Result
from clusterlink_engine.devkit import java, kafka
from clusterlink_engine.devkit.settings import Value

Rows = Mapping[str, Mapping[str, float]]
"""Values by column, by row."""

Job = Callable[[], Rows]
"""Measures something once."""


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        kafka: Version of the brokers and of MirrorMaker.
        runs: Of each job.
        gigabytes: Size of a backlog's values.
        records: Number of the tiny batches.
        seconds: For which the source is written, or nothing is done.
        rates: Commits a second.
        partitions: Numbers of partitions, for many of them.
        groups: Number of consumer groups whose offsets are synced.
        topics: Number of topics that become mirror topics by themselves.
        plans: Numbers of resources in the plans of Terraform.
        mirror_maker: Whether it is measured, too.
    """

    kafka: str = kafka.DEFAULT_VERSION
    runs: int = 3
    gigabytes: float = 2.0
    records: int = 2_000_000
    seconds: float = 12.0
    rates: tuple[int, ...] = (10, 100, 1000)
    partitions: tuple[int, ...] = (1_000, 10_000)
    groups: int = 1_000
    topics: int = 200
    plans: tuple[int, ...] = (1, 300, 1_000)
    mirror_maker: bool = True

    def copiers(self, tuned: Mapping[str, Value] | None = None, *, loop: bool = True) -> dict[str, Copier]:
        """Returns what is compared, by the name of its row.

        Args:
            tuned: Settings of the tuned MirrorMaker beside the usual ones.
            loop: Whether the loop of two clients is among them.
        """
        found: dict[str, Copier] = {ENGINE: engine}
        if loop:
            found[CLIENT_LOOP] = client_loop
        if self.mirror_maker:
            found[MM2_TUNED] = mirror_maker({**TUNED, **(tuned or {})}, self.kafka)
            found[MM2_DEFAULT] = mirror_maker(None, self.kafka)
        return found

    def result(self, case: str, title: str, what: str) -> Result:
        """Returns an empty result; `what` says what is measured, as the end of a sentence."""
        libraries = f"confluent-kafka {version('confluent-kafka')}, Python {platform.python_version()}"
        machine = f"Java {java.find().version}, {os.cpu_count()} cores shared by all"
        setup = (
            f"{time.strftime('%Y-%m-%d')}, `make bench CASE={case}`: Kafka {self.kafka}, {libraries}, {machine}; {what}; "
            f"medians of {self.runs} runs [lowest-highest]."
        )
        return Result(case, title, setup)


def rounds(result: Result, runs: int, jobs: Mapping[str, Job], *, warm_up: Sequence[str] = ()) -> None:
    """Runs all jobs so many times, in turns, and every second time backwards; what does not finish is noted and left out.

    Args:
        result: Where the values go.
        runs: How many times.
        jobs: By name.
        warm_up: Those that are run once before, so that the brokers are warm, without being counted.
    """
    for name in warm_up:
        _told("warm-up", name, jobs[name]())
    left = dict(jobs)
    for number in range(1, runs + 1):
        for name in list(left) if number % 2 else list(reversed(left)):
            result.spins.append(measuring.spin())
            try:
                found = left[name]()
            except (Unfinished, KafkaException) as error:
                _say(f"run {number}  {name}: {error}")
                result.failures.append(f"{name}: run {number} was given up, and there were no more of it: {error}.")
                del left[name]
                continue
            _told(f"run {number}", name, found)
            for row, values in found.items():
                result.add(row, values)


def _told(when: str, name: str, found: Rows) -> None:
    for row, values in found.items():
        figures = ", ".join(f"{key} {value:,.2f}" for key, value in values.items())
        _say(f"{when}  {row if row == name else f'{name}, {row}'}: {figures}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
