"""Automatic mirror topics: topics of the remote cluster that the link's filters select become mirror topics."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from clusterlink_engine.errors import AlreadyExistsError, ClusterlinkError
from clusterlink_engine.model.filters import named, selects
from clusterlink_engine.model.names import is_internal
from clusterlink_engine.model.properties import value_of
from clusterlink_engine.model.resources import Link
from clusterlink_engine.sync.task import TOPIC_EXISTS_ERROR, SyncTask, TaskError, task_error
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, refused

_CREATES_AT_ONCE = 8


class AutoCreateMirror(SyncTask):
    """The discovery of one link; a round every `metadata.max.age.ms`."""

    name = "AutoCreateMirror"

    def __init__(
        self,
        remote: Cluster,
        link: Callable[[], Link],
        known: Callable[[], Collection[str]],
        create: Callable[[str, str], Awaitable[object]],
    ) -> None:
        """Makes the task.

        Args:
            remote: The source.
            link: Answers the link as it is now.
            known: Answers the source topics that are, were, or must not be mirrored by this link.
            create: Creates the mirror topic of a link and a source topic.
        """
        super().__init__(link)
        self._remote = remote
        self._known = known
        self._create = create

    @property
    def is_enabled(self) -> bool:
        """See SyncTask."""
        return self._link().auto_create_mirror_topics.enable

    @property
    def interval_ms(self) -> int:
        """See SyncTask."""
        return value_of(self._link().config, "metadata.max.age.ms")

    async def work(self) -> list[TaskError]:
        """See SyncTask."""
        link, known = self._link(), self._known()
        filters = link.auto_create_mirror_topics.filters
        names = await self._remote.topic_names()
        errors = await self._forbidden(named(filters) - set(names))
        # There may be very many: those that work share them, instead of a task for each.
        topics = iter(
            topic for topic in names if topic not in known and not is_internal(topic) and selects(filters, topic)
        )

        async def work() -> None:
            for topic in topics:
                try:
                    await self._create(link.name, topic)
                except AlreadyExistsError as error:
                    errors.append(TaskError(TOPIC_EXISTS_ERROR, str(error)))
                except ClusterlinkError as error:
                    errors.append(task_error(error))

        await asyncio.gather(*(work() for _ in range(_CREATES_AT_ONCE)))
        return errors

    async def _forbidden(self, unseen: Collection[str]) -> list[TaskError]:
        """A topic that may not be described is not listed, but whoever asks for it by name is told."""
        found = (await self._remote.metadata(unseen)).topics if unseen else {}
        return [
            task_error(refused(topic.error, f'Describing the topic "{name}"', self._remote.side))
            for name, topic in found.items()
            if topic.error == Code.TOPIC_AUTHORIZATION_FAILED
        ]
