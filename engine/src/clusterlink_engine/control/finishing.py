"""The steps of mirror topics that are created, rebuilt, detached or deleted: from the phase in their record to rest.

Every step is stored before it is taken, so that a process that dies in between leaves a record that says how to go on:
CREATING before the topic is created, CLEARING and DELETING before it is deleted.
"""

import asyncio
import logging
from collections.abc import Mapping

from clusterlink_engine.control.beginning import begin_of
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.seeding import Seeding
from clusterlink_engine.control.state import State
from clusterlink_engine.control.way import End, Way
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import (
    BrokerRefusedError,
    ClusterlinkError,
    FailedPreconditionError,
    LimitExceededError,
    NotFoundError,
    RequestError,
    Side,
    is_retriable,
)
from clusterlink_engine.mirror.topics import MOST_PARTITIONS
from clusterlink_engine.model.resources import DetachedMirror, Direction, Link, MirrorTopic, Phase
from clusterlink_engine.model.topic_settings import desired_settings, mirror_settings
from clusterlink_engine.store.records import key_of
from clusterlink_engine.tasks import Backoff, Tasks
from clusterlink_engine.wire.cluster import TopicInfo

log = logging.getLogger(__name__)

# How long create waits until each partition has read its log end, so that its answer says what plan will say.
_FIRST_PROBE_SECONDS = 5.0

# The field of a request that names the source topic.
SOURCE_FIELD = "mirror_topic.source_topic"

# Phases in which there is nothing to finish, or somebody else does.
AT_REST = (Phase.ACTIVE, Phase.PROMOTING, Phase.SEALING, Phase.TURNING, Phase.STOPPED)


class Finishing:
    """Takes mirror topics to where their records say; whoever calls for one holds its lock."""

    def __init__(self, state: State, plane: Plane, workforce: Workforce, tasks: Tasks) -> None:
        """Prepares; nothing is gone on with before `go_on`."""
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._tasks = tasks
        self._finishing: set[str] = set()
        self._seeding: dict[str, asyncio.Task[None]] = {}
        self._trouble: dict[str, str] = {}

    def waits_for(self, name: str) -> str:
        """Answers what keeps a mirror topic from being set up or deleted in the background, for people; empty if nothing."""
        return self._trouble.get(name, "")

    def go_on(self) -> None:
        """Finishes what an earlier process had begun."""
        for mirror in list(self._state.mirrors.values()):
            if mirror.phase not in AT_REST:
                self.go_on_with(mirror)

    async def complete_or_go_on(self, mirror: MirrorTopic, *, first: bool = False) -> MirrorTopic:
        """Completes a mirror topic; after a passing fault, in the background."""
        try:
            return await self._complete(mirror, first=first)
        except ClusterlinkError as error:
            # What is cleared has been deleted: somebody has to go on with it, whatever is in the way.
            if is_retriable(error) or mirror.phase is Phase.CLEARING:
                self.go_on_with(mirror)
            raise

    async def _complete(self, mirror: MirrorTopic, *, first: bool = False) -> MirrorTopic:
        """Goes on with a mirror topic from wherever it is, until it is ACTIVE or gone."""
        if mirror.phase is Phase.DETACHING:
            await (self.detach(mirror) if mirror.direction is Direction.REMOTE_TO_LOCAL else self.leave(mirror))
            return mirror
        way = self._plane.way(mirror)
        if mirror.phase is Phase.DELETING:
            await self._workforce.stopped(mirror.name)
            await way.destination.topics.delete(mirror)
            await self._state.write(gone=self.everything(mirror))
            log.info("mirror topic %s deleted", mirror.name)
            return mirror
        if mirror.phase is Phase.CLEARING:
            mirror = await self._clear(mirror, way)
        if mirror.phase is Phase.CREATING:
            mirror = await self._create_topic(mirror, way, first=first)
        if mirror.phase is Phase.SEEDING:
            self._start_seeding(mirror)
        await self._first_probe(mirror)
        log.info("mirror topic %s of %s on link %s is set up", mirror.name, mirror.source_topic, mirror.link)
        return self._state.mirrors.get(mirror.name, mirror)

    async def _clear(self, mirror: MirrorTopic, way: Way) -> MirrorTopic:
        """Deletes the topic that a mirror takes the place of; one that is rebuilt begins with what its source is then."""
        await self._workforce.stopped(mirror.name)
        if mirror.replaces:
            await way.destination.topics.delete_by_id(mirror.replaces)
        begun: dict[str, object] = {"phase": Phase.CREATING}
        if not mirror.restoring:
            source = await source_of(way.source, mirror.source_topic)
            begun |= {"replaces": "", "source_topic_id": source.topic_id, "partition_count": len(source.partitions)}
        return await self._state.change_mirror(mirror.name, begun)

    async def _create_topic(self, mirror: MirrorTopic, way: Way, *, first: bool) -> MirrorTopic:
        try:
            created = await self._try_to_create_topic(mirror, way, first=first)
        except (BrokerRefusedError, RequestError) as error:
            if is_retriable(error) or mirror.restoring:
                raise
            await self._state.write(gone=[key_of("mirror", mirror.name)])
            if isinstance(error, RequestError):
                raise
            raise FailedPreconditionError(str(error), field=_blamed(error), reason=error.name) from error
        return await self._state.change_mirror(mirror.name, created)

    async def _try_to_create_topic(self, mirror: MirrorTopic, way: Way, *, first: bool) -> dict[str, object]:
        """Creates the topic and answers what is known of the mirror topic then."""
        # The cluster's default of the replication factor is not known before the topic is there; the sync mends what
        # depends on it.
        source = (await way.source.admin.settings([mirror.source_topic]))[mirror.source_topic]
        settings = await self._settings(mirror, way, source)
        link = link_of(self._state, mirror.link)
        is_compacted = "compact" in settings.get("cleanup.policy", "")
        start = mirror.start or link.mirror_start_offset
        begin = await begin_of(way.source.cluster, mirror, start, is_compacted=is_compacted)
        topics = way.destination.topics
        return {
            "topic_id": await topics.create(mirror, {**settings, **begin.settings}, first=first),
            "phase": Phase.SEEDING if begin.settings else Phase.ACTIVE,
            "first_offsets": begin.first_offsets,
            "seed_until": begin.seed_until,
            "replication_factor": await topics.replication_factor(mirror.name),
            "desired": desired_settings(source, include=link.topic_config_sync.include, overrides=mirror.overrides),
        }

    async def _settings(self, mirror: MirrorTopic, way: Way, source: Mapping[str, str]) -> dict[str, str]:
        """Answers the settings of a mirror topic that is seeded; `source` are those of its source topic."""
        return mirror_settings(
            source,
            known=await way.destination.topics.known_settings(),
            include=link_of(self._state, mirror.link).topic_config_sync.include,
            overrides=mirror.overrides,
            replication_factor=max(mirror.replication_factor, 1),
        )

    def _start_seeding(self, mirror: MirrorTopic) -> None:
        if mirror.name not in self._seeding:
            self._seeding[mirror.name] = self._tasks.start(f"seed {mirror.name}", self._seed(mirror))

    def stop_seeding(self, name: str) -> None:
        """Gives up a seeding that is under way, if there is one."""
        task = self._seeding.pop(name, None)
        if task is not None:
            task.cancel()

    async def _seed(self, mirror: MirrorTopic) -> None:
        """Seeds a mirror topic, and makes it ACTIVE with the settings of its source; as often as it takes."""
        name = mirror.name
        end = self._plane.way(mirror).destination
        await Seeding(name, end.cluster, end.admin, self._state, self._workforce).run()
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                async with self._state.locked("mirror", name):
                    way = self._plane.way(mirror)
                    source = await way.source.admin.settings([mirror.source_topic])
                    settings = await self._settings(mirror, way, source[mirror.source_topic])
                    await way.destination.admin.alter(name, settings)
                    await self._state.change_mirror(name, {"phase": Phase.ACTIVE})
                    self._seeding.pop(name, None)
                break
            except ClusterlinkError as error:
                log.warning("seeding of mirror topic %s: %s", name, error)  # a right that is missing can be given
            await backoff.wait()
        self._plane.way(mirror).config_sync.hurry_for(mirror.name)
        log.info("mirror topic %s is seeded", name)

    def go_on_with(self, mirror: MirrorTopic) -> None:
        """Finishes, in the background, what the record of a mirror topic says."""
        if mirror.name not in self._finishing:
            self._finishing.add(mirror.name)
            task = self._tasks.start(f"finish {mirror.phase} of {mirror.name}", self._finish(mirror.name))
            task.add_done_callback(lambda _: self._finishing.discard(mirror.name))

    async def _finish(self, name: str) -> None:
        """Completes a mirror topic in the background, as often as it takes."""
        backoff = Backoff(0.5, 30.0)
        while True:
            async with self._state.locked("mirror", name):
                mirror = self._state.mirrors.get(name)
                self._trouble.pop(name, None)
                if mirror is None or mirror.phase in AT_REST or name in self._seeding:
                    return
                try:
                    await self._complete(mirror)
                except ClusterlinkError as error:
                    self._trouble[name] = str(error)
                    log.warning("%s of mirror topic %s: %s", mirror.phase, name, error)
                    if not is_retriable(error) and name not in self._state.mirrors:
                        return
            await backoff.wait()

    async def _first_probe(self, mirror: MirrorTopic) -> None:
        try:
            async with asyncio.timeout(_FIRST_PROBE_SECONDS):
                await self._workforce.settled(mirror)
        except TimeoutError:
            pass

    async def detach(self, mirror: MirrorTopic) -> None:
        """Detaches a mirror topic in phase DETACHING.

        Raises:
            KafkaError: The local cluster did not answer; the topic is mirrored as before.
        """
        await self._workforce.stopped(mirror.name)
        try:
            topics = self._plane.way(mirror).destination.topics
            present = await topics.find(mirror.name)
            if present is None or present.topic_id != mirror.topic_id:
                await self._state.write(gone=self.everything(mirror))
                return
            failures = [f"{failure.error}: {failure.message}" for failure in self._state.failures(mirror).values()]
            record = DetachedMirror(
                name=mirror.name,
                source_topic=mirror.source_topic,
                source_topic_id=mirror.source_topic_id,
                topic_id=mirror.topic_id,
                remote_cluster_id=link_of(self._state, mirror.link).remote.cluster_id,
                log_ends=await topics.log_ends(present),
                failure=failures[0] if failures else "",
            )
            await self._state.write(record, gone=[key_of("mirror", mirror.name)])
        except ClusterlinkError:
            await self._state.change_mirror(mirror.name, {"phase": Phase.ACTIVE})  # the detach did not happen: go on
            raise
        log.info("mirror topic %s detached", mirror.name)

    async def leave(self, mirror: MirrorTopic) -> None:
        """Forgets a mirror on the remote cluster, which may be gone for good: both topics stay as they are."""
        self.stop_seeding(mirror.name)
        await self._state.change_mirror(mirror.name, {"phase": Phase.DETACHING})
        await self._workforce.stopped(mirror.name)
        await self._state.write(gone=self.everything(mirror))
        log.info("mirror topic %s is mirrored no more", mirror.name)

    def everything(self, mirror: MirrorTopic) -> tuple[str, ...]:
        """Answers the keys of all records of a mirror topic."""
        saved = [key_of("offsets", mirror.name)] if mirror.name in self._state.offsets else []
        return (key_of("mirror", mirror.name), *self._state.partition_keys(mirror.name), *saved)


def link_of(state: State, name: str) -> Link:
    """Answers a link.

    Raises:
        NotFoundError: There is none of that name.
    """
    link = state.links.get(name)
    if link is None:
        raise NotFoundError(f'There is no link "{name}".', field="mirror_topic.link", reason="LINK_NOT_FOUND")
    return link


async def source_of(source: End, topic: str) -> TopicInfo:
    """Answers the topic that is to be mirrored.

    Raises:
        FailedPreconditionError: It is not there.
        LimitExceededError: It has more partitions than are mirrored.
        KafkaError: The cluster did not answer.
    """
    found = (await source.cluster.metadata([topic])).topics.get(topic)
    if found is None or found.error or not found.partitions:
        raise FailedPreconditionError(
            f'The source topic "{topic}" does not exist on the remote cluster, or may not be described.',
            field=SOURCE_FIELD,
            reason="SOURCE_TOPIC_NOT_FOUND",
        )
    if len(found.partitions) > MOST_PARTITIONS:
        raise LimitExceededError(
            f'The source topic "{topic}" has {len(found.partitions)} partitions; up to {MOST_PARTITIONS} can be mirrored.',
            field=SOURCE_FIELD,
            reason="TOO_MANY_PARTITIONS",
        )
    return found


def _blamed(error: BrokerRefusedError) -> str:
    """Answers the field of a create that a cluster's refusal speaks of."""
    if error.name == "INVALID_REPLICATION_FACTOR":
        return "mirror_topic.replication_factor"
    is_of_topic = error.side is Side.REMOTE or error.name.endswith("AUTHORIZATION_FAILED")
    return SOURCE_FIELD if is_of_topic else "mirror_topic.config"
