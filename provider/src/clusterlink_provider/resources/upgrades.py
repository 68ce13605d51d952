"""States of earlier versions: what links and mirror topics were that had no attribute for it yet.

A state that was edited by hand may have anything in it; what does not fit is refused after the last step.
"""

from typing import Any, Final

from clusterlink_provider.resources.mirror_topic_convert import FORWARD

# Of a link that was made before it could be set. Facts of that time, whatever the defaults are today.
_LINK_1: Final[dict[str, Any]] = {
    "mirror_start_offset": "earliest",
    "consumer_offset_sync": {"enable": False, "interval_ms": 30_000, "group_prefix": False, "group_filters": None},
    "acl_sync": {"enable": False, "interval_ms": 5000, "filters": None},
    "auto_create_mirror_topics": {"enable": False, "filters": None},
}
_TLS_1: Final[dict[str, Any]] = {"accept_any_server_name": False}
_MIRROR_TOPIC_1: Final[dict[str, Any]] = {"direction": FORWARD}


def link_to_1(state: dict[str, Any]) -> dict[str, Any]:
    """Version 0 began without syncs but for that of settings, and without `sasl` and `tls`."""
    remote = state.get("remote_cluster")
    if isinstance(remote, dict) and isinstance(remote.get("tls"), dict):
        remote = remote | {"tls": _TLS_1 | remote["tls"]}
    return _LINK_1 | _without_null(state) | {"remote_cluster": remote}


def mirror_topic_to_1(state: dict[str, Any]) -> dict[str, Any]:
    """Version 0 began without a way to turn the direction."""
    return _MIRROR_TOPIC_1 | _without_null(state)


def _without_null(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if value is not None}
