"""Every way to connect on both sides, by the raw path and by the libraries; and what wrong credentials look like."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import SASL
from clusterlink_engine.errors import Side
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_proto import v1
from tests.support import produce, reading, topics, ways
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.token_server import TokenServer
from tests.support.waiting import wait_until
from tests.support.ways import Way

StartEngine = Callable[..., EngineProcess]


@pytest.fixture(scope="module")
def server() -> Iterator[TokenServer]:
    """Who grants tokens; it may be away when a test ends."""
    with ways.token_server() as running:
        yield running


@pytest.fixture(scope="module")
def secured(server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One cluster that is source and destination, with a listener of each kind."""
    with ways.secured_cluster(server, tmp_path_factory.mktemp("keys"), name="secured") as cluster:
        yield cluster


_SLOW = pytest.mark.slow
_WAYS = [
    pytest.param("SSL", "", marks=_SLOW),
    ("MTLS", ""),
    (SASL, "PLAIN"),
    (SASL, "SCRAM-SHA-256"),
    pytest.param(SASL, "SCRAM-SHA-512", marks=_SLOW),
    (SASL, "OAUTHBEARER"),
    pytest.param("SASL_SSL", "PLAIN", marks=_SLOW),
    pytest.param("SASL_SSL", "SCRAM-SHA-256", marks=_SLOW),
    ("SASL_SSL", "SCRAM-SHA-512"),
    pytest.param("SASL_SSL", "OAUTHBEARER", marks=_SLOW),
]


def _way(server: TokenServer, listener: str, mechanism: str) -> Way:
    tls = {SASL: None, "MTLS": ways.SHOWN}.get(listener, ways.TRUSTED)
    protocol = {SASL: "SASL_PLAINTEXT", "MTLS": "SSL"}.get(listener, listener)
    return Way(listener, protocol, tls, ways.sasl(server, mechanism) if mechanism else None)


@pytest.mark.parametrize(("listener", "mechanism"), _WAYS)
def test_a_way_on_both_sides(
    secured: KafkaCluster,
    server: TokenServer,
    start_engine: StartEngine,
    topic_name: str,
    listener: str,
    mechanism: str,
) -> None:
    """Records are mirrored and compared by nothing else, a broker's restart is survived, and no secret is to be read."""
    way = _way(server, listener, mechanism)
    topics.create(secured.bootstrap_servers, topic_name)
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(500))
    engine = start_engine(secured.servers(listener), settings={"local_cluster": way.local()})
    link = engine.links.CreateLink(v1.CreateLinkRequest(link=way.link(secured)), timeout=30)
    remote = link.remote_cluster
    assert (remote.sasl.mechanism, remote.sasl.password, remote.tls.key_pem) == (mechanism, "", "")
    assert remote.sasl.oauth.client_secret == ""
    assert remote.tls.ca_pem == (way.tls or {}).get("ca_pem", "")
    engine.create_mirror("link", topic_name)
    if (listener == SASL) != (mechanism == "OAUTHBEARER"):  # once for each mechanism
        secured.nodes[0].restart()
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(500, seed=1))
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")
    verified = engine.verify("link").stdout
    assert topic_name in verified
    metrics = engine.metrics()
    assert f'topic="mirror.{topic_name}"' in metrics
    shown = [engine.run("link", "describe", "link", "-o", "json"), engine.run("link", "configuration", "list", "link")]
    answers = [engine.links.GetLink(v1.GetLinkRequest(name="link")), engine.mirror(f"mirror.{topic_name}")]
    assert engine.stop() == 0
    state = reading.keys_and_values(secured.bootstrap_servers, engine.state_topic)
    told = "\n".join([*map(str, [*answers, *shown, *state]), verified, metrics, engine.log()])
    assert [secret for secret in ways.secrets() if secret in told] == []


def test_wrong_credentials_of_a_link(
    secured: KafkaCluster, server: TokenServer, start_engine: StartEngine, topic_name: str
) -> None:
    """Refused at create with the field; another mechanism is taken in place."""
    engine = start_engine(secured.bootstrap_servers)
    wrong = Way(SASL, "SASL_PLAINTEXT", None, ways.user("SCRAM-SHA-256", "wrong-one"))
    with pytest.raises(grpc.RpcError) as refused:
        engine.links.CreateLink(v1.CreateLinkRequest(link=wrong.link(secured)), timeout=30)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    details = refused.value.details() or ""
    assert 'refused the user "mirror" (SCRAM-SHA-256)' in details
    assert "wrong-one" not in details
    bare = v1.RemoteCluster(bootstrap_servers=["127.0.0.1:1"], security_protocol="SASL_PLAINTEXT")
    with pytest.raises(grpc.RpcError, match="needs sasl"):
        engine.links.CreateLink(v1.CreateLinkRequest(link=v1.Link(name="l", remote_cluster=bare)), timeout=30)
    good = _way(server, SASL, "SCRAM-SHA-256").link(secured)
    engine.links.CreateLink(v1.CreateLinkRequest(link=good), timeout=30)
    topics.create(secured.bootstrap_servers, topic_name)
    engine.create_mirror("link", topic_name)
    for number, mechanism in enumerate(("PLAIN", "OAUTHBEARER")):
        update = v1.UpdateLinkRequest(link=_way(server, SASL, mechanism).link(secured))
        update.update_mask.paths.append("remote_cluster.sasl")
        answer = engine.links.UpdateLink(update, timeout=30)
        assert answer.remote_cluster.sasl.mechanism == mechanism
        produce.write(secured.bootstrap_servers, topic_name, produce.varied(100, seed=number))
        assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")


_AWAY = "http://127.0.0.1:1/token"


@pytest.mark.parametrize(
    ("sasl", "message"),
    [
        (ways.user("PLAIN", "wrong-one"), r'of the local cluster refused the user "mirror" \(PLAIN\)'),
        (ways.user("SCRAM-SHA-512", "wrong-one"), r'of the local cluster refused the user "mirror" \(SCRAM-SHA-512\)'),
        (
            "wrong-one",
            r"There is no token for \S+ of the local cluster: the token endpoint \S+ refused the client \(status 401; ",
        ),
    ],
)
def test_wrong_credentials_of_the_local_cluster(
    secured: KafkaCluster, server: TokenServer, start_engine: StartEngine, sasl: dict[str, Any] | str, message: str
) -> None:
    """The engine ends with one line that says which cluster refused whom."""
    way = Way(SASL, "SASL_PLAINTEXT", None, ways.client(server, sasl) if isinstance(sasl, str) else sasl)
    engine = start_engine(secured.sasl_bootstrap_servers, settings={"local_cluster": way.local()}, wait=False)
    assert engine.wait(30) == 1
    wait_until(lambda: re.search(message, engine.log()) is not None, 5, "the message")
    assert "wrong-one" not in engine.log()
    assert "Traceback" not in engine.log()


def test_an_engine_waits_for_the_endpoint_of_its_tokens(
    secured: KafkaCluster, server: TokenServer, start_engine: StartEngine
) -> None:
    """As it waits for the local cluster itself."""
    way = _way(server, SASL, "OAUTHBEARER")
    server.stop()
    try:
        settings = {"local_cluster": way.local()}
        engine = start_engine(secured.sasl_bootstrap_servers, settings=settings, wait=False)
        message = r"waiting for the local cluster: There is no token .* cannot be reached: Connection refused"
        wait_until(lambda: re.search(message, engine.log()) is not None, 30, "the engine to wait")
    finally:
        server.start()
    engine.wait_ready()


def test_wrong_tokens_are_named_with_their_side(
    secured: KafkaCluster, server: TokenServer, start_engine: StartEngine
) -> None:
    """A wrong secret, an endpoint that is away, hangs or leads elsewhere, and what is wrong with a token."""
    engine = start_engine(secured.bootstrap_servers)
    refused = r'of the remote cluster refused the token of the client "mirror" \(OAUTHBEARER\): .*invalid_token'
    missing = r"There is no token for 127\.0\.0\.1:\d+ of the remote cluster: "
    endpoint = missing + r"the token endpoint http://127\.0\.0\.1:\d+/token "

    def good(name: str) -> dict[str, Any]:
        return ways.client(
            server, scope=name
        )  # a definition of its own: an endpoint that failed is left in peace for a while

    elsewhere = ways.client(server, parameters={"audience": "somebody else"})
    away = ways.client(server, token_endpoint_url=_AWAY)
    who = r"refused the client \(status 401; invalid_client: Who is it\?\)"
    # What is shown, what the endpoint answers, how long its tokens are good, and what is said.
    cases: dict[str, tuple[dict[str, Any], Any, float, str]] = {
        "wrong secret": (ways.client(server, "wrong-one"), None, 300.0, endpoint + who),
        "wrong audience": (elsewhere, None, 300.0, refused + r".*audience somebody else, subject mirror, good for"),
        # Kafka lets half a minute pass, for clocks that differ.
        "expired": (good("expired"), None, -100.0, refused + r".*; the token has .*expired 1\d\d s ago"),
        "redirect": (
            good("redirect"),
            (302, {"Location": "/elsewhere"}, b""),
            300.0,
            endpoint + "answers with a redirect",
        ),
        "rubbish": (good("rubbish"), (200, {}, b"<html>"), 300.0, endpoint + "answered without an access_token"),
        "no token": (
            good("no token"),
            (200, {}, b'{"access_token": "a b"}'),
            300.0,
            missing + "what was got as a token is none",
        ),
        "too long": (
            good("too long"),
            (200, {}, b"x" * 300_000),
            300.0,
            endpoint + "cannot be reached: the answer is too long",
        ),
        "away": (away, None, 300.0, missing + f"the token endpoint {_AWAY} cannot be reached: Connection refused"),
    }
    try:
        for name, (sasl, answer, lifetime, message) in cases.items():
            server.answer, server.lifetime = answer, lifetime
            link = Way(SASL, "SASL_PLAINTEXT", None, sasl).link(secured)
            with pytest.raises(grpc.RpcError) as caught:
                engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
            details = caught.value.details() or ""
            assert re.search(message, details), f"{name}: {details}"
            told = b"".join(datum.value for datum in caught.value.trailing_metadata() if isinstance(datum.value, bytes))
            assert b"AUTHENTICATION_ERROR" in told, name
            assert b"link.remote_cluster.sasl" in told, name
    finally:
        server.answer, server.lifetime = None, 300.0
    log = engine.log()
    assert [secret for secret in ("wrong-one", *ways.secrets()) if secret in log] == []


def test_a_link_whose_tokens_end(
    secured: KafkaCluster, server: TokenServer, start_engine: StartEngine, topic_name: str
) -> None:
    """While the endpoint is away nothing stops before the token's end; then the link says so, and mends itself."""
    server.lifetime = 6.0
    try:
        engine = start_engine(secured.bootstrap_servers)
        way = _way(server, SASL, "OAUTHBEARER")
        engine.links.CreateLink(v1.CreateLinkRequest(link=way.link(secured)), timeout=30)
        topics.create(secured.bootstrap_servers, topic_name)
        engine.create_mirror("link", topic_name)
        server.stop()

        def link() -> v1.Link:
            answer: v1.Link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
            return answer

        produce.write(secured.bootstrap_servers, topic_name, produce.varied(100))
        assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")
        wait_until(lambda: link().error == "AUTHENTICATION_ERROR", 40, "the link to tell that there is no token")
        assert link().state == v1.LINK_STATE_UNAVAILABLE
        assert "of the remote cluster: the token endpoint" in link().error_message
    finally:
        server.stop()
        server.start()
        server.lifetime = 300.0
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100, seed=1))
    wait_until(lambda: link().state == v1.LINK_STATE_ACTIVE, 60, "the link to work again")
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")


async def test_a_session_ends_with_its_token_or_not_at_all(secured: KafkaCluster, server: TokenServer) -> None:
    """Where brokers set no end."""
    ends = []
    for mechanism in ("SCRAM-SHA-512", "OAUTHBEARER"):
        sasl = Sasl.model_validate(ways.sasl(server, mechanism))
        security = Security(security_protocol="SASL_PLAINTEXT", sasl=sasl)
        with closing(Cluster(Side.REMOTE, [secured.sasl_bootstrap_servers], security)) as cluster:
            await cluster.metadata([])
            with closing(await cluster.open(1)) as connection:
                ends.append(connection._renew_at)
                if connection._renew_at is not None:
                    assert 0 < connection._renew_at - connection.now() < server.lifetime
    assert [end is None for end in ends] == [True, False]
