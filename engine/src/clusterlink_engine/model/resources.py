"""What is stored of a link and of a mirror topic.

Objects are never changed in place: a new one is written to the state topic first and takes the old one's place after.
`control` alone writes them. Fields carry their invariant.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clusterlink_engine.model.acls import Acl, AclFilter, denial
from clusterlink_engine.model.filters import Filter
from clusterlink_engine.model.states import MirrorError
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security, Tls

DEFAULT_TOPIC_CONFIG_SYNC_MS = 5000
DEFAULT_CONSUMER_OFFSET_SYNC_MS = 30_000
DEFAULT_ACL_SYNC_MS = 5000

EARLIEST, LATEST = "earliest", "latest"


class Stored(BaseModel):
    """Base of all stored objects: immutable, strict about unknown fields (a newer engine raises the record version)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Named(Stored):
    """A stored object with a name that is its key and never changes."""

    name: str


class LinkMode(StrEnum):
    """Which way a link's mirror topics may go."""

    DESTINATION = "DESTINATION"
    """From the remote cluster to the local one."""
    BIDIRECTIONAL = "BIDIRECTIONAL"
    """That way at first; each mirror topic can be turned. Without a topic prefix."""


class Direction(StrEnum):
    """Which of a mirror topic's two topics is the mirror."""

    REMOTE_TO_LOCAL = "REMOTE_TO_LOCAL"
    LOCAL_TO_REMOTE = "LOCAL_TO_REMOTE"

    @property
    def reversed(self) -> "Direction":
        """The other one."""
        return Direction.LOCAL_TO_REMOTE if self is Direction.REMOTE_TO_LOCAL else Direction.REMOTE_TO_LOCAL


class RemoteCluster(Stored):
    """The other end of a link."""

    bootstrap_servers: tuple[str, ...]
    """Sorted, at least one; `host:port`."""
    cluster_id: str
    """As the cluster answered when the link was created; never changes."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl: Sasl | None = None
    tls: Tls | None = None

    @property
    def security(self) -> Security:
        """How to connect."""
        return Security(security_protocol=self.security_protocol, sasl=self.sasl, tls=self.tls)


class TopicConfigSync(Stored):
    """How the settings of source topics are followed."""

    interval_ms: int = DEFAULT_TOPIC_CONFIG_SYNC_MS
    include: tuple[str, ...] = ()
    """Sorted; empty stands for the default list."""


class ConsumerOffsetSync(Stored):
    """How the committed offsets of consumer groups are followed."""

    enable: bool = False
    interval_ms: int = DEFAULT_CONSUMER_OFFSET_SYNC_MS
    group_prefix: bool = False
    """Whether groups get the link's topic prefix on the local cluster; only with a prefix."""
    group_filters: tuple[Filter, ...] = ()
    """Sorted. At least one INCLUDE if enabled."""


class AclSync(Stored):
    """How the ACLs of the source are followed; not together with a topic prefix."""

    enable: bool = False
    interval_ms: int = DEFAULT_ACL_SYNC_MS
    filters: tuple[AclFilter, ...] = ()
    """Sorted. At least one if enabled."""


class AutoCreateMirrorTopics(Stored):
    """Which source topics become mirror topics by themselves."""

    enable: bool = False
    filters: tuple[Filter, ...] = ()
    """Sorted. At least one INCLUDE if enabled."""


class Link(Named):
    """A link: the way from one remote cluster to the local one."""

    link_id: str
    """Given at creation; never used again."""
    mode: LinkMode = LinkMode.DESTINATION
    """Never changes."""
    remote: RemoteCluster
    topic_prefix: str = ""
    """Never changes; unique among the links unless empty. Empty if the mode is BIDIRECTIONAL."""
    paused: bool = False
    mirror_start_offset: str = EARLIEST
    """Where new mirror topics begin: "earliest", "latest", or an RFC 3339 time. Never changes."""
    topic_config_sync: TopicConfigSync = TopicConfigSync()
    consumer_offset_sync: ConsumerOffsetSync = ConsumerOffsetSync()
    acl_sync: AclSync = AclSync()
    auto_create_mirror_topics: AutoCreateMirrorTopics = AutoCreateMirrorTopics()
    config: dict[str, str] = Field(default_factory=dict)
    client_token: str = ""
    """Of the create; a repeated create with the same token answers this link."""
    producer_id: int
    """Handed out by the local cluster (InitProducerId); all batches that this link writes there carry it. Never changes."""
    remote_producer_id: int = -1
    """Likewise by the remote cluster, before the first mirror topic is turned; -1 until then. Set once."""

    def producer_id_of(self, direction: Direction) -> int:
        """Answers the producer id that the link has where mirror topics of a direction are written."""
        return self.producer_id if direction is Direction.REMOTE_TO_LOCAL else self.remote_producer_id


class Phase(StrEnum):
    """How far the life of a mirror topic has got; each step is stored before it is taken."""

    CLEARING = "CLEARING"
    """The topic that the mirror takes the place of is to be deleted by its id (`replaces`); it may be gone already."""
    CREATING = "CREATING"
    """The topic may exist; nothing was written to it."""
    SEEDING = "SEEDING"
    """The topic exists and is written to, and holds fillers that nobody may see; its settings are those of seeding."""
    ACTIVE = "ACTIVE"
    """The topic exists and is written to by this link alone."""
    PROMOTING = "PROMOTING"
    """As ACTIVE, until the mirror has everything that the source has."""
    SEALING = "SEALING"
    """Nothing more is mirrored. The last offset is being filled, and the topic's own settings are put in place."""
    STOPPED = "STOPPED"
    """The topic is a topic like any other; the record is its history."""
    TURNING = "TURNING"
    """The direction was turned: the topic that is the mirror now is given the settings of one. Nothing is written yet."""
    DETACHING = "DETACHING"
    """The topic is not written to any more, and will be kept."""
    DELETING = "DELETING"
    """The topic is to be deleted by its id; it may be gone already."""


# The phases in which the source is copied, unless something is paused.
MIRRORED = frozenset({Phase.SEEDING, Phase.ACTIVE, Phase.PROMOTING})


class Stop(StrEnum):
    """How a mirror topic became a topic like any other."""

    PROMOTE = "PROMOTE"
    """When it had everything that the source had."""
    FAILOVER = "FAILOVER"
    """With what it had."""
    REVERSE_AND_START = "REVERSE_AND_START"
    """When both topics were equal; then its source becomes its mirror."""
    REVERSE_AND_PAUSE = "REVERSE_AND_PAUSE"
    """Likewise, but the new mirror is paused."""

    @property
    def turns(self) -> bool:
        """Whether the direction is turned."""
        return self in (Stop.REVERSE_AND_START, Stop.REVERSE_AND_PAUSE)


class Failure(Stored):
    """Why a partition cannot go on; set once, by the partition that failed."""

    error: MirrorError
    message: str


class MirrorTopic(Named):
    """A mirror topic of a link; its name is the topic's on the local cluster, the link's prefix + source_topic.

    "Source" and "mirror" are meant in its direction; once it was turned, both topics have the same name.
    """

    link: str
    """Name of the link. Never changes."""
    source_topic: str
    """Never changes."""
    source_topic_id: str
    """UUID in hexadecimal digits. Another id at the source is another topic, whatever its name."""
    topic_id: str = ""
    """UUID of the mirror; empty only while phase is CLEARING or CREATING."""
    direction: Direction = Direction.REMOTE_TO_LOCAL
    """Turned only while nothing is written: when SEALING or STOPPED ends."""
    partition_count: int
    """Of the mirror topic; only grows, after the source's."""
    replication_factor: int
    """At least 1 once phase is ACTIVE; before, -1 stands for the cluster's default."""
    config: dict[str, str] = Field(default_factory=dict)
    """Settings of the topic on the local cluster, while it is the mirror, that the link does not sync."""
    remote_config: dict[str, str] = Field(default_factory=dict)
    """Likewise of the topic on the remote cluster: what it had itself when the direction was turned. Set then."""
    phase: Phase = Phase.CREATING
    paused: bool = False
    failures: dict[int, Failure] = Field(default_factory=dict)
    """By partition, as version 2 of the state stored them; later ones are with the partition's progress."""
    start_offsets: dict[int, int] = Field(default_factory=dict)
    """Log end of each partition when this record began to write to it; 0 where none is given. Not 0 only for a detached
    topic that was taken up again."""
    own_until: dict[int, int] = Field(default_factory=dict)
    """Below these offsets the mirror's records are its own, by partition: it was the source when they were written. So aborted
    ones are there, too."""
    first_offsets: dict[int, int] = Field(default_factory=dict)
    """Where each partition of the mirror begins; 0 where none is given. Set once, with the topic."""
    stop: Stop | None = None
    """Not None from PROMOTING or SEALING on."""
    desired: dict[str, str] = Field(default_factory=dict)
    """Settings that mirroring overrides, with the values that the topic gets when it is STOPPED. Others of them get the
    cluster's defaults."""
    held_off: dict[str, str] = Field(default_factory=dict)
    """Settings that hold producers off the source, with the values that they have otherwise. Stored before they are set, and
    emptied after they are back; not empty only while it is to be turned, or just after."""
    end_offsets: dict[int, int] = Field(default_factory=dict)
    """Where what the mirror has of its source ends, by partition: the offset of the seal. Set when it is STOPPED or turned."""
    replaces: str = ""
    """UUID of the topic that the mirror takes the place of; kept while `restoring`."""
    restoring: bool = False
    """Whether it was made by truncate-and-restore, and groups have not got their offsets back yet."""
    start: str = ""
    """Where it begins, if not where the link says; as `Link.mirror_start_offset`."""
    seed_until: dict[int, int] = Field(default_factory=dict)
    """Below this offset the gaps of a compacted topic are filled with records while phase is SEEDING. Set once."""
    client_token: str = ""
    automatic: bool = False
    """Whether the link made it by itself. Never changes."""

    @property
    def overrides(self) -> dict[str, str]:
        """The settings that the mirror has itself."""
        return self.config if self.direction is Direction.REMOTE_TO_LOCAL else self.remote_config

    def turned(self, **values: object) -> "MirrorTopic":
        """Answers the record of the same two topics in the other direction, begun anew with these values."""
        begun: dict[str, object] = {
            "direction": self.direction.reversed,
            "topic_id": self.source_topic_id,
            "source_topic_id": self.topic_id,
            "stop": None,
            "paused": False,
            "failures": {},
            "start_offsets": {},
            "own_until": {},
            "first_offsets": {},
            "seed_until": {},
            "desired": {},
            "held_off": {},
            "end_offsets": {},
        }
        return self.model_copy(update={**begun, **values})


class PartitionProgress(Named):
    """What is remembered of a mirror partition beside its log; its name is the mirror topic's, a slash and its number.

    It means nothing for a topic of another id. Written whenever the partition's owner learns something new.
    """

    topic_id: str
    source_epochs: tuple[tuple[int, int], ...] = ()
    """Leader epochs of the source and the first offset fetched of each; stored before anything of an epoch is written."""
    lost_offsets: int = 0
    """How many offsets the source deleted before they were mirrored."""
    failure: Failure | None = None
    """Set once: a failed partition is never written to again."""


class Grant(Stored):
    """The right to write the mirror partitions of a shard, for as long as the lease of the member holds."""

    member_id: str
    """Of an engine process in the group."""
    generation: int
    """Larger than that of every earlier grant; markers carry it as the coordinator's epoch."""
    settled: bool
    """Whether nothing of an earlier owner could be pending in a broker when it was granted."""


class Worker(Stored):
    """An engine process that has, or had, shards."""

    slot: int
    """Names its transactional ids: no other process that may be alive has the same."""
    host: str
    pid: int
    process: str
    """What `processes.identity` says of it; tells on the same machine whether it is dead."""


class Allocation(Named):
    """Which process writes what; stored before the process is told. There is one, with the name "all"."""

    generation: int = 0
    """Of the newest grant."""
    grants: dict[int, Grant] = Field(default_factory=dict)
    """By shard. A shard without one is written by nobody."""
    unsettled: tuple[int, ...] = ()
    """Shards without a grant whose last owner may have left something pending in a broker."""
    workers: dict[str, Worker] = Field(default_factory=dict)
    """By member id; all that have grants, and those that may get some."""
    fillers: tuple[int, ...] = ()
    """Producer ids of all transactional ids that fill gaps, or may have filled some."""


class SyncedAcls(Named):
    """The ACLs of the local cluster that a link has created, or may have; its name is the link's.

    Stored before they are created, and after they are deleted.
    """

    acls: tuple[Acl, ...] = ()


class SavedOffsets(Named):
    """Where groups were on a topic that was deleted to be made anew as a mirror; its name is the mirror topic's.

    Stored before the topic is deleted, and removed when the groups have their offsets back.
    """

    offsets: dict[str, dict[int, tuple[int, str]]] = Field(default_factory=dict)
    """By group and partition: the offset, not beyond what both topics had, and the text that was left with it."""


class Denial(Named):
    """An ACL of the write guard that the engine has created, or may have; its name is the topic's.

    Stored before it is created, and gone after it is deleted.
    """

    operation: str = "WRITE"
    """What is denied to everybody; another one only at the canary, which guards nothing."""

    @property
    def acl(self) -> Acl:
        """The ACL."""
        return denial(self.name, self.operation)


class DetachedMirror(Named):
    """What is remembered of a mirror topic that was detached, so that a later create can go on where it stopped."""

    source_topic: str
    source_topic_id: str
    topic_id: str
    remote_cluster_id: str
    log_ends: dict[int, int]
    """By partition, after the last write was acknowledged. If the topic ends elsewhere now, somebody wrote to it."""
    failure: str = ""
    """Not empty: the mirror was FAILED when it was detached, and is not taken up again."""
