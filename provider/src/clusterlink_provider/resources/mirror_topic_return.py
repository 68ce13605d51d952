"""Mirror topics that were stopped and are mirror topics again: a configuration from before must not stop them once more.

Only a BIDIRECTIONAL link can bring a stopped mirror topic back, by verbs of the API and the command line. A configuration
that still says FAILED_OVER or PROMOTED then asks for nothing new, but its state alone looks as if it did. So it is kept beside
the state how the mirror topic was stopped, until an apply whose configuration wants a mirror topic again.
"""

from typing import Any, Final

from clusterlink_proto import v1
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.resources import mirror_topic_convert

_STOPPED_AS: Final = "stopped_as"

TITLE: Final = "Mirror topic was reversed"


def remember(private: dict[str, Any], topic: v1.MirrorTopic) -> None:
    """Notes how a mirror topic is stopped. One that waits for it may still be cancelled, and would be stopped anew."""
    if topic.state == v1.MIRROR_TOPIC_STATE_STOPPED and topic.stop in mirror_topic_convert.STOPS:
        private[_STOPPED_AS] = mirror_topic_convert.STOPS[topic.stop]


def forget(private: dict[str, Any]) -> None:
    """Notes that the configuration wants a mirror topic again: a status that stops it is a new one from now on."""
    private.pop(_STOPPED_AS, None)


def has_returned(private: dict[str, Any], found: str) -> bool:
    """Tells whether a mirror topic was stopped, and is none that is stopped now: `found` is its status."""
    return _STOPPED_AS in private and found not in mirror_topic_convert.FINAL


def asks_for_nothing_new(private: dict[str, Any], found: str, wanted: str) -> bool:
    """Tells whether the wanted status would stop a mirror topic as it was stopped before it went back."""
    return has_returned(private, found) and wanted == private[_STOPPED_AS]


def explanation(private: dict[str, Any], state: Object) -> str:
    """Says what happened, for people."""
    return (
        f"{state['id']} was {private[_STOPPED_AS]} and is a mirror topic again, in the direction {state['direction']}: "
        "somebody has restored or reversed it."
    )


def refusal(private: dict[str, Any], state: Object) -> str:
    """Says what happened, and why nothing is done about it."""
    return (
        f"{explanation(private, state)} The configuration says {private[_STOPPED_AS]} from before that, so apply refuses to "
        'stop it again. Set status = "ACTIVE"; once that is applied, it can be promoted or failed over anew.'
    )
