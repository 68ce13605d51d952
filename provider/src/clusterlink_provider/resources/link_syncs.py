"""What of a link's syncs must fit together: found in the configuration, whatever else is not known yet."""

from clusterlink_provider.framework.cty import SetValue
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.planning import Object, is_known


def validate(config: Object, diagnostics: Diagnostics) -> None:
    """Reports a sync without filters, and a prefix of groups without one of topics."""
    sync = config.get("consumer_offset_sync")
    if not isinstance(sync, dict):
        return
    filters = sync.get("group_filters")
    if sync.get("enable") is True and is_known(filters) and not _includes(filters):
        diagnostics.error(
            "Nothing to sync",
            'Consumer offset sync is enabled, but no filter includes a group. Add one, for example { name = "*", '
            'pattern_type = "LITERAL", filter_type = "INCLUDE" }.',
            ("consumer_offset_sync", "group_filters"),
        )
    if sync.get("group_prefix") is True and config.get("topic_prefix") is None:
        diagnostics.error(
            "Group prefix without topic prefix",
            "Groups get the prefix of the topics. Set topic_prefix, or leave group_prefix out.",
            ("consumer_offset_sync", "group_prefix"),
        )


def _includes(filters: SetValue | None) -> bool:
    entries = filters or ()
    return any(not isinstance(entry, dict) or entry["filter_type"] != "EXCLUDE" for entry in entries)
