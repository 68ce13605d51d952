"""From the record bytes of a fetched partition to the batches that are copied: cut, verified, and tiny ones merged.

Two ways lead there, to the same batches and bytes: `wire.batch` and `wire.merging` in Python, and `_cutting.c`, which does
both in one pass and makes no object of what is merged away. The compiled one is there if a C compiler was when the engine was
installed. It decides nothing: at whatever is unusual it says so before it writes, and Python does the work.
"""

from collections.abc import Set
from types import ModuleType
from typing import NamedTuple, Protocol

from clusterlink_engine.mirror.batches import BatchHeader
from clusterlink_engine.wire import batch, merging
from clusterlink_engine.wire.batch import Batch

_compiled: ModuleType | None
try:
    from clusterlink_engine.wire import _cutting as _compiled
except ImportError:  # it was installed without a compiler
    _compiled = None

IS_COMPILED = _compiled is not None
"""Whether the compiled way is there."""


class Cut(NamedTuple):
    """Batches in the order of their offsets, and from how many they were made: more, if some were merged."""

    batches: list[Batch]
    found: int


class Cutter(Protocol):
    """Cuts the record bytes of a fetched partition."""

    def __call__(self, records: memoryview, aborting: Set[int], *, merges: bool) -> Cut:
        """Answers the whole batches; the cut-off last one is left out.

        Args:
            records: Of one partition, nothing of an open transaction among them. Written to if `merges`.
            aborting: Ids of all producers of which a transaction is aborted here.
            merges: Whether tiny batches become one (`wire.merging`).

        Raises:
            TornBatchError: A length or an offset is impossible or a checksum differs; nothing of `records` may be used, and
                nothing was written.
        """


def cut_in_python(records: memoryview, aborting: Set[int], *, merges: bool) -> Cut:
    """Cuts without compiled code; see `Cutter`."""
    found = batch.split(records)
    return Cut(merging.merge(records, found, aborting) if merges else found, len(found))


def cut_compiled(records: memoryview, aborting: Set[int], *, merges: bool) -> Cut:
    """Cuts with compiled code, only if `IS_COMPILED`; see `Cutter`."""
    assert _compiled is not None  # noqa: S101 - the caller looked
    answer = _compiled.cut(records, aborting, merges, merging.MOST_RECORDS, merging.MOST_BYTES, batch.crc32c)
    if answer is None:
        return cut_in_python(records, aborting, merges=merges)
    found, described = answer
    return Cut(
        [
            Batch(header := BatchHeader(*fields), records[position : position + header.size])
            for position, fields in described
        ],
        found,
    )


def cutter(*, compiled: bool) -> Cutter:
    """Answers how to cut: with compiled code if it is wanted and there, else in Python."""
    return cut_compiled if compiled and IS_COMPILED else cut_in_python
