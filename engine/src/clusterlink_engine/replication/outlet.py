"""An outlet: whoever writes for cursors keeps here which ones it serves, and which of them have something to write."""

import asyncio

from clusterlink_engine.replication.cursor import Cursor


class Outlet:
    """The cursors of a writer; those that are ready are served in turn."""

    def __init__(self) -> None:
        self._cursors: dict[Cursor, None] = {}
        self._ready: dict[Cursor, None] = {}  # in the order in which they are served
        self._wake = asyncio.Event()

    def add(self, cursor: Cursor) -> None:
        """The cursor is served here from now on."""
        self._cursors[cursor] = None

    def remove(self, cursor: Cursor) -> None:
        """The cursor is served elsewhere, or not any more."""
        self._cursors.pop(cursor, None)
        self._ready.pop(cursor, None)

    def ready(self, cursor: Cursor) -> None:
        """The cursor has something that may be written."""
        self._ready[cursor] = None
        self._wake.set()

    def _take(self) -> Cursor:
        """Answers the cursor whose turn it is; only while one is ready."""
        cursor = next(iter(self._ready))
        del self._ready[cursor]
        return cursor

    def _lose_all(self) -> None:
        """The broker may have begun anew, with a shorter log: every cursor looks at its own first."""
        for cursor in list(self._cursors):
            cursor.lost()
