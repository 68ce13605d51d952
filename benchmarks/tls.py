"""What TLS costs: copies the same topics in plain text and with TLS on both sides, in turns, for batches of three sizes.

Prints the table of docs/benchmarks.md. GB are 10^9 bytes of record batches.
"""

import argparse
import os
import statistics
import sys

from benchmarks.copying import TOPIC, Bench, Measure, Tls
from clusterlink_engine.devkit import guard, kafka
from clusterlink_engine.devkit.settings import Listener
from tests.support.certificates import Authority

_BATCH_BYTES = (16_384, 65_536, 1_000_000)
_WARM_UP = 1
_LISTENER = "TLS"


def row(name: str, runs: list[Measure]) -> str:
    """Renders medians, with the range of all runs in brackets."""

    def cell(values: list[float], digits: int) -> str:
        return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"

    cells = [
        cell([run.rate for run in runs], 0),
        cell([run.per_gb(run.cpu) for run in runs], 2),
        cell([run.per_gb(run.source_cpu) for run in runs], 2),
        cell([run.per_gb(run.destination_cpu) for run in runs], 2),
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def ratio(plain: list[Measure], tls: list[Measure]) -> str:
    """Tells what the median of TLS is of the one without."""

    def median(runs: list[Measure], what: str) -> float:
        return statistics.median(
            run.rate if what == "rate" else run.per_gb(run.cpu + run.source_cpu + run.destination_cpu) for run in runs
        )

    rate, cpu = (median(tls, what) / median(plain, what) for what in ("rate", "cpu"))
    return f"{rate:.2f} times the throughput, {cpu:.2f} times the processor time of all three"


def main() -> None:
    """Runs all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.5, help="size of the records' values, for each batch size")
    parser.add_argument("--runs", type=int, default=3, help="of each case, in turns")
    options = parser.parse_args()
    options.record_bytes, options.partitions, options.codec = 1000, 8, "none"
    authority = Authority("benchmark")
    broker = authority.issue("broker", "127.0.0.1")
    listeners = {_LISTENER: Listener("SSL", broker.certificate, broker.key)}
    tls = Tls(_LISTENER, authority.pem)
    source, destination = (
        kafka.KafkaCluster(name=name, listeners=listeners, java_options=kafka.LARGE)
        for name in ("source", "destination")
    )
    directory = guard.scratch_directory("bench")
    lines: list[str] = []
    try:
        with kafka.running(source, destination):
            for batch_bytes in _BATCH_BYTES:
                options.batch_bytes = batch_bytes
                bench = Bench(source, destination, directory)
                bench.fill(options)
                bench.fetch_only()  # tells the size
                results: dict[str, list[Measure]] = {"PLAINTEXT": [], "SSL": []}
                for number in range(1 - _WARM_UP, options.runs + 1):
                    for name, way in (("PLAINTEXT", None), ("SSL", tls)):
                        measured = bench.copy(way)
                        text = f"{batch_bytes} B  {name:9}  {measured.rate:.0f} MB/s"
                        print(text, f"{measured.per_gb(measured.cpu):.2f} CPU-s/GB", file=sys.stderr, flush=True)
                        if number > 0:
                            results[name].append(measured)
                bench.delete(source, TOPIC)
                size = f"{bench.size / bench.batches / 1000:.0f} KB"
                lines += [row(f"{size}, {name}", runs) for name, runs in results.items()]
                print(f"{size}: {ratio(results['PLAINTEXT'], results['SSL'])}", file=sys.stderr, flush=True)
    finally:
        guard.discard(directory)
    print(f"\n{os.cpu_count()} cores shared by all; medians of {options.runs} runs [lowest-highest]\n")
    head = ["batches", "MB/s", "engine CPU-s/GB", "source CPU-s/GB", "destination CPU-s/GB"]
    print("\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines]))


if __name__ == "__main__":
    main()
