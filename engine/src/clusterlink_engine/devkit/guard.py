"""Sees to it that nothing stays behind when a process that started brokers dies, however it dies.

Each process that starts brokers has one guard: a small process of its own session (a Ctrl-C in the terminal does not
reach it) that is told, through a pipe, which directories to watch. The pipe closes when the owner ends, even by
SIGKILL; the guard then kills whatever was started on these directories and removes them. If the guard died too, the
next owner finds the directories by their owner file.
"""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from clusterlink_engine.devkit import processes

_PREFIX = "clusterlink-"
_OWNER = "owner.json"

_lock = threading.Lock()
_guard: subprocess.Popen[str] | None = None
# What the guard was told, to tell it to the next one should it die.
_watched: dict[str, str] = {}


def scratch_directory(purpose: str) -> Path:
    """Makes a directory that is removed with all its processes when this process ends; clears away stale ones first."""
    remove_stale()
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-")).resolve()
    owner = {"pid": os.getpid(), "birth": processes.birth(os.getpid())}
    (directory / _OWNER).write_text(json.dumps(owner))
    watch(directory, remove=True)
    return directory


def watch(directory: Path, *, remove: bool) -> None:
    """Has the processes of a directory ended, and the directory removed if so asked, when this process ends."""
    _tell("remove" if remove else "keep", directory)


def release(directory: Path) -> None:
    """Forgets a directory that its owner has cleared away."""
    _tell("release", directory)


def discard(directory: Path) -> None:
    """Removes a scratch directory and ends what still runs there."""
    _clear(directory, remove=True)
    release(directory)


def remove_stale() -> None:
    """Removes the scratch directories of this user whose owners are gone, and their processes."""
    for directory in Path(tempfile.gettempdir()).resolve().glob(f"{_PREFIX}*-*"):
        try:
            if directory.is_dir() and directory.stat().st_uid == os.getuid() and _is_stale(directory):
                _clear(directory, remove=True)
        except OSError:
            # Somebody else clears it at the same time.
            continue


def _is_stale(directory: Path) -> bool:
    try:
        owner = json.loads((directory / _OWNER).read_text())
        return processes.birth(int(owner["pid"])) != str(owner["birth"])
    except FileNotFoundError:
        return False  # not made by us, or made this very moment
    except (ValueError, KeyError, TypeError):
        # Half written: by an owner that is about to finish, or that died there.
        return time.time() - directory.stat().st_mtime > 60


def _tell(what: str, directory: Path) -> None:
    global _guard  # noqa: PLW0603 -- one guard for this process
    with _lock:
        if what == "release":
            _watched.pop(str(directory), None)
        else:
            _watched[str(directory)] = what
        if _guard is None or _guard.poll() is not None:
            _guard = _start()
            lines = [f"{told} {path}\n" for path, told in _watched.items()]
        else:
            lines = [f"{what} {directory}\n"]
        assert _guard.stdin is not None  # noqa: S101 -- made with a pipe
        _guard.stdin.writelines(lines)
        _guard.stdin.flush()


def _start() -> subprocess.Popen[str]:
    guard = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    atexit.register(_dismiss, guard)
    return guard


def _dismiss(guard: subprocess.Popen[str]) -> None:
    with suppress(BrokenPipeError):
        guard.communicate()


def _clear(directory: Path, *, remove: bool) -> None:
    # The directory stays while one of its processes does: it is the mark by which the next owner finds them.
    if processes.end_all_of(directory) and remove:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Watches until standard input closes, then clears away."""
    watched: dict[str, bool] = {}
    for line in sys.stdin:
        what, _, directory = line.rstrip("\n").partition(" ")
        if what == "release":
            watched.pop(directory, None)
        else:
            watched[directory] = what == "remove"
    for directory, remove in watched.items():
        _clear(Path(directory), remove=remove)


if __name__ == "__main__":
    main()
