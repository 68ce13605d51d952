"""W4, W5 and W6: copying while the source is written, by commits, record by record, and over very many partitions."""

import math
from collections.abc import Mapping
from functools import partial

from benchmarks import live, measuring, pair, writing
from benchmarks.copiers import Copier
from benchmarks.live import Load, cleared, flowing
from benchmarks.pair import Pair
from benchmarks.results import CLIENT_LOOP, DIRECT, ENGINE, Result
from benchmarks.running import Job, Options, Rows, rounds

_PARTITIONS = 8
_VALUE_BYTES = 200
_RECORDS_PER_COMMIT = 2
# A commit takes some round trips, in which its writer waits.
_COMMITS_PER_WRITER = 25
# Brokers that have just started take half as many as they do some ten thousand commits later.
_WARM_UPS = 4

_LATENCY_RATE = 1_000

_TOPICS = 10
# MirrorMaker 2 creates all topics by one request, and a controller refuses one for 10,000 partitions.
_MOST_CREATED = 5_000
# Kafka makes room of 10 MB in advance for each of the two indexes of each partition.
_MANY = {"log.index.size.max.bytes": 1 << 16}


def commits(options: Options) -> Result:
    """W4: transactions at several rates."""
    what = f"transactions of {_RECORDS_PER_COMMIT} records of {_VALUE_BYTES} B over {_PARTITIONS} partitions"
    result = options.result(
        "w4", "W4: transactions", f"{what}, {options.seconds:.0f} s for each rate, read with read_committed"
    )
    with pair.running(options.kafka) as clusters:
        jobs: dict[str, Job] = {}
        for name, copier in options.copiers(loop=False).items():
            jobs[name] = partial(_commits, options, clusters, name, copier)
        rounds(result, options.runs, jobs, warm_up=[ENGINE] * _WARM_UPS)
    result.notes.append(
        "`written/s` are the commits that the source's broker and the writers reached; a mirror cannot be asked for more."
    )
    return result


def _commits(options: Options, clusters: Pair, name: str, copier: Copier) -> Rows:
    """Runs all rates, one after the other, with one copier."""
    topics = {f"commits-{rate}": _PARTITIONS for rate in options.rates}
    found: dict[str, Mapping[str, float]] = {}
    with cleared(clusters, topics), flowing(clusters, copier, topics) as flow:
        for rate, topic in zip(options.rates, topics, strict=True):
            arguments = {
                "commits": rate,
                "seconds": options.seconds,
                "value_bytes": _VALUE_BYTES,
                "records": _RECORDS_PER_COMMIT,
                "writers": math.ceil(rate / _COMMITS_PER_WRITER),
            }
            run = flow.carry_watched(
                {topic: _PARTITIONS}, Load(writing.in_transactions, arguments, _RECORDS_PER_COMMIT)
            )
            assert run.direct is not None
            group = f"{rate:,} commits/s"
            values = {**run.values(), "peak_mb": measuring.peak_mb(flow.pid)}
            found[f"{group}: {DIRECT}"] = live.percentiles(run.direct)
            found[f"{group}: {name}"] = {k: v for k, v in values.items() if k != "copier_cpu_million"}
    return found


def latency(options: Options) -> Result:
    """W5: how long a record is on its way."""
    what = f"{_LATENCY_RATE:,} records/s of {_VALUE_BYTES} B over {_PARTITIONS} partitions, {options.seconds:.0f} s"
    result = options.result("w5", "W5: latency", f"{what}; from the producer's call to the consumer")
    with pair.running(options.kafka) as clusters:
        jobs: dict[str, Job] = {}
        for name, copier in options.copiers().items():
            jobs[name] = partial(_latency, options, clusters, name, copier)
        rounds(result, options.runs, jobs, warm_up=(ENGINE,))
    result.notes.append(
        f"The direct consumer reads the source in the same runs; {CLIENT_LOOP} and all others write the mirror."
    )
    return result


def _latency(options: Options, clusters: Pair, name: str, copier: Copier) -> Rows:
    topics = {"latency": _PARTITIONS}
    arguments = {"rate": _LATENCY_RATE, "seconds": options.seconds, "value_bytes": _VALUE_BYTES}
    with cleared(clusters, topics), flowing(clusters, copier, topics) as flow:
        run = flow.carry_watched(topics, Load(writing.steadily, arguments))
        assert run.direct is not None
        values = {**run.values(), "peak_mb": measuring.peak_mb(flow.pid)}
        return {DIRECT: live.percentiles(run.direct), name: values}


def many(options: Options) -> Result:
    """W6: very many partitions, first with nothing to do, then with a record per second each."""
    what = f"{options.seconds:.0f} s without a record, and {options.seconds:.0f} s with a record of {_VALUE_BYTES} B per second"
    result = options.result("w6", "W6: many partitions", f"{_TOPICS} topics; {what} and partition")
    for count in options.partitions:
        jobs: dict[str, Job] = {}
        for name, copier in options.copiers(loop=False).items():
            jobs[name] = partial(_many, options, count, name, copier)
        rounds(result, options.runs, jobs)
    result.notes.append(
        "Each run has brokers of its own, that have just started. With 10,000 partitions the topics are created for "
        "MirrorMaker 2 before it starts: it would create all of them by one request, which a controller refuses."
    )
    return result


def _many(options: Options, count: int, name: str, copier: Copier) -> Rows:
    """Measures with clusters of its own: in those of another run new topics could not be used for more than a minute."""
    topics = {f"many-{number}": count // _TOPICS for number in range(_TOPICS)}
    arguments = {"rate": count, "seconds": options.seconds, "value_bytes": _VALUE_BYTES}
    with pair.running(options.kafka, settings=_MANY) as clusters:
        if name != ENGINE and count > _MOST_CREATED:
            clusters.create(clusters.destination, topics)
        with flowing(clusters, copier, topics) as flow:
            idle = {**flow.idle(options.seconds), "peak_mb": measuring.peak_mb(flow.pid), "start_s": flow.start_seconds}
            run = flow.carry(topics, Load(writing.steadily, arguments))
            busy = {**run.values(), "peak_mb": measuring.peak_mb(flow.pid)}
        return {f"{count:,} idle: {name}": idle, f"{count:,} at work: {name}": busy}
