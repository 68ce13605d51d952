"""States and error names of links and mirror topics, as Cluster Linking calls them."""

from enum import StrEnum


class LinkState(StrEnum):
    """What a link does at the moment; derived, never stored."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    """By a user. Its mirror topics are LINK_PAUSED."""
    UNAVAILABLE = "UNAVAILABLE"
    """The remote cluster does not answer. Ends by itself."""
    FAILED = "FAILED"
    """Cannot work without a user: the remote cluster is another one than before."""


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
