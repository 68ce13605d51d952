"""Finding and ending processes that belong to a directory of ours."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def birth(pid: int) -> str | None:
    """Returns a mark of the process with this pid that no later process with the same pid shares, or None."""
    stat = _PROC / str(pid) / "stat"
    if (_PROC / "self").exists():
        try:
            # After the command in parentheses, which may hold spaces: the 20th field from there is the start time.
            return stat.read_text().rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return None
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607 -- as found on the PATH
    return answer.stdout.strip() or None


def of_directory(directory: Path) -> list[int]:
    """Returns the pids of Java and Python processes that were started on a path in this directory.

    Only these two programs: a user who looks at a log file in there is not ours to end.
    """
    needle = str(directory)
    return [
        pid
        for pid, command in _commands()
        if pid != os.getpid() and needle in command and Path(command.split()[0]).name.startswith(("java", "python"))
    ]


def end_all_of(directory: Path, deadline_seconds: float = 10) -> bool:
    """Kills the processes of a directory; returns whether all are gone before the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while pids := of_directory(directory):
        if time.monotonic() > deadline:
            return False
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return True


def _commands() -> Iterator[tuple[int, str]]:
    if (_PROC / "self").exists():
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    # Empty for kernel threads, and for processes that ended and are not waited for yet.
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    if command:
                        yield int(entry.name), command
        return
    answer = subprocess.run(["ps", "-A", "-o", "pid=,command="], capture_output=True, text=True, check=False)  # noqa: S607 -- as found on the PATH
    for line in answer.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        if command.strip():
            yield int(pid), command.strip()
