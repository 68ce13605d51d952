"""Topic config sync: the settings of mirror topics follow those of their source topics."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from clusterlink_engine.admin.topics import TopicAdmin
from clusterlink_engine.errors import BrokerRefusedError, KafkaError, StateUnavailableError
from clusterlink_engine.model.resources import Link, MirrorTopic
from clusterlink_engine.model.topic_settings import desired_settings, mirror_settings

log = logging.getLogger(__name__)


class TopicConfigSync:
    """The sync of one link: a round every interval, and one whenever somebody asks."""

    def __init__(
        self,
        remote: TopicAdmin,
        local: TopicAdmin,
        link: Callable[[], Link],
        mirrors: Callable[[], Sequence[MirrorTopic]],
        store: Callable[[MirrorTopic, Mapping[str, str]], Awaitable[None]],
    ) -> None:
        """Makes the task.

        Args:
            remote: Administration of the source.
            local: Administration of the destination.
            link: Answers the link as it is now.
            mirrors: Answers the mirror topics to keep in step now.
            store: Stores what a mirror topic is to have, once it is no mirror any more, of what mirroring overrides.
        """
        self._remote = remote
        self._local = local
        self._link = link
        self._mirrors = mirrors
        self._store = store
        self._wake = asyncio.Event()

    def hurry(self) -> None:
        """Something changed: begin a round now."""
        self._wake.set()

    async def run(self) -> None:
        """Works for ever; a fault is logged and tried again in the next round."""
        while True:
            try:
                async with asyncio.timeout(self._link().topic_config_sync.interval_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._round()
            except (KafkaError, StateUnavailableError) as error:
                log.warning("topic config sync of link %s: %s", self._link().name, error)

    async def _round(self) -> None:
        mirrors = self._mirrors()
        if mirrors:
            await self.sync(mirrors)

    async def sync(self, mirrors: Sequence[MirrorTopic]) -> None:
        """Brings mirror topics in step now.

        Raises:
            KafkaError: A cluster does not answer.
            StateUnavailableError: The state cannot be written now.
        """
        theirs = await self._read(self._remote, [mirror.source_topic for mirror in mirrors])
        ours = await self._read(self._local, [mirror.name for mirror in mirrors])
        for mirror in mirrors:
            if mirror.source_topic in theirs and mirror.name in ours:
                await self._adjust(mirror, theirs[mirror.source_topic], ours[mirror.name])

    async def _adjust(self, mirror: MirrorTopic, source: dict[str, str], present: dict[str, str]) -> None:
        include = self._link().topic_config_sync.include
        desired = desired_settings(source, include=include, overrides=mirror.config)
        if desired != mirror.desired:
            await self._store(mirror, desired)
        wanted = mirror_settings(
            source,
            known=present,
            include=include,
            overrides=mirror.config,
            replication_factor=mirror.replication_factor,
        )
        changes = {name: value for name, value in wanted.items() if present[name] != value}
        if not changes:
            return
        try:
            await self._local.alter(mirror.name, changes)
        except BrokerRefusedError as error:
            log.warning("topic config sync of link %s: %s", mirror.link, error)
        else:
            log.info("settings of %s follow %s: %s", mirror.name, mirror.source_topic, changes)

    @staticmethod
    async def _read(admin: TopicAdmin, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Reads the settings of all topics at once; one by one if one of them is refused, so that the others are read."""
        try:
            return await admin.settings(topics)
        except BrokerRefusedError:
            settings: dict[str, dict[str, str]] = {}
            for topic in topics:
                try:
                    settings.update(await admin.settings([topic]))
                except BrokerRefusedError as error:
                    log.warning("topic config sync: %s", error)
            return settings
