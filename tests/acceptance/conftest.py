"""Terraform for the acceptance tests, and the engine they run against: a real one, except in `provider_shell`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import Engine, RealEngine
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform, install_provider
from tests.support.engine import EngineProcess
from tests.support.fake_engine import FakeEngine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs terraform."""
    for item in items:
        if {"terraform", "terraform_of_fake", "shell_terraform", "own_terraform", "example"}.intersection(
            getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.terraform)


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filesystem mirror with the provider."""
    root = tmp_path_factory.mktemp("plugins") / "mirror"
    install_provider(root)
    return root


@pytest.fixture
def fake_engine() -> Iterator[FakeEngine]:
    """An engine in memory, for faults."""
    engine = FakeEngine().start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def _real_engine(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, log_directory: Path
) -> Iterator[RealEngine]:
    local, remote = destination_cluster.bootstrap_servers, source_cluster.bootstrap_servers
    process = EngineProcess(local, log_directory)
    try:
        process.start()
        yield RealEngine(process.endpoint, local, remote)
    finally:
        process.close()


@pytest.fixture
def engine(_real_engine: RealEngine) -> Iterator[Engine]:
    """The engine of the acceptance tests: a process between real clusters, empty at the start of each test."""
    yield _real_engine
    _real_engine.clean_up()


@pytest.fixture
def client(engine: Engine) -> EngineClient:
    """The engine's API, for what happens behind Terraform's back."""
    return EngineClient(engine.endpoint)


@pytest.fixture(scope="session")
def resident() -> Iterator[ResidentProvider]:
    """The provider in this process, which makes each command of Terraform four times as fast."""
    with ResidentProvider() as provider:
        yield provider


@pytest.fixture
def terraform(tmp_path: Path, engine: Engine, resident: ResidentProvider) -> Terraform:
    """Terraform with a resident provider that is configured for the engine."""
    return Terraform(tmp_path / "work", tmp_path / "no-plugins", engine.endpoint, resident.reattach)


@pytest.fixture
def terraform_of_fake(tmp_path: Path, fake_engine: FakeEngine, resident: ResidentProvider) -> Terraform:
    """Terraform with a resident provider that is configured for the engine in memory."""
    return Terraform(tmp_path / "work-of-fake", tmp_path / "no-plugins", fake_engine.endpoint, resident.reattach)


@pytest.fixture
def shell_terraform(tmp_path: Path, plugins: Path, engine: Engine) -> Terraform:
    """Terraform with the provider as users have it: installed, and started by Terraform for each walk."""
    return Terraform(tmp_path / "work", plugins, engine.endpoint)
