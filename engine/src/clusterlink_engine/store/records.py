"""The records of the state topic: keys, versions, JSON.

A key is `<kind>/<name>`; the value is a JSON object with the record's `version` and its `value`, or null for "gone". A
newer engine reads older versions; an older engine that meets a newer one must stop, because it would write it back wrongly.

In the place of a secret stands an object: the secret, encrypted by a `Keyring`. A string there is a secret as it is: a version
below 5 wrote it, or a process without a key that found it so.
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
from clusterlink_engine.model.secret_fields import SecretField, replace_secrets
from clusterlink_engine.store.keyring import Keyring, key_id_of

VERSION = 6

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
    # Whatever a newer version adds: its number is looked at first. Errors must not show a secret.
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    version: int
    value: Any = None


def key_of(kind: str, name: str) -> str:
    """Answers the key of an object; kinds are the keys of KINDS."""
    return f"{kind}/{name}"


_NO_KEYS = Keyring()


def encode(key: str, value: Stored, keyring: Keyring = _NO_KEYS) -> bytes:
    """Encodes an object as the value of the record of a key, with its secrets encrypted if there is a key for them."""
    content = value.model_dump(mode="json")
    if keyring.current:
        replace_secrets(type(value), content, lambda field, secret: keyring.encrypt(secret, _place(key, field)))
    return json.dumps({"version": VERSION, "value": content}, sort_keys=True).encode()


def decode(key: str, data: bytes, keyring: Keyring = _NO_KEYS) -> Stored:
    """Decodes a record's value.

    Raises:
        StateTooNewError: A newer engine wrote it.
        SettingsError: A secret in it is encrypted with a key that is not in the keyring.
        StateError: It is no record of ours.
    """
    kind = key.partition("/")[0]

    def decrypted(field: SecretField, secret: Any) -> Any:
        return keyring.decrypt(secret, _place(key, field)) if isinstance(secret, dict) else secret

    try:
        envelope = _Envelope.model_validate_json(data)
        if envelope.version > VERSION or kind not in KINDS:
            raise StateTooNewError(
                f'The state holds the record "{key}" of version {envelope.version}, but this engine knows version {VERSION}. A '
                "newer engine has worked here: start that version or a newer one."
            )
        value = _upgraded(kind, envelope.value) if envelope.version < 2 else envelope.value
        replace_secrets(KINDS[kind], value, decrypted)
        return KINDS[kind].model_validate_json(json.dumps(value))
    except ValidationError as error:
        raise StateError(
            f'The state record "{key}" cannot be read: {error.errors(include_url=False)[0]["msg"]}.'
        ) from error


def key_ids(key: str, data: bytes) -> set[str]:
    """Answers which keys encrypt the secrets of a record that can be decoded; empty for a secret that is stored as it is."""
    found: set[str] = set()

    def look(_: SecretField, secret: Any) -> Any:
        found.add(key_id_of(secret))
        return secret

    replace_secrets(KINDS[key.partition("/")[0]], _Envelope.model_validate_json(data).value, look)
    return found


def _place(key: str, field: SecretField) -> str:
    return f'the secret {field.path} of the state record "{key}"'


def _upgraded(kind: str, value: Any) -> Any:
    """Answers a value of version 1 as one of version 2, which reads as later ones do: those only added fields and kinds."""
    if kind == "mirror" and isinstance(value, dict):
        failures = value.get("failures", {})
        return {**value, "failures": {index: why for index, why in failures.items() if why["error"] not in _LIFTED}}
    return value
