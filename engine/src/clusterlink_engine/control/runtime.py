"""Links at work: for each stored link its remote cluster, replication and syncs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from clusterlink_engine.admin.topics import ConfluentTopicAdmin, TopicAdmin
from clusterlink_engine.control.state import State
from clusterlink_engine.errors import KafkaError, Side, WrongClusterError
from clusterlink_engine.model.properties import value_of
from clusterlink_engine.model.resources import Link, MirrorTopic, Phase, RemoteCluster
from clusterlink_engine.model.states import (
    LinkFacts,
    LinkState,
    MirrorTopicFacts,
    MirrorTopicState,
    link_state,
    mirror_topic_state,
)
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Watcher
from clusterlink_engine.replication.gaps import GapFillingWay
from clusterlink_engine.replication.link import LinkReplication
from clusterlink_engine.replication.local import LocalSide
from clusterlink_engine.replication.tenure import Tenure
from clusterlink_engine.sync.topic_configs import TopicConfigSync
from clusterlink_engine.tasks import FatalHandler, Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata

log = logging.getLogger(__name__)

# Batches in flight are answered in milliseconds; a broker that is away must not hold up a pause.
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Local:
    """The local cluster, shared by all links: connections, administration, the writing side, buffers, the right to write."""

    cluster: Cluster
    admin: TopicAdmin
    side: LocalSide
    budget: Budget
    tenure: Tenure


def open_remote(remote: RemoteCluster, config: dict[str, str]) -> Cluster:
    """Makes the remote cluster of a link; nothing is contacted yet."""
    timeout = value_of(config, "request.timeout.ms") / 1000
    return Cluster(
        Side.REMOTE, remote.bootstrap_servers, remote.security, cluster_id=remote.cluster_id, timeout=timeout
    )


class LinkRuntime:
    """One link at work.

    Attributes:
        cluster: The remote one.
        admin: Of the remote one.
        replication: Of the link's mirror topics.
    """

    def __init__(
        self,
        link: Link,
        state: State,
        local: Local,
        *,
        on_fatal: FatalHandler,
        on_metadata: Callable[[str, Metadata], None],
        watcher: Watcher,
    ) -> None:
        self.cluster = open_remote(link.remote, link.config)
        timeout = value_of(link.config, "request.timeout.ms") / 1000
        self.admin: TopicAdmin = ConfluentTopicAdmin(
            Side.REMOTE, link.remote.bootstrap_servers, link.remote.security, timeout
        )
        self._name = link.name
        self._side = local.side
        self._state = state
        self._tasks = Tasks(on_fatal)
        self.replication = LinkReplication(
            link,
            self.cluster,
            local=local.side,
            budget=local.budget,
            tasks=self._tasks,
            tenure=local.tenure,
            progress=state.progress,
            on_metadata=lambda metadata: on_metadata(link.name, metadata),
            watcher=watcher,
        )
        self.config_sync = TopicConfigSync(
            self.admin, local.admin, lambda: state.links.get(link.name, link), self._mirrors_in_step
        )

    def start(self) -> None:
        """Starts the link's tasks, and its mirror topics unless paused."""
        self.replication.start()
        self._tasks.start(f"topic config sync of link {self._name}", self.config_sync.run())
        self.resume()

    async def stop(self, timeout: float = DRAIN_SECONDS) -> None:
        """Stops everything; what is in flight is answered first, for at most `timeout` seconds."""
        await self.replication.stop_all(timeout)
        await self._tasks.cancel()
        self.cluster.close()

    def resume(self) -> None:
        """Mirrors everything that is to be mirrored now."""
        if not self._state.links[self._name].paused:
            for mirror in self._state.mirrors_of(self._name):
                self.mirror(mirror)

    def mirror(self, mirror: MirrorTopic) -> None:
        """Mirrors a topic if it is to be mirrored now."""
        is_there = mirror.phase in (Phase.SEEDING, Phase.ACTIVE)
        if is_there and not mirror.paused and not self._state.links[self._name].paused:
            self.replication.mirror(mirror)
            self.config_sync.hurry()

    @property
    def gap_filling(self) -> GapFillingWay | None:
        """How gaps are filled on the local cluster; None while that is not known."""
        return self._side.gaps.way

    def lost_offsets(self, mirror: MirrorTopic, index: int) -> int:
        """Answers how many offsets the source deleted before they were mirrored to a partition."""
        return self._state.progress(mirror.name, mirror.topic_id, index).lost_offsets

    @property
    def error(self) -> KafkaError | None:
        """Why the remote cluster cannot be used now; None if it can."""
        return self.replication.watch.error

    def link_state(self, link: Link) -> LinkState:
        """Answers the link's state now."""
        return link_state(
            LinkFacts(
                paused=link.paused,
                is_reachable=self.error is None,
                is_another_cluster=isinstance(self.error, WrongClusterError),
            )
        )

    def mirror_state(self, mirror: MirrorTopic) -> MirrorTopicState:
        """Answers a mirror topic's state now."""
        cursors = self.replication.cursors(mirror.name)
        return mirror_topic_state(
            MirrorTopicFacts(
                link=self.link_state(self._state.links[self._name]),
                exists=mirror.phase in (Phase.SEEDING, Phase.ACTIVE),
                has_failed=bool(mirror.failures),
                paused=mirror.paused,
                is_source_readable=not any(cursor.source is None or cursor.fetch_error for cursor in cursors),
                is_seeding=mirror.phase is Phase.SEEDING or any(cursor.core.is_seeding for cursor in cursors),
            )
        )

    def _mirrors_in_step(self) -> list[MirrorTopic]:
        link = self._state.links.get(self._name)
        if link is None or link.paused:
            return []
        return [
            mirror
            for mirror in self._state.mirrors_of(self._name)
            if mirror.phase is Phase.ACTIVE and not mirror.paused and not mirror.failures
        ]


class Runtimes:
    """The links at work, by name."""

    def __init__(self, make: Callable[[Link], LinkRuntime]) -> None:
        self._make = make
        self._runtimes: dict[str, LinkRuntime] = {}

    def __getitem__(self, link: str) -> LinkRuntime:
        return self._runtimes[link]

    def start(self, link: Link) -> None:
        """Puts a link to work."""
        runtime = self._runtimes[link.name] = self._make(link)
        runtime.start()

    async def stop(self, link: str, timeout: float = DRAIN_SECONDS) -> None:
        """Takes a link from work."""
        await self._runtimes[link].stop(timeout)
        del self._runtimes[link]

    async def restart(self, link: Link) -> None:
        """Puts a link to work anew: its connections changed. There is one runtime at each moment."""
        await self._runtimes[link.name].stop()
        self.start(link)

    def find(self, link: str) -> LinkRuntime | None:
        """Answers the runtime of a link; None if it is not at work."""
        return self._runtimes.get(link)

    def names(self) -> list[str]:
        """Answers the links at work."""
        return list(self._runtimes)
