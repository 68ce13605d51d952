"""Topic config sync: the settings of mirror topics follow those of their source topics."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from clusterlink_engine.errors import BrokerRefusedError
from clusterlink_engine.model.resources import Link, MirrorTopic
from clusterlink_engine.model.topic_settings import desired_settings, mirror_settings
from clusterlink_engine.sync.task import SyncTask, TaskError, task_error
from clusterlink_engine.wire.topic_admin import TopicAdmin

log = logging.getLogger(__name__)


class TopicConfigSync(SyncTask):
    """The sync of one link.

    Attributes:
        mended: How many settings somebody had changed on mirror topics, and were set again. Written by `sync`.
    """

    name = "TopicConfigsSync"

    def __init__(
        self,
        source: TopicAdmin,
        destination: TopicAdmin,
        link: Callable[[], Link],
        mirrors: Callable[[], Sequence[MirrorTopic]],
        store: Callable[[MirrorTopic, Mapping[str, str]], Awaitable[None]],
    ) -> None:
        """Makes the task.

        Args:
            source: Administration of the source.
            destination: Administration of the destination.
            link: Answers the link as it is now.
            mirrors: Answers the mirror topics to keep in step now.
            store: Stores what a mirror topic is to have, once it is no mirror any more, of what mirroring overrides.
        """
        super().__init__(link)
        self._source = source
        self._destination = destination
        self._mirrors = mirrors
        self._store = store
        self._wanted: dict[str, dict[str, str]] = {}
        self._hurried: set[str] = set()
        self._whole_due_at = 0.0
        self.mended = 0

    @property
    def is_enabled(self) -> bool:
        """See SyncTask."""
        return True

    @property
    def interval_ms(self) -> int:
        """See SyncTask."""
        return self._link().topic_config_sync.interval_ms

    def hurry(self) -> None:
        """See SyncTask: look at all mirror topics now."""
        self._whole_due_at = 0.0
        super().hurry()

    def hurry_for(self, mirror: str) -> None:
        """Something changed for one mirror topic: look at it now; the others have their time."""
        self._hurried.add(mirror)
        super().hurry()

    async def work(self) -> list[TaskError]:
        """See SyncTask. Where many mirror topics begin, one after the other, each is read once and not all each time."""
        hurried, self._hurried = self._hurried, set()
        mirrors, now = self._mirrors(), asyncio.get_running_loop().time()
        if now < self._whole_due_at:
            some = [mirror for mirror in mirrors if mirror.name in hurried]
            # Errors of the others are as they were.
            return [*self.errors, *(await self.sync(some) if some else [])]
        self._whole_due_at = now + self.interval_ms / 1000
        return await self.sync(mirrors) if mirrors else []

    async def sync(self, mirrors: Sequence[MirrorTopic]) -> list[TaskError]:
        """Brings mirror topics in step now; answers what could not be done.

        Raises:
            KafkaError: A cluster does not answer.
            StateUnavailableError: The state cannot be written now.
        """
        errors: list[TaskError] = []
        theirs = await self._read(self._source, [mirror.source_topic for mirror in mirrors], errors)
        ours = await self._read(self._destination, [mirror.name for mirror in mirrors], errors)
        # As they are after the reading: what holds producers off a source is stored before it is set there.
        present = {mirror.name: mirror for mirror in self._mirrors()}
        for mirror in mirrors:
            if mirror.source_topic in theirs and mirror.name in ours:
                try:
                    await self._adjust(present.get(mirror.name, mirror), theirs[mirror.source_topic], ours[mirror.name])
                except BrokerRefusedError as error:
                    errors.append(task_error(error))
        return errors

    async def _adjust(self, mirror: MirrorTopic, source: dict[str, str], present: dict[str, str]) -> None:
        include = self._link().topic_config_sync.include
        source = {**source, **mirror.held_off}  # what holds producers off is not the source's own
        desired = desired_settings(source, include=include, overrides=mirror.overrides)
        if desired != mirror.desired:
            await self._store(mirror, desired)
        wanted = mirror_settings(
            source,
            known=present,
            include=include,
            overrides=mirror.overrides,
            replication_factor=mirror.replication_factor,
        )
        before, self._wanted[mirror.name] = self._wanted.get(mirror.name, {}), wanted
        changes = {name: value for name, value in wanted.items() if present[name] != value}
        if not changes:
            return
        await self._destination.alter(mirror.name, changes)
        drifted = sorted(name for name, value in changes.items() if before.get(name) == value)
        if drifted:
            self.mended += len(drifted)
            log.warning("somebody has changed %s of %s, which follow %s", drifted, mirror.name, mirror.source_topic)
        log.info("settings of %s follow %s: %s", mirror.name, mirror.source_topic, changes)

    @staticmethod
    async def _read(admin: TopicAdmin, topics: Sequence[str], errors: list[TaskError]) -> dict[str, dict[str, str]]:
        """Reads the settings of all topics at once; one by one if one of them is refused, so that the others are read."""
        try:
            return await admin.settings(topics)
        except BrokerRefusedError:
            settings: dict[str, dict[str, str]] = {}
            for topic in topics:
                try:
                    settings.update(await admin.settings([topic]))
                except BrokerRefusedError as error:
                    errors.append(task_error(error))
            return settings
