"""The engine ends in the middle of a create: the same apply goes on with it, a later one finds it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.points import around, in_part
from tests.support.waiting import wait_until

APPLY = ("apply", "-json", "-auto-approve", "-input=false")
LINK = "clusterlink_link.x"


@pytest.fixture
def own_engine(start_engine: Callable[..., EngineProcess]) -> EngineProcess:
    """An engine of this test alone."""
    return start_engine()


@pytest.fixture
def own_terraform(tmp_path: Path, own_engine: EngineProcess, resident: ResidentProvider) -> Terraform:
    """Terraform for this engine."""
    return Terraform(tmp_path / "work", tmp_path / "no-plugins", own_engine.endpoint, resident.reattach)


@pytest.fixture
def link(source_cluster: KafkaCluster) -> str:
    return f"""
resource "clusterlink_link" "x" {{
  name           = "link"
  remote_cluster = {{ bootstrap_servers = ["{source_cluster.bootstrap_servers}"] }}
}}
"""


def mirrors(*names: str, extra: str = "") -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"""
resource "clusterlink_mirror_topic" "x" {{
  for_each     = toset([{listed}])
  link         = clusterlink_link.x.name
  source_topic = each.key
  {extra}
}}
"""


@pytest.mark.parametrize("point", in_part(around("producer_id", "write")))
def test_a_link_whose_engine_dies_is_adopted_by_the_same_apply(
    own_engine: EngineProcess, own_terraform: Terraform, link: str, point: str
) -> None:
    own_terraform.write(link)
    own_engine.crash_at(point)
    process = own_terraform.start(*APPLY)
    own_engine.wait(60)
    own_engine.start()
    result = own_terraform.finish(process)
    assert result.code == 0, result.output
    assert "tainted" not in own_terraform.state[LINK]
    own_terraform.expect_no_changes()


@pytest.mark.parametrize("point", in_part(around("write", "create_topic", "write:2"), "create_topic:1:after"))
def test_a_mirror_topic_whose_engine_dies_is_adopted_by_the_same_apply(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    own_engine: EngineProcess,
    own_terraform: Terraform,
    link: str,
    topic_name: str,
    point: str,
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=2)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100, partitions=2))
    own_terraform.write(link)
    own_terraform.apply()
    own_engine.crash_at(point)
    own_terraform.write(link + mirrors(topic_name))
    process = own_terraform.start(*APPLY)
    own_engine.wait(60)
    own_engine.start()
    result = own_terraform.finish(process)
    assert result.code == 0, result.output
    own_terraform.expect_no_changes()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)


@pytest.mark.slow
def test_what_the_engine_finishes_after_the_apply_has_given_up_is_known_to_the_next_one(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    own_engine: EngineProcess,
    own_terraform: Terraform,
    link: str,
    topic_name: str,
) -> None:
    """Nobody could say whether it is there: it is in the state as tainted, and the next apply has one that is whole."""
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100))
    own_terraform.write(link)
    own_terraform.apply()
    own_engine.crash_at("write:1:after")
    own_terraform.write(link + mirrors(topic_name, extra='timeouts = { create = "4s" }'))
    result = own_terraform.apply(check=False)
    assert result.code == 1
    assert result.error("not reachable", own_engine.endpoint)
    own_engine.wait(10)
    own_engine.start()
    wait_until(lambda: own_engine.state(topic_name) == "ACTIVE", 30, "the engine to finish")
    address = f'clusterlink_mirror_topic.x["{topic_name}"]'
    assert own_terraform.state[address]["tainted"]
    own_terraform.apply()
    assert "tainted" not in own_terraform.state[address]
    own_terraform.expect_no_changes()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)


@pytest.mark.slow
def test_an_engine_that_is_restarted_meanwhile_loses_nothing(
    source_cluster: KafkaCluster, own_engine: EngineProcess, own_terraform: Terraform, link: str, topic_name: str
) -> None:
    """SIGTERM: what is under way comes to its end, the rest is asked of the next process."""
    names = [f"{topic_name}-{number}" for number in range(4)]
    for name in names:
        topics.create(source_cluster.bootstrap_servers, name)
    own_terraform.write(link + mirrors(*names))
    client = EngineClient(own_engine.endpoint)
    process = own_terraform.start(*APPLY, "-parallelism=1")
    wait_until(lambda: list(client.list_mirror_topics()), 60, "the first mirror topic")
    own_engine.stop()
    own_engine.start()
    result = own_terraform.finish(process)
    assert result.code == 0, result.output
    own_terraform.expect_no_changes()
    assert sorted(topic.name for topic in client.list_mirror_topics()) == names
