"""The verbs promote, failover and reverse: who may be stopped or turned, and the one `Stopping` of each that is."""

import asyncio

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.control.stopping import Stopping, is_unfinished
from clusterlink_engine.control.turning import prepare_turning
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.control.write_guard import WriteGuard
from clusterlink_engine.errors import FailedPreconditionError
from clusterlink_engine.model.resources import MirrorTopic, Phase, Stop
from clusterlink_engine.tasks import Tasks


class Stops:
    """The mirror topics that become topics like any other, or the sources of their sources."""

    def __init__(self, state: State, plane: Plane, workforce: Workforce, guard: WriteGuard, tasks: Tasks) -> None:
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._guard = guard
        self._tasks = tasks
        self._stopping: dict[str, Stopping] = {}

    def go_on(self) -> None:
        """Finishes what an earlier process had begun."""
        for mirror in list(self._state.mirrors.values()):
            if is_unfinished(mirror):
                self._start_stopping(mirror.name)

    async def promote(self, name: str, link: str, *, validate_only: bool) -> MirrorTopic:
        """Makes a mirror topic a topic like any other as soon as it has everything that its source has.

        Returns when that is begun; asked for already: nothing happens.

        Raises:
            NotFoundError: There is no such mirror topic.
            FailedPreconditionError: Its state does not allow it.
        """
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            return await self._wait_for_everything(mirror, Stop.PROMOTE, validate_only=validate_only)

    async def reverse(self, name: str, link: str, *, paused: bool, validate_only: bool) -> MirrorTopic:
        """Makes a mirror topic the source of its source as soon as both are equal.

        Returns when that is begun; asked for already: nothing happens.

        Args:
            name: Of the mirror topic.
            link: Of its link; empty for any.
            paused: Whether the new mirror is paused.
            validate_only: Whether to change nothing.

        Raises:
            NotFoundError: There is no such mirror topic.
            FailedPreconditionError: Its state or its link does not allow it, or a right is missing.
            KafkaError: The remote cluster does not answer.
        """
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            await prepare_turning(self._state, self._plane, mirror, validate_only=validate_only)
            stop = Stop.REVERSE_AND_PAUSE if paused else Stop.REVERSE_AND_START
            return await self._wait_for_everything(mirror, stop, validate_only=validate_only)

    async def _wait_for_everything(self, mirror: MirrorTopic, stop: Stop, *, validate_only: bool) -> MirrorTopic:
        if mirror.phase is Phase.PROMOTING:
            if mirror.stop is stop:
                return mirror
            raise FailedPreconditionError(
                f'The mirror topic "{mirror.name}" waits for {mirror.stop} already; cancel that first.',
                field="name",
                reason="STOPPING",
            )
        self._check_stoppable(mirror)
        if self._state.failures(mirror):
            raise FailedPreconditionError(
                f'The mirror topic "{mirror.name}" has FAILED and will never have everything; fail over instead.',
                field="name",
                reason="MIRROR_TOPIC_FAILED",
            )
        if validate_only:
            return mirror
        changed = await self._state.change_mirror(
            mirror.name, {"phase": Phase.PROMOTING, "stop": stop, "paused": False}
        )
        self._start_stopping(mirror.name)
        return changed

    async def cancel_promote(self, name: str, link: str) -> MirrorTopic:
        """Lets a mirror topic that waits for its promote, or to be reversed, be a mirror topic as before.

        Raises:
            NotFoundError: There is no such mirror topic.
            FailedPreconditionError: It does not wait, or not any more.
        """
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            if mirror.phase is not Phase.PROMOTING:
                raise FailedPreconditionError(
                    f'The mirror topic "{name}" does not wait to be promoted or reversed'
                    + (", which is being finished and cannot be cancelled any more." if mirror.stop else "."),
                    field="name",
                    reason="NOT_PROMOTING",
                )
            return await self._state.change_mirror(name, {"phase": Phase.ACTIVE, "stop": None})

    async def failover(self, name: str, link: str, *, validate_only: bool) -> MirrorTopic:
        """Makes a mirror topic a topic like any other with what it has; its source is not asked.

        Returns when that is begun; asked for already: nothing happens. It takes the place of a promote that waits for what is
        missing, or for a cluster that refuses to let others write, and of a reverse that has not turned the direction yet.

        Raises:
            NotFoundError: There is no such mirror topic.
            FailedPreconditionError: Its state does not allow it.
        """
        async with self._state.locked("mirror", name):
            mirror = self._state.mirror(name, link)
            turns = mirror.stop is not None and mirror.stop.turns
            if mirror.phase is Phase.SEALING and not turns and not self._guard.is_stuck(name):
                return mirror
            if mirror.phase not in (Phase.PROMOTING, Phase.SEALING):
                self._check_stoppable(mirror)
            if validate_only:
                return mirror
            changed = await self._state.change_mirror(name, {"phase": Phase.SEALING, "stop": Stop.FAILOVER})
            self._start_stopping(name)
            return changed

    def waits_for(self, name: str) -> str:
        """Answers what a promote, failover or reverse waits for, for people; empty if for nothing."""
        stopping = self._stopping.get(name)
        return stopping.waits_for if stopping is not None else ""

    def _check_stoppable(self, mirror: MirrorTopic) -> None:
        """Raises FailedPreconditionError unless a mirror topic can be promoted or failed over."""
        if mirror.phase is Phase.STOPPED:
            raise FailedPreconditionError(
                f'The topic "{mirror.name}" has already stopped its mirror from "{mirror.link}".',
                field="name",
                reason="MIRROR_TOPIC_STOPPED",
            )
        statuses = self._workforce.statuses(mirror.name).values()
        if mirror.restoring or mirror.phase is not Phase.ACTIVE or any(status.is_seeding for status in statuses):
            raise FailedPreconditionError(
                f'The mirror topic "{mirror.name}" still holds, or gets, offsets that nobody may see; wait until it is ACTIVE.',
                field="name",
                reason="MIRROR_TOPIC_NOT_READY",
            )

    def _start_stopping(self, name: str) -> None:
        if name not in self._stopping:
            stopping = self._stopping[name] = Stopping(name, self._state, self._plane, self._workforce, self._guard)
            task = self._tasks.start(f"stop {name}", stopping.run())
            task.add_done_callback(lambda ended: self._stopped(name, ended))

    def _stopped(self, name: str, ended: asyncio.Task[None]) -> None:
        del self._stopping[name]
        mirror = self._state.mirrors.get(name)
        has_returned = not ended.cancelled() and ended.exception() is None
        if has_returned and mirror is not None and is_unfinished(mirror):
            self._start_stopping(name)  # asked for again, between the last look and the end
