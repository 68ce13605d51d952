"""Fetch sessions (KIP-227): a broker remembers what is asked of each partition, and requests and answers tell what changed.

A request of a session names the partitions that are new in it, or asked otherwise than before, and those that are forgotten. An
answer names the partitions with records, an error, or other ends than the broker answered last; a partition that it does
not name is as it was. So idle partitions cost nothing.

One request is in flight at a time. Pure: it knows what the broker has been told, and writes the next request.
"""

from typing import Generic, NamedTuple, TypeVar

from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.fetch import FetchPartition, Session

# After the last epoch comes 1: 0 is for new sessions.
_LAST_EPOCH = 2**31 - 1

# What a broker answers to a request of a session that it does not have, or has otherwise. The session's end, and nothing worse.
_LOST = frozenset(
    {
        Code.FETCH_SESSION_ID_NOT_FOUND,
        Code.INVALID_FETCH_SESSION_EPOCH,
        Code.FETCH_SESSION_TOPIC_ID_ERROR,
        Code.INCONSISTENT_TOPIC_ID,
    }
)

Key = tuple[str, int]  # FetchPartition.key
Owner = TypeVar("Owner")


class Ask(NamedTuple, Generic[Owner]):
    """What is asked of a partition, and who gets what is answered."""

    owner: Owner
    partition: FetchPartition


class FetchRequest(NamedTuple):
    """What a request says: the session, the partitions that are new or changed, and those that are forgotten."""

    session: Session
    partitions: list[FetchPartition]
    forgotten: list[FetchPartition]


class FetchSession(Generic[Owner]):
    """What is asked of one broker over one connection.

    A broker answers the ends of a partition once, and again when they change. Who did not use them has the partition renewed:
    it is forgotten with the next request, and asked with the one after it as if it were new.

    A broker that has no room for the session is asked for all partitions each time, and for a session again.
    """

    def __init__(self, version: int, session_id: int = 0) -> None:
        """Begins without a session.

        Args:
            version: Of Fetch requests.
            session_id: Of a session that is over, so that the broker does not keep it; 0 for none.
        """
        self._version = version
        self._id = session_id
        self._epoch = 0
        # What is wanted now; what the broker was told; and where the two may differ.
        self._wanted: dict[Key, Ask[Owner]] = {}
        self._told: dict[Key, Ask[Owner]] = {}
        self._differing: dict[Key, None] = {}
        self._renewed: set[Key] = set()
        self._first = 0

    @property
    def id(self) -> int:
        """The session's id; 0 if there is none."""
        return self._id

    @property
    def wanted(self) -> int:
        """How many partitions are wanted."""
        return len(self._wanted)

    @property
    def told(self) -> int:
        """How many partitions an answer may name."""
        return len(self._told)

    @property
    def is_behind(self) -> bool:
        """Whether something of what is wanted was not in the last request: the next one should not be long in coming."""
        return bool(self._differing)

    def want(self, owner: Owner, partition: FetchPartition) -> None:
        """This is to be asked from the next request on, in place of what was asked of the partition before."""
        key = partition.key(self._version)
        self._wanted[key] = Ask(owner, partition)
        self._differing[key] = None

    def drop(self, owner: Owner, key: Key) -> None:
        """The owner does not ask this partition any more."""
        wanted = self._wanted.get(key)
        if wanted is not None and wanted.owner is owner:
            del self._wanted[key]
            self._differing[key] = None

    def renew(self, key: Key) -> None:
        """The partition's ends are to be answered again, though they may not change."""
        if key in self._told:
            self._renewed.add(key)
            self._differing[key] = None

    def asked(self, key: Key) -> Ask[Owner] | None:
        """Answers what a partition of the present answer was asked; None if nothing was."""
        return self._told.get(key)

    def request(self) -> FetchRequest:
        """Answers the next request; what it says counts as told."""
        if self._epoch:
            changed, forgotten = self._changes()
            if self._told:
                return FetchRequest(Session(self._id, self._epoch), changed, forgotten)
            self._epoch = 0  # a broker ends a session that has no partitions
        return FetchRequest(Session(self._id, 0), self._all(), [])

    def _changes(self) -> tuple[list[FetchPartition], list[FetchPartition]]:
        changed: list[FetchPartition] = []
        forgotten: list[FetchPartition] = []
        later: dict[Key, None] = {}
        for key in self._differing:
            wanted, told = self._wanted.get(key), self._told.get(key)
            if told is not None and (wanted is None or wanted.owner is not told.owner or key in self._renewed):
                forgotten.append(told.partition)
                del self._told[key]
                if wanted is not None:
                    later[key] = None  # a broker takes what is asked before what is forgotten
            elif wanted is not None and (told is None or told.partition != wanted.partition):
                changed.append(wanted.partition)
                self._told[key] = wanted
        self._differing = later
        self._renewed.clear()
        return changed, forgotten

    def _all(self) -> list[FetchPartition]:
        """Answers all that is wanted; each time another partition is first, since a broker fills its answer in that order.

        In a session the broker sees to that.
        """
        self._told = dict(self._wanted)
        self._differing.clear()
        self._renewed.clear()
        asks = [ask.partition for ask in self._wanted.values()]
        if not asks:
            return asks
        self._first = (self._first + 1) % len(asks)
        return asks[self._first :] + asks[: self._first]

    def answered(self, session_id: int) -> None:
        """The request was answered without an error of the whole.

        Args:
            session_id: As answered: 0 if the broker has no session, or has it no more.
        """
        if session_id and session_id == self._id and self._epoch:
            self._epoch = self._epoch + 1 if self._epoch < _LAST_EPOCH else 1
        else:
            self._id = session_id
            self._epoch = 1 if session_id else 0

    def refused(self, code: int) -> bool:
        """Tells whether a refusal of the whole request means only that the next one must begin anew.

        After any other refusal no session is told to be over: its id may be what a broker fails at.
        """
        if code not in _LOST or not self._epoch:
            self._id = self._epoch = 0
            return False
        self.begin_anew()
        return True

    def begin_anew(self) -> None:
        """The next request asks everything, and for a new session in place of this one."""
        self._epoch = 0
