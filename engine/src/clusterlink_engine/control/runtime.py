"""Links at work: for each stored link its remote cluster, replication and syncs."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from clusterlink_engine.admin.topics import ConfluentTopicAdmin, TopicAdmin
from clusterlink_engine.control.view import View
from clusterlink_engine.errors import KafkaError, Side, WrongClusterError
from clusterlink_engine.model.acls import Acl
from clusterlink_engine.model.properties import value_of
from clusterlink_engine.model.resources import MIRRORED, Link, MirrorTopic, Phase, RemoteCluster
from clusterlink_engine.model.states import LinkFacts, LinkState, link_state
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Cursor, Watcher
from clusterlink_engine.replication.gaps import GapFillingWay
from clusterlink_engine.replication.link import LinkReplication
from clusterlink_engine.replication.local import LocalSide
from clusterlink_engine.sync.acls import AclSync
from clusterlink_engine.sync.consumer_offsets import ConsumerOffsetSync
from clusterlink_engine.sync.discovery import AutoCreateMirror
from clusterlink_engine.sync.task import SyncTask
from clusterlink_engine.sync.topic_configs import TopicConfigSync
from clusterlink_engine.tasks import FatalHandler, Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata

log = logging.getLogger(__name__)

# Batches in flight are answered in milliseconds; a broker that is away must not hold up a pause.
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Local:
    """The local cluster, shared by all links: connections, administration, the writing side, buffers."""

    cluster: Cluster
    admin: TopicAdmin
    side: LocalSide
    budget: Budget


def open_remote(remote: RemoteCluster, config: dict[str, str]) -> Cluster:
    """Makes the remote cluster of a link; nothing is contacted yet."""
    timeout = value_of(config, "request.timeout.ms") / 1000
    return Cluster(
        Side.REMOTE, remote.bootstrap_servers, remote.security, cluster_id=remote.cluster_id, timeout=timeout
    )


class LinkRuntime:
    """One link at work in this process.

    Attributes:
        name: Of the link.
        cluster: The remote one.
        admin: Of the remote one.
        replication: Of the partitions that this process mirrors.
        config_sync: Of the topics' settings.
        offset_sync: Of the groups' offsets.
        acl_sync: Of ACLs.
        discovery: Of topics that become mirror topics by themselves.
        is_started: Whether `start` was called.
    """

    def __init__(
        self,
        link: Link,
        view: Callable[[], View],
        local: Local,
        *,
        on_fatal: FatalHandler,
        on_metadata: Callable[[str, Metadata], None],
        on_retired: Callable[[Cursor], None],
        on_desired: Callable[[MirrorTopic, Mapping[str, str]], Awaitable[None]],
        log_ends: Callable[[str], Mapping[int, int]],
        may_write: Callable[[], bool],
        create: Callable[[str, str], Awaitable[object]],
        store_acls: Callable[[str, Collection[Acl]], Awaitable[None]],
        watcher: Watcher,
    ) -> None:
        self.name = link.name
        self.cluster = open_remote(link.remote, link.config)
        self.is_started = False
        timeout = value_of(link.config, "request.timeout.ms") / 1000
        self.admin: TopicAdmin = ConfluentTopicAdmin(
            Side.REMOTE, link.remote.bootstrap_servers, link.remote.security, timeout
        )
        self._link = link
        self._side = local.side
        self._view = view
        self._tasks = Tasks(on_fatal)
        self._leads = False
        self.replication = LinkReplication(
            link,
            self.cluster,
            local=local.side,
            budget=local.budget,
            tasks=self._tasks,
            progress=lambda topic, topic_id, index: view().progress(topic, topic_id, index),
            on_metadata=lambda metadata: on_metadata(link.name, metadata),
            on_retired=on_retired,
            watcher=watcher,
        )

        def now() -> Link:
            return view().links.get(link.name, link)

        self.config_sync = TopicConfigSync(self.admin, local.admin, now, self._mirrors_in_step, on_desired)
        self.offset_sync = ConsumerOffsetSync(
            self.cluster, local.cluster, now, self._mirrors_in_step, log_ends, may_write
        )
        self.acl_sync = AclSync(self.cluster, local.cluster, now, self._created_acls, store_acls, may_write)
        self.discovery = AutoCreateMirror(self.cluster, now, self._known_sources, create)

    def is_outdated(self, link: Link) -> bool:
        """Tells whether the link changed so much that it needs a new runtime."""
        return (link.link_id, link.remote, link.config) != (self._link.link_id, self._link.remote, self._link.config)

    def start(self) -> None:
        """Starts the link's tasks."""
        self.is_started = True
        self.replication.start()

    def lead(self) -> None:
        """This process looks after what belongs to the link as a whole; called again whenever its mirror topics change."""
        self.replication.watch_sources(
            mirror.source_topic for mirror in self._view().mirrors_of(self.name) if mirror.phase in MIRRORED
        )
        if not self._leads:
            self._leads = True
            for task in self.syncs:
                self._tasks.start(f"{task.name} of link {self.name}", task.run())

    @property
    def syncs(self) -> tuple[SyncTask, ...]:
        """Everything that is kept in step beside the records."""
        return (self.offset_sync, self.config_sync, self.acl_sync, self.discovery)

    def hurry(self) -> None:
        """Something changed that is kept in step: look at it now."""
        for task in self.syncs:
            task.hurry()

    async def stop(self, timeout: float = DRAIN_SECONDS) -> None:
        """Stops everything; what is in flight is answered first, for at most `timeout` seconds."""
        await self.replication.stop(timeout)
        await self._tasks.cancel()
        self.cluster.close()

    @property
    def gap_filling(self) -> GapFillingWay | None:
        """How gaps are filled on the local cluster; None while that is not known."""
        return self._side.gaps.way

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

    def _created_acls(self) -> tuple[Acl, ...]:
        stored = self._view().acls.get(self.name)
        return stored.acls if stored is not None else ()

    def _known_sources(self) -> set[str]:
        """Source topics that are mirrored, or were until somebody ended it: that is not undone."""
        view, link = self._view(), self._link
        return {mirror.source_topic for mirror in view.mirrors_of(self.name)} | {
            detached.source_topic
            for detached in view.detached.values()
            if detached.remote_cluster_id == link.remote.cluster_id
            and detached.name == link.topic_prefix + detached.source_topic
        }

    def _mirrors_in_step(self) -> list[MirrorTopic]:
        view = self._view()
        link = view.links.get(self.name)
        if link is None or link.paused:
            return []
        return [
            mirror
            for mirror in view.mirrors_of(self.name)
            if mirror.phase in (Phase.ACTIVE, Phase.PROMOTING) and not mirror.paused and not view.failures(mirror)
        ]
