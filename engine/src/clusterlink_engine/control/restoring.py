"""Truncate and restore: the topic that was the source of a STOPPED mirror topic becomes a mirror of it.

What it had alone is discarded. No client can cut a log's tail, so the topic is deleted and made anew, as a mirror topic is.
With it go the offsets that groups have committed on it: they are stored before, and committed again when the mirror has got
there, not beyond what both topics had. Each step is stored before it is taken.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass

from clusterlink_engine.control.finishing import Finishing
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.control.turning import prepare_turning
from clusterlink_engine.control.way import End
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import ClusterlinkError, FailedPreconditionError
from clusterlink_engine.model.resources import EARLIEST, Direction, MirrorTopic, Phase, SavedOffsets
from clusterlink_engine.model.specs import check_start_offset
from clusterlink_engine.model.topic_settings import own_config
from clusterlink_engine.store.records import key_of
from clusterlink_engine.tasks import Backoff, Tasks
from clusterlink_engine.wire.cluster import Cluster, TopicInfo
from clusterlink_engine.wire.consumer_groups import groups_with_members, list_groups
from clusterlink_engine.wire.groups import GROUP, find_coordinators
from clusterlink_engine.wire.offsets import Committed, commit_offsets, fetch_offsets, is_in_use

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Truncation:
    """What a partition loses: the offsets from `offset` on, so many of them as `count` says."""

    offset: int
    count: int


class Restores:
    """The topics that are made anew as mirrors of their former mirrors."""

    def __init__(self, state: State, plane: Plane, workforce: Workforce, finishing: Finishing, tasks: Tasks) -> None:
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._finishing = finishing
        self._tasks = tasks
        self._waits_for: dict[str, str] = {}

    def go_on(self) -> None:
        """Finishes what an earlier process had begun."""
        for mirror in self._state.mirrors.values():
            if mirror.restoring:
                self._start(mirror.name)

    def waits_for(self, name: str) -> str:
        """Answers what a restore waits for, for people; empty if for nothing that has to be said."""
        return self._waits_for.get(name, "")

    async def truncate_and_restore(
        self, name: str, link: str, start: str, *, validate_only: bool
    ) -> tuple[MirrorTopic, dict[int, Truncation]]:
        """Begins to make the former source of a mirror topic its mirror; answers what is discarded, by partition.

        Args:
            name: Of the mirror topic.
            link: Of its link; empty for any.
            start: Where the topic made anew begins, as `Link.mirror_start_offset`; empty for the earliest offset.
            validate_only: Whether to change nothing.

        Raises:
            NotFoundError: There is no such mirror topic.
            InvalidArgumentError: There is no such start.
            FailedPreconditionError: Its state, its link, the topic or a group on it does not allow it, or a right is missing.
            KafkaError: A cluster does not answer.
        """
        if start:
            check_start_offset(start, "start_offset")
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            if mirror.phase is not Phase.STOPPED:
                raise FailedPreconditionError(
                    f'The mirror topic "{name}" is not STOPPED: its source is the source still. Promote it, or fail it over.',
                    field="name",
                    reason="MIRROR_TOPIC_NOT_STOPPED",
                )
            await prepare_turning(self._state, self._plane, mirror, validate_only=validate_only)
            way = self._plane.way(mirror)
            old, new = way.source, way.destination  # as they were; the other way round from now on
            kept = await new.topics.visible(mirror.name)
            if kept.topic_id != mirror.topic_id:
                raise _replaced(mirror.name, new)
            discarded = await old.topics.find(mirror.source_topic)
            if discarded is not None and discarded.topic_id != mirror.source_topic_id:
                raise _replaced(mirror.source_topic, old)
            truncations: dict[int, Truncation] = {}
            saved = SavedOffsets(name=name)
            if discarded is not None:
                truncations = _truncations(await old.topics.log_ends(discarded), mirror.end_offsets)
                committed = await _committed(old.cluster, mirror.source_topic)
                await self._check_idle(old, mirror.source_topic, committed)
                saved = SavedOffsets(name=name, offsets=_clamped(committed, mirror.end_offsets))
                await old.topics.known_settings()  # while it is there: it may be the only topic of its cluster
            if validate_only:
                return mirror, truncations
            turned = await self._turned(mirror, kept, discarded, old, start or EARLIEST)
            await self._state.write(turned, saved, gone=self._state.partition_keys(name))
            log.info("the former source of mirror topic %s is made anew as its mirror", name)
            self._start(name)
            self._finishing.go_on_with(turned)
            return turned, truncations

    async def _turned(
        self, mirror: MirrorTopic, kept: TopicInfo, discarded: TopicInfo | None, old: End, start: str
    ) -> MirrorTopic:
        config, replicas = mirror.remote_config, mirror.replication_factor
        if discarded is not None:
            replicas = await old.topics.replication_factor(mirror.source_topic)
            if mirror.direction is Direction.REMOTE_TO_LOCAL:
                include = self._state.links[mirror.link].topic_config_sync.include
                config = own_config(await old.admin.own_settings(mirror.source_topic), include=include)
        return mirror.turned(
            phase=Phase.CLEARING,
            topic_id="",
            replaces=discarded.topic_id if discarded is not None else "",
            restoring=True,
            partition_count=len(kept.partitions),
            replication_factor=replicas,
            remote_config=config,
            start=start,
            end_offsets=mirror.end_offsets,
        )

    async def _check_idle(self, end: End, topic: str, committed: Collection[str]) -> None:
        """Raises FailedPreconditionError while a group is at work on a topic."""
        working = await groups_with_members(end.cluster, topic)
        active = sorted(group for group, has_partitions in working.items() if has_partitions or group in committed)
        if active:
            others = f" and {len(active) - 1} others" if len(active) > 1 else ""
            raise FailedPreconditionError(
                f'The consumer group "{active[0]}"{others} is active on the topic "{topic}" of the {end.cluster.side} cluster, '
                "which is to be deleted and made anew; stop it first.",
                field="name",
                reason="CONSUMER_GROUP_IN_USE_ERROR",
            )

    # The groups' offsets, once the topic is there again.

    def _start(self, name: str) -> None:
        self._tasks.start(f"restore {name}", self._restore(name))

    async def _restore(self, name: str) -> None:
        """Gives the groups their offsets back when the mirror has got there; comes back from every fault."""
        backoff = Backoff(0.2, 5.0)
        while (mirror := self._state.mirrors.get(name)) is not None and mirror.restoring:
            try:
                if not self._has_arrived(mirror):
                    self._waits_for[name] = ""
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                self._waits_for[name] = "groups get their offsets back"
                await self._commit(mirror)
                async with self._state.locked("mirror", name):
                    restored = self._state.mirror(name).model_copy(update={"restoring": False, "replaces": ""})
                    await self._state.write(restored, gone=[key_of("offsets", name)])
            except ClusterlinkError as error:
                told, self._waits_for[name] = self._waits_for.get(name), str(error)
                if told != str(error):
                    log.warning("restoring of mirror topic %s: %s", name, error)
                await backoff.wait()
            else:
                log.info("mirror topic %s is restored", name)
        self._waits_for.pop(name, None)

    def _has_arrived(self, mirror: MirrorTopic) -> bool:
        """Tells whether the mirror has everything that both topics had."""
        if mirror.phase is not Phase.ACTIVE:
            return False
        statuses, failures = self._workforce.statuses(mirror.name), self._state.failures(mirror)
        return all(
            index in failures or (index in statuses and statuses[index].log_end >= end)
            for index, end in mirror.end_offsets.items()
            if index < mirror.partition_count
        )

    async def _commit(self, mirror: MirrorTopic) -> None:
        """Commits what was saved, for groups that have not committed anything themselves since."""
        saved = self._state.offsets.get(mirror.name, SavedOffsets(name=mirror.name)).offsets
        if not saved:
            return
        cluster = self._plane.way(mirror).destination.cluster
        coordinators, refusals = await find_coordinators(cluster, saved, GROUP)
        for group in refusals:
            log.warning("the group %s does not get its offsets on %s back: it has no coordinator", group, mirror.name)
        present = await _committed(cluster, mirror.name)
        for group, offsets in saved.items():
            wanted = {
                (mirror.name, index): Committed(*offset)
                for index, offset in offsets.items()
                if index not in present.get(group, {})
            }
            if not wanted or group not in coordinators:
                continue
            with closing(await cluster.open(coordinators[group])) as connection:
                codes = await commit_offsets(connection, group, wanted)
            if any(is_in_use(code) for code in codes.values()):
                log.warning("the group %s is at work on %s already, and keeps its place there", group, mirror.name)
            elif any(codes.values()):
                log.warning("the group %s did not get all its offsets on %s back: %s", group, mirror.name, codes)


async def _committed(cluster: Cluster, topic: str) -> dict[str, dict[int, Committed]]:
    """Answers what groups have committed on a topic, by group and partition."""
    found: dict[str, dict[int, Committed]] = {}
    for node in (await cluster.metadata([])).brokers:
        offsets, _ = await fetch_offsets(cluster, node, await list_groups(cluster, node))
        for group, committed in offsets.items():
            on_topic = {index: value for (name, index), value in committed.items() if name == topic}
            if on_topic:
                found[group] = on_topic
    return found


def _truncations(ends: Mapping[int, int], kept: Mapping[int, int]) -> dict[int, Truncation]:
    """Answers what each partition loses.

    Args:
        ends: Of the topic that is deleted.
        kept: Where what both topics have ends.
    """
    return {
        index: Truncation(min(end, kept.get(index, 0)), max(end - kept.get(index, 0), 0)) for index, end in ends.items()
    }


def _clamped(
    committed: Mapping[str, Mapping[int, Committed]], kept: Mapping[int, int]
) -> dict[str, dict[int, tuple[int, str]]]:
    return {
        group: {index: (min(value.offset, kept.get(index, 0)), value.metadata) for index, value in offsets.items()}
        for group, offsets in committed.items()
    }


def _replaced(topic: str, end: End) -> FailedPreconditionError:
    return FailedPreconditionError(
        f'The topic "{topic}" of the {end.cluster.side} cluster was deleted or created anew since it was mirrored; it is not '
        "touched. Delete the mirror with KEEP_TOPIC, and begin again.",
        field="name",
        reason="TOPIC_REPLACED",
    )
