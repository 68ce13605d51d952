"""Settings and partitions of topics, by confluent-kafka's AdminClient, which does the routing and the retries.

The adapter is the only place that knows the library; callers see `TopicAdmin`.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    ResourceType,
)

from clusterlink_engine import tokens
from clusterlink_engine.errors import (
    BrokerRefusedError,
    CertificateRefusedError,
    ClusterUnavailableError,
    KafkaError,
    Side,
    TokenMissingError,
)
from clusterlink_engine.librdkafka import changed_settings
from clusterlink_engine.security import Security
from clusterlink_engine.token_endpoint import TokenError

log = logging.getLogger(__name__)

_AT_REST = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


class TopicAdmin(Protocol):
    """What the engine asks of a cluster's administration."""

    async def settings(self, topics: Collection[str]) -> dict[str, dict[str, str]]:
        """Answers the effective settings, defaults included, of each topic.

        Raises:
            KafkaError: The cluster does not answer, or refuses one of the topics.
        """

    async def own_settings(self, topic: str) -> dict[str, str]:
        """Answers the settings that a topic has itself, defaults left out.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """

    async def alter(self, topic: str, changes: Mapping[str, str]) -> None:
        """Sets some settings of a topic and leaves the others.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """

    async def reset(self, topic: str, names: Collection[str]) -> None:
        """Gives settings of a topic their default values back.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """

    async def grow(self, topic: str, partition_count: int) -> None:
        """Gives a topic more partitions.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """

    async def groups_with_members(self, topic: str) -> dict[str, bool]:
        """Answers the consumer groups that have members, and of each whether a member has partitions of a topic.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """


class ConfluentTopicAdmin:
    """TopicAdmin on confluent-kafka. One for each cluster: each has threads of its own."""

    def __init__(self, side: Side, bootstrap_servers: Sequence[str], security: Security, timeout: float) -> None:
        """Makes the client; nothing is contacted before the first call.

        Args:
            side: Which cluster it is, for errors.
            bootstrap_servers: Addresses `host:port`.
            security: How to connect.
            timeout: Seconds for each call.
        """
        self._side = side
        self._timeout = timeout
        self._bootstrap_servers = bootstrap_servers
        self._security = security
        self._settings: dict[str, Any] = {}
        self._client: AdminClient | None = None
        self._making = asyncio.Lock()
        sasl = security.sasl
        self._tokens = tokens.source_of(sasl) if sasl is not None and sasl.uses_tokens else None

    async def _connected(self) -> AdminClient:
        """Answers the client, to be kept while its answers are waited for.

        It is a new one if the files of its certificates or password changed, and can be used.

        Raises:
            CertificateRefusedError: There is none yet, and what is in the files cannot be used.
            TokenMissingError: There is no token.
        """
        async with self._making:
            try:
                if self._tokens is not None:
                    await self._tokens.token()  # else the library would wait for it
                settings = changed_settings(self._bootstrap_servers, self._security, self._settings)
                if settings is not None:
                    library: dict[str, Any] = {**settings, "client.id": "clusterlink"}
                    # In a thread: with tokens the library takes a second.
                    make = partial(AdminClient, library, logger=log.getChild("librdkafka"))
                    self._client, self._settings = await asyncio.to_thread(make), settings
            except TokenError as error:
                text = f"There is no token for the {self._side} cluster: {error}."
                raise TokenMissingError(text, side=self._side, is_passing=error.is_passing) from error
            except (ValueError, KafkaException) as error:
                if self._client is None:
                    text = f"The credentials for the {self._side} cluster cannot be used: {error}."
                    raise CertificateRefusedError(text, side=self._side) from error
        assert self._client is not None  # noqa: S101 - there are no settings only at first
        return self._client

    async def settings(self, topics: Collection[str]) -> dict[str, dict[str, str]]:
        """See TopicAdmin."""
        found = await self._describe(topics)
        return {
            topic: {name: entry.value for name, entry in entries.items() if entry.value is not None}
            for topic, entries in found.items()
        }

    async def own_settings(self, topic: str) -> dict[str, str]:
        """See TopicAdmin."""
        entries = (await self._describe([topic]))[topic]
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        return {name: entry.value for name, entry in entries.items() if entry.source == own and entry.value is not None}

    async def _describe(self, topics: Collection[str]) -> dict[str, dict[str, Any]]:
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in sorted(topics)]
        if not resources:
            return {}
        client = await self._connected()
        futures = client.describe_configs(resources, request_timeout=self._timeout)
        with self._translated(f"Reading the settings of {_names(topics)}"):
            answers = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures.values()))
        return {resource.name: entries for resource, entries in zip(futures, answers, strict=True)}

    async def alter(self, topic: str, changes: Mapping[str, str]) -> None:
        """See TopicAdmin."""
        await self._alter(
            topic,
            [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in changes.items()],
        )

    async def reset(self, topic: str, names: Collection[str]) -> None:
        """See TopicAdmin."""
        await self._alter(
            topic, [ConfigEntry(name, None, incremental_operation=AlterConfigOpType.DELETE) for name in names]
        )

    async def _alter(self, topic: str, entries: Sequence[ConfigEntry]) -> None:
        if not entries:
            return
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=list(entries))
        client = await self._connected()
        futures = client.incremental_alter_configs([resource], request_timeout=self._timeout)
        with self._translated(f'Changing settings of the topic "{topic}"'):
            await asyncio.wrap_future(futures[resource])

    async def grow(self, topic: str, partition_count: int) -> None:
        """See TopicAdmin."""
        client = await self._connected()
        futures = client.create_partitions(
            [NewPartitions(topic, partition_count)], request_timeout=self._timeout, operation_timeout=self._timeout
        )
        with self._translated(f'Adding partitions to the topic "{topic}"'):
            await asyncio.wrap_future(futures[topic])

    async def groups_with_members(self, topic: str) -> dict[str, bool]:
        """See TopicAdmin."""
        client = await self._connected()
        with self._translated("Looking at the consumer groups"):
            listed = await asyncio.wrap_future(client.list_consumer_groups(request_timeout=self._timeout))
            if listed.errors:  # of a broker that did not answer: its groups are not among the others
                raise KafkaException(listed.errors[0])
            working = [group.group_id for group in listed.valid if group.state not in _AT_REST]
            futures = client.describe_consumer_groups(working, request_timeout=self._timeout) if working else {}
            groups = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures.values()))
        return {group.group_id: _has_partitions(group, topic) for group in groups}

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise translate(error, what, self._side) from error


def _has_partitions(group: Any, topic: str) -> bool:
    assignments = [member.assignment for member in group.members if member.assignment is not None]
    return any(partition.topic == topic for assignment in assignments for partition in assignment.topic_partitions)


def translate(error: KafkaException, what: str, side: Side) -> KafkaError:
    """Makes the engine's error of confluent-kafka's; `what` begins the message, for example "Reading settings of orders"."""
    cause: Any = error.args[0]
    if cause.code() < 0:  # raised by the library itself: time-outs, transport, name resolution
        return ClusterUnavailableError(f"{what} failed: the {side} cluster does not answer ({cause.str()}).", side=side)
    text = f"{what} was refused by the {side} cluster: {cause.name()} ({cause.str()})."
    return BrokerRefusedError(text, side=side, code=cause.code(), name=cause.name(), retriable=bool(cause.retriable()))


def _names(topics: Collection[str]) -> str:
    first, *others = sorted(topics)
    return f'the topic "{first}"' + (f" and {len(others)} others" if others else "")
