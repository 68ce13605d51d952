"""The records of the state topic: keys, versions, JSON.

A key is `<kind>/<name>`; the value is a JSON object with the record's `version` and its `value`, or null for "gone". A
newer engine reads older versions; an older engine that meets a newer one must stop, because it would write it back wrongly.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from clusterlink_engine.errors import StateError, StateTooNewError
from clusterlink_engine.model.resources import (
    Allocation,
    Denial,
    DetachedMirror,
    Link,
    MirrorTopic,
    PartitionProgress,
    SavedOffsets,
    Stored,
    SyncedAcls,
)

VERSION = 5

# What version 1 could not mirror. A partition that failed for it goes on.
_LIFTED = frozenset(
    {
        "SOURCE_RETENTION_OVERTOOK",
        "LOG_START_ABOVE_ZERO",
        "OFFSET_GAP",
        "TRANSACTIONAL_RECORDS",
        "LOG_APPEND_TIME_RECORDS",
    }
)

CLAIM_KEY = "claim/control"


class Claim(Stored):
    """Who leads the processes that work on this state; the last one counts."""

    instance_id: str
    host: str
    pid: int
    version: str
    """Of the engine."""
    process: str = ""
    """What `processes.identity` says of it; tells on the same machine whether it is dead."""
    member_id: str = ""
    """Of its membership in the group of engines."""
    released: bool = False
    """Whether it stopped in peace; only in records of version 2."""


KINDS: dict[str, type[Stored]] = {
    "link": Link,
    "mirror": MirrorTopic,
    "detached": DetachedMirror,
    "partition": PartitionProgress,
    "allocation": Allocation,
    "acls": SyncedAcls,
    "offsets": SavedOffsets,
    "denial": Denial,
    "claim": Claim,
}


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="ignore")  # whatever a newer version adds: its number is looked at first

    version: int
    value: Any = None


def key_of(kind: str, name: str) -> str:
    """Answers the key of an object; kinds are the keys of KINDS."""
    return f"{kind}/{name}"


def encode(value: Stored) -> bytes:
    """Encodes an object as a record's value."""
    return json.dumps({"version": VERSION, "value": value.model_dump(mode="json")}, sort_keys=True).encode()


def decode(key: str, data: bytes) -> Stored:
    """Decodes a record's value.

    Raises:
        StateTooNewError: A newer engine wrote it.
        StateError: It is no record of ours.
    """
    kind = key.partition("/")[0]
    try:
        envelope = _Envelope.model_validate_json(data)
        if envelope.version > VERSION or kind not in KINDS:
            raise StateTooNewError(
                f'The state holds the record "{key}" of version {envelope.version}, but this engine knows version {VERSION}. A '
                "newer engine has worked here: start that version or a newer one."
            )
        value = _upgraded(kind, envelope.value) if envelope.version < 2 else envelope.value
        return KINDS[kind].model_validate_json(json.dumps(value))
    except ValidationError as error:
        raise StateError(
            f'The state record "{key}" cannot be read: {error.errors(include_url=False)[0]["msg"]}.'
        ) from error


def _upgraded(kind: str, value: Any) -> Any:
    """Answers a value of version 1 as one of version 2, which reads as later ones do: those only added fields and kinds."""
    if kind == "mirror" and isinstance(value, dict):
        failures = value.get("failures", {})
        return {**value, "failures": {index: why for index, why in failures.items() if why["error"] not in _LIFTED}}
    return value
