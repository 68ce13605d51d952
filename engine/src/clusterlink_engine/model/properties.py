"""The property table: what `config` of a link may hold, by its Cluster Linking name.

A property that has an attribute of its own is refused in `config`, so that there is one place for each fact.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from clusterlink_engine import pem
from clusterlink_engine.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Property:
    """An integer property: its Cluster Linking name, default, range (both ends allowed) and meaning.

    `is_live` means that a link at work takes a new value without being stopped.
    """

    name: str
    default: int
    least: int
    most: int
    meaning: str
    is_live: bool = False


# Our own name: Cluster Linking has a limit for brokers only.
MAX_BYTES_PER_SECOND = "cluster.link.io.max.bytes.per.second"

_INT32 = 2**31 - 1
_MOST_DIGITS = 19

PROPERTIES: Mapping[str, Property] = {
    entry.name: entry
    for entry in (
        Property(
            "replica.fetch.max.bytes",
            5_242_880,
            1,
            _INT32,
            "bytes asked for per partition in one fetch, and less, down to 1 MiB, while several partitions have a backlog; "
            "unless it is set, up to 16 MiB where the way to the source is long",
        ),
        Property(
            "replica.fetch.response.max.bytes",
            10_485_760,
            1,
            _INT32,
            "bytes asked for in one fetch; unless it is set, up to 16 MiB where the way to the source is long",
        ),
        Property("replica.fetch.min.bytes", 1, 0, _INT32, "bytes a source broker waits for before it answers a fetch"),
        Property("replica.fetch.wait.max.ms", 500, 0, 60_000, "how long a source broker waits for those bytes"),
        Property("request.timeout.ms", 30_000, 1_000, 600_000, "longest wait for an answer of a source broker"),
        Property("cluster.link.retry.timeout.ms", 300_000, 0, _INT32, "how long a source topic may be missing"),
        Property(
            "metadata.max.age.ms", 5_000, 100, 3_600_000, "how old topic ids, leaders and partition counts may get"
        ),
        Property(
            MAX_BYTES_PER_SECOND,
            0,
            0,
            _INT32,
            "bytes of records read per second, of all processes; 0: no limit",
            is_live=True,
        ),
    )
}

# Properties of Cluster Linking that are attributes here, with the attribute.
ATTRIBUTES: Mapping[str, str] = {
    "bootstrap.servers": "remote_cluster.bootstrap_servers",
    "security.protocol": "remote_cluster.security_protocol",
    "sasl.mechanism": "remote_cluster.sasl.mechanism",
    "sasl.jaas.config": "remote_cluster.sasl",
    "sasl.oauthbearer.token.endpoint.url": "remote_cluster.sasl.oauth.token_endpoint_url",
    "sasl.oauthbearer.client.credentials.client.id": "remote_cluster.sasl.oauth.client_id",
    "sasl.oauthbearer.client.credentials.client.secret": "remote_cluster.sasl.oauth.client_secret",
    "sasl.oauthbearer.scope": "remote_cluster.sasl.oauth.scope",
    "sasl.oauthbearer.parameters": "remote_cluster.sasl.oauth.parameters",
    "sasl.oauthbearer.extensions": "remote_cluster.sasl.oauth.extensions",
    "https.ca.pem": "remote_cluster.sasl.oauth.ca_pem",
    "aws.region": "remote_cluster.sasl.aws_region",
    "ssl.truststore.certificates": "remote_cluster.tls.ca_pem",
    "ssl.keystore.certificate.chain": "remote_cluster.tls.certificate_pem",
    "ssl.keystore.key": "remote_cluster.tls.key_pem",
    "ssl.endpoint.identification.algorithm": "remote_cluster.tls.accept_any_server_name",
    "mirror.start.offset.spec": "mirror_start_offset",
    "cluster.link.prefix": "topic_prefix",
    "cluster.link.paused": "paused",
    "link.mode": "mode",
    "acl.sync.enable": "acl_sync.enable",
    "acl.sync.ms": "acl_sync.interval_ms",
    "acl.filters": "acl_sync.filters",
    "auto.create.mirror.topics.enable": "auto_create_mirror_topics.enable",
    "auto.create.mirror.topics.filters": "auto_create_mirror_topics.filters",
    "consumer.offset.sync.enable": "consumer_offset_sync.enable",
    "consumer.offset.sync.ms": "consumer_offset_sync.interval_ms",
    "consumer.offset.group.filters": "consumer_offset_sync.group_filters",
    "consumer.group.prefix.enable": "consumer_offset_sync.group_prefix",
    "topic.config.sync.ms": "topic_config_sync.interval_ms",
    "topic.config.sync.include": "topic_config_sync.include",
}


def check_config(config: Mapping[str, str], field: str) -> None:
    """Raises InvalidArgumentError unless every entry is a known property with a value in its range.

    Args:
        config: Further properties of a link.
        field: Path of the map, for the error; the key is appended to it.
    """
    for name, text in config.items():
        at = f'{field}["{name}"]'
        entry = PROPERTIES.get(name)
        if entry is None:
            hint = "known are " + ", ".join(PROPERTIES)
            if name in ATTRIBUTES:
                hint = f"it is the attribute {ATTRIBUTES[name]}"
            elif name.startswith("ssl."):
                hint = f"certificates are PEM texts in remote_cluster.tls; a store is converted by: {pem.FROM_JKS}"
            raise InvalidArgumentError(f'The property "{name}" cannot be set here: {hint}.', field=at)
        digits = text.removeprefix("-")
        number = digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS
        if not number or not entry.least <= int(text) <= entry.most:
            raise InvalidArgumentError(
                f'The property "{name}" ({entry.meaning}) is "{text}"; allowed are {entry.least} to {entry.most}.',
                field=at,
            )


def without_live(config: Mapping[str, str]) -> dict[str, str]:
    """Answers those properties of a link that it has to be stopped for when they change."""
    return {name: value for name, value in config.items() if not PROPERTIES[name].is_live}


def value_of(config: Mapping[str, str], name: str) -> int:
    """Answers the value of a property: the checked one of `config`, else its default."""
    return int(config.get(name, PROPERTIES[name].default))
