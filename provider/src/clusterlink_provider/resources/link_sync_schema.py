"""What a link keeps in step besides records: that part of the schema of `clusterlink_link`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.schema import Attribute, Nesting, Validator
from clusterlink_provider.resources import checks

DEFAULT_INTERVAL_MS = 5000
DEFAULT_OFFSET_INTERVAL_MS = 30_000
# The engine may ask for more; less than this it never allows.
MIN_INTERVAL_MS = 1000

TOPIC_CONFIG_SYNC = {
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

_NAME_FILTER = {
    "name": Attribute(
        description="The name, or its beginning; `*` with `LITERAL` stands for every name. A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.not_blank,),
    ),
    "pattern_type": Attribute(
        description="`LITERAL` (the whole name) or `PREFIXED` (its beginning). A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.one_of("LITERAL", "PREFIXED"),),
    ),
    "filter_type": Attribute(
        description="`INCLUDE`, or `EXCLUDE`, which wins. A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.one_of("INCLUDE", "EXCLUDE"),),
    ),
}


def _acl_part(description: str, *validators: Validator) -> Attribute:
    return Attribute(
        description=f"{description} A change is made in place.", type=cty.STRING, required=True, validators=validators
    )


_ACL_FILTER = {
    "resource_type": _acl_part(
        "Kind of resource, such as `TOPIC` or `GROUP`; `ANY` stands for all.", checks.kafka_name
    ),
    "resource_name": _acl_part("Name of the resource, as in the ACL; an empty text stands for all."),
    "pattern_type": _acl_part("`LITERAL`, `PREFIXED` or `ANY`.", checks.kafka_name),
    "principal": _acl_part("Who, as `User:app`; an empty text stands for all."),
    "host": _acl_part("From where, as in the ACL; an empty text stands for all."),
    "operation": _acl_part("What is done, such as `READ` or `WRITE`; `ANY` stands for all.", checks.kafka_name),
    "permission_type": _acl_part("`ALLOW`, `DENY` or `ANY`.", checks.kafka_name),
}

ACL_SYNC = {
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
        description="Which ACLs, in upper case. Needed with `enable`. Default: none. A change is made in place.",
        nested=_ACL_FILTER,
        nesting=Nesting.SET,
        optional=True,
        validators=(checks.not_empty,),
    ),
}

AUTO_CREATE = {
    "enable": Attribute(
        description="Whether source topics become mirror topics by themselves. Default false. A change is made in place; "
        "mirror topics that are there stay.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
    "filters": Attribute(
        description="Which topics. `*` stands for every topic whose name does not begin with `_`, and an `INCLUDE` of those is "
        "refused. Needed with `enable`. Default: none. A change is made in place.",
        nested=_NAME_FILTER,
        nesting=Nesting.SET,
        optional=True,
        validators=(checks.not_empty,),
    ),
}

CONSUMER_OFFSET_SYNC = {
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
        description="Which groups. Needed with `enable`. Default: none. A change is made in place.",
        nested=_NAME_FILTER,
        nesting=Nesting.SET,
        optional=True,
        validators=(checks.not_empty,),
    ),
}
