"""The properties of a link by their Cluster Linking names, as text: set in a link, and read from one."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message

from clusterlink_engine.cli.asking import UsageError
from clusterlink_engine.model.properties import ATTRIBUTES, PROPERTIES
from clusterlink_engine.model.topic_settings import CONFIGURABLE
from clusterlink_proto import v1

GROUP_FILTERS = "consumer.offset.group.filters"
TOPIC_FILTERS = "auto.create.mirror.topics.filters"
ACL_FILTERS = "acl.filters"

# The key of the list in each JSON text.
_LISTS = {GROUP_FILTERS: "groupFilters", TOPIC_FILTERS: "topicFilters", ACL_FILTERS: "aclFilters"}
_FILTER = {"name": "name", "patternType": "pattern_type", "filterType": "filter_type"}
_ACL_FILTER = {
    "resourceFilter": {"resourceType": "resource_type", "patternType": "pattern_type", "name": "resource_name"},
    "accessFilter": {
        "operation": "operation",
        "permissionType": "permission_type",
        "principal": "principal",
        "host": "host",
    },
}
# Names of Kafka: the texts have them in lower case, too.
_NAMES = frozenset({"resource_type", "pattern_type", "filter_type", "operation", "permission_type"})
# What goes another way, since a command line can be seen by others.
_SECRETS = {
    "sasl.jaas.config": "--username, and the password by --password-file",
    "sasl.oauthbearer.client.credentials.client.secret": "it by --password-file",
    "ssl.keystore.key": "--tls-key-file",
}
_MAPS = frozenset({"sasl.oauthbearer.parameters", "sasl.oauthbearer.extensions"})
_SERVER_NAME = "ssl.endpoint.identification.algorithm"
_CHECKED, _UNCHECKED = "https", "none"
_MODE = "link.mode"
_READ_ONLY = frozenset({_MODE, "cluster.link.prefix", "mirror.start.offset.spec"})
_MODE_PREFIX = "LINK_MODE_"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Property(NamedTuple):
    """A property of a link as it is now."""

    name: str
    value: str
    is_read_only: bool


def put(link: v1.Link, properties: Mapping[str, str]) -> list[str]:
    """Sets properties in a link; an empty text takes one back to its default.

    Returns:
        The fields of the link to name in an update.

    Raises:
        UsageError: A value is none for its property. Names that are not known are left to the engine.
    """
    fields: list[str] = []
    for name, text in properties.items():
        path = ATTRIBUTES.get(name)
        if path is None:
            link.config.pop(name, None)
            if text:
                link.config[name] = text
            fields.append("config")
            continue
        if name in _SECRETS:
            raise UsageError(f"{name} is not taken here; give {_SECRETS[name]}")
        try:
            _put(link, name, path, text)
        except ValueError as error:
            raise UsageError(f'{name}: "{text}" is not possible: {error}') from error
        group, _, rest = path.partition(".")
        fields.append(f"{group}.{rest.partition('.')[0]}" if group == "remote_cluster" else group)
    if set(link.topic_config_sync.include) == CONFIGURABLE:
        # The engine's own list is not sent back to it, or it would be fixed as it is today.
        del link.topic_config_sync.include[:]
    return sorted(set(fields))


def read(link: v1.Link) -> list[Property]:
    """Answers all properties of a link by name, those with their defaults too; no secret is among them."""
    values = {name: link.config.get(name, str(entry.default)) for name, entry in PROPERTIES.items()}
    values |= {name: _read(link, name, path) for name, path in ATTRIBUTES.items() if name not in _SECRETS}
    return [Property(name, value, name in _READ_ONLY) for name, value in sorted(values.items())]


def from_lines(text: str) -> dict[str, str]:
    """Reads properties from the lines of a file; empty lines and those that begin with # mean nothing.

    Raises:
        UsageError: A line is no property.
    """
    found: dict[str, str] = {}
    for line in (line.strip() for line in text.splitlines()):
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals:
                raise UsageError(f'the line "{line}" is no property; expected NAME=VALUE')
            found[name.strip()] = value.strip()
    return found


def _place(link: v1.Link, path: str) -> tuple[Any, str]:
    """Answers the message that a path ends in, and the field's name there."""
    message: Any = link
    *groups, last = path.split(".")
    for group in groups:
        message = getattr(message, group)
    return message, last


def _put(link: v1.Link, name: str, path: str, text: str) -> None:
    message, field = _place(link, path)
    before = getattr(message, field)
    message.ClearField(field)
    if not text:
        return
    if name in _LISTS:
        getattr(message, field).extend(_filters(name, text))
    elif name in _MAPS:
        getattr(message, field).update(_pairs(text))
    elif name == _MODE:
        link.mode = v1.LinkMode.Value(_MODE_PREFIX + text)
    elif name == _SERVER_NAME:
        if text not in (_CHECKED, _UNCHECKED):
            raise ValueError(f"expected {_CHECKED} or {_UNCHECKED}")
        setattr(message, field, text == _UNCHECKED)
    elif isinstance(before, bool):
        if text not in ("true", "false"):
            raise ValueError("expected true or false")
        setattr(message, field, text == "true")
    elif isinstance(before, int):
        if not _WHOLE_NUMBER.fullmatch(text):
            raise ValueError("expected a whole number")
        setattr(message, field, int(text))
    elif isinstance(before, str):
        setattr(message, field, text.replace("\\n", "\n"))  # as in a file of properties
    else:
        getattr(message, field).extend(part.strip() for part in text.split(","))


def _read(link: v1.Link, name: str, path: str) -> str:
    message, field = _place(link, path)
    value = getattr(message, field)
    if name in _LISTS:
        return _filters_text(name, value)
    if name == _MODE:
        return v1.LinkMode.Name(link.mode).removeprefix(_MODE_PREFIX)
    if name == _SERVER_NAME:
        return _UNCHECKED if value else _CHECKED
    if name in _MAPS:
        return ",".join(f"{key}={entry}" for key, entry in sorted(value.items()))
    if isinstance(value, bool | int | str):
        return str(value).lower() if isinstance(value, bool) else str(value).replace("\n", "\\n")
    return ",".join(value)


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError("expected NAME=VALUE[,NAME=VALUE...]")
        found[key.strip()] = value.strip()
    return found


def _filters(name: str, text: str) -> Iterable[Message]:
    content = _object(json.loads(text), (_LISTS[name],))
    entries = content.get(_LISTS[name], [])
    if not isinstance(entries, list):
        raise ValueError(f"expected a list as {_LISTS[name]}")
    for entry in entries:
        if name != ACL_FILTERS:
            yield v1.Filter(**_renamed(entry, _FILTER))
            continue
        parts = _object(entry, _ACL_FILTER)
        fields: dict[str, str] = {}
        for part, names in _ACL_FILTER.items():
            fields |= _renamed(parts.get(part, {}), names)
        yield v1.AclFilter(**fields)


def _renamed(entry: Any, names: Mapping[str, str]) -> dict[str, str]:
    found = {names[key]: value for key, value in _object(entry, names).items()}
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("expected texts in a filter")
    return {key: value.upper() if key in _NAMES else value for key, value in found.items()}


def _object(value: Any, keys: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("expected an object of JSON")
    if unknown := value.keys() - set(keys):
        raise ValueError(f"unknown key {min(unknown)}; known are {', '.join(keys)}")
    return value


def _filters_text(name: str, filters: Iterable[Any]) -> str:
    if name != ACL_FILTERS:
        entries = [{key: getattr(entry, field) for key, field in _FILTER.items()} for entry in filters]
    else:
        entries = [
            {part: {key: getattr(entry, field) for key, field in names.items()} for part, names in _ACL_FILTER.items()}
            for entry in filters
        ]
    return json.dumps({_LISTS[name]: entries}, separators=(",", ":")) if entries else ""
