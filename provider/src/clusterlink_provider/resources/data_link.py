"""The data sources `clusterlink_link` and `clusterlink_links`: links as they are now, whoever manages them."""

from typing import Final

from clusterlink_proto import v1
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Value
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Attribute, Schema, as_computed, computed, computed_objects
from clusterlink_provider.resources import link_convert, link_schema
from clusterlink_provider.resources.enums import name_of
from clusterlink_provider.resources.session import Session, require

# The settings that the data source of one link tells, as the resource has them.
_SETTINGS: Final = {
    name: attribute
    for name, attribute in as_computed(link_schema.SCHEMA.attributes).items()
    if name in {"remote_cluster", "mirror_start_offset", "config"} or name in link_convert.SYNCS
}
_ERROR: Final = {
    "code": computed("Name of the error.", cty.STRING),
    "message": computed("What is wrong, in a sentence.", cty.STRING),
}
_TASK: Final = {
    "name": computed("What is kept in step, such as `ConsumerOffsetSync`.", cty.STRING),
    "state": computed(
        "`ACTIVE`, `IN_ERROR`, `NOT_CONFIGURED`, `LINK_PAUSED`, `LINK_UNAVAILABLE` or `LINK_FAILED`.", cty.STRING
    ),
    "errors": computed_objects("What went wrong in the last round.", _ERROR),
}
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


class LinkDataSource:
    """A link with everything that it keeps in step, but for its secrets."""

    type_name = "clusterlink_link"
    schema = Schema(
        description="A link as it is now. The engine answers from its own memory: the remote cluster may be away.",
        attributes={
            "name": Attribute(description="Name of the link.", type=cty.STRING, required=True),
            **_SUMMARY,
            **_SETTINGS,
            "tasks": computed_objects("What the link keeps in step beside the records.", _TASK),
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:
        """Asks the engine for the link."""
        name = config["name"]
        link = require(context).client.get_link(name)
        if link is None:
            raise DiagnosticError.of("No such link", f"The engine has no link {name}.", ("name",))
        state = link_convert.from_message(link, {})
        return {
            **{key: state[key] for key in self.schema.attributes if key in state},
            **_summary(link),
            "tasks": [_task(task) for task in link.tasks],
        }


class LinksDataSource:
    """All links of the engine."""

    type_name = "clusterlink_links"
    schema = Schema(
        description="All links of the engine as they are now, by name.",
        attributes={
            "links": computed_objects(
                "The links, without their settings.",
                {
                    "name": computed("Name of the link.", cty.STRING),
                    "remote_cluster_id": computed("Id of the remote cluster; null while not known.", cty.STRING),
                    **_SUMMARY,
                },
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


def _summary(link: v1.Link) -> dict[str, Value]:
    state = {**link_convert.from_message(link, {}), "mirror_topic_count": link.mirror_topic_count}
    return {name: state[name] for name in _SUMMARY}


def _task(task: v1.LinkTask) -> dict[str, Value]:
    return {
        "name": task.name,
        "state": name_of(v1.TaskState, task.state, "TASK_STATE_"),
        "errors": [{"code": error.code, "message": error.message} for error in task.errors],
    }
