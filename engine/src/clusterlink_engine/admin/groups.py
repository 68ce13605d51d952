"""Consumer groups at work, by confluent-kafka's AdminClient, which does the routing and the retries.

The client is made when somebody asks: when a restore begins. Nothing else of a remote cluster is read by the library, because a
broker that answers text which is no UTF-8 ends the process there.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

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


class GroupAdmin(Protocol):
    """What the engine asks of a cluster's consumer groups beside their offsets."""

    async def groups_with_members(self, topic: str) -> dict[str, bool]:
        """Answers the consumer groups that have members, and of each whether a member has partitions of a topic.

        Raises:
            KafkaError: The cluster does not answer, or refuses.
        """


class ConfluentGroupAdmin:
    """GroupAdmin on confluent-kafka. One for each cluster: each has threads of its own."""

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

    async def groups_with_members(self, topic: str) -> dict[str, bool]:
        """See GroupAdmin."""
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
    """Makes the engine's error of confluent-kafka's; `what` begins the message, for example "Looking at the groups"."""
    cause: Any = error.args[0]
    if cause.code() < 0:  # raised by the library itself: time-outs, transport, name resolution
        return ClusterUnavailableError(f"{what} failed: the {side} cluster does not answer ({cause.str()}).", side=side)
    text = f"{what} was refused by the {side} cluster: {cause.name()} ({cause.str()})."
    return BrokerRefusedError(text, side=side, code=cause.code(), name=cause.name(), retriable=bool(cause.retriable()))
