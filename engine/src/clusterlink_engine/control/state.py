"""What the engine knows, in memory and in the state topic; the one place that writes either.

Changes that come while one is written wait, and are then written together, in one transaction: a transaction takes as long
for a hundred records as for one.

Memory holds all of it. So if somebody deletes the topic under the engine, it is made anew and everything is written into it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from clusterlink_engine.control.state_home import StateHome
from clusterlink_engine.control.view import View
from clusterlink_engine.errors import (
    BrokerRefusedError,
    KafkaError,
    NotFoundError,
    StateError,
    StateFencedError,
    StateUnavailableError,
)
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

log = logging.getLogger(__name__)

Object = TypeVar("Object", bound=Named)

_LOOK_SECONDS = 5.0  # how often the topic is looked for while nothing is written

# Requests in one transaction, so that none has to wait for long.
_TOGETHER = 200

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


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """Somebody's change, and how they learn what became of it.

    Attributes:
        decide: Answers what is to be stored, by key; raises if nothing is. Nothing comes between it and the storing, but
            other requests that have decided before, which it sees as stored.
        done: Told when it is stored, or why not.
    """

    decide: Callable[[], Mapping[str, Stored | None]]
    done: "asyncio.Future[None]"


class State(View):
    """The view of the process that leads, and alone writes.

    A change is written to the state topic first; only when it is stored, memory follows, and listeners are told.
    """

    def __init__(
        self, store: StateTopic, home: StateHome, records: Records, kept_in: str, on_fatal: FatalHandler
    ) -> None:
        """Takes over what was read from the state topic.

        Args:
            store: The state topic, open.
            home: Makes it anew if it is deleted.
            records: What was read from it.
            kept_in: The id of the topic before that.
            on_fatal: Told when the state cannot be trusted any more.
        """
        super().__init__()
        self._store = store
        self._home = home
        self._kept_in = kept_in  # the id of the topic that everything is in; empty while it is in none
        self._on_fatal = on_fatal
        self._storing = asyncio.Lock()
        self._waiting: list[_Request] = []
        self._writer: asyncio.Task[None] | None = None
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
            guard: Called when no other write can come between: raises if what was checked before no longer holds. It must
                look at nothing but this state.

        Raises:
            StateError: Nothing was stored.
        """

        def decide() -> Mapping[str, Stored | None]:
            if guard is not None:
                guard()
            return {**{self._key(value): value for value in objects}, **dict.fromkeys(gone)}

        await self.transact(decide)

    async def change(
        self, table: Mapping[str, Object], name: str, how: Callable[[Object], Object | None]
    ) -> Object | None:
        """Stores `how(present object)`; nothing if the object is gone or `how` answers None. Answers the stored object.

        Several changes of one object can come at once (a failure while a user pauses): each sees the one before.

        Raises:
            StateError: Nothing was stored.
        """
        changed: Object | None = None

        def decide() -> Mapping[str, Stored | None]:
            nonlocal changed
            present = table.get(name)
            changed = how(present) if present is not None else None
            return {} if changed is None else {self._key(changed): changed}

        await self.transact(decide)
        return changed

    async def transact(self, decide: Callable[[], Mapping[str, Stored | None]]) -> None:
        """Stores what `decide` answers, by key, in one transaction; None deletes.

        Whoever waits for it may be cancelled, which changes nothing about the storing.

        Args:
            decide: Called when no other write can come between. It must look at nothing but this state, and may raise.

        Raises:
            StateError: Nothing was stored.
        """
        loop = asyncio.get_running_loop()
        request = _Request(decide, loop.create_future())
        self._waiting.append(request)
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_all(), name="write the state")
        await request.done

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

    async def _write_all(self) -> None:
        """Stores what waits, as often as something does."""
        while self._waiting:
            requests, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            changes, decided = self._decide(requests)
            failure = await self._write(changes) if changes else None
            for request in decided:
                _tell(request.done, failure)

    def _decide(self, requests: Iterable[_Request]) -> tuple[dict[str, Stored | None], list[_Request]]:
        """Answers what is to be stored, and for whom; each request sees what the ones before it want as if it were stored.

        Nothing is awaited here, so nobody else sees that.
        """
        changes: dict[str, Stored | None] = {}
        before: dict[str, Stored | None] = {}
        decided: list[_Request] = []
        for request in requests:
            try:
                wanted = request.decide()
            except Exception as error:
                _tell(request.done, error)
                continue
            before = {**{key: self.get(key) for key in wanted}, **before}
            self.put(wanted)
            changes.update(wanted)
            decided.append(request)
        self.put(before)
        return changes, decided

    async def keep(self) -> None:
        """Looks for the state topic for ever, and has it made anew when it is gone, though nothing is to be written."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Looks for the state topic once."""
        try:
            if await self._is_in_place():
                return
            self._store.gone(True)  # whoever is writing need not wait for long
            async with self._storing:
                if not await self._is_in_place():
                    await self._write_everything({})
                self._store.gone(False)
        except StateUnavailableError as error:
            log.error("%s", error)
        except Exception as error:
            self._on_fatal(error)

    async def _store_all(self, changes: Mapping[str, Stored | None]) -> None:
        """Stores changes, in a new topic if the present one goes away: then nothing that became of them there matters."""
        async with self._storing:
            if self._kept_in:
                try:
                    await self._store.write(changes)
                except StateFencedError:
                    raise
                except StateError:
                    if await self._is_in_place():
                        raise
                else:
                    return
            await self._write_everything(changes)

    async def _is_in_place(self) -> bool:
        """Whether everything is in the topic that there is; yes, if there was one and nobody can be asked now.

        Raises:
            StateUnavailableError: There is no topic, and it cannot be made.
        """
        try:
            return await self._present() == self._kept_in
        except StateUnavailableError as error:
            if self._kept_in and not isinstance(error.__cause__, BrokerRefusedError):
                log.info("%s", error)
                return True
            raise

    async def _present(self) -> str:
        """Answers the id of the state topic that there is, if need be a new one.

        Raises:
            StateUnavailableError: There is none and it cannot be made, or nobody can be asked.
        """
        try:
            return await self._home.ensure()
        except BrokerRefusedError as error:
            raise StateUnavailableError(
                f"The state topic cannot be found, nor made anew: {error} Once it is there, with the cleanup.policy compact, "
                "everything is written into it; mirroring goes on, but until then nothing can be changed, and the engine must "
                "not stop."
            ) from error
        except KafkaError as error:
            raise StateUnavailableError(f"The state topic cannot be looked for: {error}") from error

    async def _write_everything(self, changes: Mapping[str, Stored | None]) -> None:
        """Writes all of memory, and changes, into a topic that has nothing of it, or that nobody knows of what it has."""
        present = await self._present()
        log.error(
            "the state topic %s was deleted, and is another one now; everything is written into it", self._home.topic
        )
        self._store.gone(False)
        self._kept_in = ""  # from now on until it is done, nothing must come into the new topic that is not everything
        await self._store.write_anew({**self.everything(), **changes})
        self._kept_in = present
        log.warning("the state topic %s has everything again", self._home.topic)

    async def _write(self, changes: Mapping[str, Stored | None]) -> Exception | None:
        """Stores and takes over changes; answers why nothing was stored."""
        try:
            await self._store_all(changes)
        except StateUnavailableError as error:
            return error
        except Exception as error:
            self._on_fatal(error)  # fenced, or not known whether it was stored: memory may be wrong from now on
            return error
        try:
            self.take(changes)
        except Exception as error:
            self._on_fatal(error)  # it is stored, but not everybody in this process knows
        return None

    @staticmethod
    def _key(value: Named) -> str:
        return key_of(_KINDS[type(value)], value.name)


def _tell(done: "asyncio.Future[Any]", failure: Exception | None) -> None:
    if done.done():
        return  # nobody waits any more
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
