"""The data source `clusterlink_mirror_topic`: a mirror topic as it is now, with its lag."""

from typing import Final

from clusterlink_proto import v1
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Value
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Attribute, Schema, computed, computed_objects
from clusterlink_provider.resources import mirror_topic_convert
from clusterlink_provider.resources.session import Session, require

_PARTITION: Final = {
    "partition": computed("Number of the partition.", cty.NUMBER),
    "log_start_offset": computed("First offset of the mirror; null while not known.", cty.NUMBER),
    "log_end_offset": computed("Next offset of the mirror; null while not known.", cty.NUMBER),
    "source_high_watermark": computed(
        "Next offset of the source that is safe there; null while not known.", cty.NUMBER
    ),
    "lag": computed("Records that the mirror has not got yet; null while not known.", cty.NUMBER),
    "lag_seconds": computed(
        "For how many seconds the source has had what the mirror has not, as far as the engine has seen; null while not known.",
        cty.NUMBER,
    ),
    "source_last_stable_offset": computed(
        "Offset up to which the source's transactions are decided; null while not known.", cty.NUMBER
    ),
    "held_by_open_transaction": computed(
        "Whether an open transaction at the source is all that the mirror waits for.", cty.BOOL
    ),
    "offsets_filled": computed("Offsets that were filled since the engine copies the partition.", cty.NUMBER),
    "offsets_lost": computed("Offsets that the source deleted before they were mirrored.", cty.NUMBER),
    "state": computed("What is being done, by the engine's name; null if nothing is.", cty.STRING),
    "error": computed("What is wrong, by the error's name; null if nothing is.", cty.STRING),
}
# What both data sources tell of a mirror topic.
SUMMARY: Final = {
    "source_topic": computed("Name of the topic on the remote cluster.", cty.STRING),
    "status": computed(
        "What is wanted: `ACTIVE`, `PAUSED`, `PROMOTED` or `FAILED_OVER`; `FAILED` if it cannot be had.", cty.STRING
    ),
    "observed_status": computed("State by the engine's name.", cty.STRING),
    "direction": computed(
        "Which topic is the mirror: `REMOTE_TO_LOCAL`, or `LOCAL_TO_REMOTE` once it was reversed.", cty.STRING
    ),
    "error": computed("What is wrong: the error's name and a sentence; else null.", cty.STRING),
    "automatic": computed("Whether the link made it by itself (`auto_create_mirror_topics`).", cty.BOOL),
}


def summary(topic: v1.MirrorTopic) -> dict[str, Value]:
    """Gives the values of `SUMMARY`."""
    state = {**mirror_topic_convert.from_message(topic, {}), "automatic": topic.automatic}
    return {name: state[name] for name in SUMMARY}


class MirrorTopicDataSource:
    """A mirror topic that somebody manages, here or elsewhere."""

    type_name = "clusterlink_mirror_topic"
    schema = Schema(
        description="A mirror topic as it is now, with the lag of each partition.",
        attributes={
            "link": Attribute(description="Name of the link.", type=cty.STRING, required=True),
            "name": Attribute(description="Name of the mirror topic.", type=cty.STRING, required=True),
            **SUMMARY,
            "state_detail": computed("What it waits for, in a sentence; null if for nothing.", cty.STRING),
            "replication_factor": computed("Copies of each partition on the local cluster.", cty.NUMBER),
            "source_topic_id": computed("Id of the source topic on the remote cluster.", cty.STRING),
            "config": computed("Settings of the mirror topic that were set by its owner.", cty.map_of(cty.STRING)),
            "lag": computed("Records that the mirror topic has not got yet; null while not known.", cty.NUMBER),
            "lag_seconds": computed("The longest `lag_seconds` of a partition; null while not known.", cty.NUMBER),
            "partitions": computed_objects("The partitions, by number.", _PARTITION),
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:
        """Asks the engine for the mirror topic."""
        link, name = config["link"], config["name"]
        topic = require(context).client.get_mirror_topic(name, link)
        if topic is None:
            raise DiagnosticError.of(
                "No such mirror topic", f"The engine has no mirror topic {link}/{name}.", ("name",)
            )
        state = mirror_topic_convert.from_message(topic, {})
        partitions = [_partition(item) for item in topic.partitions]
        lags = [item.lag for item in topic.partitions]
        times = [item.lag_ms for item in topic.partitions]
        return {
            "link": link,
            "name": name,
            **summary(topic),
            **{key: state[key] for key in ("replication_factor", "source_topic_id", "config")},
            "state_detail": topic.state_detail or None,
            "lag": sum(lags) if lags and min(lags) >= 0 else None,
            "lag_seconds": _seconds(max(times)) if times and min(times) >= 0 else None,
            "partitions": partitions,
        }


def _partition(item: v1.MirrorPartition) -> dict[str, Value]:
    return {
        "partition": item.partition,
        "log_start_offset": _known(item.log_start_offset),
        "log_end_offset": _known(item.log_end_offset),
        "source_high_watermark": _known(item.source_high_watermark),
        "lag": _known(item.lag),
        "lag_seconds": _seconds(item.lag_ms),
        "source_last_stable_offset": _known(item.source_last_stable_offset),
        "held_by_open_transaction": item.held_by_open_transaction,
        "offsets_filled": item.offsets_filled,
        "offsets_lost": item.offsets_lost,
        "state": item.state or None,
        "error": item.error or None,
    }


def _known(number: int) -> int | None:
    return None if number < 0 else number


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000
