"""What a configuration does to mirror topics that run, have failed, or have lost their source; and what destroys do."""

from collections.abc import Callable

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import RealEngine
from tests.acceptance.terraform import Terraform
from tests.acceptance.test_life import LINK, ORDERS, link, mirror
from tests.support import produce, topics
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

# A source that was made anew is noticed soon, and mirror topics have settings of their own.
SOON = """
  config            = { "metadata.max.age.ms" = "500" }
  topic_config_sync = { include = ["retention.ms"] }
"""
REBUILD = 'on_failed = "REBUILD"'


@pytest.fixture
def applied(terraform: Terraform, engine: RealEngine) -> Terraform:
    """A link with a mirror topic of three partitions and some records, applied."""
    engine.create_source_topic("orders", 3)
    produce.write(engine.remote_bootstrap, "orders", produce.varied(30, partitions=3))
    terraform.step(link(engine, SOON) + mirror(), {LINK: "create", ORDERS: "create"})
    return terraform


@pytest.fixture
def has_everything(engine: RealEngine) -> Callable[[str], None]:
    """Waits until a mirror topic ends where its source ends."""

    def wait(name: str) -> None:
        def is_equal() -> bool:
            return topics.log_ends(engine.local_bootstrap, name) == topics.log_ends(engine.remote_bootstrap, name)

        wait_until(is_equal, 30, f"{name} to be mirrored")

    return wait


def _id(client: EngineClient, name: str) -> str:
    found = client.get_mirror_topic(name)
    assert found is not None
    return found.topic_id


# Failed ones.


def test_a_failed_mirror_topic_is_rebuilt_in_place(
    applied: Terraform, engine: RealEngine, client: EngineClient, has_everything: Callable[[str], None]
) -> None:
    before = _id(client, "orders")
    engine.fail_mirror_topic("orders")
    applied.write(link(engine, SOON) + mirror(REBUILD))
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    (warning,) = planned.diagnostics("warning")
    assert warning["summary"] == "Mirror topic is deleted and mirrored anew"
    assert "FOREIGN_WRITE" in warning["detail"]
    applied.step(link(engine, SOON) + mirror(REBUILD), {ORDERS: "update"})
    assert _id(client, "orders") != before
    has_everything("orders")
    # Nothing happens to one that has not failed.
    applied.step(
        link(engine, SOON) + mirror(f'{REBUILD}\n  config = {{ "min.insync.replicas" = "1" }}'), {ORDERS: "update"}
    )
    found = client.get_mirror_topic("orders")
    assert found is not None
    assert dict(found.config) == {"min.insync.replicas": "1"}


def test_a_rebuild_mirrors_the_source_that_there_is_now(
    applied: Terraform, engine: RealEngine, client: EngineClient, has_everything: Callable[[str], None]
) -> None:
    """With other partitions and another id; and paused, as the configuration wants it."""
    before = applied.state[ORDERS]["source_topic_id"]
    topics.delete(engine.remote_bootstrap, "orders")
    topics.create(engine.remote_bootstrap, "orders", 2)
    produce.write(engine.remote_bootstrap, "orders", produce.varied(20, partitions=2))
    wait_until(lambda: (found := client.get_mirror_topic("orders")) and found.error, 30, "the mirror topic to fail")
    applied.step(link(engine, SOON) + mirror(REBUILD), {ORDERS: "update"})
    assert applied.state[ORDERS]["partitions"] == 2
    assert applied.state[ORDERS]["source_topic_id"] not in (None, before)
    has_everything("orders")


def test_a_mirror_topic_that_fails_after_the_plan_is_not_rebuilt(
    applied: Terraform, engine: RealEngine, client: EngineClient
) -> None:
    applied.step(link(engine, SOON) + mirror(REBUILD), {ORDERS: "update"})
    before = _id(client, "orders")
    applied.write(link(engine, SOON) + mirror(f'{REBUILD}\n  config = {{ "min.insync.replicas" = "1" }}'))
    applied.run("plan", "-out=later.tfplan", "-input=false")
    engine.fail_mirror_topic("orders")
    refused = applied.run("apply", "-json", "later.tfplan", check=False)
    assert refused.error("has failed", "FOREIGN_WRITE")["address"] == ORDERS
    assert _id(client, "orders") == before


def test_a_failed_mirror_topic_is_failed_over_and_not_promoted(
    applied: Terraform, engine: RealEngine, client: EngineClient
) -> None:
    engine.fail_mirror_topic("orders")
    applied.write(link(engine, SOON) + mirror('status = "PROMOTED"'))
    planned = applied.plan()
    assert planned.code == 1
    assert planned.error("cannot be promoted", "FOREIGN_WRITE")["address"] == ORDERS
    failed_over = link(engine, SOON) + mirror('status = "FAILED_OVER"')
    applied.write(failed_over)
    assert "This is final" in [item["summary"] for item in applied.plan().diagnostics("warning")]
    applied.step(failed_over, {ORDERS: "update"})
    assert applied.state[ORDERS]["observed_status"] == "STOPPED"


# Without a source.


def test_what_lost_its_source_is_no_drift_cannot_be_promoted_in_time_and_is_failed_over(
    terraform: Terraform, engine: RealEngine, client: EngineClient, source_cluster: KafkaCluster
) -> None:
    engine.create_source_topic("orders")
    port = int(source_cluster.bootstrap_servers.rpartition(":")[2])
    with Proxy(port, seed=1) as proxy:
        base = link(engine).replace(engine.remote_bootstrap, proxy.bootstrap_servers)
        terraform.step(base + mirror(), {LINK: "create", ORDERS: "create"})
    wait_until(
        lambda: (
            (found := client.get_mirror_topic("orders")) and found.state == v1.MIRROR_TOPIC_STATE_SOURCE_UNAVAILABLE
        ),
        60,
        "the source to be missed",
    )
    terraform.expect_no_changes()
    terraform.write(base + mirror('status = "PROMOTED"\n  timeouts = { update = "2s" }'))
    refused = terraform.apply(check=False)
    assert (
        refused.error("not stopped yet", "was not PROMOTED after 2 s (timeouts.update). It waits: ")["address"]
        == ORDERS
    )
    # The engine goes on: what waits for its promote may still be failed over.
    failed_over = base + mirror('status = "FAILED_OVER"')
    terraform.step(failed_over, {ORDERS: "update"})
    assert terraform.state[ORDERS]["observed_status"] == "STOPPED"


# Destroys.


def test_the_topic_of_a_stopped_mirror_is_deleted_only_with_data(applied: Terraform, engine: RealEngine) -> None:
    def stopped(on_destroy: str) -> str:
        return link(engine, SOON) + mirror(f'status = "FAILED_OVER"\n  on_destroy = "{on_destroy}"')

    applied.step(stopped("DELETE_TOPIC"), {ORDERS: "update"})
    produce.write(engine.local_bootstrap, "orders", [produce.Record(b"k", b"own")])
    planned = applied.plan("-destroy")
    assert planned.code == 1
    assert planned.error("Not a mirror any more", "DELETE_TOPIC_WITH_DATA")["address"] == ORDERS
    applied.step(stopped("DELETE_TOPIC_WITH_DATA"), {ORDERS: "update"})
    planned = applied.plan("-destroy")
    assert [item["summary"] for item in planned.diagnostics("warning")] == ["A topic is deleted with its data"]
    applied.destroy()
    wait_until(lambda: not topics.exists(engine.local_bootstrap, "orders"), 30, "the topic to be deleted")


@pytest.mark.parametrize("on_destroy", ["KEEP_TOPIC", "DELETE_TOPIC", "DELETE_TOPIC_WITH_DATA"])
def test_on_destroy_of_a_live_mirror_topic(applied: Terraform, engine: RealEngine, on_destroy: str) -> None:
    if on_destroy != "KEEP_TOPIC":
        applied.step(link(engine, SOON) + mirror(f'on_destroy = "{on_destroy}"'), {ORDERS: "update"})
    applied.destroy()
    is_kept = on_destroy == "KEEP_TOPIC"
    wait_until(lambda: topics.exists(engine.local_bootstrap, "orders") == is_kept, 30, "the topic to be as wanted")


def test_destroying_a_link_fails_over_what_is_not_destroyed_with_it(
    terraform: Terraform, engine: RealEngine, client: EngineClient, has_everything: Callable[[str], None]
) -> None:
    """Those that it has made by itself; one of the configuration is detached, as its own `on_destroy` says."""
    for name in ("auto-a", "auto-b", "orders"):
        engine.create_source_topic(name)
        produce.write(engine.remote_bootstrap, name, produce.varied(20))
    automatic = f"""
  {SOON}
  on_destroy                = "FAILOVER"
  auto_create_mirror_topics = {{
    enable  = true
    filters = [{{ name = "auto-", pattern_type = "PREFIXED", filter_type = "INCLUDE" }}]
  }}
"""
    terraform.step(link(engine, automatic) + mirror(), {LINK: "create", ORDERS: "create"})
    for name in ("auto-a", "auto-b"):
        wait_until(lambda name=name: client.get_mirror_topic(name), 60, f"{name} to be made")  # type: ignore[misc]
        has_everything(name)
    planned = terraform.plan("-destroy")
    (warning,) = planned.diagnostics("warning")
    assert warning["summary"] == "Mirror topics are failed over"
    assert "live mirror topics (3)" in warning["detail"]
    terraform.destroy()
    assert list(client.list_links()) == []
    assert list(client.list_mirror_topics()) == []
    # They are topics like any other now: others write to them, and nobody mirrors over that.
    for name in ("auto-a", "auto-b"):
        end = topics.log_ends(engine.local_bootstrap, name)[0]
        produce.write(engine.local_bootstrap, name, [produce.Record(b"k", b"own")])
        assert topics.log_ends(engine.local_bootstrap, name)[0] == end + 1


def test_a_destroy_goes_by_what_was_applied(terraform: Terraform, engine: RealEngine, client: EngineClient) -> None:
    """A link whose `on_destroy` was changed but never applied refuses."""
    engine.create_source_topic("orders")
    terraform.step(link(engine) + mirror(), {LINK: "create", ORDERS: "create"})
    terraform.run("state", "rm", ORDERS)
    terraform.write(link(engine, 'on_destroy = "FAILOVER"'))
    refused = terraform.run("destroy", "-json", "-auto-approve", check=False)
    assert refused.error("Cannot delete the link from-primary")
    terraform.apply()
    terraform.destroy()
    assert topics.exists(engine.local_bootstrap, "orders")


def test_replacing_a_link_needs_its_mirror_topics_to_go_along(
    applied: Terraform, engine: RealEngine, client: EngineClient, has_everything: Callable[[str], None]
) -> None:
    """The plan warns and names the way; the engine refuses what is left; nothing is lost on the way."""
    later = link(engine, SOON + '  mirror_start_offset = "latest"')
    applied.write(later + mirror())
    planned = applied.plan()
    assert planned.actions == {LINK: "replace"}
    assert "replace_triggered_by" in planned.diagnostics("warning")[0]["detail"]
    before = applied.state
    refused = applied.apply(check=False)
    assert refused.error("Cannot delete the link from-primary", "1 mirror topics")
    assert applied.state == before
    triggered = mirror("lifecycle {\n    replace_triggered_by = [clusterlink_link.primary.mirror_start_offset]\n  }")
    applied.step(later + triggered, {LINK: "replace", ORDERS: "replace"})
    produce.write(engine.remote_bootstrap, "orders", produce.varied(30, partitions=3, seed=2))
    has_everything("orders")
