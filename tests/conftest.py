"""Kafka for the tests: two clusters for the whole session, further ones on demand, logs kept when something failed."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from clusterlink_engine.devkit import guard, kafka, ports
from tests.support.engine import EngineProcess

_LOGS = Path(__file__).parent.parent / "test-logs"

# Kafka's own retention, applied at once: a mirror that does not hold it off loses its old records while the test looks.
# The source keeps everything.
_DESTINATION_SETTINGS: dict[str, str | int | bool] = {
    "log.retention.ms": 7 * 24 * 3600 * 1000,
    "log.initial.task.delay.ms": 1000,
    "log.retention.check.interval.ms": 2000,
}

# Compaction within moments.
_SOURCE_SETTINGS: dict[str, str | int | bool] = {"log.cleaner.backoff.ms": 200}

# Others use the processor as well: how long an example takes says nothing.
hypothesis.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("unhurried")

# A test that asks for one of these starts brokers and gets the mark `kafka`.
_KAFKA_FIXTURES = {"source_cluster", "destination_cluster", "secured_clusters", "start_cluster"}


def pytest_configure(config: pytest.Config) -> None:
    """Lets one warning of a library pass, of all that are errors, and keeps workers off each other's ports."""
    # kafka-python reads its schemas in a way that Python 3.11 and 3.12 call old.
    config.addinivalue_line("filterwarnings", "ignore:(read_text|open_text) is deprecated:DeprecationWarning")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        # While a broker is stopped, its port is free for everybody.
        ports.keep_to_share(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that start brokers by the fixtures they ask for."""
    for item in items:
        if _KAFKA_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def log_directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for log files of this session; removed at the end if no test failed."""
    directory = _LOGS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    directory.mkdir(parents=True)
    guard.watch(directory, remove=False)  # engines have their settings there, and end with a worker that is killed
    yield directory
    if not request.session.testsfailed:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def _clusters(log_directory: Path) -> Iterator[tuple[kafka.KafkaCluster, kafka.KafkaCluster]]:
    source, destination = (
        kafka.KafkaCluster(
            os.environ.get(f"CLUSTERLINK_TEST_{role.upper()}_VERSION", kafka.DEFAULT_VERSION),
            settings=settings,
            name=role,
            log_directory=log_directory,
        )
        for role, settings in (("source", _SOURCE_SETTINGS), ("destination", _DESTINATION_SETTINGS))
    )
    with kafka.running(source, destination):
        yield source, destination


@pytest.fixture(scope="session")
def source_cluster(_clusters: tuple[kafka.KafkaCluster, kafka.KafkaCluster]) -> kafka.KafkaCluster:
    """The cluster that is mirrored: one node, for the whole session; a test that stops it starts it again."""
    return _clusters[0]


@pytest.fixture(scope="session")
def destination_cluster(_clusters: tuple[kafka.KafkaCluster, kafka.KafkaCluster]) -> kafka.KafkaCluster:
    """The cluster that holds mirrors: one node, for the whole session; a test that stops it starts it again."""
    return _clusters[1]


@pytest.fixture(scope="session")
def secured_clusters(log_directory: Path) -> Iterator[tuple[kafka.KafkaCluster, kafka.KafkaCluster]]:
    """A source and a destination with authorizers; whoever comes without a password is a super user."""
    source, destination = (
        kafka.KafkaCluster(users={"somebody": "s"}, name=f"secured-{role}", log_directory=log_directory)
        for role in ("source", "destination")
    )
    with kafka.running(source, destination):
        yield source, destination


@pytest.fixture
def start_cluster(log_directory: Path) -> Iterator[Callable[..., kafka.KafkaCluster]]:
    """Starts further clusters for one test, with the arguments of `KafkaCluster`."""
    with ExitStack() as stack:

        def start(*arguments: object, **options: object) -> kafka.KafkaCluster:
            options = {"name": f"extra-{secrets.token_hex(3)}", "log_directory": log_directory, **options}
            return stack.enter_context(kafka.KafkaCluster(*arguments, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """A topic name of this test alone."""
    name = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-")
    return f"{name[:60]}-{secrets.token_hex(4)}"


@pytest.fixture
def start_engine(
    destination_cluster: kafka.KafkaCluster, log_directory: Path
) -> Iterator[Callable[..., EngineProcess]]:
    """Starts engines for one test: on the destination, unless it gives another `local_bootstrap`."""
    with ExitStack() as stack:

        def start(local_bootstrap: str = "", *, wait: bool = True, **options: object) -> EngineProcess:
            bootstrap = local_bootstrap or destination_cluster.bootstrap_servers
            engine = EngineProcess(bootstrap, log_directory, **options)  # type: ignore[arg-type]
            stack.callback(engine.close)
            engine.launch()
            if wait:
                engine.wait_ready()
            return engine

        yield start
