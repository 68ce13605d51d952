"""The check of links: every right that is there is seen, each one that is not is named, and nothing is created or changed."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import pytest
from confluent_kafka.admin import AclOperation, ConfigResource, ResourceType

from clusterlink_engine.control.preflight import Preflight, Surroundings
from clusterlink_engine.control.write_guard import WriteGuardWay
from clusterlink_engine.devkit import ports
from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import Listener
from clusterlink_engine.errors import Side
from clusterlink_engine.model import acls
from clusterlink_engine.model.acls import AclFilter
from clusterlink_engine.model.checks import Check, Status, row_of
from clusterlink_engine.model.filters import Filter
from clusterlink_engine.model.resources import AclSync, ConsumerOffsetSync, Link, LinkMode, RemoteCluster
from clusterlink_engine.model.rights import RIGHTS, Feature, Right, Scope, needed
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security
from tests.support import groups, rights, topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

_STATE = "_state-of-checks"
_SOURCE, _GROUP = "checked-orders", "checked-group"
_NAMES = {
    Scope.STATE_TOPIC: _STATE,
    Scope.SOURCE_TOPICS: "checked-",
    Scope.MIRROR_TOPICS: "checked-",
    Scope.SYNCED_GROUPS: "checked-",
    Scope.KEPT_GROUPS: "checked-",
}
_PASSWORD = "p"  # noqa: S105 - of these clusters
_SECONDS = 30.0

# Two kinds of links, with what only they need: one right of the one may hold another of the other. Users are called alike.
_ONE_WAY, _BOTH_WAYS = "one-way", "both-ways"
_KINDS = {_ONE_WAY: (Feature.OFFSETS, Feature.ACLS), _BOTH_WAYS: (Feature.GOING_BACK,)}
_ALL = set(Feature)

_IN_COMMANDS = {
    acls.AclOperation.READ: "Read",
    acls.AclOperation.WRITE: "Write",
    acls.AclOperation.CREATE: "Create",
    acls.AclOperation.DELETE: "Delete",
    acls.AclOperation.ALTER: "Alter",
    acls.AclOperation.DESCRIBE: "Describe",
    acls.AclOperation.ALTER_CONFIGS: "AlterConfigs",
    acls.AclOperation.DESCRIBE_CONFIGS: "DescribeConfigs",
}

Clusters = dict[Side, KafkaCluster]

# Nobody asks for it: the state topic is there.
_MOOT = next(right for right in RIGHTS if right.scope is Scope.STATE_TOPIC and right.is_for_creation)


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    """Two clusters with authorizers, where users have the rights of one kind of link each, and no others."""
    with (
        KafkaCluster(users=dict.fromkeys(_KINDS, _PASSWORD), name="checked-local") as local,
        KafkaCluster(users=dict.fromkeys(_KINDS, _PASSWORD), name="checked-remote") as remote,
    ):
        found = {Side.LOCAL: local, Side.REMOTE: remote}
        topics.create(local.bootstrap_servers, _STATE)
        topics.create(remote.bootstrap_servers, _SOURCE)
        groups.commit(remote.bootstrap_servers, _GROUP, _SOURCE, {0: 0})
        for kind in _KINDS:
            for side, cluster in found.items():
                granted = {rights.of(right, _NAMES) for right in needed(_link(found, kind)) if right.side is side}
                rights.grant(cluster.bootstrap_servers, kind, granted)
        # Else a group would not even be seen that may not be read.
        rights.grant(remote.bootstrap_servers, _BOTH_WAYS, [rights.group("checked-", AclOperation.DESCRIBE)])
        yield found


def _security(user: str) -> Security:
    sasl = Sasl(mechanism="SCRAM-SHA-256", username=user, password=_PASSWORD)
    return Security(security_protocol="SASL_PLAINTEXT", sasl=sasl)


def _link(clusters: Clusters, kind: str, **values: Any) -> Link:
    """A link of one direction, with everything that can be kept in step; or one that can be turned."""
    remote = RemoteCluster(
        bootstrap_servers=(clusters[Side.REMOTE].sasl_bootstrap_servers,),
        cluster_id=values.pop("cluster_id", ""),
        security_protocol="SASL_PLAINTEXT",
        sasl=_security(kind).sasl,
    )
    if kind == _BOTH_WAYS:
        return Link(name="link", link_id="", remote=remote, producer_id=-1, mode=LinkMode.BIDIRECTIONAL, **values)
    syncs = {
        "consumer_offset_sync": ConsumerOffsetSync(enable=True, group_filters=(Filter(name=_GROUP),)),
        "acl_sync": AclSync(enable=True, filters=(AclFilter(),)),
    }
    return Link(name="link", link_id="", remote=remote, producer_id=-1, **{**syncs, **values})


def _check(
    local: str, link: Link, *sources: str, security: Security | None = None, seconds: float = 10.0, **more: Any
) -> list[Check]:
    engine = Surroundings([local], security or Security(), _STATE, **more)

    async def check() -> list[Check]:
        found = await Preflight(engine).check(link, sources, seconds=seconds)
        await asyncio.sleep(0.1)  # connections close a moment later
        return found

    return asyncio.run(check())


def _check_least(clusters: Clusters, kind: str, *sources: str) -> dict[tuple[Side, str], set[Status]]:
    """What is found by users who have the rights of the table, by side and row."""
    local = clusters[Side.LOCAL].sasl_bootstrap_servers
    found: dict[tuple[Side, str], set[Status]] = {}
    for row in _check(local, _link(clusters, kind), *(sources or (_SOURCE,)), security=_security(kind)):
        found.setdefault((row.side, row.name), set()).add(row.status)
    return found


def _rows(wanted: Iterable[Right]) -> set[tuple[Side, str]]:
    return {(right.side, row_of(right).name) for right in wanted if right != _MOOT}


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("source", [_SOURCE, "checked-not-there-yet"])
def test_with_the_least_rights_nothing_is_missing_and_nothing_is_changed(
    clusters: Clusters, kind: str, source: str
) -> None:
    before = {side: _everything(cluster.bootstrap_servers) for side, cluster in clusters.items()}
    found = _check_least(clusters, kind, source)
    wanted = _rows(needed(_link(clusters, kind)))
    if source != _SOURCE and kind == _BOTH_WAYS:  # no group is on it, whose offsets a restore would keep
        kept = next(right for right in RIGHTS if right.scope is Scope.KEPT_GROUPS)
        assert found[kept.side, row_of(kept).name] == {Status.UNKNOWN}
        wanted -= _rows([kept])
    assert {row: found[row] for row in wanted} == {row: {Status.PRESENT} for row in wanted}
    assert not [row for row, statuses in found.items() if Status.MISSING in statuses]
    assert {side: _everything(cluster.bootstrap_servers) for side, cluster in clusters.items()} == before


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        pytest.param(kind, right, id=f"{kind}-{right.side}-{row_of(right).name}".replace(" ", "-"))
        for kind, features in _KINDS.items()
        for right in RIGHTS
        if right != _MOOT and right.feature in (features if kind == _BOTH_WAYS else _ALL - set(_KINDS[_BOTH_WAYS]))
    ],
)
def test_each_right_that_is_taken_away_is_named_and_no_other(clusters: Clusters, kind: str, right: Right) -> None:
    cluster, acl = clusters[right.side].bootstrap_servers, rights.of(right, _NAMES)
    rights.take_away(cluster, kind, acl)
    lacking = _rows([right])

    def found() -> dict[tuple[Side, str], set[Status]]:
        rows = _rows(needed(_link(clusters, kind)))
        return {row: statuses for row, statuses in _check_least(clusters, kind).items() if row in rows}

    try:
        wait_until(
            lambda: {row for row, statuses in found().items() if statuses != {Status.PRESENT}} == lacking,
            30,
            f"exactly {lacking} to be missing",
        )
        statuses = found()[next(iter(lacking))]
        uses = [one for one in needed(_link(clusters, kind)) if _rows([one]) == lacking]
        assert statuses == {Status.WARNING if one.has_substitute else Status.MISSING for one in uses}
        rows = _check(
            clusters[Side.LOCAL].sasl_bootstrap_servers, _link(clusters, kind), _SOURCE, security=_security(kind)
        )
        command = next(row.command for row in rows if (row.side, row.name) in lacking)
        assert command.startswith(
            f"kafka-acls.sh --bootstrap-server {clusters[right.side].sasl_bootstrap_servers} --add "
        )
        assert f"--allow-principal User:{kind} --operation {_IN_COMMANDS[right.operation]} --" in command
    finally:
        rights.grant(cluster, kind, [acl])
    wait_until(
        lambda: all(statuses == {Status.PRESENT} for statuses in found().values()), 30, "everything to be there again"
    )


def test_what_cannot_be_told_is_unknown(clusters: Clusters) -> None:
    """Without a topic nothing is said of topics; nobody is there to be asked who may do what."""
    found = _check_least(clusters, _ONE_WAY, "checked-orders")
    assert found[Side.LOCAL, "auto.create.topics.enable"] == {Status.UNKNOWN}
    local = clusters[Side.LOCAL].sasl_bootstrap_servers
    rows = _check(local, _link(clusters, _ONE_WAY), security=_security(_ONE_WAY))
    topical = [row for row in rows if row.name.endswith(("source topics", "mirror topics"))]
    assert {(row.status, row.detail.split(";")[0]) for row in topical} == {
        (Status.UNKNOWN, "no source topic is named, mirrored or selected by a filter yet")
    }


def test_clusters_without_authorizers_and_their_settings(start_cluster: Callable[..., KafkaCluster]) -> None:
    """Everything is allowed there; the settings of brokers are read; ACLs cannot be synced."""
    cluster = start_cluster(settings={"auto.create.topics.enable": True, "socket.request.max.bytes": 2_000_000})
    here = cluster.bootstrap_servers
    topics.create(here, _SOURCE, config={"max.message.bytes": "3000000"})
    remote = RemoteCluster(bootstrap_servers=(here,), cluster_id="")
    acls = AclSync(enable=True, filters=(AclFilter(),))
    link = Link(name="link", link_id="", remote=remote, producer_id=-1, acl_sync=acls, topic_prefix="far.")
    rows = _check(here, link, _SOURCE, write_guard=lambda: WriteGuardWay.DETECTION_ONLY)
    found = {(row.side, row.name): row for row in rows}
    statuses = {row: check.status for row, check in found.items() if check.status is not Status.PRESENT}
    assert statuses == {
        (Side.REMOTE, "an authorizer"): Status.MISSING,
        (Side.LOCAL, "an authorizer"): Status.MISSING,
        (Side.LOCAL, "auto.create.topics.enable"): Status.WARNING,
        (Side.LOCAL, "socket.request.max.bytes"): Status.WARNING,
        (Side.LOCAL, "super user"): Status.WARNING,
    }
    assert "3000000" in found[Side.LOCAL, "socket.request.max.bytes"].detail
    assert found[Side.REMOTE, "clock"].status is Status.PRESENT
    assert found[Side.REMOTE, "cluster id"].detail == cluster.cluster_id
    itself = link.model_copy(update={"topic_prefix": ""})
    other = link.model_copy(update={"remote": remote.model_copy(update={"cluster_id": "another"})})
    for wrong, text in ((itself, "is the local cluster itself"), (other, "another was expected")):
        row = next(row for row in _check(here, wrong) if row.name == "cluster id")
        assert (row.status, row.is_required) == (Status.MISSING, True)
        assert text in row.detail


def test_brokers_that_advertise_what_leads_nowhere(
    start_cluster: Callable[..., KafkaCluster], start_engine: Callable[..., EngineProcess]
) -> None:
    """The one failure that looks like none: the bootstrap server answers. Named by the check, and refused at create."""
    nowhere = ports.free_port()
    cluster = start_cluster(listeners={"FAR": Listener("PLAINTEXT", advertised=f"127.0.0.1:{nowhere}")})
    engine = start_engine()
    remote = RemoteCluster(bootstrap_servers=(cluster.servers("FAR"),), cluster_id="")
    link = Link(name="link", link_id="", remote=remote, producer_id=-1)
    found = {(row.side, row.name): row for row in _check(cluster.bootstrap_servers, link, _SOURCE)}
    assert found[Side.REMOTE, "bootstrap servers"].status is Status.PRESENT
    row = found[Side.REMOTE, "advertised brokers"]
    assert (row.status, row.is_required) == (Status.MISSING, True)
    assert f"broker 1 is advertised at 127.0.0.1:{nowhere}" in row.detail
    assert "advertised.listeners" in row.detail
    with pytest.raises(grpc.RpcError) as refused:
        engine.create_link("link", cluster.servers("FAR"))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"broker 1 is advertised at 127.0.0.1:{nowhere}" in (refused.value.details() or "")


def test_a_source_that_swallows_everything_does_not_hold_up_the_rest(clusters: Clusters) -> None:
    """Nobody accepts there: the table comes in time, with what is known of the local cluster."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        remote = RemoteCluster(bootstrap_servers=(address,), cluster_id="")
        link = Link(name="link", link_id="", remote=remote, producer_id=-1)
        rows = _check(
            clusters[Side.LOCAL].sasl_bootstrap_servers, link, _SOURCE, security=_security(_ONE_WAY), seconds=3
        )
    found = {(row.side, row.name): row for row in rows}
    assert found[Side.REMOTE, "bootstrap servers"].status is Status.MISSING
    assert "did not answer in time" in found[Side.REMOTE, "bootstrap servers"].detail
    others = [row.status for row in rows if row.side is Side.REMOTE and row.name != "bootstrap servers"]
    assert set(others) == {Status.UNKNOWN}
    assert found[Side.LOCAL, "WRITE on mirror topics"].status is Status.PRESENT


def _everything(bootstrap: str) -> dict[str, object]:
    """What a check could have changed: topics and their settings and ends, ACLs, groups and transactional ids."""
    client = topics.admin(bootstrap)
    names = sorted(client.list_topics(timeout=_SECONDS).topics)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    settings = {
        resource.name: {name: entry.value for name, entry in future.result(_SECONDS).items()}
        for resource, future in client.describe_configs(resources).items()
    }
    listed = client.list_consumer_groups().result(_SECONDS)
    return {
        "settings": settings,
        "ends": {name: topics.log_ends(bootstrap, name) for name in names},
        "acls": rights.present(bootstrap, ""),
        "groups": sorted(group.group_id for group in listed.valid),
    }
