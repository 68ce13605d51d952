"""Measures the copying of what is there already."""

import time
from dataclasses import dataclass

from benchmarks import limits, measuring
from benchmarks.copiers import Copier
from benchmarks.measuring import Usage
from benchmarks.pair import Pair, Places, Topics, Unfinished
from benchmarks.writing import Backlog

TOPIC = "measured"

# What is copied before this part is there is not measured: compilers and buffers are still cold.
_RUN_IN = 0.2
_START_SECONDS = 120.0
_COPY_SECONDS = 300.0
_PAUSE = 0.02


@dataclass(frozen=True)
class Copy:
    """One measured run: what was moved in how many seconds, with what.

    `size` is in bytes of record batches at the source. `start_seconds` is the time from the start of the copier, its set-up
    included, to the first record at the destination.
    """

    size: float
    records: float
    seconds: float
    used: Usage
    peak_mb: float | None = None
    start_seconds: float | None = None

    def values(self) -> dict[str, float]:
        """Returns the figures by column, see `results.COLUMNS`."""
        gigabytes, millions = self.size / 1e9, self.records / 1e6
        found = {
            "mb_s": self.size / 1e6 / self.seconds,
            "records_s": self.records / self.seconds,
            "copier_cpu_gb": self.used.copier / gigabytes,
            "source_cpu_gb": self.used.source / gigabytes,
            "destination_cpu_gb": self.used.destination / gigabytes,
            "copier_cpu_million": self.used.copier / millions,
            "source_cpu_million": self.used.source / millions,
            "destination_cpu_million": self.used.destination / millions,
            "peak_mb": self.peak_mb,
            "start_s": self.start_seconds,
        }
        return {key: value for key, value in found.items() if value is not None}


class Filled:
    """A topic of the source that is filled, and what is measured with it.

    Attributes:
        size: Bytes of its record batches.
        batches: Number of them.
    """

    def __init__(self, pair: Pair, partitions: int, backlog: Backlog) -> None:
        """Creates and fills it; takes its time."""
        self.pair = pair
        self.topics: Topics = {TOPIC: partitions}
        pair.create(pair.source, self.topics)
        backlog.write(pair.source.bootstrap_servers, TOPIC, partitions)
        ends = pair.present_ends(pair.source, self.topics)
        self.ends = [ends[TOPIC, partition] for partition in range(partitions)]
        self.records = sum(self.ends)
        assert self.records == backlog.count, f"{backlog.count} records written, {self.records} there"
        moved = limits.fetch_only(pair.source.bootstrap_servers, TOPIC, self.ends)
        self.size, self.batches = moved.size, moved.batches

    def forget(self) -> None:
        """Deletes the topic."""
        self.pair.delete(self.pair.source, self.topics)

    def copy(self, copier: Copier, places: Places | None = None) -> Copy:
        """Lets a copier copy it, and measures from the last look with less than a fifth; checks that all arrived.

        Else from the last look at which nothing was there: what comes before is the copier's start, which has a figure of its
        own. Only where all is there at the first look the start is counted, as a backlog that small tells nothing anyway.

        Args:
            copier: A new process of this.
            places: How it reaches the clusters; None: straight.

        Raises:
            Unfinished: It took too long, or something else arrived.
        """
        pair, began, used = self.pair, time.monotonic(), measuring.usage(self.pair)
        try:
            with copier(places or pair.places, self.topics, pair.new_directory()) as pid:
                return self._watch(pid, began, used)
        finally:
            if TOPIC in pair.admin(pair.destination).list_topics(timeout=_START_SECONDS).topics:
                pair.delete(pair.destination, self.topics)

    def _watch(self, pid: int, began: float, used: Usage) -> Copy:
        pair, first = self.pair, None
        begun, before = began, 0  # only if all is there at the first look, as it may be of very little
        while (arrived := self._arrived()) < self.records:
            now = time.monotonic()
            if first is None or arrived <= _RUN_IN * self.records:
                begun, used, before = now, measuring.usage(pair, pid), arrived
            if arrived and first is None:
                first = now - began
            if now - began > (_START_SECONDS if first is None else _COPY_SECONDS):
                raise Unfinished(f"{arrived:,} of {self.records:,} records after {now - began:.0f} s")
            time.sleep(_PAUSE)
        now = time.monotonic()
        if first is None:  # all came between two looks
            first = now - began
        used = measuring.usage(pair, pid) - used
        ends = pair.present_ends(pair.destination, self.topics)
        arrived_ends = [ends[TOPIC, p] for p in range(len(self.ends))]
        if arrived_ends != self.ends:
            raise Unfinished(f"the log ends are {arrived_ends} and should be {self.ends}")
        records = self.records - before
        size = self.size * records / self.records
        return Copy(size, records, now - begun, used, measuring.peak_mb(pid), first)

    def _arrived(self) -> int:
        return sum((self.pair.ends(self.pair.destination, self.topics) or {}).values())

    def fetch_only(self) -> Copy:
        """Measures reading it, and nothing else."""
        before = measuring.usage(self.pair)
        return self._limit(limits.fetch_only(self.pair.source.bootstrap_servers, TOPIC, self.ends), before)

    def produce_only(self) -> Copy:
        """Measures writing its batches, which the same process has read before; checks that all arrived."""
        pair, target = self.pair, {"written": len(self.ends)}
        servers = pair.source.bootstrap_servers, pair.destination.bootstrap_servers
        pair.create(pair.destination, target)
        before = measuring.usage(pair)
        measured = self._limit(limits.produce_only(servers[0], TOPIC, self.ends, servers[1], "written"), before)
        ends = pair.present_ends(pair.destination, target)
        assert [ends["written", p] for p in range(len(self.ends))] == self.ends, "not all was written"
        pair.delete(pair.destination, target)
        return measured

    def _limit(self, moved: limits.Moved, before: Usage) -> Copy:
        used = measuring.usage(self.pair) - before
        return Copy(moved.size, self.records, moved.seconds, Usage(moved.cpu, used.source, used.destination))
