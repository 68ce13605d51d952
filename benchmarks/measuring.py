"""What is measured: processor time and memory of processes, and the noise of the machine."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.pair import Pair

_SPINS = 2_000_000


@dataclass(frozen=True)
class Usage:
    """Processor seconds, user and system, of the copier and of the two brokers."""

    copier: float
    source: float
    destination: float

    def __sub__(self, other: "Usage") -> "Usage":
        """Returns what was used since."""
        return Usage(self.copier - other.copier, self.source - other.source, self.destination - other.destination)


def usage(pair: Pair, pid: int | None = None) -> Usage:
    """Returns what was used so far; the copier is a process with all its children, or none."""
    return Usage(
        sum(_seconds(process) for process in _tree(pid)) if pid is not None else 0.0,
        _seconds(psutil.Process(pair.source.nodes[0].pid)),
        _seconds(psutil.Process(pair.destination.nodes[0].pid)),
    )


def peak_mb(pid: int) -> float:
    """Returns the largest resident size of a process and its children so far; the present one where peaks are not told."""
    return sum(_peak(process) for process in _tree(pid)) / 1e6


def spin() -> float:
    """Returns the seconds that a fixed piece of work takes now: what else runs on the machine makes it longer."""
    began = time.perf_counter()
    for _ in range(_SPINS):
        pass
    return time.perf_counter() - began


def _tree(pid: int) -> Iterator[psutil.Process]:
    process = psutil.Process(pid)
    yield process
    yield from process.children(recursive=True)


def _seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):  # a child that has just ended
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _peak(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status")
    with suppress(OSError, psutil.NoSuchProcess):
        if not status.exists():
            return float(process.memory_info().rss)
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024.0
    return 0.0
