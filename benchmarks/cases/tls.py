"""W8: what TLS on both sides costs, with batches of three sizes, and what it costs the others."""

from functools import partial

from benchmarks import pair
from benchmarks.backlog import Filled
from benchmarks.cases.throughput import copied
from benchmarks.copiers.engine import engine
from benchmarks.pair import Places
from benchmarks.results import ENGINE, Result
from benchmarks.running import Job, Options, rounds
from benchmarks.writing import Backlog
from clusterlink_engine.devkit.settings import Listener
from tests.support.certificates import Authority

_LISTENER = "TLS"
_BATCH_BYTES = (16_384, 65_536, 1_000_000)
_COMPARED = 65_536
_PARTITIONS = 8
_PART = 0.3
_PLAIN = "without TLS"
_KEYS = ("mb_s", "copier_cpu_gb", "source_cpu_gb", "destination_cpu_gb")


def tls(options: Options) -> Result:
    """W8: the engine without and with TLS, and for one size of batches all others with TLS."""
    authority = Authority("benchmark")
    broker = authority.issue("broker", "127.0.0.1")
    listeners = {_LISTENER: Listener("SSL", broker.certificate, broker.key)}
    count = int(options.gigabytes * _PART * 1e6)
    result = options.result(
        "w8", "W8: TLS", f"{count:,} records of 1000 B in {_PARTITIONS} partitions, TLS 1.3 on both sides"
    )
    with pair.running(options.kafka, listeners=listeners) as clusters:
        places = Places(clusters.source.servers(_LISTENER), clusters.destination.servers(_LISTENER), authority.pem)
        for batch_bytes in _BATCH_BYTES:
            filled = Filled(clusters, _PARTITIONS, Backlog(count, batch_bytes=batch_bytes))
            group = f"{filled.size / filled.batches / 1000:.0f} KB"
            plain = f"{group}: {ENGINE}, {_PLAIN}"
            jobs: dict[str, Job] = {plain: partial(copied, plain, filled, engine, clusters.places, _KEYS)}
            copiers = options.copiers() if batch_bytes == _COMPARED else {ENGINE: engine}
            for name, copier in copiers.items():
                row = f"{group}: {name}"
                jobs[row] = partial(copied, row, filled, copier, places, _KEYS)
            rounds(result, options.runs, jobs, warm_up=(plain,))
            filled.forget()
    return result
