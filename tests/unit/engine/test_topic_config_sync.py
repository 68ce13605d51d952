"""Which mirror topics a round of the sync of settings looks at."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest

from clusterlink_engine.model.resources import Link, MirrorTopic, RemoteCluster, TopicConfigSync
from clusterlink_engine.sync import topic_configs
from clusterlink_engine.sync.task import TaskError
from tests.unit.engine.test_convert import MIRROR

_LINK = Link(
    name="eu",
    link_id="id",
    remote=RemoteCluster(bootstrap_servers=("a:1",), cluster_id="c"),
    topic_config_sync=TopicConfigSync(interval_ms=60_000),
    producer_id=7,
)
_MIRRORS = [MIRROR.model_copy(update={"name": name, "source_topic": name, "paused": False}) for name in ("a", "b", "c")]


class _Admin:
    """Knows no topic, and remembers which ones it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def settings(self, topics: Collection[str]) -> dict[str, dict[str, str]]:
        self.asked.append(sorted(topics))
        return {}


@pytest.fixture
def source() -> _Admin:
    return _Admin()


@pytest.fixture
def task(source: _Admin) -> topic_configs.TopicConfigSync:
    async def store(mirror: MirrorTopic, desired: Mapping[str, str]) -> None:
        raise AssertionError((mirror, desired))

    admin = cast("Any", source)
    return topic_configs.TopicConfigSync(admin, cast("Any", _Admin()), lambda: _LINK, lambda: _MIRRORS, store)


async def test_mirror_topics_that_begin_one_after_the_other_are_read_alone(
    task: topic_configs.TopicConfigSync, source: _Admin
) -> None:
    """All of them in the first round, and in those that are due; else those that are in a hurry, together."""
    await task.work()
    task.hurry_for("b")
    await task.work()
    task.hurry_for("c")
    task.hurry_for("a")
    await task.work()
    task.hurry_for("gone")
    await task.work()
    assert source.asked == [["a", "b", "c"], ["b"], ["a", "c"]]


async def test_a_change_of_the_link_is_one_for_all(task: topic_configs.TopicConfigSync, source: _Admin) -> None:
    await task.work()
    task.hurry_for("b")
    task.hurry()
    await task.work()
    assert source.asked == [["a", "b", "c"]] * 2


async def test_errors_of_others_stay_until_they_are_looked_at(task: topic_configs.TopicConfigSync) -> None:
    await task.work()
    task.errors = (TaskError("AN_ERROR", "of c"),)
    task.hurry_for("b")
    assert await task.work() == [TaskError("AN_ERROR", "of c")]
    task.hurry()
    assert await task.work() == []
