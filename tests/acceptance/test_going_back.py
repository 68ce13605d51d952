"""A reversed mirror topic under Terraform, on real clusters: its direction, and what a destroy does to which topic."""

import pytest

from clusterlink_engine.devkit.engine import EngineApi
from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import RealEngine
from tests.acceptance.terraform import Terraform, blamed
from tests.support import produce, topics
from tests.support.waiting import wait_until

LINK = "clusterlink_link.both"
ORDERS = "clusterlink_mirror_topic.orders"


def config(engine: RealEngine, extra: str = "", *, prefix: str = "") -> str:
    return f"""
resource "clusterlink_link" "both" {{
  name           = "both"
  mode           = "BIDIRECTIONAL"
  remote_cluster = {{ bootstrap_servers = ["{engine.remote_bootstrap}"] }}
  {prefix}
}}
resource "clusterlink_mirror_topic" "orders" {{
  link               = clusterlink_link.both.name
  source_topic       = "orders"
  replication_factor = 1
  {extra}
}}
"""


@pytest.fixture
def reversed_topic(terraform: Terraform, engine: RealEngine, client: EngineClient) -> Terraform:
    """A mirror topic whose mirror is on the remote cluster; Terraform has not seen that yet."""
    engine.create_source_topic("orders", 2)
    produce.write(engine.remote_bootstrap, "orders", produce.varied(100, 2))
    terraform.step(config(engine), {LINK: "create", ORDERS: "create"})
    with EngineApi(engine.endpoint) as api:
        api.mirror_topics.ReverseMirrorTopic(v1.ReverseMirrorTopicRequest(name="orders"), timeout=60)

    def is_reversed() -> bool:
        topic = client.get_mirror_topic("orders")
        assert topic is not None
        return (topic.direction, topic.state) == (v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE, v1.MIRROR_TOPIC_STATE_ACTIVE)

    wait_until(is_reversed, 60, "the mirror topic to be reversed")
    return terraform


def test_a_prefix_is_refused_with_both_directions(terraform: Terraform, engine: RealEngine) -> None:
    terraform.write(config(engine, prefix='topic_prefix = "p."'))
    planned = terraform.plan()
    assert planned.code == 1
    assert blamed(planned.error("Topic prefix with both directions")) == 'topic_prefix = "p."'


def test_a_reversed_mirror_topic_is_no_change_and_can_be_failed_over(
    reversed_topic: Terraform, engine: RealEngine
) -> None:
    terraform = reversed_topic
    terraform.expect_no_changes()
    terraform.write(config(engine) + 'data "clusterlink_mirror_topics" "all" {}\n')
    terraform.apply()
    assert terraform.state[ORDERS]["direction"] == "LOCAL_TO_REMOTE"
    (listed,) = terraform.state["data.clusterlink_mirror_topics.all"]["mirror_topics"]
    assert (listed["id"], listed["direction"], listed["automatic"]) == ("both/orders", "LOCAL_TO_REMOTE", False)
    terraform.step(config(engine, 'status = "FAILED_OVER"'), {ORDERS: "update"})
    produce.write(engine.remote_bootstrap, "orders", [produce.Record(b"key", b"a topic like any other")])
    terraform.destroy()
    assert topics.exists(engine.remote_bootstrap, "orders")
    assert topics.exists(engine.local_bootstrap, "orders")


def test_destroying_a_reversed_mirror_topic_with_its_topic_deletes_the_one_on_the_remote_cluster(
    reversed_topic: Terraform, engine: RealEngine
) -> None:
    terraform = reversed_topic
    terraform.step(config(engine, 'on_destroy = "DELETE_TOPIC"'), {ORDERS: "update"})
    warnings = terraform.plan("-destroy").diagnostics("warning")
    assert "A topic of the remote cluster is deleted" in {warning["summary"] for warning in warnings}
    terraform.destroy()
    assert not topics.exists(engine.remote_bootstrap, "orders")
    assert topics.exists(engine.local_bootstrap, "orders")
