"""What a caller asks for, and the checks that need nothing but the request: the same at validate, create and update."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from clusterlink_engine import pem
from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.model import names, properties, topic_settings
from clusterlink_engine.model.acls import check_acl_filters
from clusterlink_engine.model.filters import check_filters
from clusterlink_engine.model.resources import (
    DEFAULT_ACL_SYNC_MS,
    DEFAULT_CONSUMER_OFFSET_SYNC_MS,
    DEFAULT_TOPIC_CONFIG_SYNC_MS,
    EARLIEST,
    LATEST,
    AclSync,
    AutoCreateMirrorTopics,
    ConsumerOffsetSync,
    LinkMode,
)
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import SECURITY_PROTOCOLS, Tls
from clusterlink_engine.settings import Limits, parse_address

# Topics of Kafka itself: their records mean something to their own cluster only.
_INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"})

# Python's parser takes more than RFC 3339 has: weeks, and times without seconds or zone.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link as a caller wants it. `cluster_id` is empty if any remote cluster will do."""

    name: str
    bootstrap_servers: tuple[str, ...]
    mode: LinkMode = LinkMode.DESTINATION
    cluster_id: str = ""
    security_protocol: str = "PLAINTEXT"
    sasl: Sasl | None = None
    tls: Tls | None = None
    topic_prefix: str = ""
    paused: bool = False
    mirror_start_offset: str = EARLIEST
    topic_config_sync_ms: int = DEFAULT_TOPIC_CONFIG_SYNC_MS
    topic_config_include: tuple[str, ...] = ()
    consumer_offset_sync: ConsumerOffsetSync = field(default_factory=ConsumerOffsetSync)
    acl_sync: AclSync = field(default_factory=AclSync)
    auto_create_mirror_topics: AutoCreateMirrorTopics = field(default_factory=AutoCreateMirrorTopics)
    config: dict[str, str] = field(default_factory=dict)

    def synced_names(self) -> frozenset[str]:
        """Answers the topic settings that follow the source."""
        return topic_settings.synced_names(self.topic_config_include)

    def check(self, limits: Limits) -> None:
        """Raises InvalidArgumentError at the first value that is wrong by itself."""
        names.check_link_name(self.name, "link.name")
        at = "link.remote_cluster.bootstrap_servers"
        if not self.bootstrap_servers:
            raise InvalidArgumentError(
                "The remote cluster has no bootstrap servers; give at least one host:port.", field=at
            )
        for address in self.bootstrap_servers:
            try:
                _, port = parse_address(address)
            except ValueError as error:
                raise InvalidArgumentError(f"A bootstrap server is wrong: {error}.", field=at) from error
            if port == 0:
                raise InvalidArgumentError(f'A bootstrap server is wrong: "{address}" has no port.', field=at)
        self._check_security()
        check_start_offset(self.mirror_start_offset, "link.mirror_start_offset")
        if self.topic_prefix:
            names.check_prefix(self.topic_prefix, "link.topic_prefix")
            if self.mode is LinkMode.BIDIRECTIONAL:
                raise InvalidArgumentError(
                    "A BIDIRECTIONAL link has no topic prefix: both topics have one name, so that either can be the mirror.",
                    field="link.topic_prefix",
                )
        _check_interval(self.topic_config_sync_ms, limits, "link.topic_config_sync.interval_ms")
        self._check_consumer_offset_sync(limits)
        self._check_acl_sync(limits)
        self._check_auto_create()
        topic_settings.check_include(self.topic_config_include, "link.topic_config_sync.include")
        properties.check_config(self.config, "link.config")

    def _check_consumer_offset_sync(self, limits: Limits) -> None:
        sync, at = self.consumer_offset_sync, "link.consumer_offset_sync"
        if sync.enable or sync.interval_ms != DEFAULT_CONSUMER_OFFSET_SYNC_MS:
            _check_interval(sync.interval_ms, limits, f"{at}.interval_ms")
        if sync.group_prefix and not self.topic_prefix:
            raise InvalidArgumentError(
                "Groups can only get a prefix if the link has a topic prefix.", field=f"{at}.group_prefix"
            )
        if sync.enable:
            check_filters(sync.group_filters, f"{at}.group_filters")

    def _check_acl_sync(self, limits: Limits) -> None:
        sync, at = self.acl_sync, "link.acl_sync"
        if sync.enable or sync.interval_ms != DEFAULT_ACL_SYNC_MS:
            _check_interval(sync.interval_ms, limits, f"{at}.interval_ms")
        if sync.enable and self.topic_prefix:
            raise InvalidArgumentError(
                "ACLs cannot be synced by a link with a topic prefix: they would speak of other topics than the mirrors.",
                field=f"{at}.enable",
            )
        if sync.enable:
            check_acl_filters(sync.filters, f"{at}.filters")

    def _check_auto_create(self) -> None:
        auto, at = self.auto_create_mirror_topics, "link.auto_create_mirror_topics.filters"
        for entry in auto.filters:
            if entry.filter_type == "INCLUDE" and names.is_internal(entry.name):
                raise InvalidArgumentError(
                    f'The filter includes "{entry.name}": topics whose names begin with "_" are internal to their cluster and '
                    "are not mirrored automatically.",
                    field=at,
                )
        if auto.enable:
            check_filters(auto.filters, at)

    def _check_security(self) -> None:
        protocol = self.security_protocol
        if protocol not in SECURITY_PROTOCOLS:
            raise InvalidArgumentError(
                f'The security protocol "{protocol}" is not known; use one of {", ".join(SECURITY_PROTOCOLS)}.',
                field="link.remote_cluster.security_protocol",
            )
        self._check_tls()
        if (self.sasl is not None) != protocol.startswith("SASL_"):
            raise InvalidArgumentError(
                f"sasl is given, but the security protocol is {protocol}; use SASL_SSL or SASL_PLAINTEXT."
                if self.sasl is not None
                else f"The security protocol {protocol} needs sasl.",
                field="link.remote_cluster.sasl",
            )

    def _check_tls(self) -> None:
        if self.tls is None:
            return
        at = "link.remote_cluster.tls"
        if not self.security_protocol.endswith("SSL"):
            raise InvalidArgumentError(
                f"tls is given, but the security protocol is {self.security_protocol}; use SSL or SASL_SSL.", field=at
            )
        try:
            pem.client_context(self.tls.pems(), accept_any_server_name=self.tls.accept_any_server_name)
        except ValueError as error:
            raise InvalidArgumentError(f"tls cannot be used: {error}.", field=at) from error


# A limit above the default of a sync that is not enabled is nothing that a caller can be told of.
def _check_interval(milliseconds: int, limits: Limits, at: str) -> None:
    if milliseconds < limits.min_sync_interval_ms:
        raise InvalidArgumentError(
            f"The interval of {milliseconds} ms is too short; at least {limits.min_sync_interval_ms} ms are needed.",
            field=at,
        )


def check_start_offset(value: str, at: str) -> None:
    """Raises InvalidArgumentError unless mirror topics can begin there: "earliest", "latest", or an RFC 3339 time."""
    if value in (EARLIEST, LATEST):
        return
    try:
        time = datetime.fromisoformat(value) if _RFC_3339.fullmatch(value) else None
    except ValueError:
        time = None
    if time is None:
        raise InvalidArgumentError(
            f'"{value}" is no place to begin at; use "earliest", "latest", or a time as "2026-01-31T00:00:00Z".',
            field=at,
        )
    if time.timestamp() < 0:
        raise InvalidArgumentError(f'"{value}" lies before 1970; use "earliest".', field=at)


@dataclass(frozen=True, slots=True)
class MirrorTopicSpec:
    """A mirror topic as a caller wants it.

    `name` is empty for the one that follows from prefix and source topic; `replication_factor` is 0 for the cluster's
    default.
    """

    link: str
    source_topic: str
    name: str = ""
    replication_factor: int = 0
    config: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    automatic: bool = False

    def mirror_name(self, prefix: str) -> str:
        """Answers the mirror topic's name with the link's prefix.

        Raises:
            InvalidArgumentError: The source topic's name is not allowed, the mirror topic's would be too long, or another
                name was asked for.
        """
        at = "mirror_topic.source_topic"
        names.check_topic_name(self.source_topic, at)
        if self.source_topic in _INTERNAL_TOPICS:
            raise InvalidArgumentError(
                f'"{self.source_topic}" is a topic of Kafka itself and cannot be mirrored.', field=at
            )
        name = names.mirror_topic_name(prefix, self.source_topic, at)
        if self.name not in ("", name):
            raise InvalidArgumentError(
                f"The mirror topic must be named \"{name}\" (the link's prefix and the source topic's name), not "
                f'"{self.name}": topics cannot be renamed.',
                field="mirror_topic.name",
            )
        return name

    def check(self, include: tuple[str, ...]) -> None:
        """Raises InvalidArgumentError at the first value that is wrong by itself; `include` is the link's."""
        if not 0 <= self.replication_factor <= 32767:
            raise InvalidArgumentError(
                f"A replication factor of {self.replication_factor} is not possible.",
                field="mirror_topic.replication_factor",
            )
        topic_settings.check_overrides(self.config, include, "mirror_topic.config")
