"""What a process knows of links, mirror topics and partitions; the process that leads tells the others."""

from collections.abc import Callable, Mapping
from typing import Any

from clusterlink_engine.model.resources import (
    Allocation,
    Denial,
    DetachedMirror,
    Failure,
    Link,
    MirrorTopic,
    PartitionProgress,
    SavedOffsets,
    Stored,
    SyncedAcls,
)
from clusterlink_engine.store.records import key_of

Listener = Callable[[Mapping[str, Stored | None]], None]


class View:
    """Stored objects by name. Readers may read the dictionaries at any time and must not change them.

    Attributes:
        listeners: Told every change after it, by key (as in `store.records`); None stands for what is gone.
    """

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.mirrors: dict[str, MirrorTopic] = {}
        self.detached: dict[str, DetachedMirror] = {}
        self.partitions: dict[str, PartitionProgress] = {}
        self.allocations: dict[str, Allocation] = {}
        self.acls: dict[str, SyncedAcls] = {}
        self.offsets: dict[str, SavedOffsets] = {}
        self.denials: dict[str, Denial] = {}
        self.listeners: list[Listener] = []
        # Partitions that stopped for good, by mirror topic and number.
        self._failed: dict[str, dict[int, PartitionProgress]] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "link": self.links,
            "mirror": self.mirrors,
            "detached": self.detached,
            "partition": self.partitions,
            "allocation": self.allocations,
            "acls": self.acls,
            "offsets": self.offsets,
            "denial": self.denials,
        }

    def take(self, changes: Mapping[str, Stored | None]) -> None:
        """Takes over changed objects by key, and tells the listeners."""
        self.put(changes)
        for listener in self.listeners:
            listener(changes)

    def put(self, changes: Mapping[str, Stored | None]) -> None:
        """Takes over changed objects by key, and tells nobody."""
        for key, value in changes.items():
            kind, _, name = key.partition("/")
            if value is None:
                self._tables[kind].pop(name, None)
            else:
                self._tables[kind][name] = value
            if kind == "partition":
                self._note_failure(name)

    def _note_failure(self, name: str) -> None:
        topic, _, index = name.rpartition("/")
        progress = self.partitions.get(name)
        if progress is not None and progress.failure is not None:
            self._failed.setdefault(topic, {})[int(index)] = progress
        elif topic in self._failed:
            self._failed[topic].pop(int(index), None)

    def get(self, key: str) -> Stored | None:
        """Answers an object by its key."""
        kind, _, name = key.partition("/")
        found: Stored | None = self._tables[kind].get(name)
        return found

    def everything(self) -> dict[str, Stored]:
        """Answers all objects, by key."""
        return {key_of(kind, name): value for kind, table in self._tables.items() for name, value in table.items()}

    def progress(self, topic: str, topic_id: str, index: int) -> PartitionProgress:
        """Answers what is remembered of a partition; a new record if nothing is."""
        name = f"{topic}/{index}"
        found = self.partitions.get(name)
        return (
            found
            if found is not None and found.topic_id == topic_id
            else PartitionProgress(name=name, topic_id=topic_id)
        )

    def partition_keys(self, topic: str) -> list[str]:
        """Answers the keys of what is remembered of a mirror topic's partitions."""
        return [key_of("partition", name) for name in self.partitions if name.rpartition("/")[0] == topic]

    def failures(self, mirror: MirrorTopic) -> dict[int, Failure]:
        """Answers why partitions of a mirror topic stopped for good, by partition."""
        found = dict(mirror.failures)
        for index, progress in sorted(self._failed.get(mirror.name, {}).items()):
            if progress.failure is not None and progress.topic_id == mirror.topic_id and index < mirror.partition_count:
                found.setdefault(index, progress.failure)
        return found

    def mirrors_of(self, link: str) -> list[MirrorTopic]:
        """Answers the mirror topics of a link, by name."""
        return [mirror for _, mirror in sorted(self.mirrors.items()) if mirror.link == link]
