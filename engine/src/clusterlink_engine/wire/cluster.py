"""One Kafka cluster: bootstrap, metadata, and calls to the broker that must answer them.

A cluster keeps one control connection for each broker it talks to; fetching and writing use connections of their own
(`open`), so that none blocks another.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from kafka.protocol.metadata.api_versions import ApiVersionsRequest, ApiVersionsResponse
from kafka.protocol.metadata.metadata import MetadataRequest, MetadataResponse

from clusterlink_engine import __version__
from clusterlink_engine.errors import (
    ClusterUnavailableError,
    KafkaError,
    ProtocolViolationError,
    Side,
    WrongClusterError,
)
from clusterlink_engine.security import Security, Tls
from clusterlink_engine.settings import parse_address
from clusterlink_engine.wire.auth import Authenticator
from clusterlink_engine.wire.codes import refused
from clusterlink_engine.wire.connection import CLIENT_ID, Connection, choose_version
from clusterlink_engine.wire.frames import FramePool
from clusterlink_engine.wire.tls import Contexts

_METADATA_LOWEST, _METADATA_HIGHEST = 10, 12  # topic ids from 10 on (KIP-516)

# Addresses that the cluster tells are tried beside those that the user gave, but not all of what it may tell.
_MOST_ADDRESSES = 16
NO_TOPIC_ID = "0" * 32

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """Where a partition is led: node id (-1 for nowhere at the moment) and leader epoch; and the nodes of its replicas."""

    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the cluster describes it; `error` is Kafka's code, 0 if the topic exists."""

    name: str
    topic_id: str
    partitions: dict[int, PartitionInfo]
    error: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a broker says of its cluster."""

    cluster_id: str
    brokers: dict[int, tuple[str, int]]
    topics: dict[str, TopicInfo]

    def leader_of(self, name: str, topic_id: str, index: int) -> int:
        """Answers the broker that leads a partition; -1 if none does, or if the topic of this name is another one by its id."""
        topic = self.topics.get(name)
        partition = topic.partitions.get(index) if topic is not None and topic.topic_id == topic_id else None
        return partition.leader if partition is not None and partition.leader in self.brokers else -1


class Cluster:
    """A Kafka cluster that can be asked.

    Attributes:
        side: Whether it is the local or the remote one.
        cluster_id: Id that the cluster must have; empty until the first answer if none was given. Set once.
    """

    def __init__(
        self,
        side: Side,
        bootstrap_servers: Sequence[str],
        security: Security,
        *,
        cluster_id: str = "",
        timeout: float = 30.0,
    ) -> None:
        self.side = side
        self.cluster_id = cluster_id
        self._bootstrap = [parse_address(address) for address in bootstrap_servers]
        self._authenticator = Authenticator(security.sasl, side) if security.sasl is not None else None
        self._tls = Contexts(security.tls or Tls(), side) if security.uses_tls else None
        self._timeout = timeout
        self._brokers: dict[int, tuple[str, int]] = {}
        # The last reading that worked, and the answer that it is made of, with its version.
        self._metadata = Metadata("", {}, {})
        self._read: tuple[int, memoryview] | None = None
        self._control: dict[int, Connection] = {}
        self._bootstrapped: Connection | None = None
        self._locks: dict[int, asyncio.Lock] = {}

    def __repr__(self) -> str:
        return f"<Cluster {self.side} {self.cluster_id or '?'}, {len(self._control)} control connections>"

    async def metadata(self, topics: Iterable[str]) -> Metadata:
        """Asks any broker for the cluster's id, its brokers and the named topics.

        Raises:
            WrongClusterError: The cluster's id is another one than it must be.
            KafkaError: No broker answered.
        """
        connection = await self._any()
        try:
            version, body = await self._ask_metadata(connection, sorted(set(topics)))
            if (version, body) != self._read:  # else nothing has changed, as nearly always
                self._metadata = _metadata_of(await self._read_metadata(connection, version, body))
                self._read = version, body
        except KafkaError:
            self._bootstrapped = None
            raise
        self._brokers = self._metadata.brokers
        self._forget_brokers()
        return self._metadata

    async def topic(self, name: str) -> TopicInfo | None:
        """Asks any broker for one topic; what it said of many the last time is not decoded anew for it.

        Raises:
            WrongClusterError: As `metadata`.
            KafkaError: No broker answered.
        """
        connection = await self._any()
        try:
            answer = await self._read_metadata(connection, *await self._ask_metadata(connection, [name]))
        except KafkaError:
            self._bootstrapped = None
            raise
        found = _metadata_of(answer)
        self._brokers = found.brokers
        return found.topics.get(name)

    async def topic_names(self) -> list[str]:
        """Answers the names of all topics that may be described, Kafka's own left out.

        Raises:
            KafkaError: No broker answered.
        """
        connection = await self._any()
        answer = await self._read_metadata(connection, *await self._ask_metadata(connection, None))
        return sorted(
            topic.name for topic in answer.topics if topic.name and not topic.is_internal and not topic.error_code
        )

    async def call(
        self, node: int, request: Any, response: Any, versions: tuple[int, int], *, timeout: float | None = None
    ) -> Any:
        """Sends a message to a broker over its control connection; `node` -1 stands for any broker.

        Args:
            node: Node id from the metadata.
            request: Message of kafka-python.
            response: Class of its answer.
            versions: Lowest and highest version that the caller understands.
            timeout: Seconds; None for the cluster's.

        Raises:
            KafkaError: The broker is not known, cannot be reached, or has none of the versions.
        """
        connection = await (self._any() if node < 0 else self.controlled(node))
        version = choose_version(connection, request.API_KEY, *versions)
        return await connection.call(request, response, version, timeout=timeout)

    async def open(self, node: int, frames: FramePool | None = None) -> Connection:
        """Opens a connection of the caller's own to a broker, which receives into `frames`.

        Raises:
            KafkaError: The broker is not known or cannot be reached.
        """
        address = self._brokers.get(node)
        if address is None:
            raise ClusterUnavailableError(f"Broker {node} of the {self.side} cluster is not known.", side=self.side)
        return await self._open(*address, frames)

    async def open_any(self) -> Connection:
        """Opens a connection of the caller's own to whichever broker has one: every address once, in random order.

        Raises:
            WrongClusterError: None leads to this cluster, and one to another.
            KafkaError: None leads anywhere.
        """
        told = [address for address in self._brokers.values() if address not in self._bootstrap]
        addresses = [*dict.fromkeys(self._bootstrap), *random.sample(told, min(len(told), _MOST_ADDRESSES))]
        random.shuffle(addresses)
        error: KafkaError = ClusterUnavailableError("no bootstrap servers", side=self.side)
        for host, port in addresses:
            try:
                return await self._open(host, port)
            except KafkaError as failure:
                error = error if isinstance(error, WrongClusterError) else failure
        raise error

    async def reach(self, host: str, port: int) -> None:
        """Connects to an address and authenticates there, and closes that again.

        Raises:
            KafkaError: It cannot be reached, or refuses.
        """
        (await self._open(host, port)).close()

    def ask_another(self) -> None:
        """Asks another broker from the next time on, if there is one: this one may be cut off and out of date."""
        connection, self._bootstrapped = self._bootstrapped, None
        if connection is not None and not connection.pending:
            connection.close()  # else whoever waits for an answer gets it; the broker closes what is idle

    def close(self) -> None:
        """Closes the control connections."""
        for connection in [*self._control.values(), self._bootstrapped]:
            if connection is not None:
                connection.close()
        self._control.clear()
        self._bootstrapped = None

    @staticmethod
    async def _ask_metadata(connection: Connection, topics: Sequence[str] | None) -> tuple[int, memoryview]:
        """Asks one broker for the named topics, or for all; answers the version and what came.

        Raises:
            KafkaError: It could not be asked.
        """
        wanted = None if topics is None else [MetadataRequest.MetadataRequestTopic(name=name) for name in topics]
        request = MetadataRequest(
            topics=wanted, allow_auto_topic_creation=False, include_topic_authorized_operations=False
        )
        version = choose_version(connection, request.API_KEY, _METADATA_LOWEST, _METADATA_HIGHEST)
        await connection.drain()
        return version, await connection.ask(request, version)

    async def _read_metadata(self, connection: Connection, version: int, body: memoryview) -> Any:
        """Decodes what a broker said, if it is one of this cluster.

        Raises:
            WrongClusterError: It is not.
            KafkaError: It cannot be decoded.
        """
        answer = await connection.decoded(MetadataResponse, body, version)
        self._check_cluster_id(answer.cluster_id or "")
        return answer

    def _forget_brokers(self) -> None:
        """Closes the control connections of brokers that there are no more: who makes up new ones must not fill the memory."""
        for node in self._control.keys() - self._brokers.keys():
            self._control.pop(node).close()
        for node in self._locks.keys() - self._brokers.keys():
            if not self._locks[node].locked():
                del self._locks[node]

    def _check_cluster_id(self, found: str) -> None:
        if not self.cluster_id:
            self.cluster_id = found
        elif found != self.cluster_id:
            raise WrongClusterError(
                f"The {self.side} cluster has the id {found or '(none)'}, but {self.cluster_id} was expected; check the "
                "bootstrap servers.",
                side=self.side,
            )

    async def _any(self) -> Connection:
        """Answers a connection to whichever broker has one, else bootstraps. Nobody waits for an address that others try."""
        if self._bootstrapped is not None and self._bootstrapped.is_open:
            return self._bootstrapped
        connection = await self.open_any()
        if self._bootstrapped is not None and self._bootstrapped.is_open:  # somebody else was quicker
            connection.close()
            return self._bootstrapped
        self._bootstrapped = connection
        return connection

    async def controlled(self, node: int) -> Connection:
        """Answers the connection to a broker that many use, each for a call that is answered soon.

        Raises:
            KafkaError: The broker is not known or cannot be reached.
        """
        async with self._locks.setdefault(node, asyncio.Lock()):
            connection = self._control.get(node)
            if connection is None or not connection.is_open:
                connection = self._control[node] = await self.open(node)
            return connection

    async def _open(self, host: str, port: int, frames: FramePool | None = None) -> Connection:
        tls = self._tls.current() if self._tls is not None else None
        connection = await Connection.open(self.side, host, port, timeout=self._timeout, frames=frames, tls=tls)
        try:
            connection.versions = await self._api_versions(connection)
            if self._authenticator is not None:
                await self._authenticator.authenticate(connection)
            # Addresses are reused: what is behind one now may be another cluster, with topics of the same names.
            await self._read_metadata(connection, *await self._ask_metadata(connection, []))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _api_versions(self, connection: Connection) -> dict[int, tuple[int, int]]:
        request = ApiVersionsRequest(client_software_name=CLIENT_ID, client_software_version=__version__)
        answer = await connection.call(request, ApiVersionsResponse, 3)
        if answer.error_code:
            raise refused(answer.error_code, f"ApiVersions of {connection.address}", self.side)
        return {entry.api_key: (entry.min_version, entry.max_version) for entry in answer.api_keys}


def _metadata_of(answer: Any) -> Metadata:
    return Metadata(
        cluster_id=answer.cluster_id or "",
        brokers={broker.node_id: (broker.host, broker.port) for broker in answer.brokers},
        topics={
            topic.name: TopicInfo(
                topic.name,
                topic_id_of(topic.topic_id),
                {
                    p.partition_index: PartitionInfo(p.leader_id, p.leader_epoch, tuple(p.replica_nodes))
                    for p in topic.partitions
                },
                topic.error_code,
            )
            for topic in answer.topics
            if topic.name
        },
    )


def topic_id_of(value: UUID | None) -> str:
    """Answers a topic id in hexadecimal digits; all zeros where a message has none."""
    return value.hex if value is not None else NO_TOPIC_ID


def as_many(cluster: Cluster, what: str, results: Sequence[Result], count: int) -> Sequence[Result]:
    """Answers the results of a request for several things, which have no names and come in the order of the request.

    Raises:
        ProtocolViolationError: There are more or less than things.
    """
    if len(results) != count:
        raise ProtocolViolationError(
            f"A broker of the {cluster.side} cluster answered {what} with {len(results)} results, where {count} are due.",
            side=cluster.side,
        )
    return results
