"""The life of mirror topics: create, update, pause, resume, delete. Promote and failover are in `stops`.

Every step is stored before it is taken, so that a process that dies in between leaves a record that says how to go on:
CREATING before the topic is created, DELETING before it is deleted.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping

from clusterlink_engine.control.beginning import begin_of
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.seeding import Seeding
from clusterlink_engine.control.state import State
from clusterlink_engine.control.taking_up import check_untouched
from clusterlink_engine.control.topics import Topics
from clusterlink_engine.control.way import End, Way
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import (
    AlreadyExistsError,
    BrokerRefusedError,
    ClusterlinkError,
    FailedPreconditionError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    RequestError,
    Side,
    is_retriable,
)
from clusterlink_engine.mirror.topics import MOST_PARTITIONS
from clusterlink_engine.model.resources import DetachedMirror, Direction, Link, MirrorTopic, Phase
from clusterlink_engine.model.specs import MirrorTopicSpec
from clusterlink_engine.model.topic_settings import desired_settings, mirror_settings
from clusterlink_engine.store.records import key_of
from clusterlink_engine.tasks import Backoff, Tasks
from clusterlink_engine.wire.cluster import TopicInfo

log = logging.getLogger(__name__)

# How long create waits until each partition has read its log end, so that its answer says what plan will say.
_FIRST_PROBE_SECONDS = 5.0

_SOURCE = "mirror_topic.source_topic"

# Phases in which there is nothing to finish, or somebody else does.
_AT_REST = (Phase.ACTIVE, Phase.PROMOTING, Phase.SEALING, Phase.TURNING, Phase.STOPPED)


class MirrorTopics:
    """The mirror topics of all links: they begin on the local cluster."""

    def __init__(self, state: State, plane: Plane, workforce: Workforce, topics: Topics, tasks: Tasks) -> None:
        """Makes them; `topics` are those of the local cluster."""
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._topics = topics
        self._tasks = tasks
        self._finishing: set[str] = set()
        self._seeding: dict[str, asyncio.Task[None]] = {}
        self._trouble: dict[str, str] = {}

    def list(self, link: str = "") -> list[MirrorTopic]:
        """Answers all mirror topics, or those of a link, by name."""
        return [mirror for _, mirror in sorted(self._state.mirrors.items()) if link in ("", mirror.link)]

    def waits_for(self, name: str) -> str:
        """Answers what keeps a mirror topic from being set up or deleted in the background, for people; empty if nothing."""
        return self._trouble.get(name, "")

    def go_on(self) -> None:
        """Finishes what an earlier process had begun."""
        for mirror in list(self._state.mirrors.values()):
            if mirror.phase not in _AT_REST:
                self.go_on_with(mirror)

    async def create(self, spec: MirrorTopicSpec, client_token: str, *, validate_only: bool) -> MirrorTopic:
        """Creates a mirror topic, takes up a detached one, or only checks whether that could be done.

        Raises:
            RequestError: The request is wrong, or the topic cannot be created; nothing is left behind.
            KafkaError: A cluster did not answer. If the intent was stored already, the engine goes on by itself, and a
                create with the same token waits for it.
        """
        link = self._link(spec.link)
        name = spec.mirror_name(link.topic_prefix)
        spec.check(link.topic_config_sync.include)
        async with self._state.locked("mirror", name):
            existing = self._state.mirrors.get(name)
            if existing is not None:
                if not client_token or existing.client_token != client_token:
                    raise AlreadyExistsError(
                        f'The mirror topic "{name}" exists already, on the link "{existing.link}"; import it as '
                        f"{existing.link}/{name}.",
                        field=_SOURCE,
                        reason="MIRROR_TOPIC_EXISTS",
                    )
                return await self._complete_or_go_on(existing)
            self._check_link(link)  # it may have been deleted while this waited
            source = await self._source(self._plane[link.name].inbound.source, spec.source_topic)
            mirror, detached = await self._plan(spec, name, client_token, link, source)
            if validate_only:
                return mirror
            await self._state.write(
                mirror, gone=[key_of("detached", name)] if detached else (), guard=lambda: self._check_link(link)
            )
            return await self._complete_or_go_on(mirror, first=True)

    async def update(
        self, name: str, link: str, config: Mapping[str, str], fields: Collection[str], *, validate_only: bool
    ) -> MirrorTopic:
        """Changes the settings of a mirror topic; `fields` may name "config" only.

        Raises:
            RequestError: The request is wrong.
        """
        for field in fields:
            if field != "config":
                raise InvalidArgumentError(
                    f'The field "{field}" of a mirror topic cannot be changed; "config" can.',
                    field=f"mirror_topic.{field}",
                    reason="IMMUTABLE_FIELD",
                )
        async with self._state.locked("mirror", name):
            mirror = self._live(name, link)
            owner = self._link(mirror.link)
            spec = MirrorTopicSpec(mirror.link, mirror.source_topic, config=dict(config) if fields else mirror.config)
            spec.check(owner.topic_config_sync.include)
            if validate_only or spec.config == mirror.config:
                return mirror
            await self._check_settings(spec.config)
            if mirror.direction is Direction.REMOTE_TO_LOCAL:
                await self._reset(mirror, spec.config)
            changed = await self._state.change_mirror(name, {"config": dict(sorted(spec.config.items()))})
            self._plane.way(mirror).config_sync.hurry_for(mirror.name)
            return changed

    async def pause(self, name: str, link: str) -> MirrorTopic:
        """Stops a mirror topic; paused already: nothing happens."""
        async with self._state.locked("mirror", name):
            if self._live(name, link).paused:
                return self._state.mirror(name, link)
            mirror = await self._state.change_mirror(name, {"paused": True})
            await self._workforce.stopped(name)
            return mirror

    async def resume(self, name: str, link: str) -> MirrorTopic:
        """Lets a mirror topic go on; not paused: nothing happens."""
        async with self._state.locked("mirror", name):
            if not self._live(name, link).paused:
                return self._state.mirror(name, link)
            return await self._state.change_mirror(name, {"paused": False})

    async def delete(self, name: str, link: str, *, keep_topic: bool) -> None:
        """Ends a mirror: detaches the topic, or deletes it; forgets one that is STOPPED.

        A topic whose creation was never finished is deleted in either case: there is nothing to keep.

        Raises:
            NotFoundError: There is no such mirror topic.
            FailedPreconditionError: It is STOPPED, and its topic, which is no mirror any more, should be deleted.
            KafkaError: The local cluster did not answer. A detach did not happen; a deletion goes on by itself.
        """
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            if mirror.phase is Phase.STOPPED:
                await self._forget(mirror, keep_topic=keep_topic)
                return
            if mirror.held_off:
                raise FailedPreconditionError(
                    f'Producers are held off the source of "{name}", which is to be reversed; cancel that first.',
                    field="name",
                    reason="STOPPING",
                )
            if keep_topic and mirror.direction is Direction.LOCAL_TO_REMOTE and mirror.phase is not Phase.SEALING:
                await self._leave(mirror)
                return
            if mirror.phase in (Phase.SEALING, Phase.TURNING):
                raise FailedPreconditionError(
                    f'The mirror topic "{name}" is being stopped or turned; wait until that is done.',
                    field="name",
                    reason="STOPPING",
                )
            if keep_topic and mirror.phase in (Phase.ACTIVE, Phase.PROMOTING):
                await self._detach(await self._state.change_mirror(name, {"phase": Phase.DETACHING}))
                return
            self._stop_seeding(name)
            await self._complete_or_go_on(await self._state.change_mirror(name, {"phase": Phase.DELETING}))

    async def _forget(self, mirror: MirrorTopic, *, keep_topic: bool) -> None:
        if mirror.held_off:
            log.warning(
                "the source of %s still refuses batches: its settings should be %s", mirror.name, mirror.held_off
            )
        if not keep_topic:
            raise FailedPreconditionError(
                f'The topic "{mirror.name}" is no mirror any more, and others may have written to it; the engine does not '
                "delete it. Forget the mirror with KEEP_TOPIC, and delete the topic yourself.",
                field="topic_disposal",
                reason="MIRROR_TOPIC_STOPPED",
            )
        await self._state.write(gone=self._everything(mirror))

    async def _leave(self, mirror: MirrorTopic) -> None:
        """Forgets a mirror on the remote cluster, which may be gone for good: both topics stay as they are."""
        self._stop_seeding(mirror.name)
        await self._state.change_mirror(mirror.name, {"phase": Phase.DETACHING})
        await self._workforce.stopped(mirror.name)
        await self._state.write(gone=self._everything(mirror))
        log.info("mirror topic %s is mirrored no more", mirror.name)

    def _everything(self, mirror: MirrorTopic) -> tuple[str, ...]:
        """Answers the keys of all records of a mirror topic."""
        saved = [key_of("offsets", mirror.name)] if mirror.name in self._state.offsets else []
        return (key_of("mirror", mirror.name), *self._state.partition_keys(mirror.name), *saved)

    def _live(self, name: str, link: str) -> MirrorTopic:
        """Answers a mirror topic that is not being stopped.

        Raises:
            NotFoundError: There is none.
            FailedPreconditionError: It is being stopped, or has been.
        """
        mirror = self._state.mirror(name, link)
        if mirror.stop is not None:
            raise FailedPreconditionError(
                f'The mirror topic "{name}" is {"no mirror any more" if mirror.phase is Phase.STOPPED else "being stopped"}.',
                field="name",
                reason="MIRROR_TOPIC_STOPPED",
            )
        return mirror

    # Creating.

    async def _plan(
        self, spec: MirrorTopicSpec, name: str, client_token: str, link: Link, source: TopicInfo
    ) -> tuple[MirrorTopic, bool]:
        """Answers the record to begin with, and whether it takes up a detached topic.

        Raises:
            RequestError: The topic's name is taken, a setting is not known, or the source has too many partitions.
        """
        if len(source.partitions) > MOST_PARTITIONS:
            raise LimitExceededError(
                f'The source topic "{spec.source_topic}" has {len(source.partitions)} partitions; up to {MOST_PARTITIONS} can '
                "be mirrored.",
                field=_SOURCE,
                reason="TOO_MANY_PARTITIONS",
            )
        await self._check_settings(spec.config)
        mirror = MirrorTopic(
            name=name,
            link=link.name,
            source_topic=spec.source_topic,
            source_topic_id=source.topic_id,
            partition_count=len(source.partitions),
            replication_factor=spec.replication_factor or -1,
            config=dict(sorted(spec.config.items())),
            paused=spec.paused,
            client_token=client_token,
            automatic=spec.automatic,
        )
        present = await self._topics.find(name)
        if present is None:
            return mirror, False
        detached = self._state.detached.get(name)
        if detached is None:
            raise AlreadyExistsError(
                f'The local cluster has a topic "{name}" already, which is not a detached mirror of this source; delete it, or '
                "use a link with a topic prefix.",
                field=_SOURCE,
                reason="TOPIC_EXISTS",
            )
        await check_untouched(self._topics, detached, present, mirror, link)
        return mirror.model_copy(
            update={
                "topic_id": present.topic_id,
                "phase": Phase.ACTIVE,
                "partition_count": len(present.partitions),
                "replication_factor": await self._topics.replication_factor(name),
                "start_offsets": detached.log_ends,
            }
        ), True

    async def _check_settings(self, config: Mapping[str, str]) -> None:
        known = await self._topics.known_settings()
        for setting in config:
            if setting not in known:
                raise InvalidArgumentError(
                    f'The local cluster knows no topic setting "{setting}".', field=f'mirror_topic.config["{setting}"]'
                )

    async def _complete_or_go_on(self, mirror: MirrorTopic, *, first: bool = False) -> MirrorTopic:
        """Completes a mirror topic; after a passing fault, in the background."""
        try:
            return await self._complete(mirror, first=first)
        except ClusterlinkError as error:
            if is_retriable(error):
                self.go_on_with(mirror)
            raise

    async def _complete(self, mirror: MirrorTopic, *, first: bool = False) -> MirrorTopic:
        """Goes on with a mirror topic from wherever it is, until it is ACTIVE or gone."""
        if mirror.phase is Phase.DETACHING:
            await (self._detach(mirror) if mirror.direction is Direction.REMOTE_TO_LOCAL else self._leave(mirror))
            return mirror
        way = self._plane.way(mirror)
        if mirror.phase is Phase.DELETING:
            await self._workforce.stopped(mirror.name)
            await way.destination.topics.delete(mirror)
            await self._state.write(gone=self._everything(mirror))
            log.info("mirror topic %s deleted", mirror.name)
            return mirror
        if mirror.phase is Phase.CLEARING:
            if mirror.replaces:
                await way.destination.topics.delete_by_id(mirror.replaces)
            mirror = await self._state.change_mirror(mirror.name, {"phase": Phase.CREATING})
        if mirror.phase is Phase.CREATING:
            mirror = await self._create_topic(mirror, way, first=first)
        if mirror.phase is Phase.SEEDING:
            self._start_seeding(mirror)
        await self._first_probe(mirror)
        log.info("mirror topic %s of %s on link %s is set up", mirror.name, mirror.source_topic, mirror.link)
        return self._state.mirrors.get(mirror.name, mirror)

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
        link = self._link(mirror.link)
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
            include=self._link(mirror.link).topic_config_sync.include,
            overrides=mirror.overrides,
            replication_factor=max(mirror.replication_factor, 1),
        )

    def _start_seeding(self, mirror: MirrorTopic) -> None:
        if mirror.name not in self._seeding:
            self._seeding[mirror.name] = self._tasks.start(f"seed {mirror.name}", self._seed(mirror))

    def _stop_seeding(self, name: str) -> None:
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
                if mirror is None or mirror.phase in _AT_REST or name in self._seeding:
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

    # Ending.

    async def _detach(self, mirror: MirrorTopic) -> None:
        """Detaches a mirror topic in phase DETACHING.

        Raises:
            KafkaError: The local cluster did not answer; the topic is mirrored as before.
        """
        await self._workforce.stopped(mirror.name)
        try:
            topics = self._plane.way(mirror).destination.topics
            present = await topics.find(mirror.name)
            if present is None or present.topic_id != mirror.topic_id:
                await self._state.write(gone=self._everything(mirror))
                return
            failures = [f"{failure.error}: {failure.message}" for failure in self._state.failures(mirror).values()]
            record = DetachedMirror(
                name=mirror.name,
                source_topic=mirror.source_topic,
                source_topic_id=mirror.source_topic_id,
                topic_id=mirror.topic_id,
                remote_cluster_id=self._link(mirror.link).remote.cluster_id,
                log_ends=await topics.log_ends(present),
                failure=failures[0] if failures else "",
            )
            await self._state.write(record, gone=[key_of("mirror", mirror.name)])
        except ClusterlinkError:
            await self._state.change_mirror(mirror.name, {"phase": Phase.ACTIVE})  # the detach did not happen: go on
            raise
        log.info("mirror topic %s detached", mirror.name)

    async def _reset(self, mirror: MirrorTopic, config: Mapping[str, str]) -> None:
        """Gives settings that are no longer set here their default value back."""
        removed = [name for name in mirror.config if name not in config]
        if removed:
            await self._plane.way(mirror).destination.admin.reset(mirror.name, removed)

    # Small helpers.

    def _link(self, name: str) -> Link:
        link = self._state.links.get(name)
        if link is None:
            raise NotFoundError(f'There is no link "{name}".', field="mirror_topic.link", reason="LINK_NOT_FOUND")
        return link

    def _check_link(self, link: Link) -> None:
        if self._link(link.name).link_id != link.link_id:
            raise FailedPreconditionError(
                f'The link "{link.name}" was replaced meanwhile; try again.', reason="LINK_REPLACED"
            )

    async def _source(self, source: End, topic: str) -> TopicInfo:
        found = (await source.cluster.metadata([topic])).topics.get(topic)
        if found is None or found.error or not found.partitions:
            raise FailedPreconditionError(
                f'The source topic "{topic}" does not exist on the remote cluster, or may not be described.',
                field=_SOURCE,
                reason="SOURCE_TOPIC_NOT_FOUND",
            )
        return found


def _blamed(error: BrokerRefusedError) -> str:
    """Answers the field of a create that a cluster's refusal speaks of."""
    if error.name == "INVALID_REPLICATION_FACTOR":
        return "mirror_topic.replication_factor"
    is_of_topic = error.side is Side.REMOTE or error.name.endswith("AUTHORIZATION_FAILED")
    return _SOURCE if is_of_topic else "mirror_topic.config"
