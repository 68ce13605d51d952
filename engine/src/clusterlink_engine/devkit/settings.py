"""The settings of embedded brokers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Value = str | int | bool


# Of the listener that a cluster with users has.
SASL = "SASL"


@dataclass(frozen=True)
class Listener:
    """A further way to each broker.

    Attributes:
        protocol: SASL_PLAINTEXT, SSL or SASL_SSL.
        certificate: What the brokers show: PEM, with the intermediate certificates after it. With TLS only.
        key: Its private key, PEM.
        client_ca: PEM; if given, clients must show a certificate of this authority.
        advertised: Where brokers say that it is, if that is somewhere else.
    """

    protocol: str
    certificate: str = ""
    key: str = field(default="", repr=False)
    client_ca: str = ""
    advertised: str = ""


@dataclass(frozen=True)
class TokenIssuer:
    """Whose tokens brokers accept, where clients authenticate.

    Attributes:
        jwks_url: Where its keys are.
        audience: What must be among the audiences of a token.
    """

    jwks_url: str
    audience: str


@dataclass(frozen=True)
class Address:
    """Where one node of a cluster listens: for everybody, for controllers, and at further listeners by name."""

    node_id: int
    port: int
    controller_port: int
    ports: Mapping[str, int] = field(default_factory=dict)


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


def listening(address: Address, listeners: Mapping[str, Listener]) -> dict[str, Value]:
    """Returns the settings of a node that has further listeners beside that for everybody.

    Args:
        address: Of the node, with a port for each listener.
        listeners: By name, of capital letters.
    """
    open_to = [f"PLAINTEXT://127.0.0.1:{address.port}"]
    open_to += [f"{name}://127.0.0.1:{address.ports[name]}" for name in listeners]
    told = [
        f"{name}://{listener.advertised}" if listener.advertised else way
        for (name, listener), way in zip(listeners.items(), open_to[1:], strict=True)
    ]
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    protocols |= {name: listener.protocol for name, listener in listeners.items()}
    settings: dict[str, Value] = {
        "listeners": ",".join([*open_to, f"CONTROLLER://127.0.0.1:{address.controller_port}"]),
        "advertised.listeners": ",".join([open_to[0], *told]),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
    }
    for name, listener in listeners.items():
        if listener.certificate:
            prefix = f"listener.name.{name.lower()}.ssl"
            settings[f"{prefix}.keystore.type"] = "PEM"
            settings[f"{prefix}.keystore.certificate.chain"] = listener.certificate
            settings[f"{prefix}.keystore.key"] = listener.key
        if listener.client_ca:
            settings[f"{prefix}.truststore.type"] = "PEM"
            settings[f"{prefix}.truststore.certificates"] = listener.client_ca
            settings[f"{prefix}.client.auth"] = "required"
    return settings


def authenticating(
    listeners: Mapping[str, Listener], users: Mapping[str, str], issuer: TokenIssuer | None = None
) -> dict[str, Value]:
    """Returns the settings of a node that knows users, and has an authorizer.

    Who comes without a name may do everything.

    Args:
        listeners: By name; users come by those with SASL.
        users: Password by user, for PLAIN; SCRAM users are created in the running cluster.
        issuer: Whose tokens are accepted; the user is their subject. None for no tokens.
    """
    credentials = " ".join(f'user_{user}="{password}"' for user, password in users.items())
    module = "org.apache.kafka.common.security"
    settings: dict[str, Value] = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    if issuer is not None:
        settings["sasl.enabled.mechanisms"] = f"{settings['sasl.enabled.mechanisms']},OAUTHBEARER"
        settings["sasl.oauthbearer.jwks.endpoint.url"] = issuer.jwks_url
        settings["sasl.oauthbearer.expected.audience"] = issuer.audience
    for name, listener in listeners.items():
        if listener.protocol.startswith("SASL_"):
            prefix = f"listener.name.{name.lower()}"
            settings[f"{prefix}.plain.sasl.jaas.config"] = f"{module}.plain.PlainLoginModule required {credentials};"
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                settings[f"{prefix}.{mechanism}.sasl.jaas.config"] = f"{module}.scram.ScramLoginModule required;"
            if issuer is not None:
                bearer, of = f"{module}.oauthbearer.OAuthBearer", f"{prefix}.oauthbearer.sasl"
                settings[f"{of}.jaas.config"] = f"{bearer}LoginModule required;"
                settings[f"{of}.server.callback.handler.class"] = f"{bearer}ValidatorCallbackHandler"
    return settings


def render(settings: Mapping[str, Value]) -> str:
    """Renders settings as a Java properties file."""
    lines = []
    for key, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{key}={escaped}\n")
    return "".join(lines)
