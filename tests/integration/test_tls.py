"""What wrong certificates look like, and how credentials change."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import Listener
from clusterlink_engine.errors import StateFencedError
from clusterlink_engine.model.resources import SyncedAcls
from clusterlink_engine.security import TlsFiles
from clusterlink_engine.settings import LocalCluster, State
from clusterlink_engine.store.records import Claim
from clusterlink_engine.store.state_topic import StateTopic
from clusterlink_proto import v1
from tests.support import produce, sources, topics
from tests.support.certificates import Authority, Certificate
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_PASSWORD = "a-secret, with=signs"  # noqa: S105 - of a cluster of this test
_SASL: dict[str, Any] = {"mechanism": "SCRAM-SHA-512", "username": "mirror", "password": _PASSWORD}
_HERE = ("127.0.0.1", "localhost")

AUTHORITY, STRANGER = Authority("tests"), Authority("strangers")
INTERMEDIATE = Authority("between", AUTHORITY)
CLIENT = INTERMEDIATE.issue("mirror")


def _listener(protocol: str, certificate: Certificate, client_ca: str = "") -> Listener:
    return Listener(protocol, certificate.certificate, certificate.key, client_ca)


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaCluster]:
    """One cluster that is source and destination, with a listener of each kind, and some with wrong certificates."""
    good = AUTHORITY.issue("broker", *_HERE)
    listeners = {
        "SSL": _listener("SSL", good),
        "MTLS": _listener("SSL", INTERMEDIATE.issue("broker", *_HERE), AUTHORITY.pem),
        "SASL_SSL": _listener("SASL_SSL", good),
        "CHANGING": _listener("SSL", good),
        "CHOOSY": _listener("SSL", good, AUTHORITY.pem + STRANGER.pem),
        "EXPIRED": _listener("SSL", AUTHORITY.issue("broker", *_HERE, expired=True)),
        "MISNAMED": _listener("SSL", AUTHORITY.issue("broker", "elsewhere.example")),
    }
    everybody = "User:ANONYMOUS;User:mirror;User:CN=mirror"
    with KafkaCluster(
        users={"mirror": _PASSWORD}, settings={"super.users": everybody}, listeners=listeners, name="tls"
    ) as cluster:
        yield cluster


class Way(NamedTuple):
    """How to connect: the protocol, and what goes with it."""

    protocol: str
    tls: dict[str, object] | None = None
    sasl: dict[str, Any] | None = None


_TRUSTED: dict[str, object] = {"ca_pem": STRANGER.pem + AUTHORITY.pem}
_SHOWN: dict[str, object] = {**_TRUSTED, "certificate_pem": CLIENT.certificate, "key_pem": CLIENT.key}
WAYS = {
    "SSL": Way("SSL", _TRUSTED),
    "MTLS": Way("SSL", _SHOWN),
    "SASL_SSL": Way("SASL_SSL", _TRUSTED, _SASL),
}


def _local(way: Way) -> dict[str, object]:
    optional = {"tls": way.tls, "sasl": way.sasl}
    return {"security_protocol": way.protocol, **{name: value for name, value in optional.items() if value is not None}}


def _link(servers: str, way: Way) -> v1.Link:
    remote = v1.RemoteCluster(bootstrap_servers=[servers], security_protocol=way.protocol)
    if way.tls is not None:
        remote.tls.MergeFrom(v1.Tls(**way.tls))  # type: ignore[arg-type] # by name
    if way.sasl is not None:
        remote.sasl.MergeFrom(v1.Sasl(**way.sasl))
    return v1.Link(name="link", topic_prefix="mirror.", remote_cluster=remote)


def _secrets() -> list[str]:
    """What must be nowhere: the password, and each line of the private key."""
    return [_PASSWORD, *CLIENT.key.splitlines()[1:-1]]


def _write(cluster: KafkaCluster, topic: str) -> None:
    """Writes transactions, some of them aborted; makes the topic if it is not there."""
    if not topics.exists(cluster.bootstrap_servers, topic):
        topics.create(cluster.bootstrap_servers, topic, partitions=2)
    sources.write_transactions(cluster.bootstrap_servers, topic, partitions=2, rounds=12, seed=1)


def _wrong_ways() -> dict[str, tuple[str, Way, str, str, str]]:
    """Name: listener, way, what is said, reason, and the field that is blamed."""
    strange, expired = STRANGER.issue("mirror"), AUTHORITY.issue("mirror", expired=True)

    def showing(certificate: Certificate) -> Way:
        return Way("SSL", {**_TRUSTED, "certificate_pem": certificate.certificate, "key_pem": certificate.key})

    authentication, unreachable = "AUTHENTICATION_ERROR", "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR"
    tls, servers = "link.remote_cluster.tls", "link.remote_cluster.bootstrap_servers"
    refused = r"of the remote cluster refused the engine's certificate, or asks for one and got none"
    return {
        "wrong authority": (
            *("SSL", Way("SSL", {"ca_pem": STRANGER.pem})),
            *(r"of the remote cluster is not accepted: unable to get local issuer certificate", authentication, tls),
        ),
        "authorities of the machine": (
            *("SSL", Way("SSL")),
            *(r"is not accepted: unable to get local issuer certificate", authentication, tls),
        ),
        "expired": ("EXPIRED", Way("SSL", _TRUSTED), "certificate has expired", authentication, tls),
        "another name": (
            *("MISNAMED", Way("SSL", _TRUSTED)),
            *("IP address mismatch, certificate is not valid for '127.0.0.1'", authentication, tls),
        ),
        "no client certificate": ("MTLS", Way("SSL", _TRUSTED), refused, authentication, tls),
        "client certificate of a stranger": ("MTLS", showing(strange), refused, authentication, tls),
        "expired client certificate": ("MTLS", showing(expired), refused, authentication, tls),
        "no TLS where there is": (
            "SSL",
            Way("PLAINTEXT"),
            "speaks TLS; set the security protocol",
            unreachable,
            servers,
        ),
        "SASL without TLS where there is": (
            *("SASL_SSL", Way("SASL_PLAINTEXT", None, _SASL), "speaks TLS; set the security protocol"),
            *(unreachable, servers),
        ),
        "TLS where there is none": ("SASL", Way("SSL", _TRUSTED), "does this port speak TLS", unreachable, servers),
        "SASL where there is none": (
            *("SSL", Way("SASL_SSL", _TRUSTED, _SASL), "nobody is authenticated there", authentication),
            "link.remote_cluster.sasl",
        ),
        "wrong password": (
            *("SASL_SSL", Way("SASL_SSL", _TRUSTED, {**_SASL, "password": "wrong-one"})),
            *(r'remote cluster refused the user "mirror"', authentication, "link.remote_cluster.sasl"),
        ),
        "half a client certificate": (
            *("MTLS", Way("SSL", {**_TRUSTED, "certificate_pem": CLIENT.certificate})),
            *("a certificate and its key are given together", "INVALID_ARGUMENT", tls),
        ),
        "the key of another certificate": (
            *("MTLS", Way("SSL", {**_SHOWN, "key_pem": strange.key})),
            *("the key belongs to another certificate", "INVALID_ARGUMENT", tls),
        ),
        "a key among the certificates": (
            *("MTLS", Way("SSL", {**_SHOWN, "certificate_pem": CLIENT.certificate + CLIENT.key})),
            *("there is a private key in it", "INVALID_ARGUMENT", f"{tls}.certificate_pem"),
        ),
    }


def test_what_is_wrong_is_named_with_its_side(secured: KafkaCluster, start_engine: StartEngine) -> None:
    """Each is refused at create with its cause, reason and field; and a name is not checked where that was asked for."""
    engine = start_engine(secured.bootstrap_servers)
    for name, (listener, way, message, reason, field) in _wrong_ways().items():
        request = v1.CreateLinkRequest(link=_link(secured.servers(listener), way))
        with pytest.raises(grpc.RpcError) as refused:
            engine.links.CreateLink(request, timeout=30)
        details = refused.value.details() or ""
        assert re.search(message, details), f"{name}: {details}"
        told = b"".join(datum.value for datum in refused.value.trailing_metadata() if isinstance(datum.value, bytes))
        assert reason.encode() in told, name
        assert field.encode() in told, name
        assert [secret for secret in _secrets() if secret in details] == []
    careless = Way("SSL", {**_TRUSTED, "accept_any_server_name": True})
    request = v1.CreateLinkRequest(link=_link(secured.servers("MISNAMED"), careless))
    link = engine.links.CreateLink(request, timeout=30)
    assert link.remote_cluster.tls.accept_any_server_name
    assert [secret for secret in _secrets() if secret in engine.log()] == []


def test_a_wrong_authority_of_the_local_cluster(secured: KafkaCluster, start_engine: StartEngine) -> None:
    """The engine ends with one line that says which cluster, and why."""
    way = Way("SSL", {"ca_pem": STRANGER.pem})
    engine = start_engine(secured.servers("SSL"), settings={"local_cluster": _local(way)}, wait=False)
    assert engine.wait(30) == 1
    said = "of the local cluster is not accepted: unable to get local issuer certificate"
    wait_until(lambda: said in engine.log(), 5, "the message")
    assert "Traceback" not in engine.log()


def test_the_broker_gets_another_certificate(secured: KafkaCluster, start_engine: StartEngine, topic_name: str) -> None:
    """Of an authority that is not trusted: the link says so; trusted by an update, it goes on where it was."""
    _write(secured, topic_name)
    engine = start_engine(secured.bootstrap_servers)
    way = Way("SSL", {"ca_pem": AUTHORITY.pem})
    made = engine.links.CreateLink(v1.CreateLinkRequest(link=_link(secured.servers("CHANGING"), way)), timeout=30)
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}", raw=False)
    other = STRANGER.issue("broker", *_HERE)
    prefix = "listener.name.changing.ssl.keystore"
    changes = {f"{prefix}.type": "PEM", f"{prefix}.certificate.chain": other.certificate, f"{prefix}.key": other.key}
    topics.alter_broker(secured.bootstrap_servers, 1, changes)
    secured.nodes[0].restart()

    def link() -> v1.Link:
        answer: v1.Link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
        return answer

    wait_until(lambda: link().error == "AUTHENTICATION_ERROR", 30, "the link to tell that it is refused")
    assert link().state == v1.LINK_STATE_UNAVAILABLE
    assert "of the remote cluster is not accepted: unable to get local issuer certificate" in link().error_message
    _write(secured, topic_name)
    update = v1.UpdateLinkRequest(link=_link(secured.servers("CHANGING"), Way("SSL", {"ca_pem": STRANGER.pem})))
    update.update_mask.paths.append("remote_cluster.tls")
    assert engine.links.UpdateLink(update, timeout=30).link_id == made.link_id
    wait_until(lambda: link().state == v1.LINK_STATE_ACTIVE, 30, "the link to work again")
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}", raw=False)


@pytest.mark.slow
def test_the_files_of_the_local_cluster_change(
    secured: KafkaCluster, start_engine: StartEngine, topic_name: str, tmp_path: Path
) -> None:
    """Half of the new pair changes nothing; with both, all that the engine does there goes on when the old one is refused."""
    files = {part: tmp_path / f"{part}.pem" for part in ("ca", "certificate", "key")}
    before, after = AUTHORITY.issue("mirror"), STRANGER.issue("mirror")
    for part, text in (("ca", AUTHORITY.pem), ("certificate", before.certificate), ("key", before.key)):
        files[part].write_text(text)
    tls = {f"{part}_file": str(path) for part, path in files.items()}
    engine = start_engine(
        secured.servers("CHOOSY"), settings={"local_cluster": {"security_protocol": "SSL", "tls": tls}}
    )
    _write(secured, topic_name)
    link = v1.Link(name="link", topic_prefix="mirror.")
    link.remote_cluster.bootstrap_servers.append(secured.bootstrap_servers)
    engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
    mirror = f"mirror.{topic_name}"
    engine.create_mirror("link", topic_name)
    assert_becomes_equal(secured, secured, topic_name, mirror, raw=False)
    files["certificate"].write_text(after.certificate)
    engine.pause(mirror)
    files["key"].write_text(after.key)
    engine.resume(mirror)
    change = {"listener.name.choosy.ssl.truststore.type": "PEM"}
    change["listener.name.choosy.ssl.truststore.certificates"] = STRANGER.pem
    topics.alter_broker(secured.bootstrap_servers, 1, change)
    secured.nodes[0].restart()
    _write(secured, topic_name)
    topics.alter(secured.bootstrap_servers, topic_name, {"max.compaction.lag.ms": "123456789"})
    assert_becomes_equal(secured, secured, topic_name, mirror, raw=False)
    engine.pause(mirror)
    engine.resume(mirror)

    def follows() -> bool:
        return topics.settings(secured.bootstrap_servers, mirror)["max.compaction.lag.ms"] == "123456789"

    wait_until(follows, 30, "the settings to follow")
    assert "the state is written with new credentials" in engine.log()


async def test_new_certificates_do_not_make_a_claim_anew(
    secured: KafkaCluster, topic_name: str, tmp_path: Path
) -> None:
    """Whoever was claimed out of the state meanwhile writes nothing, though its new producer is a newer one."""
    topics.create(secured.bootstrap_servers, topic_name, config={"cleanup.policy": "compact"})
    files = {part: tmp_path / f"{part}.pem" for part in ("ca", "certificate", "key")}

    def write(certificate: Certificate) -> None:
        for part, text in (("ca", AUTHORITY.pem), ("certificate", certificate.certificate), ("key", certificate.key)):
            files[part].write_text(text)

    write(AUTHORITY.issue("mirror"))
    cluster = LocalCluster(
        bootstrap_servers=(secured.servers("MTLS"),),
        security_protocol="SSL",
        tls=TlsFiles(ca_file=files["ca"], certificate_file=files["certificate"], key_file=files["key"]),
    )
    former, latter, reader = (StateTopic(cluster, State(topic=topic_name), lambda _: None) for _ in range(3))
    try:
        for name, store in (("former", former), ("latter", latter)):
            await store.open(Claim(instance_id=name, host="here", pid=1, version="1"), 30)
        write(AUTHORITY.issue("mirror"))
        with pytest.raises(StateFencedError, match="has taken over the state topic"):
            await former.write({"acls/link": SyncedAcls(name="link")})
        assert "acls/link" not in await reader.read(30)
    finally:
        for store in (former, latter, reader):
            await store.close()


@pytest.mark.slow
def test_credentials_change_under_load(secured: KafkaCluster, start_engine: StartEngine, topic_name: str) -> None:
    """A password, the way to connect and a certificate are changed in place; nothing is lost, and the link stays."""
    topics.create(secured.bootstrap_servers, topic_name, partitions=2)
    engine = start_engine(secured.bootstrap_servers)
    servers = secured.servers("SASL_SSL")
    wanted = _link(servers, WAYS["SASL_SSL"])
    made = engine.links.CreateLink(v1.CreateLinkRequest(link=wanted), timeout=30)
    engine.create_mirror("link", topic_name)
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            produce.write(secured.bootstrap_servers, topic_name, produce.varied(200, 2, seed=number))

    def written() -> int:
        return sum(topics.log_ends(secured.bootstrap_servers, f"mirror.{topic_name}").values())

    def change(way: Way, listener: str, *fields: str) -> None:
        before = written()
        wait_until(lambda: written() > before, 30, "records to be on their way")
        update = v1.UpdateLinkRequest(link=_link(secured.servers(listener), way))
        update.update_mask.paths.extend(f"remote_cluster.{field}" for field in fields)
        assert engine.links.UpdateLink(update, timeout=30).link_id == made.link_id
        before = written()
        wait_until(lambda: written() > before, 30, "records to go on")

    writer = threading.Thread(target=write, name="load")
    writer.start()
    try:
        secured.set_password("mirror", "another-secret")
        change(Way("SASL_SSL", _TRUSTED, {**_SASL, "password": "another-secret"}), "SASL_SSL", "sasl")
        everything = ("bootstrap_servers", "security_protocol", "sasl", "tls")
        change(WAYS["MTLS"], "MTLS", *everything)
        other = AUTHORITY.issue("mirror")
        change(Way("SSL", {**_TRUSTED, "certificate_pem": other.certificate, "key_pem": other.key}), "MTLS", "tls")
        change(WAYS["SSL"], "SSL", *everything)
    finally:
        ended.set()
        writer.join()
        secured.set_password("mirror", _PASSWORD)
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")
    assert "another-secret" not in engine.log()
