"""One way of a link: the cluster that is read, the one that is written to, and what is kept in step in this direction."""

from collections.abc import Callable
from dataclasses import dataclass

from clusterlink_engine.control.topics import Topics
from clusterlink_engine.model.resources import Direction
from clusterlink_engine.replication.link import LinkReplication
from clusterlink_engine.sync.consumer_offsets import ConsumerOffsetSync
from clusterlink_engine.sync.task import SyncTask
from clusterlink_engine.sync.topic_configs import TopicConfigSync
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.topic_admin import TopicAdmin


@dataclass(frozen=True, slots=True)
class End:
    """A cluster at one end of a link."""

    cluster: Cluster
    admin: TopicAdmin
    topics: Topics


class Way:
    """A link in one direction, at work in this process.

    Attributes:
        direction: Of its mirror topics.
        source: Where they are read.
        destination: Where they are written.
        replication: Of the partitions that this process mirrors.
        config_sync: Of the topics' settings.
        offset_sync: Of the groups' offsets.
    """

    def __init__(
        self,
        direction: Direction,
        source: End,
        destination: End,
        *,
        replication: LinkReplication,
        config_sync: TopicConfigSync,
        offset_sync: ConsumerOffsetSync,
        start_writing: Callable[[], None],
    ) -> None:
        """Makes it of its parts; `start_writing` starts what is written with, unless that was started already."""
        self.direction = direction
        self.source = source
        self.destination = destination
        self.replication = replication
        self.config_sync = config_sync
        self.offset_sync = offset_sync
        self._start_writing = start_writing
        self._is_started = False

    @property
    def syncs(self) -> tuple[SyncTask, ...]:
        """What is kept in step beside the records."""
        return (self.offset_sync, self.config_sync)

    def start(self) -> None:
        """Starts reading metadata; started already: nothing happens."""
        if not self._is_started:
            self._is_started = True
            self._start_writing()
            self.replication.start()
