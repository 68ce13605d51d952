"""Terraform for the acceptance tests, and the engine they run against.

The tests use of the engine only what `Engine` names. To run them against another engine, give the fixture `engine` another
body: everything else stays.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform, install_provider
from tests.support.fake_engine import FakeEngine


class Engine(Protocol):
    """An engine with at most ten links, of which the test may use all."""

    @property
    def endpoint(self) -> str:
        """Address of the API."""

    local_bootstrap: str
    remote_bootstrap: str

    def create_source_topic(self, name: str, partitions: int = 1) -> None:
        """Makes a topic on the remote cluster."""

    def fail_mirror_topic(self, name: str) -> None:
        """Makes a mirror topic fail: somebody else writes a record into it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs terraform."""
    for item in items:
        if {"terraform", "shell_terraform"}.intersection(getattr(item, "fixturenames", ())):
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


@pytest.fixture
def engine(fake_engine: FakeEngine) -> Engine:
    """The engine of the acceptance tests."""
    return fake_engine


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
def shell_terraform(tmp_path: Path, plugins: Path, engine: Engine) -> Terraform:
    """Terraform with the provider as users have it: installed, and started by Terraform for each walk."""
    return Terraform(tmp_path / "work", plugins, engine.endpoint)
