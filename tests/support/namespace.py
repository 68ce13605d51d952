"""Processes that are nobody: an own user, no capabilities, and a file system that cannot be written to.

As the systemd unit has it, by the same means of the kernel. Only root can set that up, and not in every container.
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Of the range that systemd gives out to dynamic users.
UID = 64123

_PREFIX = ["unshare", "--mount", "--propagation", "private"]

# What was written to memory cannot be executed from here on (PR_SET_MDWE of prctl(2)).
_LOCKED = (
    "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0; os.execv(sys.argv[1], sys.argv[1:])"
)


def is_possible() -> bool:
    """Tells whether this process may make such others."""
    return subprocess.run([*_PREFIX, "true"], check=False, capture_output=True).returncode == 0


def command(
    arguments: Sequence[str], environment: Mapping[str, str], *, writable: Path, needs: Sequence[Path]
) -> list[str]:
    """Answers the command that runs another as nobody.

    Args:
        arguments: The command; absolute paths.
        environment: All variables that it has.
        writable: The one directory that it can write to: an empty one in memory, whatever is there.
        needs: What it must be able to read, though this user's own directories are closed to others.
    """
    opened = _open(dict.fromkeys([*needs, Path(sys.base_prefix)]))
    own = f"uid={UID},gid={UID},mode=0700"
    script = [
        "set -e",
        *opened,
        f"mount -t tmpfs -o {own} none {shlex.quote(str(writable))}",
        # Of each file system, what is not the kernel's own, and what was made above.
        "for at in $(awk '$3 !~ /^(proc|sysfs|devtmpfs|devpts|cgroup2?|mqueue|bpf)$/ {print $2}' /proc/mounts); do",
        f'  [ "$at" = {shlex.quote(str(writable))} ] || mount -o remount,bind,ro "$at" 2>/dev/null || true',
        "done",
        "if touch / 2>/dev/null; then exit 99; fi",
        "cd /",
        'exec "$@"',
    ]
    drop = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs"]
    drop += ["--bounding-set=-all", "--inh-caps=-all"]
    variables = [f"{name}={value}" for name, value in environment.items()]
    locked = [sys.executable, "-c", _LOCKED, *arguments]
    return [*_PREFIX, "sh", "-c", "\n".join(script), "sh", *drop, "env", "-i", *variables, *locked]


def _open(needs: Sequence[Path] | dict[Path, None]) -> list[str]:
    """Answers how paths are put where they are, below directories that others may not enter."""
    lines: list[str] = []
    closed: dict[Path, list[Path]] = {}
    for path in needs:
        above = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
        if above:
            closed.setdefault(above[-1], []).append(path)
    for number, (top, paths) in enumerate(closed.items()):
        hold = f"/mnt/hold-{number}"
        lines += [
            "mount -t tmpfs -o mode=0755 none /mnt",
            f"mkdir {hold}",
            f"mount --bind {shlex.quote(str(top))} {hold}",
        ]
        lines += [f"mount -t tmpfs -o mode=0755 none {shlex.quote(str(top))}"]
        for path in paths:
            place = shlex.quote(str(path))
            lines += [f"mkdir -p {place}", f"mount --bind {hold}/{shlex.quote(str(path.relative_to(top)))} {place}"]
    return lines
