"""Promote, failover and reverse: a mirror topic becomes a topic like any other; by reverse its source becomes its mirror.

Promote and reverse wait until the mirror has everything, failover does not. Then nothing more is fetched, one last offset of
each partition is filled in a new epoch (the seal: whatever an earlier owner may have sent is refused from then on), and the
settings that mirroring had overridden are put in place. A reverse holds producers off the source before it looks for the last
time, so that both topics are equal when the direction turns. Each step is stored before it is taken.
"""

import asyncio
import logging
from collections.abc import Mapping

from clusterlink_engine.control.holding_off import HoldingOff
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.control.topics import read_offsets
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.control.write_guard import WriteGuard
from clusterlink_engine.errors import ClusterlinkError, KafkaError, NotLeadingError, is_retriable
from clusterlink_engine.model.resources import Direction, MirrorTopic, Phase, Stop
from clusterlink_engine.model.topic_settings import FORCED, desired_settings, mirror_settings, own_config
from clusterlink_engine.sync.task import TaskError
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3

# Producers are held off when the mirror is so close to its source: if they go on, it may never have everything.
_HOLD_OFFSETS = 10_000

# A setting that was altered reaches the brokers a moment after it can be read.
_SETTING_SECONDS = 1.0


def is_unfinished(mirror: MirrorTopic) -> bool:
    """Tells whether a mirror topic has to be stopped, or turned, or left something behind at its source when it was."""
    return mirror.phase in (Phase.PROMOTING, Phase.SEALING, Phase.TURNING) or bool(mirror.held_off)


class Stopping:
    """The stopping, or turning, of one mirror topic.

    Attributes:
        waits_for: What it waits for now, for people; empty if for nothing.
    """

    def __init__(self, name: str, state: State, plane: Plane, workforce: Workforce, guard: WriteGuard) -> None:
        """Prepares.

        Args:
            name: Of a mirror topic that `is_unfinished`.
            state: What is stored.
            plane: Of this process, which leads.
            workforce: Whoever mirrors the topic's partitions.
            guard: Keeps others from writing to the topic until it is sealed.
        """
        self.waits_for = ""
        self._name = name
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._guard = guard
        self._holding_off = HoldingOff(name, state)

    async def run(self) -> None:
        """Returns when the mirror topic is STOPPED or turned, or when that was cancelled; comes back from every fault."""
        backoff = Backoff(0.2, 5.0)
        while (mirror := self._state.mirrors.get(self._name)) is not None and is_unfinished(mirror):
            try:
                await self._go_on(mirror)
            except ClusterlinkError as error:
                if not is_retriable(error) and not isinstance(error, KafkaError):
                    raise
                told, self.waits_for = self.waits_for, str(error)
                if told != self.waits_for:
                    log.warning("stopping of mirror topic %s: %s", self._name, error)
                await backoff.wait()
            else:
                backoff.reset()

    async def _go_on(self, mirror: MirrorTopic) -> None:
        if mirror.phase is Phase.PROMOTING:
            await self._promote(mirror)
        elif mirror.phase is Phase.SEALING:
            await self._seal(mirror)
        elif mirror.phase is Phase.TURNING:
            await self._set_up(mirror)
        else:  # a reverse was cancelled, or a failover took its place
            self.waits_for = "producers of the source are still held off"
            await self._holding_off.let_go(self._plane.way(mirror).source, mirror)

    # Promote, and what a reverse begins with.

    async def _promote(self, mirror: MirrorTopic) -> None:
        """Looks whether the mirror has everything; then nothing more is mirrored."""
        failures = self._state.failures(mirror)
        if failures:
            self.waits_for = f"{len(failures)} partitions have failed and will never have everything; fail over instead"
            await asyncio.sleep(_LOOK_SECONDS)
            return
        before = await self._source_ends(mirror)
        self.waits_for = await self._in_the_way(mirror, before)
        if not self.waits_for:
            async with self._state.locked("mirror", self._name):
                # Unless it was cancelled meanwhile.
                await self._step(Phase.PROMOTING, {"phase": Phase.SEALING, "end_offsets": before})
            return
        if self._holding_off.is_overdue:
            # It may be a transaction that cannot end while they are held off.
            await self._holding_off.let_go(self._plane.way(mirror).source, mirror)
        await asyncio.sleep(_LOOK_SECONDS)

    async def _in_the_way(self, mirror: MirrorTopic, before: Mapping[int, int]) -> str:
        """Answers what a mirror topic waits for; empty if it has all that its source has, and nothing more can come.

        Args:
            mirror: As stored.
            before: The ends of its source.
        """
        turns = mirror.stop is not None and mirror.stop.turns
        missing, count = self._missing(mirror, before)
        if missing and not (turns and 0 < count <= _HOLD_OFFSETS):
            return missing
        errors = await self._last_syncs(mirror)
        if errors:
            return errors[0].message
        if turns and not await self._holding_off.hold(self._plane.way(mirror).source, mirror):
            return missing or "producers are being held off the source"
        if missing:
            return missing
        # Nothing may have come while the rest was brought in step.
        return "" if await self._source_ends(mirror) == before else "producers are still writing to the source"

    async def _last_syncs(self, mirror: MirrorTopic) -> list[TaskError]:
        way = self._plane.way(mirror)
        errors = await way.config_sync.sync([mirror])
        if not errors and way.offset_sync.is_enabled:
            errors = await way.offset_sync.sync([mirror])
        return errors

    async def _source_ends(self, mirror: MirrorTopic) -> dict[int, int]:
        cluster = self._plane.way(mirror).source.cluster
        topic = (await cluster.metadata([mirror.source_topic])).topics.get(mirror.source_topic)
        if topic is None or topic.error or topic.topic_id != mirror.source_topic_id:
            raise NotLeadingError("The source topic is not there.")
        return await read_offsets(cluster, topic, logs.log_ends)

    def _missing(self, mirror: MirrorTopic, source_ends: Mapping[int, int]) -> tuple[str, int]:
        """Answers what the mirror has not got, in a sentence, and how many offsets that are; empty if it has everything."""
        statuses = self._workforce.statuses(mirror.name)
        link = self._state.links[mirror.link]
        if link.paused:
            return "the link is paused", 0
        if len(source_ends) != mirror.partition_count:
            return "the mirror topic gets the partitions that its source has got", 0
        lags = {
            index: end - statuses[index].log_end if index in statuses else end for index, end in source_ends.items()
        }
        behind = [index for index, lag in lags.items() if lag > 0]
        if not behind and all(index in statuses and statuses[index].is_copying for index in source_ends):
            return "", 0
        held = [index for index in behind if index in statuses and statuses[index].is_held]
        why = f", {len(held)} of them held by an open transaction" if held else ""
        count = sum(lags[index] for index in behind)
        return f"{count:,} offsets are missing in {len(behind)} partitions{why}", count

    # What all end with.

    async def _seal(self, mirror: MirrorTopic) -> None:
        """Waits for the last offsets, puts the settings in place, and is done, or turns."""
        # The engine is kept out itself then: nothing of it can come late.
        is_kept_out = mirror.stop is Stop.FAILOVER and self._guard.is_stuck(mirror.name)
        if not is_kept_out and not self._is_sealed(mirror):
            self.waits_for = "the last offset of each partition is being written"
            await asyncio.sleep(_LOOK_SECONDS / 10)
            return
        self.waits_for = "the settings of the topic are being put in place"
        way = self._plane.way(mirror)
        admin = way.destination.admin
        known = (await admin.settings([self._name]))[self._name]
        desired = {name: value for name, value in mirror.desired.items() if name in known}
        await admin.alter(self._name, desired)
        others = [name for name in FORCED if name in known and name not in desired]
        await admin.reset(self._name, others)
        await way.offset_sync.settle()
        ends = mirror.end_offsets or await self._ends_below_seal(mirror)
        mirror = await self._lift_guard()
        if mirror.stop is not None and mirror.stop.turns:
            await self._turn(mirror)
            return
        async with self._state.locked("mirror", self._name):
            await self._step(Phase.SEALING, {"phase": Phase.STOPPED, "end_offsets": ends})
        log.info("mirror topic %s is a topic like any other now (%s)", self._name, mirror.stop)

    async def _ends_below_seal(self, mirror: MirrorTopic) -> dict[int, int]:
        """Answers where each partition ends without its seal; where it failed and has none, its end."""
        topics = self._plane.way(mirror).destination.topics
        ends = await topics.log_ends(await topics.visible(mirror.name))
        statuses = self._workforce.statuses(self._name)
        sealed = {index: status.log_end - 1 for index, status in statuses.items() if status.is_sealed}
        return {**ends, **sealed}

    async def _lift_guard(self) -> MirrorTopic:
        """Waits until others may write, a failover only if the cluster lets them; answers the mirror topic as it is then."""
        while True:
            mirror = self._state.mirror(self._name)
            self.waits_for = self._guard.lift(self._name, give_up=mirror.stop is Stop.FAILOVER)
            if not self.waits_for:
                return mirror
            await asyncio.sleep(_LOOK_SECONDS / 10)

    def _is_sealed(self, mirror: MirrorTopic) -> bool:
        statuses, failures = self._workforce.statuses(mirror.name), self._state.failures(mirror)
        return all(
            index in failures or (index in statuses and statuses[index].is_sealed)
            for index in range(mirror.partition_count)
        )

    async def _step(self, before: Phase, values: Mapping[str, object]) -> None:
        await self._state.change(
            self._state.mirrors,
            self._name,
            lambda mirror: mirror.model_copy(update=values) if mirror.phase is before else None,
        )

    # What a reverse goes on with.

    async def _turn(self, mirror: MirrorTopic) -> None:
        """Turns the direction: from now on the former source is the mirror. Nothing is written yet."""
        self.waits_for = "the direction is being turned"
        source = self._plane.way(mirror).source
        link = self._state.links[mirror.link]
        config = mirror.remote_config
        if mirror.direction is Direction.REMOTE_TO_LOCAL:
            config = own_config(
                {**await source.admin.own_settings(mirror.source_topic), **mirror.held_off},
                include=link.topic_config_sync.include,
            )
        turned = mirror.turned(
            phase=Phase.TURNING,
            paused=mirror.stop is Stop.REVERSE_AND_PAUSE,
            start_offsets=mirror.end_offsets,
            own_until=mirror.end_offsets,
            replication_factor=await source.topics.replication_factor(mirror.source_topic),
            remote_config=config,
            held_off=mirror.held_off,
        )
        async with self._state.locked("mirror", self._name):
            if self._state.mirrors.get(self._name) is not mirror:
                return  # a failover took its place
            await self._state.write(turned, gone=self._state.partition_keys(self._name))
        log.info("mirror topic %s is %s now", self._name, turned.direction)

    async def _set_up(self, mirror: MirrorTopic) -> None:
        """Gives the new mirror the settings of one, then lets it be written to."""
        self.waits_for = "the former source gets the settings of a mirror topic"
        await self._workforce.stopped(self._name)
        way, include = self._plane.way(mirror), self._state.links[mirror.link].topic_config_sync.include
        source = (await way.source.admin.settings([mirror.source_topic]))[mirror.source_topic]
        present = (await way.destination.admin.settings([self._name]))[self._name]
        desired = desired_settings(source, include=include, overrides=mirror.overrides)
        settings = mirror_settings(
            source,
            known=present,
            include=include,
            overrides=mirror.overrides,
            replication_factor=mirror.replication_factor,
        )
        await way.destination.admin.alter(self._name, settings)
        await asyncio.sleep(_SETTING_SECONDS)
        self.waits_for = ""
        async with self._state.locked("mirror", self._name):
            await self._step(Phase.TURNING, {"phase": Phase.ACTIVE, "desired": desired, "held_off": {}})
        log.info("mirror topic %s goes on %s", self._name, mirror.direction)
