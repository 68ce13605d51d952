"""The check of a link: everything that it needs, looked at without creating or changing anything.

Both clusters are looked at at the same time, over connections of the check's own, within a deadline. What could not be found
out is UNKNOWN, with the reason: nothing is called PRESENT that was not seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from clusterlink_engine.control.inspection import STEP, Inspection
from clusterlink_engine.control.subjects import Subject, Subjects, subjects_of
from clusterlink_engine.control.write_guard import WriteGuardWay
from clusterlink_engine.errors import Side
from clusterlink_engine.model.checks import Check, Status
from clusterlink_engine.model.resources import Link
from clusterlink_engine.model.rights import Feature, Right, Scope, needed
from clusterlink_engine.security import Security
from clusterlink_engine.wire.brokers import topic_settings

DEFAULT_SECONDS = 10.0

# So many checks are made at the same time, with connections of their own: others wait.
_AT_ONCE = 4

_MAX_MESSAGE_BYTES = "max.message.bytes"
_NOTHING = Subject()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a check has to know of the engine.

    Attributes:
        bootstrap_servers: Of the local cluster.
        security: Of the local cluster.
        state_topic: Of the engine; it exists.
        gap_filling: As in the settings.
        write_guard: Answers what becomes of foreign writes; None while that is not known.
    """

    bootstrap_servers: Sequence[str]
    security: Security
    state_topic: str
    gap_filling: str = "auto"
    write_guard: Callable[[], WriteGuardWay | None] = lambda: None


class Preflight:
    """Checks links against both clusters."""

    def __init__(self, engine: Surroundings) -> None:
        self._engine = engine
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def check(self, link: Link, topics: Collection[str], *, seconds: float = DEFAULT_SECONDS) -> list[Check]:
        """Looks at everything that a link needs, as it is configured; it need not exist.

        Args:
            link: The link. Without a cluster id any remote cluster will do, but for the local one.
            topics: Source topics that are mirrored, or shall be.
            seconds: Until when there is an answer; what is not known by then is UNKNOWN.
        """
        async with self._room:
            return await self._check(link, topics, seconds)

    async def _check(self, link: Link, topics: Collection[str], seconds: float) -> list[Check]:
        engine = self._engine
        remote = Inspection(Side.REMOTE, link.remote.bootstrap_servers, link.remote.security, seconds)
        local = Inspection(Side.LOCAL, engine.bootstrap_servers, engine.security, seconds)
        try:
            await asyncio.gather(remote.connect(), local.connect())
            subjects = await self._subjects(link, topics, remote, seconds)
            sources = subjects[Side.REMOTE, Scope.SOURCE_TOPICS].names
            sides = (
                [remote.clock(), *self._rights(remote, link, subjects)],
                [local.clock(), *self._rights(local, link, subjects), *_settings(local, remote, sources)],
            )
            found = [await rows for rows in [asyncio.gather(*looks) for looks in sides]]
        finally:
            remote.close()
            local.close()
        guard = [_write_guard(engine.write_guard())]
        return [*remote.connection, _identity(link, local, remote), *found[0], *local.connection, *found[1], *guard]

    async def _subjects(self, link: Link, topics: Collection[str], remote: Inspection, seconds: float) -> Subjects:
        try:
            async with asyncio.timeout(seconds * STEP):
                return await subjects_of(link, topics, self._engine.state_topic, remote.cluster)
        except TimeoutError:
            return await subjects_of(link, topics, self._engine.state_topic, None)

    def _rights(self, inspection: Inspection, link: Link, subjects: Subjects) -> list[Awaitable[Check]]:
        looks: list[Awaitable[Check]] = [
            inspection.right(self._as_set(right), subjects.get((right.side, right.scope), _NOTHING))
            for right in needed(link)
            if right.side is inspection.side and not self._is_moot(right)
        ]
        return [*looks, inspection.authorizer()] if link.acl_sync.enable else looks

    def _as_set(self, right: Right) -> Right:
        """Answers a right, without its substitute if the settings forbid that."""
        is_forced = right.feature is Feature.MARKERS and self._engine.gap_filling == "markers"
        return replace(right, has_substitute=False) if is_forced else right

    def _is_moot(self, right: Right) -> bool:
        """Tells whether nobody asks for a right: the state topic is there, or the settings say how gaps are filled."""
        if right.scope is Scope.STATE_TOPIC:
            return right.is_for_creation
        return right.feature is Feature.MARKERS and self._engine.gap_filling == "transactions"


def _identity(link: Link, local: Inspection, remote: Inspection) -> Check:
    row = Check("cluster id", Side.REMOTE, Feature.RECORDS, is_required=True)
    if remote.metadata is None:
        return row.found(Status.UNKNOWN, "the remote cluster was not reached")
    found, wanted = remote.metadata.cluster_id, link.remote.cluster_id
    if wanted and found != wanted:
        return row.found(
            Status.MISSING, f"it is {found or '(none)'}, but {wanted} was expected; check the bootstrap servers"
        )
    if local.metadata is not None and found == local.metadata.cluster_id and not link.topic_prefix:
        return row.found(
            Status.MISSING, f"{found} is the local cluster itself; a mirror topic would have the name of its source"
        )
    return row.found(Status.PRESENT, found)


def _settings(local: Inspection, remote: Inspection, sources: Collection[str]) -> list[Awaitable[Check]]:
    async def largest() -> int:
        if remote.cluster is None or not sources:
            return 0
        found = await topic_settings(remote.cluster, sources, [_MAX_MESSAGE_BYTES])
        return max((int(settings.get(_MAX_MESSAGE_BYTES, "0")) for settings in found.values()), default=0)

    async def requests(row: Check) -> Check:
        most = await largest()

        def judge(value: str) -> str:
            return (
                f"a source topic has {_MAX_MESSAGE_BYTES} {most}, and no larger batch can be written"
                if most > int(value)
                else ""
            )

        return await local.setting(row.name, judge, Feature.RECORDS)

    def creates(value: str) -> str:
        return (
            "a client that asks for a mirror topic before it is there makes a topic of its own, and keeps the mirror out"
            if value == "true"
            else ""
        )

    def keeps(value: str) -> str:
        return "mirror topics cannot be deleted" if value == "false" else ""

    bytes_row = Check("socket.request.max.bytes", Side.LOCAL, Feature.RECORDS)
    return [
        local.setting("auto.create.topics.enable", creates, Feature.RECORDS),
        local.setting("delete.topic.enable", keeps, Feature.RECORDS),
        local.bounded(bytes_row, requests),
    ]


def _write_guard(way: WriteGuardWay | None) -> Check:
    row = Check("super user", Side.LOCAL, "write guard")
    if way is WriteGuardWay.ACL:
        return row.found(Status.PRESENT, "foreign writes to mirror topics are refused")
    if way is None:
        return row.found(Status.UNKNOWN, "the engine has not found it out; it does once there is a link")
    return row.found(
        Status.WARNING,
        "foreign writes to mirror topics are noticed, not prevented; super.users of the brokers changes that",
    )
