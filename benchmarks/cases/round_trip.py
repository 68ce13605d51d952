"""W7: one hot partition, with a long way to the source."""

from functools import partial

from benchmarks import delay_line, pair
from benchmarks.backlog import Filled
from benchmarks.cases.throughput import copied
from benchmarks.pair import Places
from benchmarks.results import ENGINE, Result
from benchmarks.running import Job, Options, rounds
from benchmarks.writing import Backlog
from clusterlink_engine.devkit import ports
from clusterlink_engine.devkit.settings import Listener

_LISTENER = "FAR"
_ROUND_TRIP_SECONDS = 0.05
_PART = 0.3
_KEYS = ("mb_s", "copier_cpu_gb", "peak_mb", "start_s")


def far(options: Options) -> Result:
    """W7: the copiers reach the source through a line that needs 50 ms there and back, and is not narrow."""
    port = ports.free_port()
    listeners = {_LISTENER: Listener("PLAINTEXT", advertised=f"127.0.0.1:{port}")}
    with pair.running(options.kafka, listeners=listeners) as clusters:
        filled = Filled(clusters, 1, Backlog(int(options.gigabytes * _PART * 1e6)))
        what = f"{filled.size / 1e9:.2f} GB in one partition, batches of {filled.size / filled.batches:,.0f} B"
        way = f"a round trip of {_ROUND_TRIP_SECONDS * 1000:.0f} ms to the source"
        result = options.result("w7", "W7: one partition, far away", f"{what}, {way}")
        target = clusters.source.nodes[0].ports[_LISTENER]
        places = Places(f"127.0.0.1:{port}", clusters.destination.bootstrap_servers)
        jobs: dict[str, Job] = {}
        for name, copier in options.copiers().items():
            jobs[name] = partial(copied, name, filled, copier, places, _KEYS)
        with delay_line.running(port, target, _ROUND_TRIP_SECONDS):
            rounds(result, options.runs, jobs, warm_up=(ENGINE,))
    return result
