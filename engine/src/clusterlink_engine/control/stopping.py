"""Promote and failover: a mirror topic becomes a topic like any other.

Promote waits until the mirror has everything, failover does not. Then nothing more is fetched, one last offset of each
partition is filled in a new epoch (the seal: whatever an earlier owner may have sent is refused from then on), and the
settings that mirroring had overridden are put in place. Each step is stored before it is taken.
"""

import asyncio
import logging
from collections.abc import Mapping

from clusterlink_engine.admin.topics import TopicAdmin
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.control.topics import read_offsets
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import ClusterlinkError, KafkaError, NotLeadingError, is_retriable
from clusterlink_engine.model.resources import MirrorTopic, Phase
from clusterlink_engine.model.topic_settings import FORCED
from clusterlink_engine.sync.task import TaskError
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3


class Stopping:
    """The stopping of one mirror topic.

    Attributes:
        waits_for: What it waits for now, for people; empty if for nothing.
    """

    def __init__(self, name: str, state: State, plane: Plane, workforce: Workforce, admin: TopicAdmin) -> None:
        """Prepares.

        Args:
            name: Of a mirror topic in phase PROMOTING or SEALING.
            state: What is stored.
            plane: Of this process, which leads.
            workforce: Whoever mirrors the topic's partitions.
            admin: Of the local cluster.
        """
        self.waits_for = ""
        self._name = name
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._admin = admin

    async def run(self) -> None:
        """Returns when the mirror topic is STOPPED, or when its promote was cancelled; comes back from every fault."""
        backoff = Backoff(0.2, 5.0)
        while True:
            mirror = self._state.mirrors.get(self._name)
            try:
                if mirror is not None and mirror.phase is Phase.PROMOTING:
                    await self._promote(mirror)
                elif mirror is not None and mirror.phase is Phase.SEALING:
                    await self._seal(mirror)
                else:
                    return
            except ClusterlinkError as error:
                self.waits_for = str(error)
                if not is_retriable(error) and not isinstance(error, KafkaError):
                    raise
                log.warning("stopping of mirror topic %s: %s", self._name, error)
                await backoff.wait()
            else:
                backoff.reset()

    # Promote.

    async def _promote(self, mirror: MirrorTopic) -> None:
        """Looks whether the mirror has everything; then nothing more is mirrored."""
        failures = self._state.failures(mirror)
        if failures:
            self.waits_for = f"{len(failures)} partitions have failed and will never have everything; fail over instead"
            await asyncio.sleep(_LOOK_SECONDS)
            return
        before = await self._source_ends(mirror)
        waits_for = self._missing(mirror, before)
        if not waits_for:
            errors = await self._last_syncs(mirror)
            if errors:
                self.waits_for = errors[0].message
                await asyncio.sleep(_LOOK_SECONDS)
                return
            # Nothing may have come while the settings were brought in step.
            waits_for = "" if await self._source_ends(mirror) == before else "producers are still writing to the source"
        self.waits_for = waits_for
        if waits_for:
            await asyncio.sleep(_LOOK_SECONDS)
            return
        async with self._state.locked("mirror", self._name):
            await self._step(Phase.PROMOTING, Phase.SEALING)  # unless it was cancelled meanwhile

    async def _last_syncs(self, mirror: MirrorTopic) -> list[TaskError]:
        runtime = self._plane[mirror.link]
        errors = await runtime.config_sync.sync([mirror])
        if not errors and runtime.offset_sync.is_enabled:
            errors = await runtime.offset_sync.sync([mirror])
        return errors

    async def _source_ends(self, mirror: MirrorTopic) -> dict[int, int]:
        cluster = self._plane[mirror.link].cluster
        topic = (await cluster.metadata([mirror.source_topic])).topics.get(mirror.source_topic)
        if topic is None or topic.error or topic.topic_id != mirror.source_topic_id:
            raise NotLeadingError("The source topic is not there.")
        return await read_offsets(cluster, topic, logs.log_ends)

    def _missing(self, mirror: MirrorTopic, source_ends: Mapping[int, int]) -> str:
        """Answers what the mirror has not got, in a sentence; empty if it has everything."""
        statuses = self._workforce.statuses(mirror.name)
        link = self._state.links[mirror.link]
        if link.paused:
            return "the link is paused"
        if len(source_ends) != mirror.partition_count:
            return "the mirror topic gets the partitions that its source has got"
        lags = {
            index: end - statuses[index].log_end if index in statuses else end for index, end in source_ends.items()
        }
        behind = [index for index, lag in lags.items() if lag > 0]
        if not behind and all(index in statuses and statuses[index].is_copying for index in source_ends):
            return ""
        held = [index for index in behind if index in statuses and statuses[index].is_held]
        why = f", {len(held)} of them held by an open transaction" if held else ""
        return f"{sum(lags[index] for index in behind):,} offsets are missing in {len(behind)} partitions{why}"

    # What both end with.

    async def _seal(self, mirror: MirrorTopic) -> None:
        """Waits for the last offsets, puts the settings in place, and is done."""
        if not self._is_sealed(mirror):
            self.waits_for = "the last offset of each partition is being written"
            await asyncio.sleep(_LOOK_SECONDS / 10)
            return
        self.waits_for = "the settings of the topic are being put in place"
        known = (await self._admin.settings([self._name]))[self._name]
        desired = {name: value for name, value in mirror.desired.items() if name in known}
        await self._admin.alter(self._name, desired)
        others = [name for name in FORCED if name in known and name not in desired]
        await self._admin.reset(self._name, others)
        await self._plane[mirror.link].offset_sync.settle()
        self.waits_for = ""
        async with self._state.locked("mirror", self._name):
            await self._step(Phase.SEALING, Phase.STOPPED)
        log.info("mirror topic %s is a topic like any other now (%s)", self._name, mirror.stop)

    def _is_sealed(self, mirror: MirrorTopic) -> bool:
        statuses, failures = self._workforce.statuses(mirror.name), self._state.failures(mirror)
        return all(
            index in failures or (index in statuses and statuses[index].is_sealed)
            for index in range(mirror.partition_count)
        )

    async def _step(self, before: Phase, after: Phase) -> None:
        await self._state.change(
            self._state.mirrors,
            self._name,
            lambda mirror: mirror.model_copy(update={"phase": after}) if mirror.phase is before else None,
        )
