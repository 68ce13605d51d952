"""What is known of stored objects: which partitions stopped for good."""

from clusterlink_engine.control.view import View
from clusterlink_engine.model.resources import Failure, MirrorTopic, PartitionProgress, Phase
from clusterlink_engine.model.states import MirrorError

_STORED, _COPIED = (Failure(error=MirrorError.FOREIGN_WRITE, message=text) for text in ("stored", "of the mirror"))
_MIRROR = MirrorTopic(
    name="a/b",  # not a name of Kafka's, but a partition's name must be read from its end
    link="eu",
    source_topic="b",
    source_topic_id="1" * 32,
    topic_id="2" * 32,
    partition_count=3,
    replication_factor=1,
    phase=Phase.ACTIVE,
)


def progress(index: int, failure: Failure | None = _STORED, topic_id: str = "2" * 32) -> PartitionProgress:
    return PartitionProgress(name=f"a/b/{index}", topic_id=topic_id, failure=failure)


def test_failures_are_those_of_the_mirror_and_those_that_are_remembered_of_its_topic() -> None:
    view = View()
    assert view.failures(_MIRROR) == {}
    view.take({f"partition/a/b/{index}": progress(index) for index in (2, 1, 7)})
    view.take({"partition/a/b/0": progress(0, failure=None), "partition/a/c/0": progress(0)})
    assert list(view.failures(_MIRROR).items()) == [(1, _STORED), (2, _STORED)]  # there is no partition 7
    failed = _MIRROR.model_copy(update={"failures": {1: _COPIED}})
    assert view.failures(failed) == {1: _COPIED, 2: _STORED}
    assert view.failures(_MIRROR.model_copy(update={"topic_id": "3" * 32})) == {}


def test_what_is_forgotten_or_begun_anew_has_not_failed() -> None:
    view = View()
    view.put({f"partition/a/b/{index}": progress(index) for index in range(3)})
    view.put({"partition/a/b/0": None, "partition/a/b/1": progress(1, failure=None)})
    assert view.failures(_MIRROR) == {2: _STORED}
    view.put({"partition/a/b/2": progress(2, topic_id="3" * 32)})
    assert view.failures(_MIRROR) == {}
    view.put({"partition/a/b/2": None, "partition/a/b/9": None})
    assert view.failures(_MIRROR) == {}
