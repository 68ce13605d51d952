"""Sessions that brokers end after five seconds (KIP-368): connections authenticate again while data flows."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import SASL
from clusterlink_engine.errors import AuthenticationFailedError, Side
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security
from clusterlink_engine.wire import fetch
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.fetch import FetchPartition
from clusterlink_proto import v1
from tests.support import produce, topics, ways
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.token_server import TokenServer
from tests.support.waiting import wait_until
from tests.support.ways import Way

log = logging.getLogger(__name__)

StartEngine = Callable[..., EngineProcess]

_SESSION_SECONDS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[TokenServer]:
    """Grants tokens that are not much better than a session."""
    with ways.token_server(lifetime=12.0) as running:
        yield running


@pytest.fixture(scope="module")
def secured(server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One cluster that is source and destination."""
    settings = {"connections.max.reauth.ms": _SESSION_SECONDS * 1000}
    directory = tmp_path_factory.mktemp("keys")
    with ways.secured_cluster(server, directory, settings=settings, name="sessions") as cluster:
        yield cluster


class Load:
    """Writes to a topic in the background, and sees which connections a process has meanwhile."""

    def __init__(self, cluster: KafkaCluster, topic: str, pid: int) -> None:
        self._cluster, self._topic, self._process = cluster, topic, psutil.Process(pid)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=target) for target in (self._write, self._watch)]
        self.connections: set[int] = set()
        self.written = 0

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        while not self._ended.is_set():
            records = list(produce.varied(100, 2, seed=self.written))
            produce.write(self._cluster.bootstrap_servers, self._topic, records, settings={"linger.ms": 1})
            self.written += len(records)
            self._ended.wait(0.1)

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.connections |= self.now()

    def now(self) -> set[int]:
        """The connections to the listener with users, by the process's own ports."""
        ports = {node.ports[SASL] for node in self._cluster.nodes}
        found = self._process.net_connections("tcp")
        return {one.laddr.port for one in found if one.raddr and one.raddr.port in ports}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
@pytest.mark.parametrize("seconds", [20, pytest.param(120, marks=pytest.mark.slow)])
def test_sessions_end_while_data_flows(
    secured: KafkaCluster,
    server: TokenServer,
    start_engine: StartEngine,
    topic_name: str,
    mechanism: str,
    seconds: int,
) -> None:
    """Nothing is lost, and connections stay: fewer new ones in all than there are at a time, however many sessions end."""
    way = Way(SASL, "SASL_PLAINTEXT", None, ways.sasl(server, mechanism))
    topics.create(secured.bootstrap_servers, topic_name, partitions=2)
    engine = start_engine(secured.sasl_bootstrap_servers, settings={"local_cluster": way.local()})
    engine.links.CreateLink(v1.CreateLinkRequest(link=way.link(secured)), timeout=30)
    mirror = f"mirror.{topic_name}"
    engine.create_mirror("link", topic_name)
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100, 2))
    assert_becomes_equal(secured, secured, topic_name, mirror, raw=False)
    with Load(secured, topic_name, engine.pid) as load:
        before = load.now()
        until = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > until, seconds + 30, "some sessions to end")
    assert_becomes_equal(secured, secured, topic_name, mirror)
    opened = load.connections - before
    counts = (load.written, len(before), len(opened))
    log.info("%s: %d records, %d connections, %d opened in %d s", mechanism, *counts, seconds)
    assert len(opened) < len(before), engine.log()
    link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    assert link.state == v1.LINK_STATE_ACTIVE


@pytest.mark.parametrize("kind", ["password", pytest.param("token", marks=pytest.mark.slow)])
def test_a_secret_that_changes_in_its_file(
    secured: KafkaCluster,
    server: TokenServer,
    start_engine: StartEngine,
    topic_name: str,
    tmp_path: Path,
    kind: str,
) -> None:
    """Connections authenticate again with the new one, and new clients of the library too; nothing stops."""
    file = tmp_path / "secret"
    if kind == "password":
        file.write_text(ways.PASSWORD + "\n")
        sasl: dict[str, Any] = {"mechanism": "SCRAM-SHA-512", "username": ways.USER, "password_file": str(file)}
    else:
        file.write_text(server.token(ways.USER, lifetime=30))
        sasl = {"mechanism": "OAUTHBEARER", "oauth": {"token_file": str(file)}}
    way = Way(SASL, "SASL_PLAINTEXT", None, sasl)
    topics.create(secured.bootstrap_servers, topic_name, partitions=2)
    engine = start_engine(secured.sasl_bootstrap_servers, settings={"local_cluster": way.local()})
    engine.create_link("link", secured.bootstrap_servers, topic_prefix="mirror.")
    mirror = f"mirror.{topic_name}"
    engine.create_mirror("link", topic_name)
    try:
        with Load(secured, topic_name, engine.pid) as load:
            wait_until(lambda: load.written >= 500, 60, "some load")
            before = load.now()
            if kind == "password":
                secured.set_password(ways.USER, "another-secret")
                file.write_text("another-secret\n")
            else:
                file.write_text(server.token(ways.USER, lifetime=600))
            # Two sessions, or until the first token is good no more, for whose end brokers wait half a minute.
            until = time.monotonic() + (2 * _SESSION_SECONDS if kind == "password" else 65)
            wait_until(lambda: time.monotonic() > until, 90, "sessions to end")
            engine.pause(mirror)  # which is stored
            engine.resume(mirror)
            after = load.now()
        assert_becomes_equal(secured, secured, topic_name, mirror)
        assert before & after, "no connection has lived through the change"
        assert "another-secret" not in engine.log()
        assert "refused" not in engine.log()
    finally:
        secured.set_password(ways.USER, ways.PASSWORD)


@asynccontextmanager
async def asking(cluster: KafkaCluster, sasl: dict[str, Any]) -> AsyncIterator[Cluster]:
    """A client of the raw protocol."""
    security = Security(security_protocol="SASL_PLAINTEXT", sasl=Sasl.model_validate(sasl))
    with closing(Cluster(Side.REMOTE, [cluster.sasl_bootstrap_servers], security, timeout=20)) as made:
        await made.metadata([])
        yield made


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"])
async def test_requests_on_their_way_are_answered_before_and_others_wait(
    secured: KafkaCluster, server: TokenServer, topic_name: str, mechanism: str
) -> None:
    await _look_at_a_renewal(secured, ways.sasl(server, mechanism), topic_name)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.9.2", "4.3.1"])
async def test_other_versions(server: TokenServer, topic_name: str, tmp_path: Path, version: str) -> None:
    """The oldest and the newest."""
    settings = {"connections.max.reauth.ms": _SESSION_SECONDS * 1000}
    with ways.secured_cluster(server, tmp_path, settings=settings, version=version) as cluster:
        for number, mechanism in enumerate(("SCRAM-SHA-512", "OAUTHBEARER")):
            await _look_at_a_renewal(cluster, ways.sasl(server, mechanism), f"{topic_name}-{number}")


async def _look_at_a_renewal(secured: KafkaCluster, sasl: dict[str, Any], topic_name: str) -> None:
    """Long polls too, here one that ends with the next record; and who gives up waiting does not harm the connection."""
    topics.create(secured.bootstrap_servers, topic_name)
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(1, 1))
    async with asking(secured, sasl) as cluster:
        metadata = await cluster.metadata([topic_name])
        topic_id = metadata.topics[topic_name].topic_id
        with closing(await cluster.open(1)) as connection:

            def fetch_from(offset: int) -> "asyncio.Future[memoryview]":
                where = FetchPartition(topic_name, topic_id, 0, offset, 1000)
                body = fetch.encode(fetch.HIGHEST, [where], max_wait_ms=15_000, min_bytes=1, max_bytes=1000)
                return connection.send(fetch.API_KEY, fetch.HIGHEST, [body], flexible=True)

            polls = [fetch_from(1) for _ in range(2)]
            connection.authenticated(connection._authenticate, connection.now())  # type: ignore[arg-type] # it is there
            impatient = asyncio.ensure_future(connection.drain())
            waiting = [asyncio.ensure_future(connection.drain()) for _ in range(3)]
            await asyncio.sleep(0.05)
            impatient.cancel()
            with pytest.raises(AssertionError, match="not drained"):
                fetch_from(0)
            unanswered: list[asyncio.Future[Any]] = [*polls, *waiting]
            assert not any(future.done() for future in unanswered)
            await asyncio.to_thread(produce.write, secured.bootstrap_servers, topic_name, produce.varied(1, 1))
            await asyncio.gather(*waiting)
            assert [fetch.decode(fetch.HIGHEST, poll.result(), 1).error for poll in polls] == [0, 0]
            assert connection._renew_at is not None
            assert connection.now() < connection._renew_at < connection.now() + _SESSION_SECONDS
            assert connection.is_open
            await connection.drain()
            assert fetch.decode(fetch.HIGHEST, await fetch_from(0), 1).error == 0


async def test_a_session_that_is_refused_ends_with_the_reason(secured: KafkaCluster) -> None:
    """As a new connection would; also for who was only waiting."""
    async with asking(secured, ways.user("SCRAM-SHA-512")) as cluster:
        with closing(await cluster.open(1)) as connection:
            secured.set_password(ways.USER, "another-secret")
            try:
                connection.authenticated(connection._authenticate, connection.now())  # type: ignore[arg-type] # it is there
                refused = await asyncio.gather(*(connection.drain() for _ in range(3)), return_exceptions=True)
            finally:
                secured.set_password(ways.USER, ways.PASSWORD)
        assert {type(error) for error in refused} == {AuthenticationFailedError}
        assert 'of the remote cluster refused the user "mirror" (SCRAM-SHA-512)' in str(refused[0])
        assert not connection.is_open
