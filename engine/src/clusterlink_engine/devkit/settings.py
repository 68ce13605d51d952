"""The settings of embedded brokers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Value = str | int | bool


@dataclass(frozen=True)
class Address:
    """Where one node of a cluster listens."""

    node_id: int
    port: int
    controller_port: int
    sasl_port: int = 0


def properties(
    address: Address, quorum: Sequence[Address], data: Path, overrides: Mapping[str, Value]
) -> dict[str, Value]:
    """Returns the settings of one node that is broker and controller, with the caller's overrides on top."""
    replicas = min(len(quorum), 3)
    settings: dict[str, Value] = {
        "process.roles": "broker,controller",
        "node.id": address.node_id,
        "listeners": f"PLAINTEXT://127.0.0.1:{address.port},CONTROLLER://127.0.0.1:{address.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{address.port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{a.node_id}@127.0.0.1:{a.controller_port}" for a in quorum),
        "log.dirs": str(data),
        "num.partitions": 1,
        "default.replication.factor": replicas,
        "auto.create.topics.enable": False,
        # Records with old timestamps would be gone after the first check, half a minute after the start.
        "log.retention.ms": -1,
        # Few partitions of the internal topics: each is files to open at a start.
        "offsets.topic.num.partitions": replicas,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 3,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # A killed broker that starts again is let in only after its last session has run out (9 s by default).
        "broker.session.timeout.ms": 2500,
        "broker.heartbeat.interval.ms": 500,
        # 128 MB by default, a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 16 << 20,
    }
    return {**settings, **overrides}


def secured(address: Address, users: Mapping[str, str]) -> dict[str, Value]:
    """Returns the settings of a node that has a second listener, with SASL, and an authorizer.

    Who comes by the first listener, without a name, may do everything.

    Args:
        address: Of the node, with a port for SASL.
        users: Password by user, for PLAIN; SCRAM users are created in the running cluster.
    """
    credentials = " ".join(f'user_{user}="{password}"' for user, password in users.items())
    module = "org.apache.kafka.common.security"
    plain, sasl = f"PLAINTEXT://127.0.0.1:{address.port}", f"SASL://127.0.0.1:{address.sasl_port}"
    return {
        "listeners": f"{plain},{sasl},CONTROLLER://127.0.0.1:{address.controller_port}",
        "advertised.listeners": f"{plain},{sasl}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.sasl.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required {credentials};",
        "listener.name.sasl.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def render(settings: Mapping[str, Value]) -> str:
    """Renders settings as a Java properties file."""
    lines = []
    for key, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{key}={escaped}\n")
    return "".join(lines)
