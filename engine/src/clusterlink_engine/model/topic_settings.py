"""Which settings a mirror topic has: synced from the source, forced while mirroring, or its own.

The classes are those of Cluster Linking. "Always" settings follow the source, "configurable" ones do if the link includes
them (by default: all), "independent" ones never do. What mirroring itself needs is forced on top of all.
"""

from collections.abc import Collection, Mapping

from clusterlink_engine.errors import InvalidArgumentError

ALWAYS = frozenset(
    {
        "cleanup.policy",
        "max.message.bytes",
        "message.timestamp.type",
        "message.timestamp.difference.max.ms",
    }
)

CONFIGURABLE = frozenset(
    {
        "compression.type",
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "index.interval.bytes",
        "max.compaction.lag.ms",
        "message.downconversion.enable",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    }
)

# What every Kafka from 3.3 to 4.3 knows of these: the others came with 3.6, or went with 4.0.
COMMON = (ALWAYS | CONFIGURABLE) - {
    "message.downconversion.enable",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
}

_FOREVER = "9223372036854775807"

# What a mirror needs to stay exact. Compression: batches are stored as they came. Timestamps: as they came, however old or
# new (the default of after.max is one hour on 4.x). Retention: the mirror would delete its own back-fill; its log start
# follows the source's instead. Size: the source may hold batches from a time when larger ones were allowed. Unclean
# elections would take acknowledged offsets away.
FORCED: Mapping[str, str] = {
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": _FOREVER,
    "message.timestamp.after.max.ms": _FOREVER,
    "message.timestamp.difference.max.ms": _FOREVER,
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": "2147483647",
    "unclean.leader.election.enable": "false",
}


def check_include(include: Collection[str], field: str) -> None:
    """Raises InvalidArgumentError unless all names are settings that can be synced."""
    for name in sorted(include):
        if name not in ALWAYS | CONFIGURABLE:
            raise InvalidArgumentError(
                f'The topic setting "{name}" cannot be synced; those that can: {", ".join(sorted(ALWAYS | CONFIGURABLE))}.',
                field=field,
            )


def synced_names(include: Collection[str]) -> frozenset[str]:
    """Answers the settings that follow the source: the "always" class and what the link includes (nothing: all)."""
    return ALWAYS | (frozenset(include) or CONFIGURABLE)


def check_overrides(config: Mapping[str, str], include: Collection[str], field: str) -> None:
    """Raises InvalidArgumentError if a setting of a mirror topic belongs to the link's sync."""
    for name in config:
        if name in synced_names(include):
            way_out = "it always does" if name in ALWAYS else "to set it here, give the link an include list without it"
            raise InvalidArgumentError(
                f'The setting "{name}" follows the source topic (topic_config_sync of the link); {way_out}.',
                field=f'{field}["{name}"]',
            )


def own_config(own: Mapping[str, str], *, include: Collection[str]) -> dict[str, str]:
    """Answers those of a topic's own settings that the link does not sync: it keeps them when it becomes a mirror topic."""
    return {name: value for name, value in sorted(own.items()) if name not in synced_names(include)}


def desired_settings(
    source: Mapping[str, str], *, include: Collection[str], overrides: Mapping[str, str]
) -> dict[str, str]:
    """Answers what mirroring overrides and is wanted nevertheless; arguments as in `mirror_settings`."""
    wanted = {name: source[name] for name in synced_names(include) if name in source}
    return {name: value for name, value in sorted({**wanted, **overrides}.items()) if name in FORCED}


def mirror_settings(
    source: Mapping[str, str],
    *,
    known: Collection[str],
    include: Collection[str],
    overrides: Mapping[str, str],
    replication_factor: int,
) -> dict[str, str]:
    """Answers the settings that a mirror topic must have while it is mirrored.

    Args:
        source: Effective settings of the source topic, defaults included.
        known: Names that the local cluster knows; others are left out (versions differ).
        include: The link's list of synced names; empty for the default.
        overrides: The mirror topic's own settings.
        replication_factor: Of the mirror topic, at least 1; bounds `min.insync.replicas`, which could otherwise never be met.
    """
    wanted = {name: source[name] for name in synced_names(include) if name in source}
    wanted.update(overrides)
    wanted.update(FORCED)
    in_sync = wanted.get("min.insync.replicas", "1")
    replicas = int(in_sync) if in_sync.isdecimal() else 1
    # With three replicas or more an acknowledged batch must survive the loss of one broker.
    wanted["min.insync.replicas"] = str(min(max(replicas, 2 if replication_factor >= 3 else 1), replication_factor))
    return {name: value for name, value in sorted(wanted.items()) if name in known}
