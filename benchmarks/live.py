"""Measures copying while the source is written."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import apart, measuring, writing
from benchmarks.copiers import Copier
from benchmarks.measuring import Usage
from benchmarks.pair import Pair, Topics, Unfinished, wait
from benchmarks.reading import Seen, read

_START_SECONDS = 300.0
_ARRIVAL_SECONDS = 60.0
_RUN_IN = 0.2


@dataclass(frozen=True)
class Load:
    """What is written to the source: a function of `writing` that takes bootstrap servers and topics, and its arguments.

    Attributes:
        write: The function.
        arguments: Further ones, by name; `seconds` is one of them.
        records: Written by each of what the function counts.
    """

    write: Callable[..., int]
    arguments: Mapping[str, float | int]
    records: int = 1

    @property
    def seconds(self) -> float:
        """Returns for how long is written."""
        return self.arguments["seconds"]


@dataclass(frozen=True)
class Run:
    """What a load was like.

    Attributes:
        units: What the load counts: records, or commits.
        records: Written to the source, and arrived.
        seconds: For which was written.
        used: Meanwhile, until all had arrived.
        behind_seconds: From the end of the writing until all had arrived.
        direct: What a consumer of the source saw; None if there was none.
        mirrored: The same of the destination.
    """

    units: int
    records: int
    seconds: float
    used: Usage
    behind_seconds: float
    direct: Seen | None = None
    mirrored: Seen | None = None

    def values(self) -> dict[str, float]:
        """Returns the figures by column, see `results.COLUMNS`."""
        found = {
            "written_s": self.units / self.seconds,
            "copier_core": self.used.copier / self.seconds * 100,
            "source_core": self.used.source / self.seconds * 100,
            "destination_core": self.used.destination / self.seconds * 100,
            "copier_cpu_million": self.used.copier / self.records * 1e6,
            "behind_s": self.behind_seconds,
        }
        if self.mirrored is not None and self.direct is not None:
            found["added_ms"] = self.mirrored.percentile(0.5) - self.direct.percentile(0.5)
            found |= percentiles(self.mirrored)
        return found


def percentiles(seen: Seen) -> dict[str, float]:
    """Returns the latencies by column."""
    return {"p50_ms": seen.percentile(0.5), "p99_ms": seen.percentile(0.99), "p999_ms": seen.percentile(0.999)}


class Flow:
    """A copier at work.

    Attributes:
        pid: Of the copier.
        start_seconds: From its start until a first record of each partition had arrived.
    """

    def __init__(self, pair: Pair, pid: int, start_seconds: float) -> None:
        self.pair = pair
        self.pid = pid
        self.start_seconds = start_seconds

    def idle(self, seconds: float) -> dict[str, float]:
        """Returns the parts of a core that are used while nothing is written, by column."""
        before, began = measuring.usage(self.pair, self.pid), time.monotonic()
        time.sleep(seconds)
        used, passed = measuring.usage(self.pair, self.pid) - before, time.monotonic() - began
        return {
            "copier_core": used.copier / passed * 100,
            "source_core": used.source / passed * 100,
            "destination_core": used.destination / passed * 100,
        }

    def carry(self, topics: Topics, load: Load) -> Run:
        """Writes to the source, and waits until all has arrived at the destination, by its log ends.

        Raises:
            Unfinished: It does not.
        """
        before, servers = measuring.usage(self.pair, self.pid), self.pair.source.bootstrap_servers
        units = apart.call(load.write, servers, topics, **load.arguments)
        ended = time.monotonic()
        self.pair.wait_equal(topics, _ARRIVAL_SECONDS)
        used = measuring.usage(self.pair, self.pid) - before
        return Run(units, units * load.records, load.seconds, used, time.monotonic() - ended)

    def carry_watched(self, topics: Topics, load: Load) -> Run:
        """Does the same with a consumer on each side, who count what arrives and how long it took.

        Raises:
            Unfinished: Not all arrives.
        """
        places = self.pair.places
        deadline = load.seconds + 2 * _ARRIVAL_SECONDS
        with apart.workers(3) as pool:
            direct, mirrored = (
                pool.submit(read, servers, topics, _RUN_IN * load.seconds, deadline)
                for servers in (places.source, places.destination)
            )
            before = measuring.usage(self.pair, self.pid)
            units = pool.submit(load.write, places.source, topics, **load.arguments).result()
            writing.one_each(places.source, topics, writing.END)
            ended = time.monotonic()
            seen = direct.result(), mirrored.result()
            used = measuring.usage(self.pair, self.pid) - before
        records = units * load.records
        counts = tuple(each.count for each in seen)
        if counts != (records, records):
            raise Unfinished(f"{records:,} records were written, and {counts} seen at source and destination")
        return Run(units, records, load.seconds, used, time.monotonic() - ended, *seen)


@contextmanager
def flowing(pair: Pair, copier: Copier, topics: Topics) -> Iterator[Flow]:
    """Creates topics, each partition with a record, and a copier of them that is at work.

    Raises:
        Unfinished: The copier does not begin.
    """
    pair.create(pair.source, topics)
    writing.one_each(pair.source.bootstrap_servers, topics, b"first")
    began = time.monotonic()
    with copier(pair.places, topics, pair.new_directory()) as pid:
        wait(
            lambda: all((pair.ends(pair.destination, topics) or {("", 0): 0}).values()),
            "all partitions are copied",
            _START_SECONDS,
            0.2,
        )
        yield Flow(pair, pid, time.monotonic() - began)


@contextmanager
def cleared(pair: Pair, topics: Topics) -> Iterator[None]:
    """Takes topics away at the end, from both clusters."""
    try:
        yield
    finally:
        for cluster in (pair.source, pair.destination):
            known = pair.admin(cluster).list_topics(timeout=_START_SECONDS).topics
            if left := {name: count for name, count in topics.items() if name in known}:
                pair.delete(cluster, left)
