"""Topics of a cluster, as the life of mirror topics needs them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from clusterlink_engine.errors import AlreadyExistsError, BrokerRefusedError, ClusterUnavailableError, is_retriable
from clusterlink_engine.model.resources import MirrorTopic
from clusterlink_engine.model.topic_settings import COMMON
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.cluster import Cluster, TopicInfo
from clusterlink_engine.wire.codes import Code, refused
from clusterlink_engine.wire.topic_admin import TopicAdmin

# A broker knows a topic a moment after the controller has created it.
_VISIBLE_SECONDS = 30.0

# So long a leader is asked again that says it is none. Callers of the API wait for it.
_LEADER_SECONDS = 5.0


class Topics:
    """Finds, creates and deletes topics of a cluster.

    Attributes:
        cluster: The cluster.
    """

    def __init__(self, cluster: Cluster, admin: TopicAdmin, example: str = "") -> None:
        """Makes the helper.

        Args:
            cluster: To ask.
            admin: Of the cluster.
            example: A topic that always exists, at which settings are looked up; if none is known, any will do.
        """
        self.cluster = cluster
        self._admin = admin
        self._example = example
        self._known: frozenset[str] = frozenset()

    async def find(self, name: str) -> TopicInfo | None:
        """Answers a topic; None if there is none.

        Raises:
            KafkaError: The cluster does not answer, or refuses to describe the topic.
        """
        topic = await self.cluster.topic(name)
        if topic is None or topic.error == Code.UNKNOWN_TOPIC_OR_PARTITION:
            return None
        if topic.error:
            raise refused(topic.error, f'Describing the topic "{name}"', self.cluster.side)
        return topic

    async def create(self, mirror: MirrorTopic, settings: Mapping[str, str], *, first: bool) -> str:
        """Creates the topic of a mirror and answers its id.

        A topic that is there already is adopted only if an earlier attempt may have made it (`first` is false) and it is
        empty; its settings are then mended by the topic config sync.

        Raises:
            AlreadyExistsError: Somebody else has made a topic of that name.
            KafkaError: The cluster does not answer, or refuses.
        """
        try:
            topic_id = await logs.create_topic(
                self.cluster,
                mirror.name,
                partitions=mirror.partition_count,
                replication_factor=mirror.replication_factor,
                settings=settings,
            )
        except BrokerRefusedError as error:
            if error.code != Code.TOPIC_ALREADY_EXISTS:
                raise
            present = await self.visible(mirror.name)
            ends = await self.log_ends(present)
            if first or len(present.partitions) != mirror.partition_count or any(ends.values()):
                raise AlreadyExistsError(
                    f'Somebody else has just created a topic "{mirror.name}" on the {self.cluster.side} cluster.',
                    field="mirror_topic.source_topic",
                    reason="TOPIC_EXISTS",
                ) from error
            return present.topic_id
        await self.visible(mirror.name)
        return topic_id

    async def delete(self, mirror: MirrorTopic) -> None:
        """Deletes the topic of a mirror by its id; gone already is fine.

        A topic whose id is not known yet is deleted only if it is empty: then nothing is lost, whoever made it.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """
        topic_id = mirror.topic_id
        if not topic_id:
            present = await self.find(mirror.name)
            if present is None or any((await self.log_ends(present)).values()):
                return
            topic_id = present.topic_id
        await self.delete_by_id(topic_id)

    async def delete_by_id(self, topic_id: str) -> None:
        """Deletes a topic by its id; gone already is fine.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """
        try:
            await logs.delete_topic(self.cluster, topic_id)
        except BrokerRefusedError as error:
            if error.code != Code.UNKNOWN_TOPIC_ID:
                raise

    async def log_ends(self, topic: TopicInfo) -> dict[int, int]:
        """Answers the log end of each partition.

        Raises:
            KafkaError: A leader does not answer, or refuses.
        """
        return await read_offsets(self.cluster, topic, logs.log_ends)

    async def replication_factor(self, name: str) -> int:
        """Answers the number of replicas of a topic's first partition."""
        topic = await self.visible(name)
        return len(topic.partitions[min(topic.partitions)].replicas)

    async def known_settings(self) -> Collection[str]:
        """Answers the names of the topic settings that the cluster knows; if it has no topic to look at, those of all versions.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """
        if not self._known:
            names = [self._example] if self._example else (await self.cluster.topic_names())[:1]
            if not names:
                return COMMON
            self._known = frozenset((await self._admin.settings(names))[names[0]])
        return self._known

    async def visible(self, name: str, partition_count: int = 1) -> TopicInfo:
        """Waits until a topic has at least so many partitions, all with leaders, and answers it.

        Raises:
            ClusterUnavailableError: It takes too long.
            KafkaError: The cluster does not answer, or refuses.
        """
        try:
            async with asyncio.timeout(_VISIBLE_SECONDS):
                while True:
                    topic = await self.find(name)
                    partitions = topic.partitions if topic is not None else {}
                    led = all(partition.leader >= 0 for partition in partitions.values())
                    if topic is not None and led and len(partitions) >= partition_count:
                        return topic
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise ClusterUnavailableError(
                f'The topic "{name}" has no leaders for all its partitions after {_VISIBLE_SECONDS:g} s.',
                side=self.cluster.side,
            ) from error


OffsetReader = Callable[
    [Cluster, int, Collection[logs.TopicPartition]], Awaitable[dict[logs.TopicPartition, logs.LogEnd]]
]


async def read_offsets(cluster: Cluster, topic: TopicInfo, reader: OffsetReader) -> dict[int, int]:
    """Answers an offset of each partition of a topic, as a function of `wire.logs` reads it from a leader.

    Leaders that move, or that have only just been elected and do not know it yet, are asked again for a while.

    Raises:
        KafkaError: A leader does not answer, or refuses.
    """
    backoff = Backoff(longest=1.0)
    waiting_until = asyncio.get_running_loop().time() + _LEADER_SECONDS
    while True:
        try:
            return await _read_offsets_once(cluster, topic, reader)
        except BrokerRefusedError as error:
            if not is_retriable(error) or asyncio.get_running_loop().time() > waiting_until:
                raise
        await backoff.wait()
        found = (await cluster.metadata([topic.name])).topics.get(topic.name)
        if found is not None and not found.error and found.topic_id == topic.topic_id:
            topic = found


async def _read_offsets_once(cluster: Cluster, topic: TopicInfo, reader: OffsetReader) -> dict[int, int]:
    offsets: dict[int, int] = {}
    by_leader: dict[int, list[logs.TopicPartition]] = {}
    for index, partition in topic.partitions.items():
        if partition.leader < 0:
            raise refused(Code.LEADER_NOT_AVAILABLE, f"Reading an offset of {topic.name}-{index}", cluster.side)
        by_leader.setdefault(partition.leader, []).append((topic.name, index))
    for leader, partitions in by_leader.items():
        for (_, index), found in (await reader(cluster, leader, partitions)).items():
            if found.error:
                raise refused(found.error, f"Reading an offset of {topic.name}-{index}", cluster.side)
            offsets[index] = found.offset
    return offsets
