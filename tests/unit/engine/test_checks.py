"""Rights of a link and what their rows say: the table, the commands, and what an attempt's answer means."""

import shlex

import pytest

from clusterlink_engine.errors import Side
from clusterlink_engine.model.acls import AclFilter, AclOperation
from clusterlink_engine.model.checks import Grantee, some_of
from clusterlink_engine.model.filters import Filter
from clusterlink_engine.model.resources import AclSync, ConsumerOffsetSync, Link, LinkMode, RemoteCluster
from clusterlink_engine.model.rights import RIGHTS, Feature, Right, Scope, needed
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security, Tls
from clusterlink_engine.wire.attempts import ATTEMPTED, verdict
from clusterlink_engine.wire.codes import Code

_REMOTE = RemoteCluster(bootstrap_servers=("a:1",), cluster_id="")
_ALWAYS = set(Feature) - {Feature.OFFSETS, Feature.ACLS, Feature.GOING_BACK}


@pytest.mark.parametrize(
    ("values", "features"),
    [
        ({}, set()),
        (
            {"consumer_offset_sync": ConsumerOffsetSync(enable=True, group_filters=(Filter(name="*"),))},
            {Feature.OFFSETS},
        ),
        ({"acl_sync": AclSync(enable=True, filters=(AclFilter(),))}, {Feature.ACLS}),
        ({"acl_sync": AclSync(enable=False, filters=(AclFilter(),))}, set()),
        ({"mode": LinkMode.BIDIRECTIONAL}, {Feature.GOING_BACK}),
    ],
)
def test_a_link_needs_what_its_features_need(values: dict[str, object], features: set[Feature]) -> None:
    link = Link.model_validate({"name": "l", "link_id": "", "remote": _REMOTE, "producer_id": -1, **values})
    assert {right.feature for right in needed(link)} == _ALWAYS | features


def test_every_right_can_be_tried() -> None:
    """Or is one on the cluster itself, which tells what may be done with it."""
    tried = {(right.scope.resource_type, right.operation) for right in RIGHTS if right.scope is not Scope.CLUSTER}
    assert tried == set(ATTEMPTED)


def test_an_answer_that_says_nothing_of_rights_is_no_right() -> None:
    assert verdict(Code.TOPIC_AUTHORIZATION_FAILED) is False
    assert verdict(Code.UNKNOWN_TOPIC_OR_PARTITION) is True
    for code in (-1, Code.REQUEST_TIMED_OUT, Code.SECURITY_DISABLED, 42):
        assert verdict(code) is None


def _right(scope: Scope, operation: AclOperation) -> Right:
    return Right(Side.LOCAL, scope, operation, Feature.RECORDS)


def test_commands_name_whom_and_what_and_can_be_pasted_whatever_a_name_holds() -> None:
    sasl = Sasl(mechanism="PLAIN", username="a user", password="p")  # noqa: S106
    grantee = Grantee.of(["a:1", "b:2"], Security(security_protocol="SASL_PLAINTEXT", sasl=sasl))
    command = grantee.command(_right(Scope.SYNCED_GROUPS, AclOperation.READ), ["x; rm -rf $HOME", "b"])
    to = ["kafka-acls.sh", "--bootstrap-server", "a:1,b:2", "--add", "--allow-principal", "User:a user", "--operation"]
    assert shlex.split(command) == [*to, "Read", "--group", "b", "--group", "x; rm -rf $HOME"]
    assert "'x; rm -rf $HOME'" in command
    assert grantee.command(_right(Scope.CLUSTER, AclOperation.ALTER), []).endswith("--operation Alter --cluster")
    names = grantee.command(_right(Scope.ENGINE_TRANSACTIONS, AclOperation.WRITE), ["clusterlink-x-check"])
    assert names.endswith("--transactional-id clusterlink- --resource-pattern-type prefixed")


@pytest.mark.parametrize(
    ("security", "principal"),
    [
        (Security(), "User:ANONYMOUS"),
        (Security(security_protocol="SSL"), "User:ANONYMOUS"),
        (Security(security_protocol="SSL", tls=Tls()), "User:ANONYMOUS"),
    ],
)
def test_who_shows_nothing_is_anonymous(security: Security, principal: str) -> None:
    assert Grantee.of(["a:1"], security).principal == principal


def test_a_few_names_stand_for_many() -> None:
    assert some_of([]) == ""
    assert some_of(["b", "a"]) == "a, b"
    assert some_of([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
