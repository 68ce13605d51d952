"""Proves that a topic is the mirror of another, with nothing of the product.

What a consumer sees is compared record by record: at every offset that a `read_committed` consumer sees at the source
the mirror has the same record, and at no other offset it has any, in both isolation levels. Where asked, the record
batches are compared byte by byte, too. Both topics must be at rest.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from tests.support import raw as raw_batches
from tests.support import reading, topics

_TIMEOUT = 30.0
# Differences kept for each partition; all are counted.
_SHOWN = 10

T = TypeVar("T")


@dataclass
class PartitionComparison:
    """What was found in one partition.

    Attributes:
        partition: Its number.
        source_start: Log start of the source.
        mirror_start: Log start of the mirror.
        source_end: Log end of the source, as far as transactions are decided.
        mirror_end: Log end of the mirror.
        records: Records compared, once for each isolation level of the mirror.
        batches: Batches compared byte by byte.
        count: Number of differences.
        differences: The first of them, in words.
    """

    partition: int
    source_start: int = 0
    mirror_start: int = 0
    source_end: int = 0
    mirror_end: int = 0
    records: int = 0
    batches: int = 0
    count: int = 0
    differences: list[str] = field(default_factory=list)

    def differs(self, text: str) -> None:
        """Notes a difference."""
        self.count += 1
        if self.count <= _SHOWN:
            self.differences.append(text)


@dataclass
class Comparison:
    """What was found in a topic.

    Attributes:
        source: The source topic.
        mirror: The mirror topic.
        partitions: By number.
        differences: That concern no single partition.
    """

    source: str
    mirror: str
    partitions: list[PartitionComparison] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Returns whether the mirror is one."""
        return not self.differences and not any(p.count for p in self.partitions)

    @property
    def records(self) -> int:
        """Returns how many records were compared, counted once for each isolation level."""
        return sum(p.records for p in self.partitions)

    def __str__(self) -> str:
        lines = [f"{self.mirror} is {'' if self.equal else 'NOT '}the mirror of {self.source}", *self.differences]
        for p in self.partitions:
            lines.append(
                f"partition {p.partition}: log start {p.source_start} / {p.mirror_start}, log end {p.source_end} /"
                f" {p.mirror_end}, {p.records} records and {p.batches} batches compared, {p.count} differences"
            )
            lines.extend(f"  {text}" for text in p.differences)
            if p.count > len(p.differences):
                lines.append(f"  ... and {p.count - len(p.differences)} more")
        return "\n".join(lines)


def assert_mirrors(
    source_bootstrap: str,
    mirror_bootstrap: str,
    source_topic: str,
    mirror_topic: str | None = None,
    *,
    raw: bool = True,
    records: int | None = None,
    own_until: Mapping[int, int] | None = None,
) -> Comparison:
    """Fails with all that was found unless the topic is the mirror; `records` is how many must be in it at least."""
    found = compare_topics(source_bootstrap, mirror_bootstrap, source_topic, mirror_topic, raw=raw, own_until=own_until)
    assert found.equal, str(found)
    if records is not None:
        # Once for each isolation level: two empty topics are equal, too.
        assert found.records >= 2 * records, f"expected {records} records:\n{found}"
    return found


def compare_topics(
    source_bootstrap: str,
    mirror_bootstrap: str,
    source_topic: str,
    mirror_topic: str | None = None,
    *,
    raw: bool = True,
    own_until: Mapping[int, int] | None = None,
) -> Comparison:
    """Compares a mirror with its source.

    Args:
        source_bootstrap: Where the source is.
        mirror_bootstrap: Where the mirror is.
        source_topic: Name of the source topic.
        mirror_topic: Name of the mirror topic, if it is another.
        raw: Whether batches are compared byte by byte, too; for sources without aborted transactions. Plain batches that are
            one on the mirror are compared with what another encoder makes of their records.
        own_until: Below these offsets the mirror was the source once, and has what was aborted, too.
    """
    mirror_topic = mirror_topic or source_topic
    found = Comparison(source_topic, mirror_topic)
    source = _Side(source_bootstrap, source_topic)
    mirror = _Side(mirror_bootstrap, mirror_topic)
    if source.partitions != mirror.partitions:
        found.differences.append(f"partitions: source {source.partitions}, mirror {mirror.partitions}")
    for number in source.partitions:
        if number in mirror.partitions:
            found.partitions.append(_bounds(number, source, mirror))
    with reading.consumer(source_bootstrap, "read_committed") as original:
        for isolation in ("read_committed", "read_uncommitted"):
            with reading.consumer(mirror_bootstrap, isolation) as copy:
                for partition in found.partitions:
                    own = (own_until or {}).get(partition.partition, 0) if isolation == "read_uncommitted" else 0
                    _compare_records(partition, source, mirror, original, copy, isolation, own)
    if raw:
        for partition in found.partitions:
            _compare_batches(partition, source, mirror)
    return found


class _Side:
    """One of the two topics, with its offsets by partition."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        client = topics.admin(bootstrap)
        described = client.list_topics(topic, timeout=_TIMEOUT).topics[topic]
        self.partitions = sorted(described.partitions)

        def offsets(spec: Any, isolation: Any) -> dict[int, int]:
            asked = {TopicPartition(topic, p): spec for p in self.partitions}
            if not asked:
                return {}
            futures = client.list_offsets(asked, isolation_level=isolation)
            return {key.partition: future.result(_TIMEOUT).offset for key, future in futures.items()}

        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self.starts = offsets(earliest, IsolationLevel.READ_UNCOMMITTED)
        self.ends = offsets(latest, IsolationLevel.READ_UNCOMMITTED)
        self.stable_ends = offsets(latest, IsolationLevel.READ_COMMITTED)
        self.leaders = raw_batches.leaders(bootstrap, topic) if self.partitions else {}


def _bounds(number: int, source: _Side, mirror: _Side) -> PartitionComparison:
    found = PartitionComparison(
        number, source.starts[number], mirror.starts[number], source.stable_ends[number], mirror.ends[number]
    )
    if found.source_start != found.mirror_start:
        found.differs(f"log start: source {found.source_start}, mirror {found.mirror_start}")
    if found.source_end != found.mirror_end:
        found.differs(f"log end: source {found.source_end}, mirror {found.mirror_end}")
    if mirror.stable_ends[number] != found.mirror_end:
        found.differs(f"the mirror has an open transaction at {mirror.stable_ends[number]}")
    return found


def _compare_records(
    found: PartitionComparison, source: _Side, mirror: _Side, original: Any, copy: Any, isolation: str, own: int
) -> None:
    number = found.partition
    expected = (
        (offset, reading.mirrored(content))
        for offset, content in reading.records(
            original, source.topic, number, max(found.source_start, own), source.stable_ends[number]
        )
    )
    actual = reading.records(copy, mirror.topic, number, max(found.mirror_start, own), mirror.ends[number])
    for offset, wanted, got in _aligned(expected, actual):
        found.records += wanted is not None
        if wanted != got:
            found.differs(f"offset {offset}, {isolation}: {_explain(wanted, got)}")


def _compare_batches(found: PartitionComparison, source: _Side, mirror: _Side) -> None:
    def kept(side: _Side, start: int, end: int) -> Iterator[memoryview]:
        for _, batch in raw_batches.batches(side.leaders[found.partition], side.topic, found.partition, start, end):
            if not raw_batches.attributes(batch) & raw_batches.CONTROL:
                yield batch

    ours = [(raw_batches.last_offset(batch), batch) for batch in kept(mirror, found.mirror_start, found.mirror_end)]
    actual = [(raw_batches.base_offset(batch), raw_batches.comparable(batch)) for _, batch in ours]
    ends = {base: last for (base, _), (last, _) in zip(actual, ours, strict=True)}
    expected = (
        (raw_batches.base_offset(group[0]), raw_batches.comparable(_joined(group)))
        for group in _grouped(kept(source, found.source_start, found.source_end), ends)
    )
    for base, wanted, got in _aligned(expected, actual):
        found.batches += wanted is not None
        if wanted is None:
            found.differs(f"batch at {base}: only on the mirror")
        elif got is None:
            found.differs(f"batch at {base}: not on the mirror")
        elif wanted != got:
            # Positions count from the attributes; behind them the producer's fields are left out.
            position = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), "the end")
            found.differs(f"batch at {base}: bytes differ ({len(wanted)} and {len(got)}), first at {position}")


def _grouped(batches: Iterable[memoryview], ends: Mapping[int, int]) -> Iterator[list[memoryview]]:
    """Groups plain batches of the source that the mirror may have as one, which ends at the offset of `ends`."""
    group: list[memoryview] = []
    end = -1
    for batch in batches:
        if group and (raw_batches.last_offset(batch) > end or raw_batches.attributes(batch)):
            yield group
            group = []
        if not group:
            base, last = raw_batches.base_offset(batch), raw_batches.last_offset(batch)
            end = last if raw_batches.attributes(batch) else ends.get(base, last)
        group.append(batch)
    if group:
        yield group


def _joined(group: Sequence[memoryview]) -> memoryview:
    return group[0] if len(group) == 1 else raw_batches.merged(group)


def _aligned(left: Iterable[tuple[int, T]], right: Iterable[tuple[int, T]]) -> Iterator[tuple[int, T | None, T | None]]:
    """Walks two sequences with ascending offsets side by side, with None where one has nothing."""
    lefts, rights = iter(left), iter(right)
    one, other = next(lefts, None), next(rights, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(lefts, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(rights, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(lefts, None), next(rights, None)


def _explain(wanted: reading.Content | None, got: reading.Content | None) -> str:
    if wanted is None or got is None:
        return "a record only on the mirror" if wanted is None else "no record on the mirror"
    names = ("key", "value", "headers", "timestamp type", "timestamp")
    parts = zip(names, wanted, got, strict=True)
    return "; ".join(f"{name}: source {_short(a)}, mirror {_short(b)}" for name, a, b in parts if a != b)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}... ({len(text)} characters)"


def compare_compacted(source_bootstrap: str, mirror_bootstrap: str, topic: str) -> list[str]:
    """Returns what is wrong with a mirror whose cleaner and the source's work at different times.

    A record that is on both sides is equal, the last record of each key is the same (or deleted), and the ends are.
    """
    source, mirror = _Side(source_bootstrap, topic), _Side(mirror_bootstrap, topic)
    wrong = [
        f"log end of {p}: {source.stable_ends[p]}, {mirror.ends[p]}"
        for p in source.partitions
        if source.stable_ends[p] != mirror.ends[p]
    ]
    for isolation in ("read_committed", "read_uncommitted"):
        for number in source.partitions:
            with reading.consumer(source_bootstrap, "read_committed") as original:
                theirs = dict(
                    reading.records(original, topic, number, source.starts[number], source.stable_ends[number])
                )
            with reading.consumer(mirror_bootstrap, isolation) as copy:
                ours = dict(reading.records(copy, topic, number, mirror.starts[number], mirror.ends[number]))
            wrong += [
                f"{number}: offset {offset}: {_explain(theirs[offset], ours[offset])}"
                for offset in theirs.keys() & ours.keys()
                if reading.mirrored(theirs[offset]) != ours[offset]
            ]
            left, right = _last(theirs), _last(ours)
            wrong += [
                f"{number}: last of {key!r}: {left.get(key)}, {right.get(key)}"
                for key in left.keys() | right.keys()
                if left.get(key) != right.get(key)
            ]
    return wrong


def _last(records: dict[int, reading.Content]) -> dict[bytes | None, tuple[int, bytes | None]]:
    last = {content[0]: (offset, content[1]) for offset, content in sorted(records.items())}
    return {key: (offset, value) for key, (offset, value) in last.items() if value is not None}
