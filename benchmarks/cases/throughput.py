"""W1, W2 and W3: how fast a backlog is copied, beside the limits."""

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks import pair
from benchmarks.backlog import Copy, Filled
from benchmarks.copiers import Copier
from benchmarks.copiers.engine import engine
from benchmarks.pair import Places
from benchmarks.results import ENGINE, ENGINE_IN_PYTHON, FETCH_ONLY, PRODUCE_ONLY, Result
from benchmarks.running import Job, Options, Rows, rounds
from benchmarks.writing import Backlog
from clusterlink_engine.devkit.settings import Value

_PARTITIONS = 8
_RECORD_BYTES = 1000
_TINY_BYTES = 152  # with 70 bytes of the batch around it

_BY_SIZE = ("mb_s", "copier_cpu_gb", "source_cpu_gb", "destination_cpu_gb", "peak_mb", "start_s")
_BY_COUNT = ("records_s", "copier_cpu_million", "source_cpu_million", "destination_cpu_million", "peak_mb", "start_s")


def large(options: Options) -> Result:
    """W1: records of 1 KB that no codec makes smaller, in batches of 64 KB."""
    backlog = Backlog(int(options.gigabytes * 1e9 / _RECORD_BYTES), _RECORD_BYTES)
    return _measure(options, "w1", "W1: records of 1 KB, full batches", backlog, _BY_SIZE)


def compressed(options: Options) -> Result:
    """W2: the same number of records, to less than half of the size by lz4."""
    backlog = Backlog(int(options.gigabytes * 1e9 / _RECORD_BYTES), _RECORD_BYTES, 0.42, "lz4")
    keys = (*_BY_SIZE[:1], *_BY_COUNT)
    return _measure(options, "w2", "W2: records of 1 KB, lz4", backlog, keys, {"producer.compression.type": "lz4"})


def tiny(options: Options) -> Result:
    """W3: each record is a batch of its own; the engine with its compiled code, and without."""
    backlog = Backlog(options.records, _TINY_BYTES, batch_records=1)
    in_python = partial(engine, settings={"replication": {"record_code": "python"}})
    more: dict[str, Copier] = {ENGINE_IN_PYTHON: in_python}
    return _measure(options, "w3", "W3: batches of one record", backlog, _BY_COUNT, more=more)


def _measure(
    options: Options,
    case: str,
    title: str,
    backlog: Backlog,
    keys: tuple[str, ...],
    tuned: Mapping[str, Value] | None = None,
    more: Mapping[str, Copier] | None = None,
) -> Result:
    with pair.running(options.kafka) as clusters:
        filled = Filled(clusters, _PARTITIONS, backlog)
        what = f"{filled.size / 1e9:.2f} GB of log, {filled.records:,} records of {backlog.value_bytes} B"
        batches = f"batches of {filled.size / filled.batches:,.0f} B (codec {backlog.codec})"
        result = options.result(case, title, f"{what} in {_PARTITIONS} partitions, {batches}")
        jobs: dict[str, Job] = {
            FETCH_ONLY: lambda: chosen(FETCH_ONLY, filled.fetch_only(), keys, "destination"),
            PRODUCE_ONLY: lambda: chosen(PRODUCE_ONLY, filled.produce_only(), keys, "source"),
        }
        for name, copier in {**options.copiers(tuned), **(more or {})}.items():
            jobs[name] = partial(copied, name, filled, copier, clusters.places, keys)
        rounds(result, options.runs, jobs, warm_up=(FETCH_ONLY, PRODUCE_ONLY, ENGINE))
    return result


def copied(row: str, filled: Filled, copier: Copier, places: Places, keys: Sequence[str]) -> Rows:
    """Lets a copier copy a topic and returns some of the figures, as a row."""
    return chosen(row, filled.copy(copier, places), keys)


def chosen(row: str, copy: Copy, keys: Sequence[str], without: str = "-") -> Rows:
    """Returns some of the figures, as a row; none of those of a broker that has no part."""
    return {row: {key: value for key, value in copy.values().items() if key in keys and not key.startswith(without)}}
