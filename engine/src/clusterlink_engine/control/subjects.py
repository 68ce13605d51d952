"""On what a link needs rights: the names of topics and groups, as far as they can be known before anything is mirrored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from clusterlink_engine.errors import KafkaError, Side
from clusterlink_engine.model.checks import ENGINE_PREFIX
from clusterlink_engine.model.filters import Filter, named, selects
from clusterlink_engine.model.names import is_internal
from clusterlink_engine.model.resources import Link
from clusterlink_engine.model.rights import Scope
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.consumer_groups import list_groups
from clusterlink_engine.wire.offsets import fetch_offsets

# So many topics, and so many groups, are looked at: a check is bounded.
MOST = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """Names of one kind; `note` says why there are none, or that there are more."""

    names: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, names: Collection[str], nothing: str) -> "Subject":
        """Makes it of names, the first of them if there are too many; `nothing` says what it means if there are none."""
        note = f"{MOST} of {len(names)} were looked at" if len(names) > MOST else ""
        return cls(tuple(sorted(names)[:MOST]), note if names else nothing)


Subjects = Mapping[tuple[Side, Scope], Subject]


@dataclass
class _Found:
    topics: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    trouble: str = ""


async def subjects_of(link: Link, topics: Collection[str], state_topic: str, remote: Cluster | None) -> Subjects:
    """Answers on what a link needs rights.

    Args:
        link: The link.
        topics: Source topics that are mirrored, or shall be.
        state_topic: Of the engine.
        remote: The source; None if it cannot be asked. What filters select is looked up there.
    """
    found = await _look(link, topics, remote)
    sync, auto = link.consumer_offset_sync, link.auto_create_mirror_topics
    no_topics = "no source topic is named, mirrored or selected by a filter yet; name those that shall be mirrored"
    no_groups = f"no group is found that the filters select{found.trouble and ': '}{found.trouble}"
    sources = {*topics, *(named(auto.filters) if auto.enable else ()), *found.topics}
    groups = {*_by_name(sync.group_filters), *found.groups}
    prefix = link.topic_prefix if sync.group_prefix else ""
    group_name = f"{ENGINE_PREFIX}{state_topic}"
    return {
        (Side.LOCAL, Scope.STATE_TOPIC): Subject((state_topic,)),
        (Side.LOCAL, Scope.ENGINE_GROUP): Subject((group_name,)),
        # One that is never used, so that nobody can be disturbed.
        (Side.LOCAL, Scope.ENGINE_TRANSACTIONS): Subject((f"{group_name}-check",)),
        (Side.LOCAL, Scope.MIRROR_TOPICS): Subject.of([link.topic_prefix + topic for topic in sources], no_topics),
        (Side.REMOTE, Scope.SOURCE_TOPICS): Subject.of(sources, no_topics),
        (Side.LOCAL, Scope.SYNCED_GROUPS): Subject.of([prefix + group for group in groups], no_groups),
        (Side.REMOTE, Scope.SYNCED_GROUPS): Subject.of(groups, no_groups),
        (Side.REMOTE, Scope.KEPT_GROUPS): Subject.of(found.kept, "no group that may be described is on these topics"),
    }


def _by_name(filters: Collection[Filter]) -> set[str]:
    """Answers the names that filters give themselves; a group may be called like the beginning of the others."""
    prefixes = {entry.name for entry in filters if entry.pattern_type == "PREFIXED" and selects(filters, entry.name)}
    return named(filters) | prefixes


async def _look(link: Link, topics: Collection[str], remote: Cluster | None) -> _Found:
    found = _Found()
    if remote is None:
        found.trouble = "the source cannot be asked"
        return found
    try:
        if link.auto_create_mirror_topics.enable:
            filters = link.auto_create_mirror_topics.filters
            names = await remote.topic_names()
            found.topics = {name for name in names if not is_internal(name) and selects(filters, name)}
        for node in (await remote.metadata([])).brokers:
            groups = await list_groups(remote, node)
            if link.consumer_offset_sync.enable:
                filters = link.consumer_offset_sync.group_filters
                found.groups |= {group for group in groups if selects(filters, group)}
            offsets, _ = await fetch_offsets(remote, node, sorted(groups)[:MOST])
            wanted = {*topics, *found.topics}
            found.kept |= {group for group, at in offsets.items() if any(topic in wanted for topic, _ in at)}
    except KafkaError as error:
        found.trouble = str(error)
    return found
