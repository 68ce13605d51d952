"""Rounds of the consumer offset sync by themselves, on real clusters: how they follow each other, and what expires between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import Side
from clusterlink_engine.model.filters import Filter
from clusterlink_engine.model.resources import ConsumerOffsetSync as Settings
from clusterlink_engine.model.resources import Link, MirrorTopic, RemoteCluster
from clusterlink_engine.security import Security
from clusterlink_engine.sync import consumer_offsets
from clusterlink_engine.sync.consumer_offsets import ConsumerOffsetSync
from clusterlink_engine.wire.cluster import Cluster
from tests.support import groups, topics
from tests.support.waiting import wait_until_async

LOG_END = 100


class GatedCluster(Cluster):
    """A cluster that is asked nothing while its gate is closed.

    Attributes:
        asked: Set when something was asked.
        gate: Open, if the test does not clear it.
    """

    def __init__(self, side: Side, bootstrap: str) -> None:
        super().__init__(side, [bootstrap], Security())
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(
        self, node: int, request: Any, response: Any, versions: tuple[int, int], *, timeout: float | None = None
    ) -> Any:
        self.asked.set()
        await self.gate.wait()
        return await super().call(node, request, response, versions, timeout=timeout)


Client = Callable[[Side, str], Awaitable[GatedCluster]]


@pytest.fixture
async def connect() -> AsyncIterator[Client]:
    """Makes clients of clusters, and closes them in the end."""
    with ExitStack() as stack:

        async def connect(side: Side, bootstrap: str) -> GatedCluster:
            cluster = stack.enter_context(closing(GatedCluster(side, bootstrap)))
            await cluster.metadata([])
            return cluster

        yield connect


def _sync(remote: Cluster, local: Cluster, topic: str) -> tuple[ConsumerOffsetSync, list[MirrorTopic]]:
    """The sync of all groups whose names begin with the topic's."""
    link = Link(
        name="link",
        link_id="id",
        remote=RemoteCluster(bootstrap_servers=("unused:1",), cluster_id=""),
        consumer_offset_sync=Settings(enable=True, group_filters=(Filter(name=topic, pattern_type="PREFIXED"),)),
        producer_id=0,
    )
    mirrors = [
        MirrorTopic(
            name=topic, link="link", source_topic=topic, source_topic_id="", partition_count=1, replication_factor=1
        )
    ]
    task = ConsumerOffsetSync(remote, local, lambda: link, lambda: mirrors, lambda _: {0: LOG_END}, lambda: True)
    return task, mirrors


async def test_what_was_read_before_is_not_written_after_what_was_read_later(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, connect: Client, topic_name: str
) -> None:
    """The last sync of a promote comes while a round has read already, and not written."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    for bootstrap in (here, there):
        topics.create(bootstrap, topic_name)
    groups.commit(there, topic_name, topic_name, {0: 1})
    groups.commit(here, topic_name, topic_name, {0: 20})
    local = await connect(Side.LOCAL, there)
    task, mirrors = _sync(await connect(Side.REMOTE, here), local, topic_name)
    first_gate = local.gate
    first_gate.clear()
    round_ = asyncio.create_task(task.work())
    await asyncio.wait_for(local.asked.wait(), 30)
    groups.commit(here, topic_name, topic_name, {0: 25})
    local.gate = asyncio.Event()
    local.gate.set()  # for who comes later
    last = asyncio.create_task(task.sync(mirrors))
    await asyncio.wait({last}, timeout=3)  # it should not end now; if it could, it would
    first_gate.set()
    assert (await round_, await last) == ([], [])
    assert groups.committed(there, topic_name, topic_name, 1) == {0: 25}


@pytest.mark.slow
async def test_offsets_of_a_group_that_rests_do_not_expire(
    source_cluster: KafkaCluster,
    start_cluster: Callable[..., KafkaCluster],
    connect: Client,
    topic_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a cluster that forgets after a minute, with rounds that repeat at once what they had committed."""
    settings = {"offsets.retention.minutes": 1, "offsets.retention.check.interval.ms": 1000}
    here, there = source_cluster.bootstrap_servers, start_cluster(settings=settings).bootstrap_servers
    for bootstrap in (here, there):
        topics.create(bootstrap, topic_name)
    rests, forgotten = f"{topic_name}-rests", "forgotten"
    groups.commit(here, rests, topic_name, {0: 20})
    monkeypatch.setattr(consumer_offsets, "_REPEAT_SECONDS", 0.0)
    task, _ = _sync(await connect(Side.REMOTE, here), await connect(Side.LOCAL, there), topic_name)

    async def synced() -> bool:
        return await task.work() == [] and groups.committed(there, rests, topic_name, 1) == {0: 20}

    await wait_until_async(synced, 30, "the group to be synced")
    groups.commit(there, forgotten, topic_name, {0: 20})  # later than the first one of the other
    plans: list[consumer_offsets.Plan] = []

    def watched(*arguments: Any) -> consumer_offsets.Plan:
        plans.append(plan(*arguments))
        return plans[-1]

    plan = consumer_offsets.plan
    monkeypatch.setattr(consumer_offsets, "plan", watched)

    async def expired() -> bool:
        await task.work()
        return groups.committed(there, forgotten, topic_name, 1) == {}

    await wait_until_async(expired, 180, "the other group to expire")
    assert not [found.changes for found in plans if found.changes]  # it was there in each round
    assert all(found.repeats for found in plans)
