"""What copies topics from one cluster to another: the engine, and what it is measured beside."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.pair import Places, Topics

Copier = Callable[[Places, Topics, Path], AbstractContextManager[int]]
"""Starts to copy whole topics of the source, with the partitions that are told, to topics of the same names that are not at the
destination yet; puts its files in the directory; yields the pid; ends at the end."""
