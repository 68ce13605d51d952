"""A mirror topic as Terraform's state, and as the engine's message."""

from typing import Final

from clusterlink_proto import v1
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.resources.enums import name_of
from clusterlink_provider.resources.link_convert import error_text

# The direction that mirror topics begin with, and that of one whose mirror is the topic on the remote cluster.
FORWARD: Final = "REMOTE_TO_LOCAL"
REVERSED: Final = "LOCAL_TO_REMOTE"

# What is wanted of a mirror topic that is no mirror any more, or will not be one.
STOPS: Final = {
    v1.MIRROR_TOPIC_STOP_PROMOTE: "PROMOTED",
    v1.MIRROR_TOPIC_STOP_FAILOVER: "FAILED_OVER",
}

# Statuses that Terraform has no way out of.
FINAL: Final = tuple(STOPS.values())

# On the way to being reversed or restored: it will be a mirror topic.
_TURNING: Final = frozenset(
    {
        v1.MIRROR_TOPIC_STATE_PENDING_SYNCHRONIZE,
        v1.MIRROR_TOPIC_STATE_PENDING_MIRROR,
        v1.MIRROR_TOPIC_STATE_PENDING_SETUP_FOR_RESTORE,
        v1.MIRROR_TOPIC_STATE_PENDING_RESTORE,
    }
)

_STATE_PREFIX: Final = "MIRROR_TOPIC_STATE_"
_DIRECTION_PREFIX: Final = "MIRROR_DIRECTION_"


def state_of(topic: v1.MirrorTopic) -> str:
    """Gives the name of the engine's state of a mirror topic."""
    return name_of(v1.MirrorTopicState, topic.state, _STATE_PREFIX)


def to_message(state: Object) -> v1.MirrorTopic:
    """Makes the engine's message; what is null or unknown is left to the engine."""
    name, factor = state.get("name"), state.get("replication_factor")
    return v1.MirrorTopic(
        link=state["link"],
        source_topic=state["source_topic"],
        name=name if isinstance(name, str) else "",
        replication_factor=factor if isinstance(factor, int) else 0,
        config=state.get("config") or {},
        paused=state["status"] == "PAUSED",
    )


def from_message(topic: v1.MirrorTopic, base: Object) -> Object:
    """Makes the state of a mirror topic; what only Terraform knows is taken from `base`."""
    found = direction(topic)
    # Of the topic on the local cluster; the one on the remote cluster has its own, which is no reason to replace anything.
    own_factor = base.get("replication_factor") if found == REVERSED else None
    config = dict(topic.config) or ({} if base.get("config") == {} else None)
    if status(topic) in FINAL:
        # The topic is the user's: its settings are not followed any more.
        config = base.get("config", config)
    return {
        **base,
        "id": f"{topic.link}/{topic.name}",
        "link": topic.link,
        "source_topic": topic.source_topic,
        "name": topic.name,
        "status": status(topic),
        "replication_factor": own_factor or topic.replication_factor or None,
        "config": config,
        "partitions": topic.partition_count,
        "source_topic_id": topic.source_topic_id or None,
        "observed_status": state_of(topic),
        "direction": found,
        "error": error_text(topic.error, topic.error_message),
    }


def direction(topic: v1.MirrorTopic) -> str:
    """Tells which of the two topics is the mirror."""
    value = topic.direction or v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL
    return name_of(v1.MirrorDirection, value, _DIRECTION_PREFIX)


def status(topic: v1.MirrorTopic) -> str:
    """Tells what is wanted of the mirror topic, or FAILED when that cannot be had without somebody's help.

    What comes and goes by itself (source or link away, or being reversed) does not show here, so that an untouched world has
    no drift.
    """
    if topic.state in _TURNING:
        return "ACTIVE"
    if topic.stop in STOPS:
        return STOPS[topic.stop]
    if topic.state == v1.MIRROR_TOPIC_STATE_FAILED:
        return "FAILED"
    return "PAUSED" if topic.paused or topic.state == v1.MIRROR_TOPIC_STATE_PAUSED else "ACTIVE"
