"""The data sources `clusterlink_link` and `clusterlink_links`: links as they are now, whoever manages them."""

from collections.abc import Iterable
from typing import Final

from clusterlink_proto import v1
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Value
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Attribute, Schema, computed
from clusterlink_provider.resources import link_convert, link_schema
from clusterlink_provider.resources.enums import name_of
from clusterlink_provider.resources.session import Session, require

_OAUTH: Final = {
    **dict.fromkeys(("token_endpoint_url", "client_id", "scope", "ca_pem"), cty.STRING),
    **dict.fromkeys(("parameters", "extensions"), cty.map_of(cty.STRING)),
}
_SASL: Final = {
    **dict.fromkeys(("mechanism", "username", "aws_region"), cty.STRING),
    "oauth": cty.object_of(_OAUTH),
}
_TLS: Final = {"ca_pem": cty.STRING, "certificate_pem": cty.STRING, "accept_any_server_name": cty.BOOL}
_REMOTE_CLUSTER: Final = cty.object_of(
    {
        "bootstrap_servers": cty.set_of(cty.STRING),
        "cluster_id": cty.STRING,
        "security_protocol": cty.STRING,
        "sasl": cty.object_of(_SASL),
        "tls": cty.object_of(_TLS),
    }
)
_TASK: Final = cty.object_of(
    {
        "name": cty.STRING,
        "state": cty.STRING,
        "errors": cty.list_of(cty.object_of({"code": cty.STRING, "message": cty.STRING})),
    }
)
# What both data sources tell of a link.
_SUMMARY: Final = {
    "link_id": computed("Id that the engine gave the link.", cty.STRING),
    "mode": computed("`DESTINATION` or `BIDIRECTIONAL`.", cty.STRING),
    "topic_prefix": computed("Put before the name of each mirror topic; null for none.", cty.STRING),
    "paused": computed("Whether mirroring rests on the whole link.", cty.BOOL),
    "state": computed("`ACTIVE`, `PAUSED`, `UNAVAILABLE` or `FAILED`.", cty.STRING),
    "error": computed("What is wrong: the error's name and a sentence; else null.", cty.STRING),
    "mirror_topic_count": computed("Mirror topics that are neither detached nor stopped.", cty.NUMBER),
}


def _as_in_resource(name: str, description: str) -> Attribute:
    return computed(description, link_schema.SCHEMA.attributes[name].cty_type())


class LinkDataSource:
    """A link with everything that it keeps in step, but for its secrets."""

    type_name = "clusterlink_link"
    schema = Schema(
        description="A link as it is now. The engine answers from its own memory: the remote cluster may be away.",
        attributes={
            "name": Attribute(description="Name of the link.", type=cty.STRING, required=True),
            **_SUMMARY,
            "remote_cluster": computed("The cluster at the other end, and who connects to it.", _REMOTE_CLUSTER),
            "mirror_start_offset": _as_in_resource("mirror_start_offset", "Where new mirror topics begin."),
            "topic_config_sync": _as_in_resource("topic_config_sync", "How settings of topics follow."),
            "consumer_offset_sync": _as_in_resource("consumer_offset_sync", "How offsets of consumer groups follow."),
            "acl_sync": _as_in_resource("acl_sync", "How ACLs follow."),
            "auto_create_mirror_topics": _as_in_resource(
                "auto_create_mirror_topics", "Which mirror topics come by themselves."
            ),
            "config": _as_in_resource("config", "Further properties that were set."),
            "tasks": computed(
                "What the link keeps in step beside the records: `ACTIVE`, `IN_ERROR`, `NOT_CONFIGURED`, `LINK_PAUSED`, "
                "`LINK_UNAVAILABLE` or `LINK_FAILED`, with the errors of the last round.",
                cty.list_of(_TASK),
            ),
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:
        """Asks the engine for the link."""
        name = config["name"]
        link = require(context).client.get_link(name)
        if link is None:
            raise DiagnosticError.of("No such link", f"The engine has no link {name}.", ("name",))
        state = link_convert.from_message(link, {})
        remote = state["remote_cluster"]
        return {
            **{key: state[key] for key in self.schema.attributes if key in state},
            **_summary(link),
            "remote_cluster": {**remote, "sasl": _sasl(remote["sasl"]), "tls": _part(remote["tls"], _TLS)},
            "tasks": [_task(task) for task in link.tasks],
        }


class LinksDataSource:
    """All links of the engine."""

    type_name = "clusterlink_links"
    schema = Schema(
        description="All links of the engine as they are now, by name.",
        attributes={
            "links": computed(
                "The links: what `clusterlink_link` tells of each, without its settings.",
                cty.list_of(
                    cty.object_of(
                        {
                            "name": cty.STRING,
                            "remote_cluster_id": cty.STRING,
                            **{name: attribute.cty_type() for name, attribute in _SUMMARY.items()},
                        }
                    )
                ),
            )
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:  # noqa: ARG002 - it has no arguments
        """Asks the engine for the links."""
        links = sorted(require(context).client.list_links(), key=lambda link: link.name)
        return {
            "links": [
                {"name": link.name, "remote_cluster_id": link.remote_cluster.cluster_id or None, **_summary(link)}
                for link in links
            ]
        }


def _sasl(sasl: Object | None) -> Object | None:
    return {**(_part(sasl, _SASL) or {}), "oauth": _part(sasl["oauth"], _OAUTH)} if sasl is not None else None


def _part(group: Object | None, names: Iterable[str]) -> Object | None:
    return {name: group[name] for name in names} if group is not None else None


def _summary(link: v1.Link) -> dict[str, Value]:
    state = {**link_convert.from_message(link, {}), "mirror_topic_count": link.mirror_topic_count}
    return {name: state[name] for name in _SUMMARY}


def _task(task: v1.LinkTask) -> dict[str, Value]:
    return {
        "name": task.name,
        "state": name_of(v1.TaskState, task.state, "TASK_STATE_"),
        "errors": [{"code": error.code, "message": error.message} for error in task.errors],
    }
