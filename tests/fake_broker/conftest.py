"""A fake broker, and a cluster that consists of it."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from clusterlink_engine.errors import Side
from clusterlink_engine.security import Security

if TYPE_CHECKING:
    from clusterlink_engine.wire.cluster import Cluster
    from tests.fake_broker.broker import FakeBroker

# What uses kafka-python is imported late: a conftest is read before the warning of that library is let pass.


@pytest.fixture
async def broker() -> "AsyncIterator[FakeBroker]":
    from tests.fake_broker.broker import FakeBroker

    async with FakeBroker() as running:
        yield running


@pytest.fixture
async def cluster(broker: "FakeBroker") -> "AsyncIterator[Cluster]":
    """The broker's cluster, as a client that waits three seconds at most."""
    from clusterlink_engine.wire.cluster import Cluster

    made = Cluster(Side.REMOTE, [broker.address], Security(), timeout=3.0)
    yield made
    made.close()
