"""States and error names of links and mirror topics, as Cluster Linking calls them, and what states follow from."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar


class LinkState(StrEnum):
    """What a link does at the moment; derived, never stored."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    """By a user. Its mirror topics are LINK_PAUSED."""
    UNAVAILABLE = "UNAVAILABLE"
    """The remote cluster does not answer. Ends by itself."""
    FAILED = "FAILED"
    """Cannot work without a user: the remote cluster is another one than before."""

    @property
    def ends_by_itself(self) -> bool:
        """Whether nobody has to do anything for it to end."""
        return self is LinkState.UNAVAILABLE


class MirrorTopicState(StrEnum):
    """What a mirror topic does at the moment; derived from its record, its link and its partitions."""

    CREATING = "CREATING"
    """The intent is stored, the topic may not exist yet."""
    SEEDING = "SEEDING"
    """Offsets that the source has no records for any more are being filled. Ends by itself."""
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    LINK_PAUSED = "LINK_PAUSED"
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"
    FAILED = "FAILED"
    """At least one partition stopped for good. The others go on."""
    LINK_FAILED = "LINK_FAILED"
    PENDING_STOPPED = "PENDING_STOPPED"
    """Being promoted or failed over."""
    STOPPED = "STOPPED"
    """A topic like any other."""
    PENDING_SYNCHRONIZE = "PENDING_SYNCHRONIZE"
    """Is to be turned, and gets the last of its source."""
    PENDING_MIRROR = "PENDING_MIRROR"
    """Was turned; its former source is being made the mirror."""
    PENDING_SETUP_FOR_RESTORE = "PENDING_SETUP_FOR_RESTORE"
    """Its former source is being deleted, to be made anew as the mirror."""
    PENDING_RESTORE = "PENDING_RESTORE"
    """What was made anew gets everything, and its groups their offsets back."""

    @property
    def ends_by_itself(self) -> bool:
        """Whether nobody has to do anything for it to end."""
        return self in {
            MirrorTopicState.CREATING,
            MirrorTopicState.SEEDING,
            MirrorTopicState.SOURCE_UNAVAILABLE,
            MirrorTopicState.PENDING_STOPPED,
            MirrorTopicState.PENDING_SYNCHRONIZE,
            MirrorTopicState.PENDING_MIRROR,
            MirrorTopicState.PENDING_SETUP_FOR_RESTORE,
            MirrorTopicState.PENDING_RESTORE,
        }


class MirrorError(StrEnum):
    """Why a mirror partition (and with it the mirror topic) is FAILED."""

    FOREIGN_WRITE = "FOREIGN_WRITE"
    """Somebody else wrote to the mirror topic."""
    MIRROR_TOPIC_CHANGED = "MIRROR_TOPIC_CHANGED"
    """The mirror topic was deleted, created anew, or lost records, by somebody else."""
    SOURCE_TOPIC_MAY_BE_DELETED = "SOURCE_TOPIC_MAY_BE_DELETED"
    SOURCE_TOPIC_ID_CHANGED = "SOURCE_TOPIC_ID_CHANGED"
    SOURCE_PARTITIONS_DECREASED = "SOURCE_PARTITIONS_DECREASED"
    UNEXPECTED_TRUNCATION = "UNEXPECTED_TRUNCATION"
    """The source's log ends before the mirror's."""
    UNSUPPORTED_MESSAGE_FORMAT = "UNSUPPORTED_MESSAGE_FORMAT"
    """Record batches older than format 2."""
    RECORDS_REFUSED = "RECORDS_REFUSED"
    """The local cluster does not take a batch as it is, for example because it is too large."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the state of a link follows from."""

    paused: bool = False
    is_reachable: bool = True
    """Whether the remote cluster answers, and lets the link in."""
    is_another_cluster: bool = False
    """Whether what answers is not the cluster that the link was made for."""


def link_state(facts: LinkFacts) -> LinkState:
    """Answers a link's state: what needs a user comes before what a user wants, and that before what ends by itself."""
    conditions = {
        LinkState.FAILED: facts.is_another_cluster,
        LinkState.PAUSED: facts.paused,
        LinkState.UNAVAILABLE: not facts.is_reachable,
    }
    return next((state for state, holds in conditions.items() if holds), LinkState.ACTIVE)


@dataclass(frozen=True, slots=True)
class MirrorTopicFacts:
    """What the state of a mirror topic follows from."""

    link: LinkState = LinkState.ACTIVE
    exists: bool = True
    """Whether its topic is there for good: neither being created nor being deleted."""
    is_stopped: bool = False
    """Whether it is a topic like any other."""
    is_stopping: bool = False
    """Whether it is being promoted or failed over."""
    is_synchronizing: bool = False
    """Whether it is to be turned."""
    is_turning: bool = False
    """Whether it was turned, and nothing is mirrored yet."""
    is_clearing: bool = False
    """Whether the topic that it takes the place of is there, or may be."""
    is_restoring: bool = False
    """Whether it was made anew, and has not got everything yet."""
    has_failed: bool = False
    """Whether at least one partition stopped for good."""
    paused: bool = False
    is_source_readable: bool = True
    """Whether each partition of the source has a leader that answers."""
    is_seeding: bool = False


def mirror_topic_state(facts: MirrorTopicFacts) -> MirrorTopicState:
    """Answers a mirror topic's state, in the order of `link_state`."""
    conditions = {
        MirrorTopicState.PENDING_SETUP_FOR_RESTORE: facts.is_clearing,
        MirrorTopicState.CREATING: not facts.exists,
        MirrorTopicState.STOPPED: facts.is_stopped,
        MirrorTopicState.PENDING_STOPPED: facts.is_stopping,
        MirrorTopicState.PENDING_SYNCHRONIZE: facts.is_synchronizing,
        MirrorTopicState.PENDING_MIRROR: facts.is_turning,
        MirrorTopicState.FAILED: facts.has_failed,
        MirrorTopicState.LINK_FAILED: facts.link is LinkState.FAILED,
        MirrorTopicState.PAUSED: facts.paused,
        MirrorTopicState.LINK_PAUSED: facts.link is LinkState.PAUSED,
        MirrorTopicState.SOURCE_UNAVAILABLE: facts.link is LinkState.UNAVAILABLE or not facts.is_source_readable,
        MirrorTopicState.PENDING_RESTORE: facts.is_restoring,
        MirrorTopicState.SEEDING: facts.is_seeding,
    }
    return next((state for state, holds in conditions.items() if holds), MirrorTopicState.ACTIVE)


S = TypeVar("S", LinkState, MirrorTopicState)


@dataclass(frozen=True, slots=True)
class Entered(Generic[S]):
    """A state, and when it was seen to begin."""

    state: S
    since: datetime


def follow(before: Entered[S] | None, state: S, now: datetime) -> Entered[S]:
    """Answers the state of this moment with the time of its entry: an entry is stamped once, however often it is seen."""
    return before if before is not None and before.state is state else Entered(state, now)
