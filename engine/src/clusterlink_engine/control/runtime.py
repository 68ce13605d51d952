"""Links at work: for each stored link its remote cluster, replication and syncs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

from clusterlink_engine.control.topics import Topics
from clusterlink_engine.control.view import View
from clusterlink_engine.control.way import End, Way
from clusterlink_engine.errors import KafkaError, Side, WrongClusterError
from clusterlink_engine.model.acls import Acl
from clusterlink_engine.model.properties import MAX_BYTES_PER_SECOND, value_of, without_live
from clusterlink_engine.model.resources import (
    MIRRORED,
    Direction,
    Link,
    LinkMode,
    MirrorTopic,
    Phase,
    RemoteCluster,
)
from clusterlink_engine.model.states import LinkFacts, LinkState, link_state
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Cursor, Watcher
from clusterlink_engine.replication.destination import Destination
from clusterlink_engine.replication.gap_filling import GapFillingWay, Gaps
from clusterlink_engine.replication.link import LinkReplication
from clusterlink_engine.replication.tenure import Tenure
from clusterlink_engine.replication.throttle import Bucket, Throttle
from clusterlink_engine.settings import Replication
from clusterlink_engine.sync.acls import AclSync
from clusterlink_engine.sync.consumer_offsets import ConsumerOffsetSync
from clusterlink_engine.sync.discovery import AutoCreateMirror
from clusterlink_engine.sync.task import SyncTask
from clusterlink_engine.sync.topic_configs import TopicConfigSync
from clusterlink_engine.tasks import FatalHandler, Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata
from clusterlink_engine.wire.cutting import Cutter
from clusterlink_engine.wire.topic_admin import TopicAdmin

log = logging.getLogger(__name__)

# Batches in flight are answered in milliseconds; a broker that is away must not hold up a pause.
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Local:
    """The local cluster, shared by all links: what writes to it, how that is done, and how much memory and how fast."""

    end: End
    destination: Destination
    gaps: Gaps
    budget: Budget
    limit: Bucket
    cutter: Cutter
    settings: Replication


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom a link tells, and what it asks of others.

    Attributes:
        source_seen: Told every reading of the metadata of a link's source, in a direction.
        mirror_seen: Told every reading of the metadata of a link's destination, if that is the remote cluster.
        retired: Told when nothing of a cursor is on its way any more.
        store_desired: Stores what a mirror topic is to have once it is none any more.
        store_acls: Stores the ACLs that a link has created, or may have.
        create: Creates the mirror topic of a link and a source topic.
        log_ends: Answers the known log ends of a mirror topic's partitions.
        may_write: Whether this process still leads, as far as it can know.
        watcher: Told what cursors have to tell.
    """

    source_seen: Callable[[str, Direction, Metadata], None]
    mirror_seen: Callable[[str, Direction, Metadata], None]
    retired: Callable[[Cursor], None]
    store_desired: Callable[[MirrorTopic, Mapping[str, str]], Awaitable[None]]
    store_acls: Callable[[str, Collection[Acl]], Awaitable[None]]
    create: Callable[[str, str], Awaitable[object]]
    log_ends: Callable[[str], Mapping[int, int]]
    may_write: Callable[[], bool]
    watcher: Watcher


def open_remote(remote: RemoteCluster, config: dict[str, str], most_seconds: float = inf) -> Cluster:
    """Makes the remote cluster of a link; nothing is contacted yet, and nothing is waited for longer than `most_seconds`."""
    timeout = min(value_of(config, "request.timeout.ms") / 1000, most_seconds)
    return Cluster(
        Side.REMOTE, remote.bootstrap_servers, remote.security, cluster_id=remote.cluster_id, timeout=timeout
    )


class LinkRuntime:
    """One link at work in this process.

    Attributes:
        name: Of the link.
        inbound: The way from the remote cluster to the local one.
        outbound: The way back; None unless the link is BIDIRECTIONAL.
        acl_sync: Of ACLs.
        discovery: Of topics that become mirror topics by themselves.
        throttle: Of all that is read for the link.
        is_started: Whether `start` was called.
    """

    def __init__(
        self, link: Link, view: Callable[[], View], local: Local, listeners: Listeners, *, on_fatal: FatalHandler
    ) -> None:
        """Makes it; nothing is contacted before `start`."""
        self.name = link.name
        self.is_started = False
        self._link = link
        self._local = local
        self._view = view
        self._listeners = listeners
        self._tasks = Tasks(on_fatal)
        self._leads = False
        self.throttle = Throttle(local.limit)
        cluster = open_remote(link.remote, link.config)
        admin = TopicAdmin(cluster)
        self._remote = End(cluster, admin, Topics(cluster, admin))
        self._remote_destination: Destination | None = None
        self.inbound = self._way(Direction.REMOTE_TO_LOCAL, self._remote, local.end, local.destination, lambda: None)
        self.outbound = self._way_back() if link.mode is LinkMode.BIDIRECTIONAL else None
        created, store = self._created_acls, listeners.store_acls
        self.acl_sync = AclSync(cluster, local.end.cluster, self._now, created, store, listeners.may_write)
        self.discovery = AutoCreateMirror(cluster, self._now, self._known_sources, listeners.create)

    def _way_back(self) -> Way:
        gaps = Gaps(self._remote.cluster, self._local.settings, self._tasks)
        seen = partial(self._listeners.mirror_seen, self.name, Direction.LOCAL_TO_REMOTE)
        written_to = Destination(self._remote.cluster, self._local.settings, self._tasks, gaps, seen)
        self._remote_destination = written_to
        return self._way(
            Direction.LOCAL_TO_REMOTE, self._local.end, self._remote, written_to, start_writing=written_to.start
        )

    def _way(
        self,
        direction: Direction,
        source: End,
        destination: End,
        written_to: Destination,
        start_writing: Callable[[], None],
    ) -> Way:
        mirrors = partial(self._mirrors_in_step, direction)
        listeners = self._listeners
        return Way(
            direction,
            source,
            destination,
            replication=LinkReplication(
                self._link,
                source.cluster,
                destination=written_to,
                producer_id=lambda: self._now().producer_id_of(direction),
                budget=self._local.budget,
                throttle=self.throttle,
                tasks=self._tasks,
                progress=lambda topic, topic_id, index: self._view().progress(topic, topic_id, index),
                on_metadata=partial(listeners.source_seen, self.name, direction),
                on_retired=listeners.retired,
                watcher=listeners.watcher,
                cutter=self._local.cutter,
                merges=self._local.settings.merge_batches == "auto",
            ),
            config_sync=TopicConfigSync(source.admin, destination.admin, self._now, mirrors, listeners.store_desired),
            offset_sync=ConsumerOffsetSync(
                source.cluster, destination.cluster, self._now, mirrors, listeners.log_ends, listeners.may_write
            ),
            start_writing=start_writing,
        )

    def _now(self) -> Link:
        return self._view().links.get(self.name, self._link)

    @property
    def ways(self) -> tuple[Way, ...]:
        """Both ways, or the one that there is."""
        return (self.inbound,) if self.outbound is None else (self.inbound, self.outbound)

    def way(self, direction: Direction) -> Way:
        """Answers the way of a direction; the way back only of a BIDIRECTIONAL link."""
        way = self.inbound if direction is Direction.REMOTE_TO_LOCAL else self.outbound
        assert way is not None, self.name  # noqa: S101 - the verbs that turn look at the mode
        return way

    def is_outdated(self, link: Link) -> bool:
        """Tells whether the link changed so much that it needs a new runtime."""
        was = self._link
        return (link.link_id, link.remote, without_live(link.config)) != (
            was.link_id,
            was.remote,
            without_live(was.config),
        )

    @property
    def written_paused_seconds(self) -> float:
        """For which brokers of the remote cluster wanted to be left alone by those that write there."""
        return self._remote_destination.paused_seconds if self._remote_destination is not None else 0.0

    def limit(self, share: float) -> None:
        """Limits what is read to this part, 0 to 1, of what the link may read now."""
        rate = value_of(self._now().config, MAX_BYTES_PER_SECOND)
        self.throttle.limit.set_rate(rate * share, asyncio.get_running_loop().time())

    def start(self) -> None:
        """Starts the link's tasks; the way back is started when it is needed."""
        self.is_started = True
        self.inbound.start()

    def mirror(self, mirror: MirrorTopic, tenures: Mapping[int, Tenure]) -> None:
        """Mirrors exactly these partitions of a topic, in its direction."""
        for way in self.ways:
            if way.direction is not mirror.direction:
                way.replication.mirror(mirror, {})
            else:
                if tenures:
                    way.start()
                way.replication.mirror(mirror, tenures)

    def retire(self, topic: str) -> None:
        """Stops mirroring a topic."""
        for way in self.ways:
            way.replication.retire(topic)

    def topics(self) -> set[str]:
        """Answers the mirror topics that this process has cursors of."""
        return {topic for way in self.ways for topic in way.replication.topics()}

    def cursors(self, topic: str) -> list[Cursor]:
        """Answers the cursors of a mirror topic that this process has, those that are being retired too."""
        return [cursor for way in self.ways for cursor in way.replication.cursors(topic)]

    def lead(self) -> None:
        """This process looks after what belongs to the link as a whole; called again whenever its mirror topics change."""
        mirrors = [mirror for mirror in self._view().mirrors_of(self.name) if mirror.phase in MIRRORED]
        for way in self.ways:
            way.replication.watch_sources(
                mirror.source_topic for mirror in mirrors if mirror.direction is way.direction
            )
        if not self._leads:
            self._leads = True
            for task in self._all_syncs():
                self._tasks.start(f"{task.name} of link {self.name}", task.run())

    def _all_syncs(self) -> list[SyncTask]:
        return [*(task for way in self.ways for task in way.syncs), self.acl_sync, self.discovery]

    @property
    def syncs(self) -> dict[str, list[SyncTask]]:
        """Everything that is kept in step beside the records, by name: one task for each direction that it has."""
        found: dict[str, list[SyncTask]] = {}
        for task in self._all_syncs():
            found.setdefault(task.name, []).append(task)
        return found

    def hurry(self) -> None:
        """Something changed that is kept in step: look at it now."""
        for task in self._all_syncs():
            task.hurry()

    async def stop(self, timeout: float = DRAIN_SECONDS) -> None:
        """Stops everything; what is in flight is answered first, for at most `timeout` seconds."""
        await asyncio.gather(*(way.replication.stop(timeout) for way in self.ways))
        await self._tasks.cancel()
        self._remote.cluster.close()

    @property
    def gap_filling(self) -> GapFillingWay | None:
        """How gaps are filled on the local cluster; None while that is not known."""
        return self._local.gaps.way

    @property
    def error(self) -> KafkaError | None:
        """Why the remote cluster cannot be used now; None if it can."""
        return self.inbound.replication.watch.error

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

    def _mirrors_in_step(self, direction: Direction) -> list[MirrorTopic]:
        view = self._view()
        link = view.links.get(self.name)
        if link is None or link.paused:
            return []
        return [
            mirror
            for mirror in view.mirrors_of(self.name)
            if mirror.direction is direction
            and mirror.phase in (Phase.ACTIVE, Phase.PROMOTING)
            and not mirror.paused
            and not view.failures(mirror)
        ]
