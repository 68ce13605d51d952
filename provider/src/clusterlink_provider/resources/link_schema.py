"""The schema of `clusterlink_link`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.schema import Attribute, Schema
from clusterlink_provider.resources import checks
from clusterlink_provider.resources.durations import timeouts_attribute

DEFAULT_INTERVAL_MS = 5000
DEFAULT_OFFSET_INTERVAL_MS = 30_000
# The engine may ask for more; less than this it never allows.
MIN_INTERVAL_MS = 1000

PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER, AWS_MSK_IAM = "OAUTHBEARER", "AWS_MSK_IAM"

ACL_FILTER = (
    *("resource_type", "resource_name", "pattern_type"),
    *("principal", "host", "operation", "permission_type"),
)


def _secret(name: str, what: str) -> dict[str, Attribute]:
    """Makes the three attributes of a secret: kept in the state, or written only, with a number that tells of a change."""
    only, number = f"{name}_wo", f"{name}_wo_version"
    return {
        name: Attribute(
            description=f"{what}, kept in Terraform's state. Default: none, then `{only}` is needed. A change is made in "
            "place.",
            type=cty.STRING,
            optional=True,
            sensitive=True,
            validators=(checks.not_blank,),
        ),
        only: Attribute(
            description=f"{what}, kept in no plan and no state (write-only: Terraform 1.11, OpenTofu 1.11 or newer). Default: "
            f"none, then `{name}` is needed. A change is only seen by a change of `{number}`.",
            type=cty.STRING,
            optional=True,
            sensitive=True,
            write_only=True,
            validators=(checks.not_blank,),
        ),
        number: Attribute(
            description=f"Number of what is in `{only}`; needed with it. Default: none. A change sends that again, in place.",
            type=cty.NUMBER,
            optional=True,
            validators=(checks.at_least(0, "versions"),),
        ),
    }


_OAUTH = {
    "token_endpoint_url": Attribute(
        description="Token endpoint that the engine asks (client credentials grant): https, or http to the engine's own "
        "machine. A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.not_blank,),
    ),
    "client_id": Attribute(
        description="Name of the client that the tokens are for. A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.not_blank,),
    ),
    **_secret("client_secret", "Secret of the client"),
    "scope": Attribute(
        description="Scopes to ask for, with spaces between them. Default: none, and the endpoint decides. A change is made in "
        "place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    "parameters": Attribute(
        description="What else the endpoint is sent, such as `audience`; no secrets. Default: nothing. A change is made in "
        "place.",
        type=cty.map_of(cty.STRING),
        optional=True,
        validators=(checks.not_empty,),
    ),
    "extensions": Attribute(
        description="What brokers are sent beside the token, such as `logicalCluster`. Default: nothing. A change is made in "
        "place.",
        type=cty.map_of(cty.STRING),
        optional=True,
        validators=(checks.not_empty,),
    ),
    "ca_pem": Attribute(
        description="Certificates (PEM) of the authorities that may have signed that of the endpoint. Default: those that the "
        "engine's machine trusts. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
}

_SASL = {
    "mechanism": Attribute(
        description="`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` or `AWS_MSK_IAM`. With `PLAIN` the password "
        "itself goes over the connection, and with `OAUTHBEARER` the token: use them with `SASL_SSL`. A change is made in "
        "place.",
        type=cty.STRING,
        required=True,
        validators=(checks.one_of(*PASSWORD_MECHANISMS, OAUTHBEARER, AWS_MSK_IAM, later=("GSSAPI",)),),
    ),
    "username": Attribute(
        description="Name of the user; with `AWS_MSK_IAM` the id of an access key. Default: none, with `OAUTHBEARER`; all "
        "others need it. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    **_secret("password", "Password of the user; with `AWS_MSK_IAM` the secret of the access key"),
    "oauth": Attribute(
        description="Where the tokens come from; needed with `OAUTHBEARER`, and only allowed there.",
        optional=True,
        nested=_OAUTH,
    ),
    "aws_region": Attribute(
        description="Region of the cluster, such as `eu-central-1`; needed with `AWS_MSK_IAM`, and only allowed there. "
        "Default: none. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
}

_TLS = {
    "ca_pem": Attribute(
        description="Certificates (PEM) of the authorities that may have signed those of the brokers. Default: those that the "
        "engine's machine trusts. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    "certificate_pem": Attribute(
        description="The engine's certificate (PEM) for brokers that ask for one (mTLS), with the intermediate ones after it. "
        "Default: none. A change is made in place; its key goes with it.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    "key_pem": Attribute(
        description="Private key (PEM, not encrypted) of this certificate, kept in Terraform's state. Default: none, then "
        "`key_pem_wo` is needed with `certificate_pem`. A change is made in place.",
        type=cty.STRING,
        optional=True,
        sensitive=True,
        validators=(checks.not_blank,),
    ),
    "key_pem_wo": Attribute(
        description="Private key (PEM, not encrypted) of this certificate, kept in no plan and no state (write-only: Terraform "
        "1.11, OpenTofu 1.11 or newer). Default: none, then `key_pem` is needed with `certificate_pem`. A change is only seen "
        "by a change of `certificate_pem` or `key_pem_wo_version`.",
        type=cty.STRING,
        optional=True,
        sensitive=True,
        write_only=True,
        validators=(checks.not_blank,),
    ),
    "key_pem_wo_version": Attribute(
        description="Number of the key in `key_pem_wo`; needed with it. Default: none. A change sends `key_pem_wo` again, in "
        "place.",
        type=cty.NUMBER,
        optional=True,
        validators=(checks.at_least(0, "versions"),),
    ),
    "accept_any_server_name": Attribute(
        description="Whether a broker's certificate may be for another name than the one that is connected to: then whoever "
        "has any certificate of a trusted authority can pretend to be a broker. Default false. A change is made in place.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
}

_REMOTE_CLUSTER = {
    "bootstrap_servers": Attribute(
        description="Addresses (`host:port`) at which brokers of the remote cluster are found first; the order means "
        "nothing. A change is made in place; it must lead to the same cluster.",
        type=cty.set_of(cty.STRING),
        required=True,
        validators=(checks.not_empty, checks.host_and_port),
    ),
    "cluster_id": Attribute(
        description="Id of the remote cluster. Default: the id that the cluster tells. If given, the engine refuses "
        "another cluster. A change to another id replaces the link.",
        type=cty.STRING,
        optional=True,
        computed=True,
        keep_prior=True,
    ),
    "security_protocol": Attribute(
        description="How to connect to the remote cluster: `PLAINTEXT`, `SSL` (encrypted, and authenticated by a certificate "
        "if there is one), `SASL_PLAINTEXT` (authenticated, but neither encrypted nor protected against change) or `SASL_SSL` "
        "(both). Default `PLAINTEXT`. A change is made in place.",
        type=cty.STRING,
        optional=True,
        computed=True,
        default="PLAINTEXT",
        validators=(checks.one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),),
    ),
    "sasl": Attribute(
        description="How to authenticate to the remote cluster; needed with `SASL_PLAINTEXT` and `SASL_SSL`, and only allowed "
        "there.",
        optional=True,
        nested=_SASL,
    ),
    "tls": Attribute(
        description="Certificates, for `SSL` and `SASL_SSL` only. Default: the authorities that the engine's machine trusts, "
        "and no certificate of its own.",
        optional=True,
        nested=_TLS,
    ),
}

_TOPIC_CONFIG_SYNC = {
    "interval_ms": Attribute(
        description="Time between two comparisons, in milliseconds; at least 1000. Default 5000. A change is made in "
        "place.",
        type=cty.NUMBER,
        optional=True,
        computed=True,
        default=DEFAULT_INTERVAL_MS,
        validators=(checks.at_least(MIN_INTERVAL_MS, "milliseconds"),),
    ),
    "include": Attribute(
        description="Names of the topic settings that follow the source topic. Default: the engine's list. A change is "
        "made in place; leaving it out goes back to the engine's list.",
        type=cty.set_of(cty.STRING),
        optional=True,
        computed=True,
        keep_prior=True,
        validators=(checks.not_empty,),
    ),
}

_FILTERS = cty.set_of(cty.object_of({"name": cty.STRING, "pattern_type": cty.STRING, "filter_type": cty.STRING}))

_ACL_SYNC = {
    "enable": Attribute(
        description="Whether ACLs follow the source. Default false; not together with `topic_prefix`. A change is made in "
        "place; ACLs that were created stay.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
    "interval_ms": Attribute(
        description="Time between two rounds, in milliseconds; at least 1000. Default 5000. A change is made in place.",
        type=cty.NUMBER,
        optional=True,
        computed=True,
        default=DEFAULT_INTERVAL_MS,
        validators=(checks.at_least(MIN_INTERVAL_MS, "milliseconds"),),
    ),
    "filters": Attribute(
        description="Which ACLs: each filter has a `resource_type`, `resource_name`, `pattern_type`, `principal`, `host`, "
        "`operation` and `permission_type` by Kafka's names; `ANY`, and an empty text, stand for all. Needed with `enable`. "
        "Default: none. A change is made in place.",
        type=cty.set_of(cty.object_of(dict.fromkeys(ACL_FILTER, cty.STRING))),
        optional=True,
        validators=(checks.not_empty, checks.acl_filters),
    ),
}

_AUTO_CREATE = {
    "enable": Attribute(
        description="Whether source topics become mirror topics by themselves. Default false. A change is made in place; "
        "mirror topics that are there stay.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
    "filters": Attribute(
        description="Which topics: each filter has a `name`, a `pattern_type` (`LITERAL` or `PREFIXED`) and a `filter_type` "
        "(`INCLUDE` or `EXCLUDE`, which wins); the name `*` with `LITERAL` stands for every topic whose name does not "
        "begin with `_`. Needed with `enable`. Default: none. A change is made in place.",
        type=_FILTERS,
        optional=True,
        validators=(checks.not_empty, checks.name_filters),
    ),
}

_CONSUMER_OFFSET_SYNC = {
    "enable": Attribute(
        description="Whether the offsets of consumer groups follow the source. Default false. A change is made in place; what "
        "was committed stays.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
    "interval_ms": Attribute(
        description="Time between two rounds, in milliseconds; at least 1000. Default 30000. A change is made in place.",
        type=cty.NUMBER,
        optional=True,
        computed=True,
        default=DEFAULT_OFFSET_INTERVAL_MS,
        validators=(checks.at_least(MIN_INTERVAL_MS, "milliseconds"),),
    ),
    "group_prefix": Attribute(
        description="Whether groups get the link's `topic_prefix` on the local cluster. Default false. A change is made in "
        "place; groups under their other name stay.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
    "group_filters": Attribute(
        description="Which groups: each filter has a `name`, a `pattern_type` (`LITERAL` or `PREFIXED`) and a `filter_type` "
        "(`INCLUDE` or `EXCLUDE`, which wins); the name `*` with `LITERAL` stands for every group. Needed with `enable`. "
        "Default: none. A change is made in place.",
        type=_FILTERS,
        optional=True,
        validators=(checks.not_empty, checks.name_filters),
    ),
}

SCHEMA = Schema(
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
            description="The Kafka cluster at the other end.", required=True, nested=_REMOTE_CLUSTER
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
            nested=_TOPIC_CONFIG_SYNC,
        ),
        "consumer_offset_sync": Attribute(
            description="Commits for consumer groups on the local cluster what they have committed at the source, for mirrored "
            "topics only. A change is made in place.",
            optional=True,
            computed=True,
            default={},
            nested=_CONSUMER_OFFSET_SYNC,
        ),
        "acl_sync": Attribute(
            description="Creates on the local cluster the ACLs of the source that filters select, and deletes those that it "
            "created and the source no longer has. A change is made in place.",
            optional=True,
            computed=True,
            default={},
            nested=_ACL_SYNC,
        ),
        "auto_create_mirror_topics": Attribute(
            description="Makes mirror topics of the source topics that filters select, within seconds also of those that come "
            "later. They are no resources of this configuration; they can be imported. A change is made in place.",
            optional=True,
            computed=True,
            default={},
            nested=_AUTO_CREATE,
        ),
        "config": Attribute(
            description="Further properties of the link by their Cluster Linking names, with values as text. Default: "
            "none. A change is made in place; a property that is taken out goes back to its default.",
            type=cty.map_of(cty.STRING),
            optional=True,
            validators=(checks.no_null_values,),
        ),
        "on_destroy": Attribute(
            description="What to do on destroy while the link has live mirror topics. Default `REFUSE`, the only value "
            "in this version. A change touches nothing.",
            type=cty.STRING,
            optional=True,
            computed=True,
            default="REFUSE",
            validators=(checks.one_of("REFUSE", later=("FAILOVER",)),),
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
