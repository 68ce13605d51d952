"""Sessions that brokers end after five seconds (KIP-368): connections authenticate again while data flows."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import SASL
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


def test_a_password_that_changes_in_its_file(
    secured: KafkaCluster, start_engine: StartEngine, topic_name: str, tmp_path: Path
) -> None:
    """Connections authenticate again with the new one, and new clients of the library too; nothing stops."""
    file = tmp_path / "password"
    file.write_text(ways.PASSWORD + "\n")
    sasl = {"mechanism": "SCRAM-SHA-512", "username": ways.USER, "password_file": str(file)}
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
            secured.set_password(ways.USER, "another-secret")
            file.write_text("another-secret\n")
            until = time.monotonic() + 2 * _SESSION_SECONDS
            wait_until(lambda: time.monotonic() > until, 30, "two sessions to end")
            engine.pause(mirror)  # which is stored
            engine.resume(mirror)
            after = load.now()
        assert_becomes_equal(secured, secured, topic_name, mirror)
        assert before & after, "no connection has lived through the change"
        assert "another-secret" not in engine.log()
        assert "refused" not in engine.log()
    finally:
        secured.set_password(ways.USER, ways.PASSWORD)
