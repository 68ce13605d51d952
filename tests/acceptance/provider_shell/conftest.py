"""Here the engine is one in memory, whose API can be made to fail."""

import pytest

from tests.acceptance.engine import Engine
from tests.support.fake_engine import FakeEngine


@pytest.fixture
def engine(fake_engine: FakeEngine) -> Engine:
    """The engine in memory."""
    return fake_engine
