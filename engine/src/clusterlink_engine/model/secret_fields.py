"""Which fields of stored objects are secret: the one list of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from clusterlink_engine.model.resources import Link, Stored


class SecretField(NamedTuple):
    """A field whose value nobody may read in the state topic."""

    path: str
    """In the stored object, with dots between the levels."""
    request: str
    """In a request of the API, as written in the .proto file."""


SECRET_FIELDS: Mapping[type[Stored], tuple[SecretField, ...]] = {
    Link: (
        SecretField("remote.sasl.password", "link.remote_cluster.sasl.password"),
        SecretField("remote.sasl.oauth.client_secret", "link.remote_cluster.sasl.oauth.client_secret"),
        SecretField("remote.tls.key_pem", "link.remote_cluster.tls.key_pem"),
    ),
}


def secrets_of(value: Stored) -> dict[SecretField, str]:
    """Answers the secrets that an object has."""
    kind = type(value)
    return {field: holder[name] for field, holder, name in _places(kind, value.model_dump(mode="json"))}


def replace_secrets(kind: type[Stored], content: Any, how: Callable[[SecretField, Any], Any]) -> None:
    """Puts `how(field, secret)` in the place of each secret in the JSON content of an object of a kind."""
    for field, holder, name in _places(kind, content):
        holder[name] = how(field, holder[name])


def _places(kind: type[Stored], content: Any) -> Iterator[tuple[SecretField, dict[str, Any], str]]:
    """Yields each secret that is there: its field, what holds it, and its name in it. Content that is rubbish has none."""
    for field in SECRET_FIELDS.get(kind, ()):
        holder = content
        *levels, name = field.path.split(".")
        for level in levels:
            holder = holder.get(level) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and holder.get(name):
            yield field, holder, name
