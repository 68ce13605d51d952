"""The records of the state topic: what is written comes back, what is newer or rubbish is refused and named."""

import json

import pytest

from clusterlink_engine.errors import StateError, StateTooNewError
from clusterlink_engine.model.acls import Acl
from clusterlink_engine.model.resources import (
    Allocation,
    Denial,
    DetachedMirror,
    Failure,
    Grant,
    Link,
    MirrorTopic,
    PartitionProgress,
    Phase,
    RemoteCluster,
    SavedOffsets,
    Stored,
    SyncedAcls,
    TopicConfigSync,
    Worker,
)
from clusterlink_engine.model.states import MirrorError
from clusterlink_engine.store import records

LINK = Link(
    name="eu",
    link_id="id",
    remote=RemoteCluster(bootstrap_servers=("a:1", "b:2"), cluster_id="c"),
    topic_prefix="eu.",
    paused=True,
    topic_config_sync=TopicConfigSync(interval_ms=1000, include=("segment.ms",)),
    config={"replica.fetch.min.bytes": "5"},
    client_token="token",  # noqa: S106 - no password
    producer_id=2**62,
)
MIRROR = MirrorTopic(
    name="eu.orders",
    link="eu",
    source_topic="orders",
    source_topic_id="1" * 32,
    topic_id="2" * 32,
    partition_count=3,
    replication_factor=3,
    config={"segment.ms": "1"},
    phase=Phase.ACTIVE,
    failures={2: Failure(error=MirrorError.FOREIGN_WRITE, message="Ein Loch: ä")},
    start_offsets={0: 2**40, 1: 7},
)
DETACHED = DetachedMirror(
    name="eu.orders",
    source_topic="orders",
    source_topic_id="1" * 32,
    topic_id="2" * 32,
    remote_cluster_id="c",
    log_ends={0: 5, 10: 2**40},
    failure="FAILED",
)
PROGRESS = PartitionProgress(
    name="eu.orders/3",
    topic_id="0" * 32,
    source_epochs=((0, 0), (4, 17)),
    lost_offsets=9,
    failure=Failure(error=MirrorError.FOREIGN_WRITE, message="x"),
)
ALLOCATION = Allocation(
    name="all",
    generation=7,
    grants={0: Grant(member_id="m", generation=7, settled=True)},
    unsettled=(1, 63),
    workers={"m": Worker(slot=0, host="h", pid=1, process="p")},
    fillers=(5, 2**40),
)
ACLS = SyncedAcls(
    name="eu",
    acls=(
        Acl(
            resource_type="TOPIC",
            resource_name="orders",
            pattern_type="LITERAL",
            principal="User:app",
            host="*",
            operation="READ",
            permission_type="ALLOW",
        ),
    ),
)
SAVED = SavedOffsets(name="orders", offsets={"app": {0: (7, "text")}})
DENIAL = Denial(name="eu.orders")
CLAIM = records.Claim(instance_id="i", host="h", pid=1, version="0.1.0")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("link", LINK),
        ("mirror", MIRROR),
        ("detached", DETACHED),
        ("partition", PROGRESS),
        ("allocation", ALLOCATION),
        ("acls", ACLS),
        ("offsets", SAVED),
        ("denial", DENIAL),
        ("claim", CLAIM),
    ],
)
def test_a_record_comes_back_as_it_was(kind: str, value: Stored) -> None:
    key = records.key_of(kind, "x")
    assert records.decode(key, records.encode(key, value)) == value


def test_every_kind_is_covered() -> None:
    assert [
        type(value) for value in (LINK, MIRROR, DETACHED, PROGRESS, ALLOCATION, ACLS, SAVED, DENIAL, CLAIM)
    ] == list(records.KINDS.values())


def test_the_same_object_is_the_same_bytes() -> None:
    other = LINK.model_copy(update={"config": dict(reversed(LINK.config.items()))})
    assert records.encode("link/eu", other) == records.encode("link/eu", LINK)


@pytest.mark.parametrize(
    "data",
    [
        {"version": 7, "value": {}},
        {"version": 7},
        {"version": 7, "value": [1]},
        {"version": 7, "value": None, "more": 1},
        {"version": 99, "value": {"name": "x"}},
    ],
)
def test_a_record_of_a_newer_engine_stops_this_one(data: object) -> None:
    with pytest.raises(StateTooNewError, match='record "link/eu" of version'):
        records.decode("link/eu", json.dumps(data).encode())


@pytest.mark.parametrize("key", ["shadow/eu", "shadow", ""])
def test_a_kind_of_a_newer_engine_stops_this_one(key: str) -> None:
    with pytest.raises(StateTooNewError):
        records.decode(key, records.encode(key, LINK))


_VALUE = json.loads(records.encode("link/eu", LINK))["value"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"value": {}}',
        b'{"version": "one", "value": {}}',
        b'{"version": 1}',
        b'{"version": 1, "value": []}',
        b'{"version": 1, "value": {}}',
        json.dumps({"version": 1, "value": {**_VALUE, "colour": "red"}}).encode(),
        json.dumps({"version": 1, "value": {**_VALUE, "producer_id": "x"}}).encode(),
    ],
)
def test_rubbish_is_refused_and_named(data: bytes) -> None:
    with pytest.raises(StateError, match='state record "link/eu" cannot be read') as caught:
        records.decode("link/eu", data)
    assert not isinstance(caught.value, StateTooNewError)


def test_what_the_first_version_could_not_mirror_goes_on() -> None:
    mirror = MirrorTopic(
        name="m", link="l", source_topic="m", source_topic_id="0" * 32, partition_count=2, replication_factor=1
    )
    value = mirror.model_dump(mode="json")
    value["failures"] = {
        "0": {"error": "OFFSET_GAP", "message": "compaction"},
        "1": {"error": "FOREIGN_WRITE", "message": "somebody"},
    }
    for name in ("first_offsets", "seed_until"):
        del value[name]
    decoded = records.decode("mirror/m", json.dumps({"version": 1, "value": value}).encode())
    failure = Failure(error=MirrorError.FOREIGN_WRITE, message="somebody")
    assert decoded == mirror.model_copy(update={"failures": {1: failure}})
