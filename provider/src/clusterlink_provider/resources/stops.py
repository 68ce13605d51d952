"""Mirror topics that become topics like any other: waiting for one, and failing over all those of a link."""

import time
from typing import Final

import grpc

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineError
from clusterlink_provider.framework.diagnostics import DiagnosticError, sentence
from clusterlink_provider.resources.session import Session

_LOOK_SECONDS: Final = 0.5
# Being made, turned or deleted by somebody else: it can be failed over, or is gone, in a while.
_NOT_READY: Final = "MIRROR_TOPIC_NOT_READY"


def wait_until_stopped(session: Session, topic: v1.MirrorTopic, deadline: float) -> v1.MirrorTopic:
    """Looks at a mirror topic until it is STOPPED, the deadline has passed, or the user wants to stop.

    Args:
        session: Of the walk.
        topic: As last seen.
        deadline: By the clock of `time.monotonic`.

    Returns:
        The mirror topic as last seen.
    """
    while topic.state != v1.MIRROR_TOPIC_STATE_STOPPED and time.monotonic() < deadline:
        is_interrupted = session.client.pause(_LOOK_SECONDS)
        topic = session.client.get_mirror_topic(topic.name, topic.link) or topic
        if is_interrupted:
            break
    return topic


def fail_over_link(session: Session, link: str, deadline: float) -> None:
    """Fails over all mirror topics of a link that are not STOPPED, those too that come meanwhile, and waits for each.

    What an earlier attempt has begun is gone on with, so that it can be called again after any fault.

    Raises:
        DiagnosticError: The engine refuses; or one is not STOPPED in time. Those that are stay so.
    """
    is_again = False
    while live := [topic for topic in session.client.list_mirror_topics(link) if not _is_stopped(topic)]:
        # A list that is never empty, whatever became of the topics in it, has an end too.
        if is_again and (time.monotonic() >= deadline or session.client.pause(_LOOK_SECONDS)):
            _require_stopped(live[0])
        is_again = True
        for topic in live:
            _begin(session, topic, deadline)
        for topic in live:
            found = session.client.get_mirror_topic(topic.name, link)
            if found is not None:
                _require_stopped(wait_until_stopped(session, found, deadline))


def _begin(session: Session, topic: v1.MirrorTopic, deadline: float) -> None:
    stop = v1.MIRROR_TOPIC_STOP_FAILOVER
    while topic.stop != stop:
        seconds = max(deadline - time.monotonic(), _LOOK_SECONDS)
        try:
            session.client.stop_mirror_topic(topic.name, topic.link, stop, seconds=seconds)
        except EngineError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return
            is_over = time.monotonic() >= deadline or session.client.pause(_LOOK_SECONDS)
            if error.reason != _NOT_READY or is_over:
                raise
        else:
            return


def _require_stopped(topic: v1.MirrorTopic) -> None:
    if not _is_stopped(topic):
        raise DiagnosticError.of(
            "Mirror topic is not stopped yet",
            f'{topic.link}/{topic.name} is still being failed over (on_destroy = "FAILOVER"). It waits: {waits_for(topic)} The '
            "engine goes on with it, and the link is kept; destroy again to wait on.",
        )


def waits_for(topic: v1.MirrorTopic) -> str:
    """Says for people, after "It waits:", what the engine waits for."""
    return sentence(topic.state_detail or "for what, the engine does not say")


def _is_stopped(topic: v1.MirrorTopic) -> bool:
    return topic.state == v1.MIRROR_TOPIC_STATE_STOPPED
