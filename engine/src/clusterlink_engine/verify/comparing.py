"""The comparison of one partition with its source, in the words of "exact".

A topic that is not compacted: at every offset that a `read_committed` consumer sees at the source the mirror has the same
record, and at no other offset it has any, in both isolation levels. A compacted topic, which each side cleans by itself: a
record that is on both sides at an offset is equal, and the last record of each key is the same, or deleted on both.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from clusterlink_engine.verify.reading import COMMITTED, UNCOMMITTED, Bounds, Content, Topic, as_mirrored

# Offsets of one range of a sample.
_RANGE = 2_000
_PROGRESS_EVERY = 10_000


class Options(NamedTuple):
    """What is compared, and how.

    Attributes:
        first: Offset to begin at.
        end: Offset to stop before; None for the end of the log.
        sample: Percentage of the offsets to compare, in random ranges; 100 for all.
        seed: Of the sample.
        strict: Whether a compacted topic is compared like any other.
        at_rest: Whether the mirror must have everything that the source has, and start where it does.
        key_passes: In how many passes the last records of keys are compared; more take less memory.
        keep: Differences of a partition that are kept; all are counted.
    """

    first: int = 0
    end: int | None = None
    sample: float = 100.0
    seed: int = 0
    strict: bool = False
    at_rest: bool = False
    key_passes: int = 1
    keep: int = 20


class Difference(NamedTuple):
    """One difference: its kind, where it is, and what is on both sides, without keys and values in the clear."""

    kind: str
    offset: int
    isolation: str
    source: str
    mirror: str


@dataclass
class PartitionReport:
    """What was found in one partition.

    Attributes:
        partition: Its number.
        source: Where the source's log starts, and where its transactions are decided.
        mirror: Where the mirror's log starts and ends.
        ranges: Offsets that were compared, from and up to but without.
        records: Records of the source that were compared, for each isolation level of the mirror.
        count: Number of differences.
        differences: The first of them.
    """

    partition: int
    source: Bounds
    mirror: Bounds
    ranges: list[tuple[int, int]] = field(default_factory=list)
    records: int = 0
    count: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def lag(self) -> int:
        """Offsets that the source has and the mirror has not."""
        return max(self.source.end - self.mirror.end, 0)

    def as_json(self) -> dict[str, object]:
        """Answers the report as an object of JSON."""
        report = asdict(self)
        report["source"], report["mirror"] = self.source._asdict(), self.mirror._asdict()
        report["differences"] = [difference._asdict() for difference in self.differences]
        return {**report, "lag": self.lag}


Progress = Callable[[int, int], None]
"""Is told the partition and how many records were compared since it was told last."""


def compare(
    source: Topic,
    mirror: Topic,
    partition: int,
    first_offset: int,
    *,
    own_until: int = 0,
    compacted: bool,
    options: Options,
    progress: Progress,
) -> PartitionReport:
    """Compares a partition.

    Args:
        source: The source topic.
        mirror: The mirror topic.
        partition: Number of the partition.
        first_offset: Where the mirror was told to begin; 0 for where the source begins.
        own_until: Below it the mirror's records are its own, from when it was the source: consumers that read what was aborted,
            too, see more there.
        compacted: Whether the mirror's cleaner removes records.
        options: What to compare.
        progress: Told now and then.

    Raises:
        UnreadableError: One of both could not be read.
    """
    theirs, ours = source.bounds(partition, COMMITTED), mirror.bounds(partition, UNCOMMITTED)
    report = PartitionReport(partition, theirs, ours)
    work = _Comparison(source, mirror, report, options, progress)
    work.compare_bounds(first_offset)
    start = max(theirs.start, ours.start, options.first)
    end = min(theirs.end, ours.end, options.end if options.end is not None else theirs.end)
    report.ranges = _ranges(start, end, options)
    for isolation, lowest in ((COMMITTED, 0), (UNCOMMITTED, own_until)):
        for first, last in report.ranges:
            if last > lowest:
                work.compare_records(isolation, max(first, lowest), last, both_only=compacted and not options.strict)
        if compacted and not options.strict and options.sample >= 100 and start >= lowest:
            for number in range(options.key_passes):
                work.compare_keys(isolation, start, end, number)
    work.forgive_what_is_gone()
    return report


class _Comparison:
    def __init__(
        self, source: Topic, mirror: Topic, report: PartitionReport, options: Options, progress: Progress
    ) -> None:
        self._source = source
        self._mirror = mirror
        self._report = report
        self._options = options
        self._progress = progress
        self._found: list[Difference] = []
        self._uncounted = 0

    def compare_bounds(self, first_offset: int) -> None:
        theirs, ours = self._report.source, self._report.mirror
        start = max(theirs.start, first_offset)
        if ours.start > start or (self._options.at_rest and ours.start != start):
            self._differs("log start", ours.start, "", str(start), str(ours.start))
        if ours.end > theirs.end or (self._options.at_rest and ours.end != theirs.end):
            self._differs("log end", min(ours.end, theirs.end), "", str(theirs.end), str(ours.end))

    def compare_records(self, isolation: str, start: int, end: int, *, both_only: bool) -> None:
        """Compares what is at each offset; with `both_only`, only where both sides have a record."""
        partition = self._report.partition
        left = self._source.records(partition, COMMITTED, start, end)
        right = self._mirror.records(partition, isolation, start, end)
        compared = 0
        for offset, theirs, ours in _aligned(left, right):
            if theirs is not None:
                compared += 1
                theirs = as_mirrored(theirs)  # noqa: PLW2901 - from here on what it must be
            if theirs != ours and not (both_only and (theirs is None or ours is None)):
                self._differs(_kind(theirs, ours), offset, isolation, _shown(theirs), _shown(ours))
            if compared % _PROGRESS_EVERY == 0:
                self._progress(partition, compared - self._uncounted)
                self._uncounted = compared
        self._progress(partition, compared - self._uncounted)
        self._uncounted = 0
        self._report.records += compared

    def compare_keys(self, isolation: str, start: int, end: int, number: int) -> None:
        """Compares the last record of each key; of the source also what the mirror has not yet, because it replaces."""
        partition = self._report.partition
        theirs = self._last_records(self._source.records(partition, COMMITTED, start, self._report.source.end), number)
        ours = self._last_records(self._mirror.records(partition, isolation, start, end), number)
        for key, (offset, digest) in theirs.items():
            mine = ours.pop(key, None)
            if offset < end and (mine or (offset, None)) != (offset, digest) and (digest or (mine and mine[1])):
                self._differs(
                    "last record of a key", offset, isolation, _place(offset, digest), _place(*(mine or (-1, None)))
                )
        for offset, digest in ours.values():
            if digest is not None:
                self._differs("last record of a key", offset, isolation, "nothing", _place(offset, digest))

    def _last_records(
        self, records: Iterator[tuple[int, Content]], number: int
    ) -> dict[bytes, tuple[int, bytes | None]]:
        """Answers offset and digest of the last record by the digest of its key; None for one that deletes the key."""
        last: dict[bytes, tuple[int, bytes | None]] = {}
        for offset, (key, value, headers, _, timestamp) in records:
            digest = blake2b(key or b"", digest_size=16).digest()
            if digest[0] % self._options.key_passes == number:
                content = repr((value, headers, timestamp)).encode() if value is not None else None
                last[digest] = (offset, blake2b(content, digest_size=16).digest() if content is not None else None)
        return last

    def forgive_what_is_gone(self) -> None:
        """Leaves out differences at offsets that were deleted on a side while they were compared."""
        partition = self._report.partition
        start = max(self._source.bounds(partition, COMMITTED).start, self._mirror.bounds(partition, UNCOMMITTED).start)
        moved = start > max(self._report.source.start, self._report.mirror.start)
        left = [one for one in self._found if not moved or one.offset >= start or one.kind.startswith("log ")]
        self._report.count += len(left)
        self._report.differences = left[: self._options.keep]

    def _differs(self, kind: str, offset: int, isolation: str, source: str, mirror: str) -> None:
        if len(self._found) < _MOST_KEPT:
            self._found.append(Difference(kind, offset, isolation, source, mirror))
        else:
            self._report.count += 1


# Differences that are remembered until the end, so that what was deleted meanwhile can be left out.
_MOST_KEPT = 100_000


def _ranges(start: int, end: int, options: Options) -> list[tuple[int, int]]:
    """Answers the ranges of offsets to compare; the same ones for the same seed."""
    if start >= end:
        return []
    count = -(-(end - start) // _RANGE)
    wanted = max(1, round(count * options.sample / 100))
    if wanted >= count:
        return [(start, end)]
    chosen: Sequence[int] = sorted(random.Random(options.seed).sample(range(count), wanted))
    return [(start + number * _RANGE, min(start + (number + 1) * _RANGE, end)) for number in chosen]


def _aligned(
    left: Iterator[tuple[int, Content]], right: Iterator[tuple[int, Content]]
) -> Iterator[tuple[int, Content | None, Content | None]]:
    """Walks two sequences with ascending offsets side by side, with None where one has nothing."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None  # noqa: S101 - the loop's condition
            yield one[0], one[1], None
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(right, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(left, None), next(right, None)


def _kind(theirs: Content | None, ours: Content | None) -> str:
    if ours is None:
        return "missing on the mirror"
    if theirs is None:
        return "only on the mirror"
    names = ("key", "value", "headers", "timestamp type", "timestamp")
    return ", ".join(name for name, left, right in zip(names, theirs, ours, strict=True) if left != right)


def _shown(content: Content | None) -> str:
    if content is None:
        return "nothing"
    key, value, headers, _, timestamp = content
    about = f"{len(headers)} headers {_digest(repr(headers).encode())}"
    return f"key {_digest(key)}, value {_digest(value)}, {about}, time {timestamp}"


def _digest(data: bytes | None) -> str:
    return "null" if data is None else f"{blake2b(data, digest_size=6).hexdigest()} ({len(data)} bytes)"


def _place(offset: int, digest: bytes | None) -> str:
    if offset < 0:
        return "nothing"
    return f"deleted at offset {offset}" if digest is None else f"{digest[:6].hex()} at offset {offset}"
