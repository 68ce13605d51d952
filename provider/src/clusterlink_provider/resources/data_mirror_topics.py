"""The data source `clusterlink_mirror_topics`: which mirror topics there are, those that links made by themselves too."""

from typing import Final

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Attribute, Schema, computed, computed_objects
from clusterlink_provider.resources.data_mirror_topic import SUMMARY, summary
from clusterlink_provider.resources.session import Session, require

_MIRROR_TOPIC: Final = {
    "id": computed("The id to import it by: `<link>/<name>`.", cty.STRING),
    "name": computed("Name of the mirror topic.", cty.STRING),
    "link": computed("Name of the link.", cty.STRING),
    **SUMMARY,
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
            "mirror_topics": computed_objects("The mirror topics, by link and name.", _MIRROR_TOPIC),
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:
        """Asks the engine for the mirror topics."""
        topics = sorted(
            require(context).client.list_mirror_topics(config["link"] or ""), key=lambda topic: (topic.link, topic.name)
        )
        return {
            "link": config["link"],
            "mirror_topics": [
                {"id": f"{topic.link}/{topic.name}", "name": topic.name, "link": topic.link, **summary(topic)}
                for topic in topics
            ],
        }
