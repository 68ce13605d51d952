"""The schema of `clusterlink_mirror_topic`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.schema import Attribute, Schema
from clusterlink_provider.resources import checks, upgrades
from clusterlink_provider.resources.durations import timeouts_attribute

SCHEMA = Schema(
    upgraders=(upgrades.mirror_topic_to_1,),
    description="A mirror topic: a read-only copy of a topic of the remote cluster, equal to it byte for byte and "
    "offset "
    "for offset.",
    attributes={
        "id": Attribute(description="`<link>/<name>`.", type=cty.STRING, computed=True, keep_prior=True),
        "link": Attribute(
            description="Name of the link. A change replaces the mirror topic.",
            type=cty.STRING,
            required=True,
            replace=True,
            validators=(checks.legal_name,),
        ),
        "source_topic": Attribute(
            description="Name of the topic on the remote cluster. A change replaces the mirror topic.",
            type=cty.STRING,
            required=True,
            replace=True,
            validators=(checks.legal_name,),
        ),
        "name": Attribute(
            description="Name of the mirror topic: `topic_prefix` of the link + `source_topic`; anything else is "
            "refused. "
            "Default: that name. A change replaces the mirror topic.",
            type=cty.STRING,
            optional=True,
            computed=True,
            replace=True,
            keep_prior=True,
            validators=(checks.legal_name,),
        ),
        "status": Attribute(
            description="What is wanted: `ACTIVE`, `PAUSED`, `PROMOTED` (a topic like any other, once it has everything that "
            "its source has) or `FAILED_OVER` (the same at once, with what it has). Default `ACTIVE`. The last two are final: "
            "only the command line makes it a mirror topic again, on a BIDIRECTIONAL link. Shows `FAILED` when the mirror "
            "topic cannot go on by itself. A change is made in place.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="ACTIVE",
            validators=(checks.one_of("ACTIVE", "PAUSED", "PROMOTED", "FAILED_OVER"),),
        ),
        "replication_factor": Attribute(
            description="Copies of each partition on the local cluster. Default: the local cluster's own. A change "
            "replaces the mirror topic.",
            type=cty.NUMBER,
            optional=True,
            computed=True,
            replace=True,
            keep_prior=True,
            validators=(checks.at_least(1, "copies"),),
        ),
        "config": Attribute(
            description="Settings of the mirror topic that the link does not sync, with values as text. Default: "
            "none. A "
            "change is made in place; a setting that is taken out goes back to its default.",
            type=cty.map_of(cty.STRING),
            optional=True,
            validators=(checks.no_null_values,),
        ),
        "on_destroy": Attribute(
            description="What destroy does with the topic. Default `KEEP_TOPIC`: detaches it and keeps its data (one that is "
            "still `CREATING` or `SEEDING` is deleted: it is not yet what its source is); "
            "`DELETE_TOPIC` deletes both, but refuses to once it is `PROMOTED` or `FAILED_OVER`, since others may have written "
            "to it; `DELETE_TOPIC_WITH_DATA` deletes both even then. Of a reversed mirror topic that is the topic on the "
            "remote cluster. A change touches nothing.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="KEEP_TOPIC",
            validators=(checks.one_of("KEEP_TOPIC", "DELETE_TOPIC", "DELETE_TOPIC_WITH_DATA"),),
        ),
        "on_failed": Attribute(
            description="What apply does with a mirror topic that has failed. Default `REFUSE`: nothing, and it explains. "
            "`REBUILD`: deletes the topic with its data and mirrors again from the start, in place; the plan says so. A change "
            "touches nothing.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="REFUSE",
            validators=(checks.one_of("REFUSE", "REBUILD"),),
        ),
        "timeouts": timeouts_attribute(),
        "partitions": Attribute(
            description="Number of partitions, that of the source topic.",
            type=cty.NUMBER,
            computed=True,
            keep_prior=True,
        ),
        "source_topic_id": Attribute(
            description="Id of the source topic on the remote cluster.", type=cty.STRING, computed=True, keep_prior=True
        ),
        "observed_status": Attribute(
            description="State as last seen, by the engine's name: `CREATING`, `SEEDING` (offsets that the source has no "
            "records for any more are being filled; do not read the topic yet), `ACTIVE`, `PAUSED`, `LINK_PAUSED`, "
            "`SOURCE_UNAVAILABLE`, `FAILED`, `LINK_FAILED`, `PENDING_STOPPED` (being promoted or failed "
            "over), `STOPPED`, `PENDING_SYNCHRONIZE`, `PENDING_MIRROR` (being reversed), `PENDING_SETUP_FOR_RESTORE` or "
            "`PENDING_RESTORE` (being restored). It comes and goes by itself and is no reason for a change.",
            type=cty.STRING,
            computed=True,
        ),
        "direction": Attribute(
            description="Which of the two topics is the mirror: `REMOTE_TO_LOCAL`, or `LOCAL_TO_REMOTE` once it was reversed, "
            "by the command line or the API. No reason for a change.",
            type=cty.STRING,
            computed=True,
            keep_prior=True,
        ),
        "error": Attribute(
            description="What is wrong, as last seen: the error's name and a sentence; else null.",
            type=cty.STRING,
            computed=True,
        ),
    },
)
