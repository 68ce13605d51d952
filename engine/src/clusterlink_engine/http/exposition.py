"""Metrics as text: Prometheus' text format 0.0.4, of one process or of several workers together."""

from collections.abc import Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Sequence[Metric], worker: int = 0) -> str:
    """Answers metrics as text; with a worker's number, each series has it as the label `worker`."""
    if worker:
        for family in families:
            family.samples = [
                sample._replace(labels={**sample.labels, "worker": str(worker)}) for sample in family.samples
            ]
    return generate_latest(_Collected(families)).decode()


def merge(texts: Iterable[str]) -> str:
    """Answers one text of several: a metric's series must stand together, below one header."""
    headers: dict[str, list[str]] = {}
    series: dict[str, list[str]] = {}
    for text in texts:
        name, known = "", False
        for line in text.split("\n"):
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                known = name in headers
                headers.setdefault(name, [])
            if line.startswith("# "):
                if not known:
                    headers[name].append(line)
            elif line:
                series.setdefault(name, []).append(line)
    return "".join(f"{line}\n" for name, header in headers.items() for line in (*header, *series.get(name, ())))
