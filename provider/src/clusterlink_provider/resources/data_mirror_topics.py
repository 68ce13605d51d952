"""The data source `clusterlink_mirror_topics`: which mirror topics there are, those that links made by themselves too."""

from typing import Final

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Attribute, Schema, computed
from clusterlink_provider.resources import mirror_topic_convert
from clusterlink_provider.resources.session import Session, require

_MIRROR_TOPIC: Final = {
    "id": cty.STRING,
    "name": cty.STRING,
    "link": cty.STRING,
    "source_topic": cty.STRING,
    "status": cty.STRING,
    "observed_status": cty.STRING,
    "direction": cty.STRING,
    "error": cty.STRING,
    "automatic": cty.BOOL,
}


class MirrorTopicsDataSource:
    """The mirror topics of one link or of all."""

    type_name = "clusterlink_mirror_topics"
    schema = Schema(
        description="The mirror topics of a link, or of all, as they are now. The engine answers from its own memory: the "
        "remote cluster may be away.",
        attributes={
            "link": Attribute(
                description="Name of the link. Default: none, all links.", type=cty.STRING, optional=True
            ),
            "mirror_topics": computed(
                "The mirror topics by link and name. `id` is the id to import each by, `automatic` tells whether its link made "
                "it by itself (`auto_create_mirror_topics`); the others are those of `clusterlink_mirror_topic`.",
                cty.list_of(cty.object_of(_MIRROR_TOPIC)),
            ),
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:
        """Asks the engine for the mirror topics."""
        topics = sorted(
            require(context).client.list_mirror_topics(config["link"] or ""), key=lambda topic: (topic.link, topic.name)
        )
        states = ({**mirror_topic_convert.from_message(topic, {}), "automatic": topic.automatic} for topic in topics)
        return {
            "link": config["link"],
            "mirror_topics": [{key: state[key] for key in _MIRROR_TOPIC} for state in states],
        }
