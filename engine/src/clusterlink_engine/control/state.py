"""What the engine knows, in memory and in the state topic; the one place that writes either."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from clusterlink_engine.control.view import View
from clusterlink_engine.errors import NotFoundError, StateError, StateUnavailableError
from clusterlink_engine.model.resources import (
    Allocation,
    Denial,
    DetachedMirror,
    Link,
    MirrorTopic,
    Named,
    PartitionProgress,
    SavedOffsets,
    Stored,
    SyncedAcls,
)
from clusterlink_engine.store.records import key_of
from clusterlink_engine.store.state_topic import Records, StateTopic
from clusterlink_engine.tasks import FatalHandler

Object = TypeVar("Object", bound=Named)

_KINDS: dict[type[Stored], str] = {
    Link: "link",
    MirrorTopic: "mirror",
    DetachedMirror: "detached",
    PartitionProgress: "partition",
    Allocation: "allocation",
    SyncedAcls: "acls",
    SavedOffsets: "offsets",
    Denial: "denial",
}


class State(View):
    """The view of the process that leads, and alone writes.

    A change is written to the state topic first; only when it is stored, memory follows, and listeners are told.
    """

    def __init__(self, store: StateTopic, records: Records, on_fatal: FatalHandler) -> None:
        """Takes over what was read from the state topic; `on_fatal` is told when it cannot be trusted any more."""
        super().__init__()
        self._store = store
        self._on_fatal = on_fatal
        self._writing = asyncio.Lock()
        self._locks: dict[str, asyncio.Lock] = {}
        self.take(records)

    @property
    def can_encrypt(self) -> bool:
        """Returns whether secrets that are stored are encrypted."""
        return self._store.can_encrypt

    @asynccontextmanager
    async def locked(self, kind: str, name: str) -> AsyncIterator[None]:
        """Holds the one lock of an object, so that its life goes step by step."""
        lock = self._locks.setdefault(key_of(kind, name), asyncio.Lock())
        async with lock:
            yield

    async def write(self, *objects: Named, gone: Iterable[str] = (), guard: Callable[[], None] | None = None) -> None:
        """Stores objects under their names and deletes others, in one transaction.

        Args:
            objects: Links, mirror topics and detached mirrors.
            gone: Keys of what is deleted, as `store.records.key_of` makes them.
            guard: Called when no other write can come between: raises if what was checked before no longer holds.

        Raises:
            StateError: Nothing was stored.
        """
        async with self._writing:
            if guard is not None:
                guard()
            await self._write({**{self._key(value): value for value in objects}, **dict.fromkeys(gone)})

    async def change(
        self, table: Mapping[str, Object], name: str, how: Callable[[Object], Object | None]
    ) -> Object | None:
        """Stores `how(present object)`; nothing if the object is gone or `how` answers None. Answers the stored object.

        Several changes of one object can come at once (a failure while a user pauses): each sees the one before.

        Raises:
            StateError: Nothing was stored.
        """
        async with self._writing:
            present = table.get(name)
            changed = how(present) if present is not None else None
            if changed is not None:
                await self._write({self._key(changed): changed})
            return changed

    def mirror(self, name: str, link: str = "") -> MirrorTopic:
        """Answers a mirror topic; of a certain link, if one is named.

        Raises:
            NotFoundError: There is none.
        """
        mirror = self.mirrors.get(name)
        if mirror is None or link not in ("", mirror.link):
            of = f' of the link "{link}"' if link else ""
            raise NotFoundError(
                f'There is no mirror topic "{name}"{of}.', field="name", reason="MIRROR_TOPIC_NOT_FOUND"
            )
        return mirror

    async def change_mirror(self, name: str, values: Mapping[str, object]) -> MirrorTopic:
        """Stores a mirror topic with other values of some fields, and answers it.

        Raises:
            NotFoundError: There is none.
            StateError: Nothing was stored.
        """
        changed = await self.change(self.mirrors, name, lambda mirror: mirror.model_copy(update=values))
        return changed if changed is not None else self.mirror(name)

    async def _write(self, changes: Mapping[str, Stored | None]) -> None:
        try:
            await self._store.write(changes)
        except StateUnavailableError:
            raise
        except StateError as error:
            self._on_fatal(error)  # fenced, or not known whether it was stored: memory may be wrong from now on
            raise
        self.take(changes)

    @staticmethod
    def _key(value: Named) -> str:
        return key_of(_KINDS[type(value)], value.name)
