"""Keeps what is remembered of mirror partitions beside their logs, many at a time."""

import logging
from collections import Counter

from clusterlink_engine.control.state import State
from clusterlink_engine.errors import ClusterlinkError, is_retriable
from clusterlink_engine.model.resources import PartitionProgress
from clusterlink_engine.replication.cursor import Cursor
from clusterlink_engine.tasks import Backoff, Tasks

log = logging.getLogger(__name__)


class ProgressKeeper:
    """Stores what cursors learn; what comes while a write is under way goes into the next one."""

    def __init__(self, state: State, tasks: Tasks) -> None:
        self._state = state
        self._tasks = tasks
        self._new_epochs: dict[Cursor, None] = {}
        self._lost: Counter[Cursor] = Counter()
        self._storing = False

    def epochs_changed(self, cursor: Cursor) -> None:
        """The source has a new leader epoch; the cursor writes nothing before it is stored."""
        self._new_epochs[cursor] = None
        self._store_soon()

    def overtaken(self, cursor: Cursor, lost: int) -> None:
        """The source deleted offsets before they were mirrored."""
        log.warning("%s-%d: the source deleted %d offsets before they were mirrored", *cursor.key, lost)
        self._lost[cursor] += lost
        self._store_soon()

    def _store_soon(self) -> None:
        if not self._storing:
            self._storing = True
            self._tasks.start("store the progress of partitions", self._store())

    async def _store(self) -> None:
        """Stores everything that is new, as often as it takes."""
        backoff = Backoff(0.2, 10.0)
        while self._new_epochs or self._lost:
            epochs = {cursor: list(cursor.core.source_epochs) for cursor in self._new_epochs}
            lost = Counter(self._lost)
            try:
                await self._state.write(*(self._changed(cursor, lost[cursor]) for cursor in {**epochs, **lost}))
            except ClusterlinkError as error:
                if not is_retriable(error):
                    raise
                log.warning("the progress of %d partitions is not stored yet: %s", len({**epochs, **lost}), error)
                await backoff.wait()
                continue
            self._lost -= lost
            for cursor, stored in epochs.items():
                if cursor.core.source_epochs == stored:
                    del self._new_epochs[cursor]
                cursor.epochs_stored(stored)
        self._storing = False

    def _changed(self, cursor: Cursor, lost: int) -> PartitionProgress:
        present = self._state.progress(cursor.topic, cursor.topic_id, cursor.index)
        return present.model_copy(
            update={
                "source_epochs": tuple(cursor.core.source_epochs),
                "lost_offsets": present.lost_offsets + lost,
            }
        )
