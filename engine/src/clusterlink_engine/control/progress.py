"""Keeps what is remembered of mirror partitions beside their logs, many at a time."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from clusterlink_engine.control.view import View
from clusterlink_engine.errors import ClusterlinkError, StateFencedError, is_retriable
from clusterlink_engine.mirror.batches import Refusal
from clusterlink_engine.model.resources import Failure, PartitionProgress
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.tasks import Backoff, Tasks

log = logging.getLogger(__name__)


class ProgressKeeper:
    """Has stored what the cursors of this process learn; what comes while a write is under way goes into the next one."""

    def __init__(
        self,
        view: Callable[[], View],
        store: Callable[[Sequence[PartitionProgress]], Awaitable[None]],
        tasks: Tasks,
    ) -> None:
        """Begins with nothing to store.

        Args:
            view: What this process knows now.
            store: Has records stored, by this process or by the one that leads.
            tasks: Owner of the storing.
        """
        self._view = view
        self._store = store
        self._tasks = tasks
        self._new: dict[Cursor, None] = {}
        self._lost: Counter[Cursor] = Counter()
        self._failures: dict[Cursor, Failure] = {}
        self._storing = False

    def epochs_changed(self, cursor: Cursor) -> None:
        """The source has a new leader epoch; the cursor writes nothing before it is stored."""
        self._store_soon(cursor)

    def overtaken(self, cursor: Cursor, lost: int) -> None:
        """The source deleted offsets before they were mirrored."""
        log.warning("%s-%d: the source deleted %d offsets before they were mirrored", *cursor.key, lost)
        self._lost[cursor] += lost
        self._store_soon(cursor)

    def failed(self, cursor: Cursor, refusal: Refusal) -> None:
        """A partition cannot go on; its first failure stays."""
        self._failures.setdefault(cursor, Failure(error=refusal.error, message=refusal.message))
        self._store_soon(cursor)

    def _store_soon(self, cursor: Cursor) -> None:
        self._new[cursor] = None
        if not self._storing:
            self._storing = True
            self._tasks.start("store the progress of partitions", self._store_all())

    async def _store_all(self) -> None:
        """Has everything stored that is new, as often as it takes."""
        backoff = Backoff(0.2, 10.0)
        while self._new:
            cursors, self._new = self._new, {}
            epochs = {cursor: list(cursor.core.source_epochs) for cursor in cursors}
            lost = Counter({cursor: self._lost[cursor] for cursor in cursors})
            try:
                await self._store([self._changed(cursor, lost[cursor]) for cursor in cursors])
            except StateFencedError as error:
                # The lease has run out, or the shard moved: its new owner finds out for itself.
                log.warning("the progress of %d partitions is not stored: %s", len(cursors), error)
                for cursor in cursors:
                    cursor.ask_again()  # and it has new epochs stored again, should it still be there
                continue
            except ClusterlinkError as error:
                if not is_retriable(error):
                    raise
                log.warning("the progress of %d partitions is not stored yet: %s", len(cursors), error)
                self._new.update(cursors)
                await backoff.wait()
                continue
            backoff.reset()
            self._lost -= lost
            for cursor, stored in epochs.items():
                if cursor.core.source_epochs != stored:
                    self._new[cursor] = None
                cursor.epochs_stored(stored)
                if cursor in self._failures:
                    cursor.settled.set()
        self._storing = False

    def _changed(self, cursor: Cursor, lost: int) -> PartitionProgress:
        present = self._view().progress(cursor.topic, cursor.topic_id, cursor.index)
        return present.model_copy(
            update={
                "source_epochs": tuple(cursor.core.source_epochs),
                "lost_offsets": present.lost_offsets + lost,
                "failure": present.failure or self._failures.get(cursor),
            }
        )
