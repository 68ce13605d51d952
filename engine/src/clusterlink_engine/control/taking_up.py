"""Detached topics that are to be mirror topics again: only if nothing has changed since."""

from clusterlink_engine.control.topics import Topics
from clusterlink_engine.errors import AlreadyExistsError
from clusterlink_engine.model.resources import DetachedMirror, Link, MirrorTopic
from clusterlink_engine.wire.cluster import TopicInfo


async def check_untouched(
    topics: Topics, detached: DetachedMirror, present: TopicInfo, mirror: MirrorTopic, link: Link
) -> None:
    """Sees to it that a detached topic can be taken up where it stopped.

    Args:
        topics: Of the local cluster.
        detached: What is remembered of it.
        present: The topic as it is there now.
        mirror: What it is to be.
        link: Of the mirror topic.

    Raises:
        AlreadyExistsError: It cannot, with the reason.
        KafkaError: The local cluster does not answer, or refuses.
    """
    if detached.failure:
        why = f"it was FAILED when it was detached ({detached.failure})"
    elif detached.topic_id != present.topic_id:
        why = "it was deleted and created anew since it was detached"
    elif (detached.remote_cluster_id, detached.source_topic_id) != (link.remote.cluster_id, mirror.source_topic_id):
        why = "it was a mirror of another topic"
    else:
        ends = await topics.log_ends(present)
        moved = [
            f"{index}: {end} instead of {ends[index]}" for index, end in detached.log_ends.items() if ends[index] != end
        ]
        if not moved:
            return
        why = "its log ends moved since it was detached (partition " + "; ".join(moved[:3]) + ")"
    raise AlreadyExistsError(
        f'The topic "{mirror.name}" is a detached mirror, but cannot be taken up again: {why}. Delete the topic to mirror '
        "anew.",
        field="mirror_topic.source_topic",
        reason="DETACHED_TOPIC_CHANGED",
    )
