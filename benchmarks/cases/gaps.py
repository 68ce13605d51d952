"""What gaps and takeovers cost: nothing else has them, so the engine is measured alone."""

import time
from functools import partial

from confluent_kafka import Producer

from benchmarks import pair
from benchmarks.copiers.engine import describe, mirror
from benchmarks.pair import TIMEOUT, Pair, wait
from benchmarks.results import Result
from benchmarks.running import Job, Options, Rows, rounds
from clusterlink_proto import v1

_ABORTED = 3_000
_SHARED = 8
_SECONDS = 300.0


def gaps(options: Options) -> Result:
    """Gaps: how fast they are filled, and how long another engine takes to go on."""
    what = f"{_ABORTED:,} offsets of one partition, all aborted; the creation of the link and the mirror topic is part of it"
    result = options.result("gaps", "Gaps and takeovers", what)
    with pair.running(options.kafka) as clusters:
        _abort(clusters, "aborted")
        jobs: dict[str, Job] = {way: partial(_filling, clusters, way) for way in ("markers", "transactions")}
        jobs["takeover"] = partial(_takeover, clusters)
        rounds(result, options.runs, jobs)
    return result


def _abort(clusters: Pair, topic: str) -> None:
    """Makes a topic of which everything was aborted."""
    clusters.create(clusters.source, {topic: 1}, {"retention.ms": "-1"})
    producer = Producer({"bootstrap.servers": clusters.source.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(_SECONDS)
    producer.begin_transaction()
    for number in range(_ABORTED):
        producer.produce(topic, b"%d" % number, partition=0)
    producer.flush(_SECONDS)  # else they would never be sent
    producer.abort_transaction(_SECONDS)


def _filling(clusters: Pair, way: str) -> Rows:
    topics = {"aborted": 1}
    engine = describe(clusters.places, clusters.new_directory(), settings={"replication": {"gap_filling": way}})
    with engine, engine.api() as api:
        began = time.monotonic()
        mirror(api, clusters.places, topics)
        clusters.wait_equal(topics, _SECONDS)
        seconds = time.monotonic() - began
    clusters.delete(clusters.destination, topics)
    offsets = sum(clusters.present_ends(clusters.source, topics).values())
    return {f"gaps filled by {way}, offsets/s": {"figure": offsets / seconds}}


def _takeover(clusters: Pair) -> Rows:
    """Measures from SIGKILL of one of two processes that share the work until the other mirrors all partitions."""
    topics = {"takeover": _SHARED}
    clusters.create(clusters.source, topics)
    directory = clusters.new_directory()
    first = describe(clusters.places, directory)
    second = describe(clusters.places, clusters.new_directory(), f"_state-{directory.name}")
    producer = Producer({"bootstrap.servers": clusters.source.bootstrap_servers})
    with first, first.api() as api:
        mirror(api, clusters.places, topics)

        def is_shared() -> bool:
            processes = api.engine.GetEngine(v1.GetEngineRequest(), timeout=TIMEOUT).processes
            return len(processes) == 2 and all(process.shards for process in processes)

        second.launch()
        try:
            wait(is_shared, "two engines share the work")
            first.kill()
            began = time.monotonic()
            for partition in range(_SHARED):
                producer.produce("takeover", b"after", partition=partition)
            assert producer.flush(TIMEOUT) == 0, "the source did not take the records"
            clusters.wait_equal(topics, _SECONDS)
            seconds = time.monotonic() - began
        finally:
            second.stop()
    for cluster in (clusters.source, clusters.destination):
        clusters.delete(cluster, topics)
    return {"from SIGKILL of one of two engines until all goes on, s": {"figure": seconds}}
