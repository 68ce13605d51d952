"""What the configuration wants of a mirror topic, and wanted at the last apply.

The state tells what is. Whether a difference comes from a new wish, or from somebody who changed the world, only the last wish
can tell: it is kept beside the state. After an import there is none.
"""

from typing import Any, Final

from clusterlink_provider.framework.cty import Unknown
from clusterlink_provider.framework.planning import Object

_WANTED: Final = "wanted_status"
_MIRRORS: Final = ("ACTIVE", "PAUSED")


def remember(private: dict[str, Any], planned: Object) -> None:
    """Notes the wish of an apply that has fulfilled it."""
    private[_WANTED] = planned["status"]


def is_new(private: dict[str, Any], status: str) -> bool:
    """Tells whether the wish is another one than at the last apply."""
    return private.get(_WANTED) not in (None, status)


def is_rebuilt(prior: Object, planned: Object) -> bool:
    """Tells whether the plan deletes a mirror topic, which has failed, and mirrors anew."""
    is_mirror = planned["status"] in _MIRRORS
    return bool(prior.get("status") == "FAILED" and is_mirror and planned.get("on_failed") == "REBUILD")


def may_be_rebuilt(prior: Object, planned: Object) -> bool:
    """Tells whether the plan may turn out to do that, when all is known."""
    status, on_failed = planned["status"], planned.get("on_failed")
    is_possible = isinstance(status, Unknown) or status in _MIRRORS
    return (
        prior.get("status") == "FAILED" and is_possible and (isinstance(on_failed, Unknown) or on_failed == "REBUILD")
    )
