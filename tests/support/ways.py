"""A cluster with a listener of each kind, and the ways to connect to it, as the API and as the settings have them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import SASL, Listener, Value
from clusterlink_proto import v1
from tests.support.certificates import Authority
from tests.support.token_server import TokenServer

USER = "mirror"
PASSWORD = "a-secret, with=signs"  # noqa: S105 - of the clusters of these tests
CLIENT_SECRET = "a client's & secret"  # noqa: S105 - likewise
AUTHORITY, STRANGER = Authority("tests"), Authority("strangers")
INTERMEDIATE = Authority("between", AUTHORITY)
CLIENT = INTERMEDIATE.issue(USER)

TRUSTED: dict[str, Any] = {"ca_pem": STRANGER.pem + AUTHORITY.pem}
SHOWN: dict[str, Any] = {**TRUSTED, "certificate_pem": CLIENT.certificate, "key_pem": CLIENT.key}


@dataclass(frozen=True)
class Way:
    """How to connect: by which listener, and what goes with it."""

    listener: str
    protocol: str
    tls: Mapping[str, Any] | None = None
    sasl: Mapping[str, Any] | None = field(default=None, repr=False)

    def local(self) -> dict[str, Any]:
        """What the settings of the local cluster have."""
        optional = {"tls": self.tls, "sasl": self.sasl}
        given = {name: value for name, value in optional.items() if value is not None}
        return {"security_protocol": self.protocol, **given}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings of an engine whose local cluster is connected to so."""
        return {"local_cluster": self.local()}

    def link(self, cluster: KafkaCluster, name: str = "link") -> v1.Link:
        """A link to a cluster."""
        return v1.Link(name=name, topic_prefix="mirror.", remote_cluster=self.remote(cluster))

    def remote(self, cluster: KafkaCluster) -> v1.RemoteCluster:
        """The cluster as a link has it."""
        remote = v1.RemoteCluster(bootstrap_servers=[cluster.servers(self.listener)], security_protocol=self.protocol)
        if self.tls is not None:
            remote.tls.MergeFrom(v1.Tls(**self.tls))
        if self.sasl is not None:
            oauth = self.sasl.get("oauth")
            sasl = {**self.sasl, **({"oauth": v1.OAuth(**oauth)} if oauth is not None else {})}
            remote.sasl.MergeFrom(v1.Sasl(**sasl))
        return remote


def plain_text(name: str, password: str, mechanism: str = "SCRAM-SHA-256") -> Way:
    """How any user connects to a cluster without encryption."""
    return Way(SASL, "SASL_PLAINTEXT", None, {"mechanism": mechanism, "username": name, "password": password})


def user(mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
    """How a user authenticates."""
    return {"mechanism": mechanism, "username": USER, "password": password}


def client(server: TokenServer, secret: str = CLIENT_SECRET, **more: Any) -> dict[str, Any]:
    """How a client authenticates with tokens of a server."""
    oauth = {"token_endpoint_url": server.url, "client_id": USER, "client_secret": secret, **more}
    return {"mechanism": "OAUTHBEARER", "oauth": oauth}


def sasl(server: TokenServer, mechanism: str) -> dict[str, Any]:
    """How to authenticate by any mechanism."""
    return client(server) if mechanism == "OAUTHBEARER" else user(mechanism)


def secrets() -> list[str]:
    """What must be nowhere: the passwords, and each line of the private key."""
    return [PASSWORD, CLIENT_SECRET, *CLIENT.key.splitlines()[1:-1]]


@contextmanager
def secured_cluster(
    server: TokenServer, directory: Path, *, settings: Mapping[str, Value] | None = None, **options: Any
) -> Iterator[KafkaCluster]:
    """Starts a cluster where the user may do everything, with the listeners SASL, SASL_SSL, SSL and MTLS."""
    good = AUTHORITY.issue("broker", "127.0.0.1", "localhost")
    listeners = {
        "SSL": Listener("SSL", good.certificate, good.key),
        "SASL_SSL": Listener("SASL_SSL", good.certificate, good.key),
        "MTLS": Listener("SSL", good.certificate, good.key, AUTHORITY.pem),
    }
    everybody = f"User:ANONYMOUS;User:{USER};User:CN={USER}"
    with KafkaCluster(
        users={USER: PASSWORD},
        listeners=listeners,
        issuer=server.issuer(directory),
        settings={"super.users": everybody, **(settings or {})},
        **options,
    ) as cluster:
        yield cluster


def token_server(**options: Any) -> TokenServer:
    """Answers a token server that knows the user as its client; it does not listen yet."""
    return TokenServer({USER: CLIENT_SECRET}, **options)
