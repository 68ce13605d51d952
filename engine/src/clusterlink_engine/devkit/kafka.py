"""Clusters of real Kafka brokers (KRaft) on loopback."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from clusterlink_engine.devkit import guard, ports, prepared
from clusterlink_engine.devkit.node import KafkaNode
from clusterlink_engine.devkit.settings import (
    SASL,
    Address,
    Listener,
    TokenIssuer,
    Value,
    authenticating,
    listening,
    properties,
    render,
)

DEFAULT_VERSION = "4.1.2"

_SCRAM_SECONDS = 30.0

# For quick starts and many brokers on one machine: a small heap, and only the compiler that is quick itself.
SMALL = ("-Xmx512m", "-XX:TieredStopAtLevel=1")
# For measuring: what a broker that runs for long would have.
LARGE = ("-Xms1g", "-Xmx1g")


class KafkaCluster:
    """A cluster of brokers that are controllers, too; a context manager that starts and removes it.

        with KafkaCluster("4.1.2", nodes=3) as cluster:
            client = Producer({"bootstrap.servers": cluster.bootstrap_servers})
            cluster.nodes[0].kill()

    Whatever happens to this process, the brokers end with it, and a directory made here goes with them.

    Attributes:
        name: For people: in log files and messages.
        version: Of Kafka.
        cluster_id: The id that the cluster tells its clients.
        nodes: The brokers, by ascending id from 1.
        directory: Settings and data, a directory for each node.
    """

    def __init__(
        self,
        version: str = DEFAULT_VERSION,
        nodes: int = 1,
        settings: Mapping[str, Value] | None = None,
        *,
        users: Mapping[str, str] | None = None,
        listeners: Mapping[str, Listener] | None = None,
        issuer: TokenIssuer | None = None,
        name: str = "kafka",
        directory: Path | None = None,
        log_directory: Path | None = None,
        java_options: Sequence[str] = SMALL,
    ) -> None:
        """Describes a cluster; nothing is made before `launch`.

        Args:
            version: Of Kafka; downloaded at the first use on a machine.
            nodes: Number of brokers.
            settings: Broker settings that are put on top of ours.
            users: Password by user. If any, each broker has a second listener, SASL, without encryption, and an authorizer
                that gives all rights to those who come by the first one, and none to others.
            listeners: Further listeners, by name.
            issuer: Whose tokens are accepted besides, where users authenticate.
            name: For log files and messages.
            directory: Where settings and data go; kept afterwards. A scratch directory if left out.
            log_directory: Where the log files go; kept afterwards. Beside the data if left out.
            java_options: Of each broker's Java machine.
        """
        self.name = name
        self.version = version
        self.cluster_id = prepared.random_id()
        self.nodes: list[KafkaNode] = []
        self._count = nodes
        self._settings = dict(settings or {})
        self._users = dict(users or {})
        self._listeners = {**({SASL: Listener("SASL_PLAINTEXT")} if users else {}), **(listeners or {})}
        self._issuer = issuer
        # A broker fetches keys only from where it is told that it may (KIP-1139).
        allowed = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.jwks_url}"] if issuer is not None else []
        self._java_options = (*java_options, *allowed)
        self._given_directory = directory
        self._directory: Path | None = None
        self._log_directory = log_directory

    def __repr__(self) -> str:
        return f"<KafkaCluster {self.name} {self.version}: {self.nodes}>"

    @property
    def bootstrap_servers(self) -> str:
        """Returns the addresses of all nodes, as clients take them."""
        return ",".join(node.address for node in self.nodes)

    @property
    def sasl_bootstrap_servers(self) -> str:
        """Returns the addresses of all nodes for clients that authenticate."""
        return self.servers(SASL)

    def servers(self, listener: str) -> str:
        """Returns the addresses of all nodes at a further listener."""
        return ",".join(f"127.0.0.1:{node.ports[listener]}" for node in self.nodes)

    @property
    def directory(self) -> Path:
        """Returns where settings and data are.

        Raises:
            RuntimeError: The cluster was not launched.
        """
        if self._directory is None:
            raise RuntimeError(f"{self!r} was not launched")
        return self._directory

    def launch(self) -> None:
        """Makes the nodes and starts their processes, without waiting for them."""
        ready = prepared.prepare(self.version)
        directory = self._make_directory()
        logs = self._log_directory or directory
        logs.mkdir(parents=True, exist_ok=True)
        quorum = [
            Address(i + 1, ports.free_port(), ports.free_port(), {name: ports.free_port() for name in self._listeners})
            for i in range(self._count)
        ]
        for address in quorum:
            home = directory / f"node-{address.node_id}"
            home.mkdir()
            ready.format(home / "data", self.cluster_id, address.node_id)
            settings = home / "server.properties"
            more = listening(address, self._listeners) if self._listeners else {}
            if self._users:
                more |= authenticating(self._listeners, self._users, self._issuer)
            settings.write_text(render(properties(address, quorum, home / "data", {**more, **self._settings})))
            command = ready.command(settings, self._java_options)
            log_file = logs / f"{self.name}-{address.node_id}.log"
            self.nodes.append(KafkaNode(command, address, home, log_file))
        for node in self.nodes:
            node.launch()

    def wait_ready(self) -> None:
        """Waits until every node serves and knows all others."""
        for node in self.nodes:
            node.wait_ready(brokers=self._count)
        for user, password in self._users.items():
            self.set_password(user, password)

    def set_password(self, user: str, password: str) -> None:
        """Gives a user this password for SCRAM; PLAIN keeps the one from the beginning."""
        client = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4096)
            change = [UserScramCredentialUpsertion(user, info, password.encode())]
            for future in client.alter_user_scram_credentials(change).values():  # type: ignore[arg-type] # a list of them is one
                future.result(_SCRAM_SECONDS)

    def start(self) -> None:
        """Launches the cluster and waits until it serves."""
        self.launch()
        self.wait_ready()

    def close(self) -> None:
        """Kills the brokers and removes what was made for them; log files and a given directory stay."""
        for node in self.nodes:
            node.kill()
        if self._directory is not None:
            if self._given_directory is None:
                guard.discard(self._directory)
            else:
                guard.release(self._directory)

    def _make_directory(self) -> Path:
        if self._given_directory is None:
            self._directory = guard.scratch_directory(self.name)
        else:
            self._directory = self._given_directory.resolve()
            self._directory.mkdir(parents=True, exist_ok=True)
            guard.watch(self._directory, remove=False)
        return self._directory

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def running(*clusters: KafkaCluster) -> Iterator[None]:
    """Starts several clusters at once and closes them all at the end."""
    try:
        for cluster in clusters:
            cluster.launch()
        for cluster in clusters:
            cluster.wait_ready()
        yield
    finally:
        for cluster in clusters:
            cluster.close()
