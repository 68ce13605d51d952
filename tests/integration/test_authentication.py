"""SASL on both sides, by the raw path and by the libraries; and what wrong credentials look like."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_PASSWORD = "a-secret, with=signs"  # noqa: S105 - of a cluster of this test
_USERS = {"mirror": _PASSWORD}


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaCluster]:
    """One cluster that is source and destination, where the link's user may do everything."""
    with KafkaCluster(users=_USERS, settings={"super.users": "User:ANONYMOUS;User:mirror"}, name="secured") as cluster:
        yield cluster


def _local(mechanism: str, password: str = _PASSWORD) -> dict[str, object]:
    sasl = {"mechanism": mechanism, "username": "mirror", "password": password}
    return {"security_protocol": "SASL_PLAINTEXT", "sasl": sasl}


def _remote(cluster: KafkaCluster, mechanism: str, password: str = _PASSWORD) -> v1.Link:
    sasl = v1.Sasl(mechanism=mechanism, username="mirror", password=password)
    remote = v1.RemoteCluster(
        bootstrap_servers=[cluster.sasl_bootstrap_servers], security_protocol="SASL_PLAINTEXT", sasl=sasl
    )
    return v1.Link(name="link", topic_prefix="mirror.", remote_cluster=remote)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_mechanism_on_both_sides(
    secured: KafkaCluster, start_engine: StartEngine, topic_name: str, mechanism: str
) -> None:
    """Records are mirrored, the broker's restart is survived, and the password is nowhere to be read."""
    topics.create(secured.bootstrap_servers, topic_name)
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(500))
    engine = start_engine(secured.sasl_bootstrap_servers, settings={"local_cluster": _local(mechanism)})
    link = engine.links.CreateLink(v1.CreateLinkRequest(link=_remote(secured, mechanism)), timeout=30)
    assert (link.remote_cluster.sasl.username, link.remote_cluster.sasl.password) == ("mirror", "")
    engine.create_mirror("link", topic_name)
    secured.nodes[0].restart()
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(500, seed=1))
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")
    answers = [engine.links.GetLink(v1.GetLinkRequest(name="link")), engine.mirror(f"mirror.{topic_name}")]
    assert all(_PASSWORD not in str(answer) for answer in answers)
    assert engine.stop() == 0
    assert _PASSWORD not in engine.log()


def test_wrong_credentials_of_a_link(secured: KafkaCluster, start_engine: StartEngine, topic_name: str) -> None:
    """Refused at create with the field; and when they become wrong, the link says so, goes on trying, and is mended."""
    engine = start_engine(secured.bootstrap_servers)
    wrong = _remote(secured, "SCRAM-SHA-256", "wrong-one")
    with pytest.raises(grpc.RpcError) as refused:
        engine.links.CreateLink(v1.CreateLinkRequest(link=wrong), timeout=30)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    details = refused.value.details() or ""
    assert 'refused the user "mirror" (SCRAM-SHA-256)' in details
    assert "wrong-one" not in details
    bare = v1.RemoteCluster(bootstrap_servers=["127.0.0.1:1"], security_protocol="SASL_PLAINTEXT")
    with pytest.raises(grpc.RpcError, match="needs sasl"):
        engine.links.CreateLink(v1.CreateLinkRequest(link=v1.Link(name="l", remote_cluster=bare)), timeout=30)
    good = _remote(secured, "SCRAM-SHA-256")
    engine.links.CreateLink(v1.CreateLinkRequest(link=good), timeout=30)
    topics.create(secured.bootstrap_servers, topic_name)
    engine.create_mirror("link", topic_name)
    changed = _remote(secured, "PLAIN")
    update = v1.UpdateLinkRequest(link=changed)
    update.update_mask.paths.append("remote_cluster.sasl")
    answer = engine.links.UpdateLink(update, timeout=30)
    assert answer.remote_cluster.sasl.mechanism == "PLAIN"
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100))
    assert_becomes_equal(secured, secured, topic_name, f"mirror.{topic_name}")


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [("PLAIN", 'refused the user "mirror" (PLAIN)'), ("SCRAM-SHA-512", 'refused the user "mirror" (SCRAM-SHA-512)')],
)
def test_wrong_credentials_of_the_local_cluster(
    secured: KafkaCluster, start_engine: StartEngine, mechanism: str, message: str
) -> None:
    """The engine ends with one line that says which cluster refused whom."""
    engine = start_engine(
        secured.sasl_bootstrap_servers, settings={"local_cluster": _local(mechanism, "wrong-one")}, wait=False
    )
    assert engine.wait(30) == 1
    wait_until(lambda: message in engine.log(), 5, "the message")
    assert "wrong-one" not in engine.log()
    assert "Traceback" not in engine.log()
