"""Tells processes of this machine apart, and whether one of them is dead for sure."""

import os
from pathlib import Path

_STATE_FIELD, _START_FIELD = 0, 19  # of /proc/<pid>/stat, after the name in parentheses


def identity(pid: int | None = None) -> str:
    """Answers what no other process has: this boot, the namespace of process ids, the process id, and its start time.

    Empty if there is no such process (or it has ended and is not yet reaped), or on a machine that does not tell.
    """
    pid = os.getpid() if pid is None else pid
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[_STATE_FIELD] in "ZX" else f"{boot}/{namespace}/{pid}/{fields[_START_FIELD]}"


def is_dead(found: str) -> bool:
    """Tells whether a process with this identity ran here and is dead for sure; false if that cannot be known."""
    mine = identity()
    boot, namespace, pid, _ = found.split("/") if found.count("/") == 3 else ("", "", "", "")
    if not mine or not pid or mine.split("/")[:2] != [boot, namespace]:
        return False
    return identity(int(pid)) != found
