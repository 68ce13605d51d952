"""The write guard: only super users may write to mirror topics, where the engine is a super user itself.

Kafka has no switch that makes a topic read-only. An ACL that denies everybody to write stops all but super users, an engine
that is none included. Whether the engine is one, on every broker, is told by a canary: an ACL that denies everybody to
describe a topic that does not exist. Who may describe it nevertheless is a super user. The canary stays as long as there are
links, so that it is noticed when the engine is a super user no longer.

The ACLs are compared with what they should be, again and again. What is created is stored before; nothing else is deleted.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from clusterlink_engine.control.state import State
from clusterlink_engine.errors import (
    BrokerRefusedError,
    ClusterlinkError,
    ClusterTimeoutError,
    KafkaError,
    is_retriable,
)
from clusterlink_engine.model.acls import Acl, AclFilter
from clusterlink_engine.model.resources import MIRRORED, Denial, Direction, MirrorTopic, Phase, Stored
from clusterlink_engine.store.records import key_of
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire.acls import (
    chunks,
    create_acls,
    delete_acls,
    describe_acls,
    may_be_open,
    may_describe,
)
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import refused

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 5.0
_BROKER_SECONDS = 5.0

_TOPICS = AclFilter(resource_type="TOPIC")
_DENIALS = AclFilter(resource_type="TOPIC", principal="User:*", host="*", permission_type="DENY")

# Names of topics have at most 249 characters.
_LONGEST_PREFIX = 240


class WriteGuardWay(StrEnum):
    """What becomes of foreign writes to mirror topics."""

    ACL = "ACL"
    """They are refused."""
    DETECTION_ONLY = "DETECTION_ONLY"
    """They are noticed."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one broker goes by.

    Attributes:
        denials: What it denies everybody, on topics.
        is_allowed: Whether it lets the engine do what the canary denies, asked after the denials were read.
        is_open: Whether it may let everybody use topics that no ACL speaks of.
    """

    denials: frozenset[Acl]
    is_allowed: bool
    is_open: bool


def judge(canary: Acl, sightings: Collection[Sighting | None]) -> WriteGuardWay | None:
    """Tells what can be done; None while that is not known.

    Args:
        canary: The ACL.
        sightings: Of each broker; None for one that did not answer.
    """
    answers = [sighting for sighting in sightings if sighting is not None]
    if not all(sighting.is_allowed for sighting in answers):
        return WriteGuardWay.DETECTION_ONLY
    if len(answers) == len(sightings) and all(canary in sighting.denials for sighting in answers):
        return WriteGuardWay.ACL
    return None


def spoken_of(topics: Collection[str], acls: Collection[Acl]) -> set[str]:
    """Answers those of some topics that an ACL speaks of."""
    names = {acl.resource_name for acl in acls if acl.pattern_type == "LITERAL"}
    prefixes = tuple(acl.resource_name for acl in acls if acl.pattern_type == "PREFIXED")
    return {topic for topic in topics if "*" in names or topic in names or topic.startswith(prefixes)}


class WriteGuard:
    """The guard of all mirror topics, in the process that leads.

    Attributes:
        way: What becomes of foreign writes; None until that is found out.
    """

    def __init__(
        self, state: State, cluster: Cluster, state_topic: str, *, is_on: bool, may_write: Callable[[], bool]
    ) -> None:
        """Makes it; `run` does the work.

        Args:
            state: What is stored.
            cluster: The local one.
            state_topic: Names the canary, so that each engine has its own.
            is_on: Whether the settings allow it.
            may_write: Whether this process still leads, as far as it can know.
        """
        self.way: WriteGuardWay | None = None if is_on else WriteGuardWay.DETECTION_ONLY
        self._state = state
        self._cluster = cluster
        self._canary = Denial(name=f"{state_topic[:_LONGEST_PREFIX]}-guard", operation="DESCRIBE")
        self._may_write = may_write
        self._wake = asyncio.Event()
        self._lifted: set[str] = set()
        # Whose ACLs the cluster has deleted, as it said; brokers may still go by them.
        self._deleted: set[str] = set()
        # Why ACLs that should not be there are, by topic.
        self._refusals: dict[str, str] = {}
        self._seen: frozenset[Acl] = frozenset()
        self._said = ""
        state.listeners.append(self._changed)

    # What others ask.

    def lift(self, name: str, *, give_up: bool) -> str:
        """Lets others write to a topic that is being stopped, as soon as may be.

        Args:
            name: Of the mirror topic, to which nothing more is written by the engine.
            give_up: Whether not to wait for a cluster that refuses.

        Returns:
            What that waits for, for people; empty if for nothing.
        """
        if name not in self._state.denials or (give_up and self.is_stuck(name)):
            self._lifted.discard(name)
            return ""
        if name not in self._lifted:
            self._lifted.add(name)
            self._wake.set()
        return self._refusals.get(name, "the guard against foreign writes is being removed")

    def is_stuck(self, name: str) -> bool:
        """Tells whether the cluster refuses to remove the guard of a topic."""
        return name in self._refusals

    def obstacle(self, mirror: MirrorTopic) -> str:
        """Answers who cannot write to a topic although they should, and why; empty if it is as it should be."""
        guard = Denial(name=mirror.name).acl
        refusal = self._refusals.get(mirror.name, "")
        if _is_local(mirror) and mirror.phase is Phase.STOPPED and (refusal or guard in self._seen):
            return f"nobody but super users can write to it as long as there is this ACL: {guard}. {refusal}".strip()
        return refusal

    # What it does.

    async def run(self) -> None:
        """Works for ever; a fault is logged, once as long as it stays the same, and tried again."""
        backoff = Backoff(0.1, _INTERVAL_SECONDS)
        while True:
            self._wake.clear()
            is_done = False
            try:
                is_done = await self._round()
            except ClusterlinkError as error:
                self._say(str(error))
            else:
                self._say("; ".join(sorted(set(self._refusals.values()))))
            if is_done:
                backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS if is_done else backoff.next()):
                    await self._wake.wait()

    async def _round(self) -> bool:
        """Brings the ACLs in line; answers whether they are, as far as can be."""
        if not self._state.denials and not self._is_wanted:
            self._seen = frozenset()
            return True
        sightings = await self._look()
        answers = [sighting for sighting in sightings.values() if sighting is not None]
        self._seen = frozenset().union(*(sighting.denials for sighting in answers))
        if self._is_wanted:
            self._use(judge(self._canary.acl, sightings.values()), "the engine's user is no super user")
        guardable = await self._guardable(is_open=any(sighting.is_open for sighting in answers))
        is_removed = await self._remove(guardable)
        if self._is_wanted and self._canary.acl not in self._seen:
            await self._create([self._canary])
            return False
        if self.way is WriteGuardWay.ACL:
            await self._create([Denial(name=name) for name in sorted(guardable) if self._is_mirrored(name)])
        return is_removed and self.way is not None

    @property
    def _is_wanted(self) -> bool:
        return self.way is not WriteGuardWay.DETECTION_ONLY and bool(self._state.links)

    def _is_mirrored(self, name: str) -> bool:
        mirror = self._state.mirrors.get(name)
        return mirror is not None and _is_local(mirror) and mirror.phase in MIRRORED

    def _is_kept(self, name: str) -> bool:
        """Whether a guard that is there may stay: until nothing of the mirroring can be on its way any more."""
        if not self._is_wanted:
            return False
        mirror = self._state.mirrors.get(name)
        if mirror is None:
            return name == self._canary.name
        if not _is_local(mirror) or mirror.phase is Phase.STOPPED:
            return False
        return not (mirror.phase is Phase.SEALING and name in self._lifted)

    async def _look(self) -> dict[int, Sighting | None]:
        """Asks each broker.

        Raises:
            KafkaError: None answered.
        """
        nodes = list((await self._cluster.metadata([])).brokers)
        answers = await asyncio.gather(*(self._ask(node) for node in nodes), return_exceptions=True)
        found: dict[int, Sighting | None] = {}
        errors: list[KafkaError] = []
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, KafkaError):
                errors.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            found[node] = answer if isinstance(answer, Sighting) else None
        refusal = next((error for error in errors if isinstance(error, BrokerRefusedError) and _is_final(error)), None)
        if refusal is not None:
            self._use(WriteGuardWay.DETECTION_ONLY, str(refusal))
        if len(errors) == len(nodes):
            if refusal is not None:
                self._refusals = {name: str(refusal) for name in self._state.denials if not self._is_kept(name)}
            raise errors[0]
        return found

    async def _ask(self, node: int) -> Sighting:
        try:
            async with asyncio.timeout(_BROKER_SECONDS):
                denials = await describe_acls(self._cluster, _DENIALS, node)
                is_allowed = await may_describe(self._cluster, node, self._canary.name)
                is_open = is_allowed and await may_be_open(self._cluster, node)
        except TimeoutError as error:
            raise ClusterTimeoutError(f"Broker {node} did not answer in time.", side=self._cluster.side) from error
        return Sighting(denials, is_allowed, is_open)

    async def _guardable(self, *, is_open: bool) -> set[str]:
        """Answers the mirror topics that nobody loses more than the right to write by a guard."""
        names = set(self._state.mirrors)
        if not is_open or self.way is not WriteGuardWay.ACL:
            return names
        ours = {stored.acl for stored in self._state.denials.values()}
        return spoken_of(names, await describe_acls(self._cluster, _TOPICS) - ours)

    async def _create(self, wanted: Collection[Denial]) -> None:
        missing = [denial for denial in wanted if denial.acl not in self._seen]
        for some in chunks(missing):

            def check(some: Collection[Denial] = some) -> None:
                if not all(denial == self._canary or self._is_mirrored(denial.name) for denial in some):
                    raise _OutdatedError("A mirror topic is not to be guarded any more.")

            new = [denial for denial in some if denial.name not in self._state.denials]
            try:
                await self._state.write(*some, guard=check)
            except _OutdatedError:
                self._wake.set()
                return
            if not self._may_write():
                return
            self._deleted.difference_update(denial.name for denial in some)
            results = await create_acls(self._cluster, [denial.acl for denial in some])
            refusals = {
                denial.name: refused(code, f"Creating the ACL {denial.acl}", self._cluster.side, text)
                for denial, (code, text) in zip(some, results, strict=True)
                if code
            }
            final = {name: error for name, error in refusals.items() if _is_final(error)}
            for error in final.values():
                self._use(WriteGuardWay.DETECTION_ONLY, str(error))
            await self._forget([denial for denial in new if denial.name in final])
            if refusals:
                raise next(iter(refusals.values()))

    async def _remove(self, guardable: Collection[str]) -> bool:
        """Removes what must not be there any more; answers whether no broker goes by it."""
        gone = [
            denial
            for denial in self._state.denials.values()
            if not self._is_kept(denial.name) or (denial.name not in guardable and denial.name != self._canary.name)
        ]
        # What was deleted may still be gone by; and what was created may not be seen yet.
        present = [denial for denial in gone if denial.acl in self._seen or denial.name not in self._deleted]
        await self._forget([denial for denial in gone if denial not in present])
        refusals: dict[str, str] = {}
        for some in chunks(present):
            if not self._may_write():
                return False
            results = await delete_acls(self._cluster, [denial.acl for denial in some])
            for denial, (code, text) in zip(some, results, strict=True):
                if code:
                    error = refused(code, f"Deleting the ACL {denial.acl}", self._cluster.side, text)
                    if not is_retriable(error):
                        refusals[denial.name] = str(error)
                else:
                    self._deleted.add(denial.name)
        self._refusals = refusals
        return len(refusals) == len(present)

    async def _forget(self, denials: Collection[Denial]) -> None:
        if denials:
            names = {denial.name for denial in denials}
            await self._state.write(gone=[key_of("denial", name) for name in names])
            self._deleted -= names

    def _use(self, way: WriteGuardWay | None, why: str) -> None:
        if way is None or way is self.way:
            return
        self.way = way
        if way is WriteGuardWay.ACL:
            log.info("an ACL keeps others from writing to mirror topics")
        else:
            log.info("foreign writes to mirror topics are noticed, but not prevented: %s", why)

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._said:
            log.warning("the guard of mirror topics: %s", trouble)
        self._said = trouble

    def _changed(self, changes: Mapping[str, Stored | None]) -> None:
        if any(key.startswith(("mirror/", "link/")) for key in changes):
            self._wake.set()


def _is_local(mirror: MirrorTopic) -> bool:
    """Whether the mirror is the topic on the local cluster."""
    return mirror.direction is Direction.REMOTE_TO_LOCAL


def _is_final(error: BrokerRefusedError) -> bool:
    """Whether the cluster will say the same until somebody changes it; UNKNOWN_SERVER_ERROR (-1) says nothing at all."""
    return error.code > 0 and not is_retriable(error)


class _OutdatedError(ClusterlinkError):
    """What was to be guarded has changed meanwhile."""
