"""What came out, as it is kept in docs/benchmarks.json, and the tables made of it."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

MM2_DEFAULT, MM2_TUNED = "MirrorMaker 2, defaults", "MirrorMaker 2, tuned"
ENGINE, CLIENT_LOOP = "engine", "confluent-kafka loop"
ENGINE_IN_PYTHON = "engine, no compiled code"
FETCH_ONLY, PRODUCE_ONLY = "fetch only", "produce only"
DIRECT = "direct consumer"


class Column(NamedTuple):
    """A column: its heading, the digits after the point, and whether more is better (None: it is not compared)."""

    heading: str
    digits: int
    more_is_better: bool | None = None


COLUMNS = {
    "mb_s": Column("MB/s", 0, True),
    "records_s": Column("records/s", 0, True),
    "written_s": Column("written/s", 0),
    "copier_cpu_gb": Column("copier CPU-s/GB", 2, False),
    "source_cpu_gb": Column("source CPU-s/GB", 2),
    "destination_cpu_gb": Column("destination CPU-s/GB", 2),
    "copier_cpu_million": Column("copier CPU-s/million", 1, False),
    "source_cpu_million": Column("source CPU-s/million", 1),
    "destination_cpu_million": Column("destination CPU-s/million", 1),
    "copier_core": Column("copier, % of a core", 1, False),
    "source_core": Column("source, % of a core", 1),
    "destination_core": Column("destination, % of a core", 1),
    "p50_ms": Column("p50 ms", 1, False),
    "p99_ms": Column("p99 ms", 1, False),
    "p999_ms": Column("p99.9 ms", 1, False),
    "added_ms": Column("added p50 ms", 1, False),
    "behind_s": Column("all there after, s", 2),
    "peak_mb": Column("peak memory MB", 0, False),
    "start_s": Column("start s", 1, False),
    "figure": Column("", 2),
}
"""Columns by key, in the order of the tables. `CPU-s/million` is per million records, `start` the time to the first record."""

_NOT_COMPARED = {FETCH_ONLY, PRODUCE_ONLY, DIRECT}


@dataclass
class Result:
    """The figures of a case.

    Attributes:
        case: Its name, as `w1`.
        title: For people.
        setup: What was measured on which machine, with versions and date.
        runs: Of each row: values by column, one of each run. Rows named `group: name` are compared within their group.
        spins: Seconds of the calibrating work before each run.
        notes: What has to be known to read the figures.
        failures: What was given up, and why.
    """

    case: str
    title: str
    setup: str
    runs: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    spins: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, row: str, values: Mapping[str, float]) -> None:
        """Adds a run to a row."""
        columns = self.runs.setdefault(row, {})
        for key, value in values.items():
            columns.setdefault(key, []).append(round(value, 4))

    def tables(self) -> list[str]:
        """Renders all as Markdown: medians with the range of all runs in brackets, then ratios of medians."""
        keys = [key for key in COLUMNS if any(key in columns for columns in self.runs.values())]
        rows = [[name, *(_cell(columns.get(key, []), key) for key in keys)] for name, columns in self.runs.items()]
        lines = _table(["", *(COLUMNS[key].heading for key in keys)], rows)
        ratios = self._ratios()
        if ratios:
            lines += ["", *ratios]
        if self.spins:
            low, middle, high = min(self.spins), statistics.median(self.spins), max(self.spins)
            noise = f"a fixed piece of work took {middle * 1000:.0f} ms [{low * 1000:.0f}-{high * 1000:.0f}] before the runs"
            lines += ["", f"The machine's noise: {noise}."]
        for note in [*self.notes, *self.failures]:
            lines += ["", note]
        return lines

    def median(self, row: str, key: str) -> float | None:
        """Returns the median of a row's column, or None if there is none."""
        values = self.runs.get(row, {}).get(key)
        return statistics.median(values) if values else None

    def _ratios(self) -> list[str]:
        """Renders what the rows are of MirrorMaker's and of the limit's, each row by those of its own group."""
        rows, keys = [], [k for k, c in COLUMNS.items() if c.more_is_better is not None and k != "added_ms"]
        for name, columns in self.runs.items():
            group, _, what = name.rpartition(": ")
            prefix = f"{group}: " if group else ""
            if what in _NOT_COMPARED or what == MM2_DEFAULT:
                continue
            for key in keys:
                own = self.median(name, key)
                bases = [
                    self.median(prefix + MM2_DEFAULT, key),
                    self.median(prefix + MM2_TUNED, key) if what != MM2_TUNED else None,
                    self._limit(prefix, key),
                ]
                if own is not None and key in columns and any(bases):
                    rows.append([f"{name}, {COLUMNS[key].heading}", *(_ratio(own, base) for base in bases)])
        return _table(["median as a multiple of", MM2_DEFAULT, MM2_TUNED, "the limits"], rows) if rows else []

    def _limit(self, prefix: str, key: str) -> float | None:
        """Returns the slower one of reading and writing, or what both take."""
        both = [self.median(prefix + row, key) for row in (FETCH_ONLY, PRODUCE_ONLY)]
        known = [value for value in both if value is not None]
        if len(known) < len(both):
            return self.median(prefix + DIRECT, key)
        return min(known) if COLUMNS[key].more_is_better else sum(known)


def load(file: Path) -> dict[str, Result]:
    """Reads the results by case."""
    return {case: Result(**fields) for case, fields in json.loads(file.read_text()).items()} if file.exists() else {}


def save(results: Mapping[str, Result], file: Path) -> None:
    """Writes the results."""
    file.write_text(json.dumps({case: asdict(result) for case, result in results.items()}, indent=1) + "\n")


def _cell(values: list[float], key: str) -> str:
    if not values:
        return ""
    found = (min(values), statistics.median(values), max(values))
    digits = COLUMNS[key].digits if found[1] < 100 else 0
    low, middle, high = (f"{value:,.{digits}f}" for value in found)
    return f"{middle} [{low}-{high}]" if len(values) > 1 else middle


def _ratio(own: float, base: float | None) -> str:
    return f"{own / base:.2f}" if base else ""


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    first, *others = ("| " + " | ".join(row) + " |" for row in [head, *rows])
    return [first, "|" + "---|" * len(head), *others]
