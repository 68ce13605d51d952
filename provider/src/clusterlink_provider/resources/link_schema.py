"""The schema of `clusterlink_link`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.schema import Attribute, Schema
from clusterlink_provider.resources import checks, link_remote_schema, link_sync_schema, upgrades
from clusterlink_provider.resources.durations import timeouts_attribute

SCHEMA = Schema(
    upgraders=(upgrades.link_to_1,),
    description="A cluster link: a named connection from a remote Kafka cluster (the source) to the engine's local "
    "cluster (the destination), on which mirror topics are made.",
    attributes={
        "id": Attribute(description="Same as `name`.", type=cty.STRING, computed=True, keep_prior=True),
        "name": Attribute(
            description='Name of the link, unique on the engine: letters and digits of ASCII, ".", "_" and "-". A '
            "change replaces the link.",
            type=cty.STRING,
            required=True,
            replace=True,
            validators=(checks.legal_name,),
        ),
        "mode": Attribute(
            description="Which end the local cluster is: `DESTINATION` (it holds the mirror topics) or `BIDIRECTIONAL` (so it "
            "begins, and the direction of each mirror topic can be turned; not together with `topic_prefix`). Default "
            "`DESTINATION`. A change replaces the link.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="DESTINATION",
            replace=True,
            validators=(checks.one_of("DESTINATION", "BIDIRECTIONAL", later=("SOURCE",)),),
        ),
        "remote_cluster": Attribute(
            description="The Kafka cluster at the other end.", required=True, nested=link_remote_schema.REMOTE_CLUSTER
        ),
        "topic_prefix": Attribute(
            description="Put before the name of each mirror topic; unique among the links of the engine. Default: "
            "none, "
            "mirror topics have the name of their source topic. A change replaces the link and its mirror topics.",
            type=cty.STRING,
            optional=True,
            replace=True,
            validators=(checks.legal_name,),
        ),
        "mirror_start_offset": Attribute(
            description="Where new mirror topics of the link begin: `earliest` (all that the source has), `latest` (what comes "
            "from then on), or an RFC 3339 time such as `2026-01-31T00:00:00Z`; a partition without a record of that time or "
            "later begins at its end. Default `earliest`. A change replaces the link.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="earliest",
            replace=True,
            validators=(checks.start_offset,),
        ),
        "paused": Attribute(
            description="Whether mirroring rests on the whole link. Default false. A change is made in place.",
            type=cty.BOOL,
            optional=True,
            computed=True,
            default=False,
        ),
        "topic_config_sync": Attribute(
            description="Keeps settings of the mirror topics equal to those of their source topics. A change is made "
            "in "
            "place.",
            optional=True,
            computed=True,
            default={},
            nested=link_sync_schema.TOPIC_CONFIG_SYNC,
        ),
        "consumer_offset_sync": Attribute(
            description="Commits for consumer groups on the local cluster what they have committed at the source, for mirrored "
            "topics only. A change is made in place.",
            optional=True,
            computed=True,
            default={},
            nested=link_sync_schema.CONSUMER_OFFSET_SYNC,
        ),
        "acl_sync": Attribute(
            description="Creates on the local cluster the ACLs of the source that filters select, and deletes those that it "
            "created and the source no longer has. A change is made in place.",
            optional=True,
            computed=True,
            default={},
            nested=link_sync_schema.ACL_SYNC,
        ),
        "auto_create_mirror_topics": Attribute(
            description="Makes mirror topics of the source topics that filters select, within seconds also of those that come "
            "later. They are no resources of this configuration; they can be imported. A change is made in place.",
            optional=True,
            computed=True,
            default={},
            nested=link_sync_schema.AUTO_CREATE,
        ),
        "config": Attribute(
            description="Further properties of the link by their Cluster Linking names, with values as text. Default: "
            "none. A change is made in place; a property that is taken out goes back to its default.",
            type=cty.map_of(cty.STRING),
            optional=True,
            validators=(checks.no_null_values,),
        ),
        "on_destroy": Attribute(
            description="What destroy does while the link has live mirror topics. Default `REFUSE`: nothing, with an error. "
            "`FAILOVER`: those that were not destroyed in the same run become topics like any other, with what they have. "
            "That is final. Then the link is deleted. A change touches nothing.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="REFUSE",
            validators=(checks.one_of("REFUSE", "FAILOVER"),),
        ),
        "timeouts": timeouts_attribute(),
        "link_id": Attribute(
            description="Id that the engine gave the link; never used again for another.",
            type=cty.STRING,
            computed=True,
            keep_prior=True,
        ),
        "state": Attribute(
            description="State as last seen: `ACTIVE`, `PAUSED`, `UNAVAILABLE` or `FAILED`. It comes and goes by "
            "itself and is no reason for a change.",
            type=cty.STRING,
            computed=True,
        ),
        "error": Attribute(
            description="What is wrong, as last seen, while the state is `UNAVAILABLE` or `FAILED`; else null.",
            type=cty.STRING,
            computed=True,
        ),
    },
)
