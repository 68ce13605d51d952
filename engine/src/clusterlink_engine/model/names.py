"""Rules for names, shared by everything that takes one from a user."""

import re

from clusterlink_engine.errors import InvalidArgumentError

# Kafka's rule for topics (Topic.validate): 1 to 249 of these, and neither "." nor "..".
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")
MAX_TOPIC_NAME = 249
MAX_PREFIX = 12


def _check(what: str, value: str, longest: int, field: str) -> None:
    if not value:
        raise InvalidArgumentError(f"The {what} is empty; give one.", field=field)
    if len(value) > longest:
        raise InvalidArgumentError(
            f'The {what} "{value[:40]}..." has {len(value)} characters; {longest} are allowed.', field=field
        )
    if not _LEGAL.fullmatch(value) or value in (".", ".."):
        raise InvalidArgumentError(
            f'The {what} "{value}" is not allowed: use letters, digits, ".", "_" and "-" only.', field=field
        )


def check_link_name(value: str, field: str) -> None:
    """Raises InvalidArgumentError unless `value` may be the name of a link."""
    _check("link name", value, MAX_TOPIC_NAME, field)


def check_topic_name(value: str, field: str) -> None:
    """Raises InvalidArgumentError unless `value` may be the name of a topic (Kafka: 1 to 249 characters)."""
    _check("topic name", value, MAX_TOPIC_NAME, field)


def check_prefix(value: str, field: str) -> None:
    """Raises InvalidArgumentError unless `value` may be a topic prefix (Cluster Linking: at most 12 characters)."""
    _check("topic prefix", value, MAX_PREFIX, field)


def mirror_topic_name(prefix: str, source_topic: str, field: str) -> str:
    """Answers the name of the mirror topic: the link's prefix and the source topic's name.

    Raises:
        InvalidArgumentError: The name would be longer than Kafka allows.
    """
    name = prefix + source_topic
    if len(name) > MAX_TOPIC_NAME:
        raise InvalidArgumentError(
            f'The mirror topic of "{source_topic[:40]}..." would have a name of {len(name)} characters with the prefix '
            f'"{prefix}"; Kafka allows {MAX_TOPIC_NAME}.',
            field=field,
        )
    return name


def is_internal(topic: str) -> bool:
    """Tells whether a topic belongs to a system and not to users, by the convention that its name begins with "_"."""
    return topic.startswith("_")
