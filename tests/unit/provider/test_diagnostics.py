"""Paths, messages, and how errors of the engine become messages at the right attribute."""

from collections.abc import Iterator

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient, EngineError
from clusterlink_provider.framework import convert, paths
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.paths import Key, Path
from tests.support.fake_engine import FakeEngine, Fault

ATTEMPT = "first"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("link.remote_cluster.bootstrap_servers", ("link", "remote_cluster", "bootstrap_servers")),
        ('mirror_topic.config["retention.ms"]', ("mirror_topic", "config", Key("retention.ms"))),
        ("a[3].b", ("a", Key(3), "b")),
        (r'a["x\"y\\z"]', ("a", Key('x"y\\z'))),
        ("", ()),
        ("a.b]c", ("a", "b")),
    ],
)
def test_parse(text: str, path: Path) -> None:
    assert paths.parse(text) == path


_STEPS = st.one_of(
    st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True),
    st.text(max_size=5).map(Key),
    st.integers(0, 99).map(Key),
)


@given(st.lists(_STEPS, max_size=4), st.from_regex(r"[a-z]{1,4}", fullmatch=True))
def test_paths_round_trip(steps: list[paths.Step], first: str) -> None:
    path = (first, *steps)
    assert paths.parse(paths.show(path)) == path


def test_path_of_the_protocol() -> None:
    steps = convert.path_to_pb(("config", Key("a.b"), Key(2))).steps
    assert [step.WhichOneof("selector") for step in steps] == [
        "attribute_name",
        "element_key_string",
        "element_key_int",
    ]


def test_diagnostics_collect() -> None:
    diagnostics = Diagnostics()
    diagnostics.warning("w", "x")
    assert not diagnostics.has_errors
    diagnostics.error("e", "x", ("a",))
    assert diagnostics.has_errors
    assert len(diagnostics) == 2
    assert [message.severity for message in convert.diagnostics_to_pb(diagnostics)] == [2, 1]


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine().start()
    yield fake
    fake.stop()


def _link(**changes: object) -> v1.Link:
    remote = v1.RemoteCluster(bootstrap_servers=["b:9092"])
    return v1.Link(**{"name": "a", "remote_cluster": remote, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("link", "path", "reason"),
    [
        (_link(config={"no.such": "1"}), ("config", Key("no.such")), "UNKNOWN_PROPERTY"),
        (
            _link(topic_config_sync=v1.TopicConfigSync(interval_ms=1)),
            ("topic_config_sync", "interval_ms"),
            "INTERVAL_TOO_SHORT",
        ),
        (_link(name="a b"), ("name",), "INVALID_NAME"),
    ],
)
def test_engine_names_the_field(engine: FakeEngine, link: v1.Link, path: Path, reason: str) -> None:
    with pytest.raises(EngineError) as caught:
        EngineClient(engine.endpoint).create_link(link, token=ATTEMPT, seconds=10)
    (item,) = caught.value.diagnostics
    assert (item.path, caught.value.reason) == (path, reason)
    assert item.summary.startswith("Cannot create the link")
    assert caught.value.is_definite


def test_unavailable_is_tried_again_with_the_same_token(engine: FakeEngine) -> None:
    engine.inject("CreateLink", Fault(grpc.StatusCode.UNAVAILABLE, after=True))
    link = EngineClient(engine.endpoint).create_link(_link(), token=ATTEMPT, seconds=10)
    assert link.link_id == engine.links["a"].link_id


def test_deadline_covers_all_attempts(engine: FakeEngine) -> None:
    engine.inject("GetEngine", *[Fault(grpc.StatusCode.UNAVAILABLE)] * 50)
    with pytest.raises(EngineError) as caught:
        EngineClient(engine.endpoint).get_engine(1)
    assert caught.value.is_unreachable
    assert engine.endpoint in str(caught.value)
    assert engine.calls.count("GetEngine") < 10


def test_stop_ends_the_attempts(engine: FakeEngine) -> None:
    engine.inject("GetEngine", *[Fault(grpc.StatusCode.UNAVAILABLE)] * 50)
    client = EngineClient(engine.endpoint)
    client.stop()
    with pytest.raises(EngineError):
        client.get_engine(60)
    assert engine.calls == ["GetEngine"]


def test_missing_objects(engine: FakeEngine) -> None:
    client = EngineClient(engine.endpoint)
    assert client.get_link("x") is None
    assert client.get_mirror_topic("x") is None
    client.delete_link("x", seconds=5)
    client.delete_mirror_topic("x", "y", v1.TOPIC_DISPOSAL_KEEP_TOPIC, seconds=5)
