"""What of a link's mode, prefix and syncs must fit together: found in the configuration, whatever else is not known yet."""

from collections.abc import Iterator

from clusterlink_provider.framework.cty import Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.planning import Object, is_known

_EXAMPLE = '{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }'


def validate(config: Object, diagnostics: Diagnostics) -> None:
    """Reports prefixes that the mode or another attribute rules out, what selects nothing, and filters for internal topics."""
    _validate_prefixes(config, diagnostics)
    for name, filters in (("consumer_offset_sync", "group_filters"), ("auto_create_mirror_topics", "filters")):
        sync = config.get(name)
        if isinstance(sync, dict) and sync.get("enable") is True and _selects_nothing(sync.get(filters)):
            diagnostics.error(
                "Nothing is selected",
                f"{name} is enabled, but no filter includes anything. Add one, for example {_EXAMPLE}.",
                (name, filters),
            )
    acls = config.get("acl_sync")
    if isinstance(acls, dict) and acls.get("enable") is True:
        if acls.get("filters") is None:
            diagnostics.error(
                "Nothing is selected", "acl_sync is enabled, but has no filters.", ("acl_sync", "filters")
            )
        if isinstance(config.get("topic_prefix"), str):
            diagnostics.error(
                "ACL sync with a topic prefix",
                "The ACLs of the source would speak of other topics than the mirrors. Leave acl_sync or topic_prefix out.",
                ("acl_sync", "enable"),
            )
    topics = config.get("auto_create_mirror_topics")
    if isinstance(topics, dict):
        for entry in _entries(topics.get("filters")):
            name = entry["name"]
            if entry["filter_type"] == "INCLUDE" and isinstance(name, str) and name.startswith("_"):
                diagnostics.error(
                    "Internal topics",
                    f'The filter includes "{name}": topics whose names begin with "_" are internal to their cluster and are '
                    "not mirrored automatically.",
                    ("auto_create_mirror_topics", "filters"),
                )


def _validate_prefixes(config: Object, diagnostics: Diagnostics) -> None:
    prefix, groups = config.get("topic_prefix"), config.get("consumer_offset_sync")
    is_bidirectional = config.get("mode") == "BIDIRECTIONAL"
    if is_bidirectional and is_known(prefix):
        diagnostics.error(
            "Topic prefix with both directions",
            "A mirror topic of a BIDIRECTIONAL link can become the source, so both topics have one name. Leave topic_prefix "
            "out.",
            ("topic_prefix",),
        )
    if not isinstance(groups, dict) or groups.get("group_prefix") is not True:
        return
    if is_bidirectional:
        diagnostics.error(
            "Group prefix with both directions",
            "Topics and groups of a BIDIRECTIONAL link have the same names on both clusters. Leave group_prefix out.",
            ("consumer_offset_sync", "group_prefix"),
        )
    elif prefix is None:
        diagnostics.error(
            "Group prefix without topic prefix",
            "Groups get the prefix of the topics. Set topic_prefix, or leave group_prefix out.",
            ("consumer_offset_sync", "group_prefix"),
        )


def _selects_nothing(filters: Value) -> bool:
    if filters is None:
        return True
    if not is_known(filters) or any(not isinstance(entry, dict) for entry in filters):
        return False
    return all(entry["filter_type"] == "EXCLUDE" for entry in filters)


def _entries(filters: Value) -> Iterator[Object]:
    if filters is not None and is_known(filters):
        yield from (entry for entry in filters if isinstance(entry, dict))
