"""The life of mirror topics: create, update, pause, resume, rebuild, delete; promote and failover are in `stops`.

What is wanted is checked and stored here; `finishing` takes the steps.
"""

import logging
from collections.abc import Collection, Mapping

from clusterlink_engine.control.finishing import AT_REST, SOURCE_FIELD, Finishing, link_of, source_of
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.control.taking_up import check_untouched
from clusterlink_engine.control.topics import Topics
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from clusterlink_engine.model.resources import Direction, Link, MirrorTopic, Phase, TopicDisposal
from clusterlink_engine.model.specs import MirrorTopicSpec
from clusterlink_engine.store.records import key_of
from clusterlink_engine.wire.cluster import TopicInfo

log = logging.getLogger(__name__)


class MirrorTopics:
    """The mirror topics of all links: they begin on the local cluster."""

    def __init__(self, state: State, plane: Plane, workforce: Workforce, topics: Topics, finishing: Finishing) -> None:
        """Makes them; `topics` are those of the local cluster."""
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._topics = topics
        self._finishing = finishing

    def list(self, link: str = "") -> list[MirrorTopic]:
        """Answers all mirror topics, or those of a link, by name."""
        return [mirror for _, mirror in sorted(self._state.mirrors.items()) if link in ("", mirror.link)]

    def waits_for(self, name: str) -> str:
        """Answers what keeps a mirror topic from being set up or deleted in the background, for people; empty if nothing."""
        return self._finishing.waits_for(name)

    async def create(self, spec: MirrorTopicSpec, client_token: str, *, validate_only: bool) -> MirrorTopic:
        """Creates a mirror topic, takes up a detached one, or only checks whether that could be done.

        Raises:
            RequestError: The request is wrong, or the topic cannot be created; nothing is left behind.
            KafkaError: A cluster did not answer. If the intent was stored already, the engine goes on by itself, and a
                create with the same token waits for it.
        """
        link = link_of(self._state, spec.link)
        name = spec.mirror_name(link.topic_prefix)
        spec.check(link.topic_config_sync.include)
        async with self._state.locked("mirror", name):
            existing = self._state.mirrors.get(name)
            if existing is not None:
                if not client_token or existing.client_token != client_token:
                    raise AlreadyExistsError(
                        f'The mirror topic "{name}" exists already, on the link "{existing.link}"; import it as '
                        f"{existing.link}/{name}.",
                        field=SOURCE_FIELD,
                        reason="MIRROR_TOPIC_EXISTS",
                    )
                return await self._finishing.complete_or_go_on(existing)
            self._check_link(link)  # it may have been deleted while this waited
            source = await source_of(self._plane[link.name].inbound.source, spec.source_topic)
            mirror, detached = await self._plan(spec, name, client_token, link, source)
            if validate_only:
                return mirror
            await self._state.write(
                mirror, gone=[key_of("detached", name)] if detached else (), guard=lambda: self._check_link(link)
            )
            return await self._finishing.complete_or_go_on(mirror, first=True)

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
            owner = link_of(self._state, mirror.link)
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

    async def rebuild(self, name: str, link: str) -> MirrorTopic:
        """Deletes the topic of a FAILED mirror and mirrors anew, from the start, the source topic that has the name now.

        One that has not failed is left as it is, or finished if it was begun: so a caller who lost the answer asks again.

        Raises:
            NotFoundError: There is no such mirror topic.
            LimitExceededError: The source topic has more partitions than are mirrored. Nothing was changed.
            FailedPreconditionError: It is being stopped, or has been; there is no source topic; or the topic is not the one
                that the engine has made. Nothing was changed.
            KafkaError: A cluster did not answer. If the intent was stored already, the engine goes on by itself.
        """
        async with self._state.locked("mirror", name):
            mirror = self._live(name, link)
            if mirror.phase in (Phase.ACTIVE, Phase.SEEDING) and self._state.failures(mirror):
                await self._check_rebuild(mirror)
                self._finishing.stop_seeding(name)
                mirror = mirror.anew(phase=Phase.CLEARING, topic_id="", replaces=mirror.topic_id)
                await self._state.write(mirror, gone=self._state.partition_keys(name))
                log.info("mirror topic %s is deleted and mirrored anew", name)
            return mirror if mirror.phase in AT_REST else await self._finishing.complete_or_go_on(mirror)

    async def _check_rebuild(self, mirror: MirrorTopic) -> None:
        way = self._plane.way(mirror)
        await source_of(way.source, mirror.source_topic)
        present = await way.destination.topics.find(mirror.name)
        if present is not None and present.topic_id != mirror.topic_id:
            raise FailedPreconditionError(
                f'The topic "{mirror.name}" was created anew by somebody else and is not the mirror; it is not touched. Delete '
                "it to mirror anew.",
                field="name",
                reason="TOPIC_REPLACED",
            )

    async def delete(self, name: str, link: str, disposal: TopicDisposal) -> None:
        """Ends a mirror: detaches the topic, or deletes it; forgets one that is STOPPED, unless its data is to go too.

        A topic that is being created or seeded is deleted in any case: it holds what nobody may see.

        Raises:
            NotFoundError: There is no such mirror topic.
            FailedPreconditionError: It is STOPPED, and its topic, which is no mirror any more, should be deleted, but not with
                what others may have written to it.
            KafkaError: The local cluster did not answer. A detach did not happen; a deletion goes on by itself.
        """
        keep_topic = disposal is TopicDisposal.KEEP_TOPIC
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            if mirror.phase is Phase.STOPPED:
                await self._delete_stopped(mirror, disposal)
                return
            if mirror.held_off:
                raise FailedPreconditionError(
                    f'Producers are held off the source of "{name}", which is to be reversed; cancel that first.',
                    field="name",
                    reason="STOPPING",
                )
            if keep_topic and mirror.direction is Direction.LOCAL_TO_REMOTE and mirror.phase is not Phase.SEALING:
                await self._finishing.leave(mirror)
                return
            if mirror.phase in (Phase.SEALING, Phase.TURNING):
                raise FailedPreconditionError(
                    f'The mirror topic "{name}" is being stopped or turned; wait until that is done.',
                    field="name",
                    reason="STOPPING",
                )
            if keep_topic and mirror.phase in (Phase.ACTIVE, Phase.PROMOTING):
                await self._finishing.detach(await self._state.change_mirror(name, {"phase": Phase.DETACHING}))
                return
            self._finishing.stop_seeding(name)
            await self._finishing.complete_or_go_on(await self._state.change_mirror(name, {"phase": Phase.DELETING}))

    async def _delete_stopped(self, mirror: MirrorTopic, disposal: TopicDisposal) -> None:
        if disposal is TopicDisposal.DELETE_TOPIC:
            raise FailedPreconditionError(
                f'The topic "{mirror.name}" is no mirror any more, and others may have written to it; the engine does not '
                "delete it. Forget the mirror with KEEP_TOPIC, or say DELETE_TOPIC_WITH_DATA.",
                field="topic_disposal",
                reason="MIRROR_TOPIC_STOPPED",
            )
        if mirror.held_off:
            log.warning(
                "the source of %s still refuses batches: its settings should be %s", mirror.name, mirror.held_off
            )
        if disposal is TopicDisposal.KEEP_TOPIC:
            await self._state.write(gone=self._finishing.everything(mirror))
        else:
            await self._finishing.complete_or_go_on(
                await self._state.change_mirror(mirror.name, {"phase": Phase.DELETING})
            )

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

    async def _plan(
        self, spec: MirrorTopicSpec, name: str, client_token: str, link: Link, source: TopicInfo
    ) -> tuple[MirrorTopic, bool]:
        """Answers the record to begin with, and whether it takes up a detached topic.

        Raises:
            RequestError: The topic's name is taken, or a setting is not known.
        """
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
                field=SOURCE_FIELD,
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

    async def _reset(self, mirror: MirrorTopic, config: Mapping[str, str]) -> None:
        """Gives settings that are no longer set here their default value back."""
        removed = [name for name in mirror.config if name not in config]
        if removed:
            await self._plane.way(mirror).destination.admin.reset(mirror.name, removed)

    def _check_link(self, link: Link) -> None:
        if link_of(self._state, link.name).link_id != link.link_id:
            raise FailedPreconditionError(
                f'The link "{link.name}" was replaced meanwhile; try again.', reason="LINK_REPLACED"
            )
