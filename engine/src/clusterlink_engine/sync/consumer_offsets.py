"""Consumer offset sync: what groups have committed at the source is committed for them at the mirror topics.

Offsets are the same on both sides, so nothing is translated. They are clamped to what the mirror has, never written while
the group has members at the destination (its coordinator refuses that by itself), and never moved back unless this
process wrote the value that is there.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.model.filters import named, selects
from clusterlink_engine.model.resources import Link, MirrorTopic
from clusterlink_engine.sync.task import CONSUMER_GROUP_IN_USE_ERROR, SyncTask, TaskError, task_error
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, refused
from clusterlink_engine.wire.connection import Connection
from clusterlink_engine.wire.consumer_groups import list_groups
from clusterlink_engine.wire.groups import GROUP, find_coordinators
from clusterlink_engine.wire.logs import TopicPartition
from clusterlink_engine.wire.offsets import Committed, commit_offsets, fetch_offsets, is_in_use

# Offsets of a group that never had a member expire after offsets.retention.minutes (7 days by default) from their last
# commit, so they are committed again long before.
_REPEAT_SECONDS = 3600.0

# A broker answers one request of a connection after the other, and waits some ms with each commit for more of them.
_CONNECTIONS = 8

Offsets = dict[TopicPartition, Committed]


@dataclass(slots=True)
class Plan:
    """What is to be done for one group.

    Attributes:
        changes: To commit, because the group is elsewhere at the destination.
        repeats: To commit again, so that they do not expire.
        ahead: Partitions in which somebody else has moved the group beyond its place at the source.
    """

    changes: Offsets
    repeats: Offsets
    ahead: list[TopicPartition]


@dataclass(frozen=True, slots=True)
class Written:
    """An offset that this process has committed, and when, on the loop's clock."""

    offset: int
    at: float


def plan(
    source: Mapping[TopicPartition, Committed],
    present: Mapping[TopicPartition, Committed],
    written: Mapping[TopicPartition, Written],
    log_ends: Mapping[TopicPartition, int],
    now: float,
) -> Plan:
    """Compares where a group is at the source with where it is at the destination.

    Args:
        source: Its offsets at the source, by partition of the mirror topic.
        present: Its offsets at the destination.
        written: What was committed for it before.
        log_ends: Of the mirror partitions; those that are not known are left alone.
        now: On the loop's clock.
    """
    found = Plan({}, {}, [])
    for key, committed in source.items():
        if log_ends.get(key, -1) < 0:
            continue
        wanted = committed._replace(offset=min(committed.offset, log_ends[key]))
        there, ours = present.get(key), written.get(key)
        if there == wanted:
            if ours is None or now - ours.at >= _REPEAT_SECONDS:
                found.repeats[key] = wanted
        elif there is not None and there.offset > wanted.offset and (ours is None or ours.offset != there.offset):
            found.ahead.append(key)
        else:
            found.changes[key] = wanted
    return found


class ConsumerOffsetSync(SyncTask):
    """The sync of one link."""

    name = "ConsumerOffsetSync"

    def __init__(
        self,
        source: Cluster,
        destination: Cluster,
        link: Callable[[], Link],
        mirrors: Callable[[], Sequence[MirrorTopic]],
        log_ends: Callable[[str], Mapping[int, int]],
        may_write: Callable[[], bool],
    ) -> None:
        """Makes the task.

        Args:
            source: The cluster that is read.
            destination: The cluster that is written to.
            link: Answers the link as it is now.
            mirrors: Answers the mirror topics to keep in step now.
            log_ends: Answers the known log ends of a mirror topic's partitions.
            may_write: Whether this process still leads, as far as it can know.
        """
        super().__init__(link)
        self._source = source
        self._destination = destination
        self._mirrors = mirrors
        self._log_ends = log_ends
        self._may_write = may_write
        self._syncing = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._written: dict[str, dict[TopicPartition, Written]] = {}

    @property
    def is_enabled(self) -> bool:
        """See SyncTask."""
        return self._link().consumer_offset_sync.enable

    @property
    def interval_ms(self) -> int:
        """See SyncTask."""
        return self._link().consumer_offset_sync.interval_ms

    async def work(self) -> list[TaskError]:
        """See SyncTask."""
        mirrors = self._mirrors()
        return await self.sync(mirrors) if mirrors else []

    async def settle(self) -> None:
        """Returns when nothing is being written any more that was decided before: a topic may then leave the mirrors."""
        async with self._writing:
            pass

    async def sync(self, mirrors: Sequence[MirrorTopic]) -> list[TaskError]:
        """Brings the groups in step at some mirror topics now; answers what could not be done.

        Raises:
            KafkaError: A cluster does not answer.
        """
        async with self._syncing:  # else what was read before could be written after what was read later
            return await self._sync(mirrors)

    async def _sync(self, mirrors: Sequence[MirrorTopic]) -> list[TaskError]:
        errors: list[TaskError] = []
        source = await self._read_source({mirror.source_topic: mirror.name for mirror in mirrors}, errors)
        if not source:
            return errors
        coordinators, refusals = await find_coordinators(self._destination, source, GROUP)
        errors.extend(self._refusals(self._destination, refusals))
        log_ends = {
            (mirror.name, index): end for mirror in mirrors for index, end in self._log_ends(mirror.name).items()
        }

        async def bring_in_step(node: int) -> None:
            groups = sorted(group for group, coordinator in coordinators.items() if coordinator == node)
            try:
                present, refusals = await fetch_offsets(self._destination, node, groups)
            except KafkaError as error:
                errors.append(task_error(error))
                return
            errors.extend(self._refusals(self._destination, refusals))
            now = asyncio.get_running_loop().time()
            plans = {
                group: plan(source[group], present[group], self._written.get(group, {}), log_ends, now)
                for group in sorted(present)
            }
            for group, todo in plans.items():
                errors.extend(self._judge_ahead(group, todo.ahead))
            await self._carry_out(node, plans, errors)

        async with self._writing:
            await asyncio.gather(*(bring_in_step(node) for node in sorted(set(coordinators.values()))))
        return errors

    async def _carry_out(self, node: int, plans: Mapping[str, Plan], errors: list[TaskError]) -> None:
        """Commits for the groups of one coordinator, over connections that are there as long."""
        waiting = deque((group, todo) for group, todo in plans.items() if todo.changes or todo.repeats)

        async def work() -> None:
            try:
                connection = await self._destination.open(node)
            except KafkaError as error:
                errors.append(task_error(error))
                return
            try:
                while waiting:
                    group, todo = waiting.popleft()
                    errors.extend(await self._commit(connection, group, todo.changes))
                    await self._commit(connection, group, todo.repeats)  # it is in place, whoever is in the group
            except KafkaError as error:
                errors.append(task_error(error))
            finally:
                connection.close()

        await asyncio.gather(*(work() for _ in range(min(_CONNECTIONS, len(waiting)))))

    async def _read_source(self, names: Mapping[str, str], errors: list[TaskError]) -> dict[str, Offsets]:
        """Answers what the selected groups have committed, by group as it is called there."""
        link = self._link()
        sync = link.consumer_offset_sync
        prefix = link.topic_prefix if sync.group_prefix else ""
        offsets: dict[str, Offsets] = {}
        seen: set[str] = set()
        for node in (await self._source.metadata([])).brokers:
            try:
                groups = [
                    group for group in await list_groups(self._source, node) if selects(sync.group_filters, group)
                ]
                found, refusals = await fetch_offsets(self._source, node, groups)
            except KafkaError as error:
                errors.append(task_error(error))
                continue
            seen.update(groups)
            errors.extend(self._refusals(self._source, refusals))
            for group, committed in found.items():
                mirrored = {
                    (names[topic], index): value for (topic, index), value in committed.items() if topic in names
                }
                if mirrored:
                    offsets[prefix + group] = mirrored
        unseen = named(sync.group_filters) - seen
        if unseen:  # a group that may not be described is not listed, but whoever asks for it by name is told
            _, refusals = await find_coordinators(self._source, unseen, GROUP)
            errors.extend(self._refusals(self._source, refusals))
        return offsets

    async def _commit(self, connection: Connection, group: str, offsets: Offsets) -> list[TaskError]:
        """Commits for a group what still belongs to mirror topics of the link."""
        live = {mirror.name for mirror in self._mirrors()}
        offsets = {key: value for key, value in offsets.items() if key[0] in live}
        if not offsets or not self._may_write():
            return []
        codes = await commit_offsets(connection, group, offsets)
        now = asyncio.get_running_loop().time()
        written = self._written.setdefault(group, {})
        for key, code in codes.items():
            if not code:
                written[key] = Written(offsets[key].offset, now)
        first = next((code for code in codes.values() if code), Code.NONE)
        if not first:
            return []
        if is_in_use(first):
            text = (
                f'The group "{group}" has members on the {self._destination.side} cluster, so its offsets there are its own. '
                "Stop them, or exclude the group."
            )
            return [TaskError(CONSUMER_GROUP_IN_USE_ERROR, text)]
        return [task_error(refused(first, f'Committing offsets of the group "{group}"', self._destination.side))]

    def _judge_ahead(self, group: str, ahead: Collection[TopicPartition]) -> list[TaskError]:
        if not ahead:
            return []
        topic, index = min(ahead)
        side = self._destination.side
        more = f" and {len(ahead) - 1} other partitions" if len(ahead) > 1 else ""
        text = (
            f'The group "{group}" is further on the {side} cluster than at the source, in {topic}-{index}{more}: it has '
            "worked there. It is not moved back; exclude it, or delete its offsets there."
        )
        return [TaskError(CONSUMER_GROUP_IN_USE_ERROR, text)]

    @staticmethod
    def _refusals(cluster: Cluster, codes: Mapping[str, int]) -> list[TaskError]:
        return [
            task_error(refused(code, f'Reading offsets of the group "{group}"', cluster.side))
            for group, code in codes.items()
        ]
