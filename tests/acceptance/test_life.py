"""The life of links and mirror topics under Terraform: made, changed, drifted, imported, replaced, destroyed."""

import re
from pathlib import Path

import pytest

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import Engine
from tests.acceptance.terraform import Terraform, blamed
from tests.support.waiting import wait_until

LINK = "clusterlink_link.primary"
ORDERS = "clusterlink_mirror_topic.orders"
KEEP = v1.TOPIC_DISPOSAL_KEEP_TOPIC


def link(engine: Engine, extra: str = "", *, name: str = "from-primary") -> str:
    return f"""
resource "clusterlink_link" "primary" {{
  name           = "{name}"
  remote_cluster = {{ bootstrap_servers = ["{engine.remote_bootstrap}"] }}
  {extra}
}}
"""


def mirror(extra: str = "", *, source: str = "orders") -> str:
    return f"""
resource "clusterlink_mirror_topic" "orders" {{
  link         = clusterlink_link.primary.name
  source_topic = "{source}"
  {extra}
}}
"""


@pytest.fixture
def applied(terraform: Terraform, engine: Engine) -> Terraform:
    """A link with a mirror topic, applied."""
    engine.create_source_topic("orders", 3)
    terraform.step(link(engine) + mirror(), {LINK: "create", ORDERS: "create"})
    return terraform


def test_create_and_destroy(applied: Terraform, client: EngineClient) -> None:
    topic, made = applied.state[ORDERS], applied.state[LINK]
    assert topic["id"] == "from-primary/orders"
    assert (topic["name"], topic["status"], topic["partitions"]) == ("orders", "ACTIVE", 3)
    assert made["id"] == "from-primary"
    assert made["remote_cluster"]["cluster_id"]
    assert made["topic_config_sync"]["interval_ms"] == 5000
    applied.destroy()
    assert client.get_mirror_topic("orders") is None
    assert client.get_link("from-primary") is None


def test_update_in_place(applied: Terraform, engine: Engine, client: EngineClient) -> None:
    changed_link = link(
        engine,
        """
  paused            = true
  topic_config_sync = { interval_ms = 7000, include = ["retention.ms"] }
  config            = { "replica.fetch.max.bytes" = "5242880", "cluster.link.io.max.bytes.per.second" = "20000000" }
""",
    )
    changed = changed_link + mirror('status = "PAUSED"\n  config = { "min.insync.replicas" = "1" }')
    link_id = applied.state[LINK]["link_id"]
    applied.step(changed, {LINK: "update", ORDERS: "update"})
    made, topic = client.get_link("from-primary"), client.get_mirror_topic("orders")
    assert made is not None
    assert topic is not None
    assert made.link_id == link_id
    assert (made.paused, made.topic_config_sync.interval_ms) == (True, 7000)
    assert list(made.topic_config_sync.include) == ["retention.ms"]
    assert dict(made.config) == {
        "replica.fetch.max.bytes": "5242880",
        "cluster.link.io.max.bytes.per.second": "20000000",
    }
    assert (topic.paused, dict(topic.config)) == (True, {"min.insync.replicas": "1"})
    # Taken out again, everything goes back to its default; the mirror topic's setting first, since the link will own it.
    applied.step(changed_link + mirror(), {ORDERS: "update"})
    applied.step(link(engine) + mirror(), {LINK: "update"})
    made, topic = client.get_link("from-primary"), client.get_mirror_topic("orders")
    assert made is not None
    assert topic is not None
    assert (made.paused, made.topic_config_sync.interval_ms, dict(made.config)) == (False, 5000, {})
    assert list(made.topic_config_sync.include) != ["retention.ms"]
    assert (topic.paused, dict(topic.config)) == (False, {})


def test_only_terraform_side_settings_change(applied: Terraform, engine: Engine) -> None:
    extra = 'timeouts = { create = "1m" }'
    applied.step(
        link(engine, extra) + mirror(f'on_destroy = "DELETE_TOPIC"\n{extra}'), {LINK: "update", ORDERS: "update"}
    )


def test_consumer_offset_sync_is_changed_in_place(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    def sync(filters: str, more: str = "") -> str:
        return link(engine, f"consumer_offset_sync = {{ enable = true, group_filters = [{filters}] {more} }}")

    every = '{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }'
    but = '{ name = "tmp-", pattern_type = "PREFIXED", filter_type = "EXCLUDE" }'
    terraform.step(sync(every), {LINK: "create"})
    assert terraform.state[LINK]["consumer_offset_sync"]["interval_ms"] == 30000
    terraform.step(sync(f"{but}, {every}"), {LINK: "update"})
    terraform.step(sync(f"{every}, {but}", ", interval_ms = 30000"), {})
    made = client.get_link("from-primary")
    assert made is not None
    assert {(entry.name, entry.filter_type) for entry in made.consumer_offset_sync.group_filters} == {
        ("*", "INCLUDE"),
        ("tmp-", "EXCLUDE"),
    }
    made.consumer_offset_sync.enable = False
    client.update_link(made, ["consumer_offset_sync"], seconds=30)
    assert terraform.plan().code == 2  # drift
    terraform.step(link(engine), {LINK: "update"})
    made = client.get_link("from-primary")
    assert made is not None
    assert (made.consumer_offset_sync.enable, len(made.consumer_offset_sync.group_filters)) == (False, 0)


def test_acls_and_automatic_mirror_topics_are_changed_in_place(
    terraform: Terraform, engine: Engine, client: EngineClient
) -> None:
    acl = (
        '{ resource_type = "TOPIC", resource_name = "orders", pattern_type = "ANY", principal = "", host = "*", '
        'operation = "READ", permission_type = "ANY" }'
    )
    include = '{ name = "made-up-", pattern_type = "PREFIXED", filter_type = "INCLUDE" }'
    both = f"""
  acl_sync                  = {{ enable = true, filters = [{acl}] }}
  auto_create_mirror_topics = {{ enable = true, filters = [{include}] }}
"""
    terraform.step(link(engine), {LINK: "create"})
    terraform.step(link(engine, both), {LINK: "update"})
    made = client.get_link("from-primary")
    assert made is not None
    assert (made.acl_sync.enable, made.acl_sync.interval_ms) == (True, 5000)
    assert [(entry.resource_name, entry.operation) for entry in made.acl_sync.filters] == [("orders", "READ")]
    assert [entry.name for entry in made.auto_create_mirror_topics.filters] == ["made-up-"]
    made.auto_create_mirror_topics.enable = False
    client.update_link(made, ["auto_create_mirror_topics"], seconds=30)
    assert terraform.plan().code == 2  # drift
    terraform.step(link(engine), {LINK: "update"})
    made = client.get_link("from-primary")
    assert made is not None
    assert (made.acl_sync.enable, len(made.acl_sync.filters)) == (False, 0)
    assert len(made.auto_create_mirror_topics.filters) == 0


def test_set_order_and_spelling_mean_nothing(terraform: Terraform, engine: Engine) -> None:
    extra = 'topic_config_sync = { include = ["retention.ms", "segment.bytes"] }'
    terraform.step(link(engine, extra), {LINK: "create"})
    terraform.step(
        link(engine, 'topic_config_sync = { include = ["segment.bytes", "retention.ms"], interval_ms = 5000 }'), {}
    )


def test_prefix_gives_the_name(terraform: Terraform, engine: Engine) -> None:
    engine.create_source_topic("orders")
    terraform.write(link(engine, 'topic_prefix = "primary."') + mirror())
    planned = terraform.plan("-out=check.tfplan")
    assert planned.code == 2
    assert '"primary.orders"' in terraform.run("show", "-no-color", "check.tfplan").output
    terraform.step(link(engine, 'topic_prefix = "primary."') + mirror(), {LINK: "create", ORDERS: "create"})
    assert terraform.state[ORDERS]["id"] == "from-primary/primary.orders"
    # A new prefix is a new link, and new names for its mirror topics.
    terraform.step(link(engine, 'topic_prefix = "p2."') + mirror(), {LINK: "replace", ORDERS: "replace"})
    assert terraform.state[ORDERS]["name"] == "p2.orders"


def test_replacement_names_the_attribute(applied: Terraform, engine: Engine) -> None:
    engine.create_source_topic("payments")
    applied.write(link(engine) + mirror(source="payments"))
    assert applied.replace_paths(ORDERS) == [["name"], ["source_topic"]]
    applied.step(link(engine) + mirror(source="payments"), {ORDERS: "replace"})
    applied.step(link(engine, name="other") + mirror(source="payments"), {LINK: "replace", ORDERS: "replace"})
    assert applied.state[ORDERS]["id"] == "other/payments"


def test_forced_replacement(applied: Terraform) -> None:
    assert applied.apply(f"-replace={ORDERS}").code == 0
    applied.expect_no_changes()


def test_drift_paused(applied: Terraform, client: EngineClient) -> None:
    client.set_mirror_topic_paused("orders", "from-primary", True, seconds=30)
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    assert '"PAUSED" -> "ACTIVE"' in applied.run("plan", "-no-color").output
    applied.apply()
    applied.expect_no_changes()
    topic = client.get_mirror_topic("orders")
    assert topic is not None
    assert not topic.paused


def test_drift_link_changed(applied: Terraform, client: EngineClient) -> None:
    client.set_link_paused("from-primary", True, seconds=30)
    made = client.get_link("from-primary")
    assert made is not None
    made.topic_config_sync.interval_ms = 9000
    client.update_link(made, ["topic_config_sync"], seconds=30)
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {LINK: "update"})
    applied.apply()
    applied.expect_no_changes()


def test_drift_deleted(applied: Terraform, client: EngineClient) -> None:
    client.delete_mirror_topic("orders", "from-primary", KEEP, seconds=60)
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "create"})
    applied.apply()
    applied.expect_no_changes()


def test_drift_failed(applied: Terraform, engine: Engine) -> None:
    engine.fail_mirror_topic("orders")
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    assert "FOREIGN_WRITE" in planned.diagnostics("warning")[0]["detail"]
    assert '"FAILED" -> "ACTIVE"' in applied.run("plan", "-no-color").output
    refused = applied.apply(check=False)
    assert refused.code == 1
    assert refused.error("has failed", "FOREIGN_WRITE")["address"] == ORDERS
    assert applied.state[ORDERS]["status"] == "FAILED"
    assert "FOREIGN_WRITE" in applied.state[ORDERS]["error"]


def test_a_failed_mirror_topic_is_mirrored_anew(applied: Terraform, engine: Engine) -> None:
    """By the step that any resource has: delete with data, replace. `on_destroy` is taken over although the apply fails."""
    engine.fail_mirror_topic("orders")
    applied.write(link(engine) + mirror('on_destroy = "DELETE_TOPIC"'))
    assert 'set on_failed = "REBUILD"' in applied.apply(check=False).error("has failed")["detail"]
    assert applied.state[ORDERS]["on_destroy"] == "DELETE_TOPIC"
    applied.apply(f"-replace={ORDERS}")
    assert applied.state[ORDERS]["status"] == "ACTIVE"
    applied.expect_no_changes()


def test_import_command(applied: Terraform) -> None:
    before = applied.state
    for address, identifier in ((ORDERS, "from-primary/orders"), (LINK, "from-primary")):
        applied.run("state", "rm", address)
        applied.run("import", "-input=false", address, identifier)
    assert applied.state == before
    applied.expect_no_changes()


def test_import_of_a_wrong_id(terraform: Terraform, engine: Engine) -> None:
    terraform.write(link(engine) + mirror())
    for address, identifier, word in (
        (ORDERS, "orders", "Expected"),
        (ORDERS, "from-primary/nothing", "non-existent"),
        (LINK, "a/b", "Expected"),
        (LINK, "nothing", "non-existent"),
    ):
        result = terraform.run("import", "-no-color", "-input=false", address, identifier, check=False)
        assert result.code == 1
        assert word in result.output
    assert terraform.state == {}


def test_import_block_with_generated_configuration(applied: Terraform, engine: Engine, tmp_path: Path) -> None:
    fresh = Terraform(tmp_path / "fresh", Path(), engine.endpoint)
    fresh.environment = applied.environment
    blocks = f"""
import {{
  to = {LINK}
  id = "from-primary"
}}
import {{
  to = {ORDERS}
  id = "from-primary/orders"
}}
"""
    fresh.write(blocks)
    fresh.run("plan", "-input=false", "-generate-config-out=generated.tf")
    generated = (fresh.directory / "generated.tf").read_text()
    assert re.search(r'source_topic\s+= "orders"', generated)
    planned = fresh.plan()
    assert planned.actions == {LINK: "import", ORDERS: "import"}, planned.output
    fresh.apply()
    fresh.expect_no_changes()


def test_destroying_a_link_with_live_mirror_topics(applied: Terraform, engine: Engine, client: EngineClient) -> None:
    applied.run("state", "rm", ORDERS)
    applied.write(link(engine))
    planned = applied.plan("-destroy")
    assert "live mirror topics" in planned.diagnostics("warning")[0]["summary"]
    refused = applied.run("destroy", "-json", "-auto-approve", check=False)
    assert refused.code == 1
    assert refused.error("Cannot delete the link from-primary")
    assert LINK in applied.state
    client.delete_mirror_topic("orders", "from-primary", KEEP, seconds=60)
    applied.destroy()


def test_gone_objects_are_destroyed_without_error(applied: Terraform, client: EngineClient) -> None:
    client.delete_mirror_topic("orders", "from-primary", KEEP, seconds=60)
    client.delete_link("from-primary", seconds=60)
    applied.run("destroy", "-auto-approve", "-refresh=false", "-input=false")
    assert applied.state == {}


def test_data_sources(applied: Terraform, engine: Engine) -> None:
    data = """
data "clusterlink_engine" "this" {}
data "clusterlink_mirror_topic" "orders" {
  link = clusterlink_link.primary.name
  name = clusterlink_mirror_topic.orders.name
}
output "limit" { value = data.clusterlink_engine.this.max_links }
"""
    applied.write(link(engine) + mirror() + data)
    applied.apply()
    applied.expect_no_changes()
    state = applied.state
    assert state["data.clusterlink_engine.this"]["max_links"] == 10
    assert len(state["data.clusterlink_mirror_topic.orders"]["partitions"]) == 3


def test_automatic_mirror_topics_are_listed_and_imported(
    terraform: Terraform, engine: Engine, client: EngineClient
) -> None:
    engine.create_source_topic("auto-orders")
    automatic = """
  config                    = { "metadata.max.age.ms" = "500" }
  auto_create_mirror_topics = {
    enable  = true
    filters = [{ name = "auto-", pattern_type = "PREFIXED", filter_type = "INCLUDE" }]
  }
"""
    terraform.step(link(engine, automatic), {LINK: "create"})
    wait_until(lambda: client.get_mirror_topic("auto-orders"), 60, "the link to make the mirror topic")
    imported = """
data "clusterlink_mirror_topics" "all" {}
locals {
  automatic = { for topic in data.clusterlink_mirror_topics.all.mirror_topics : topic.name => topic if topic.automatic }
}
import {
  for_each = local.automatic
  to       = clusterlink_mirror_topic.automatic[each.key]
  id       = each.value.id
}
resource "clusterlink_mirror_topic" "automatic" {
  for_each     = local.automatic
  link         = each.value.link
  source_topic = each.value.source_topic
}
"""
    terraform.step(link(engine, automatic) + imported, {'clusterlink_mirror_topic.automatic["auto-orders"]': "import"})


def test_invalid_source_topic_points_to_its_line(terraform: Terraform, engine: Engine) -> None:
    terraform.write(link(engine))
    terraform.apply()
    terraform.write(link(engine) + mirror(source="nothing-there"))
    planned = terraform.plan()
    assert planned.code == 1
    assert blamed(planned.error("nothing-there")) == 'source_topic = "nothing-there"'


def test_wrong_remote_cluster(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    # Another cluster is found by the plan already.
    another = f'{{ bootstrap_servers = ["{engine.remote_bootstrap}"], cluster_id = "another" }}'
    for remote, title, word in (
        (another, "Wrong remote cluster", "another was expected"),
        ('{ bootstrap_servers = ["127.0.0.1:1"] }', "Cannot create the link a", "127.0.0.1:1"),
    ):
        terraform.write(f'resource "clusterlink_link" "primary" {{\n  name = "a"\n  remote_cluster = {remote}\n}}\n')
        result = terraform.apply(check=False)
        error = result.error(title, word)
        assert "bootstrap_servers" in blamed(error)
        assert terraform.state == {}
        assert client.get_link("a") is None


def test_other_bootstrap_servers_in_place(applied: Terraform, engine: Engine) -> None:
    """A second address of the same cluster is no other cluster."""
    other = engine.remote_bootstrap.replace("127.0.0.1", "localhost")
    changed = link(engine).replace(f'["{engine.remote_bootstrap}"]', f'["{engine.remote_bootstrap}", "{other}"]')
    applied.step(changed + mirror(), {LINK: "update"})


def test_another_cluster_id_replaces_the_link(applied: Terraform, engine: Engine) -> None:
    changed = link(engine).replace('"]', '"], cluster_id = "another"')
    applied.write(changed + mirror())
    assert applied.replace_paths(LINK) == [["remote_cluster", "cluster_id"]]


def test_a_source_topic_can_be_paused_from_the_start(
    terraform: Terraform, engine: Engine, client: EngineClient
) -> None:
    engine.create_source_topic("orders")
    config = link(engine, "paused = true") + mirror('status = "PAUSED"')
    terraform.step(config, {LINK: "create", ORDERS: "create"})
    topic = client.get_mirror_topic("orders")
    assert topic is not None
    assert topic.paused


def test_promote_is_said_to_be_final_and_is(applied: Terraform, engine: Engine, client: EngineClient) -> None:
    promoted = link(engine) + mirror('status = "PROMOTED"')
    applied.write(promoted)
    planned = applied.plan()
    assert planned.code == 2
    assert planned.diagnostics("warning")[0]["summary"] == "This is final"
    applied.step(promoted, {ORDERS: "update"})
    assert (applied.state[ORDERS]["status"], applied.state[ORDERS]["observed_status"]) == ("PROMOTED", "STOPPED")
    # The configuration asks for what there is not: nothing is touched.
    applied.write(link(engine) + mirror())
    planned = applied.plan()
    assert planned.code == 1
    refused = planned.error("stopped for good", "Terraform never makes it a mirror topic again")
    assert refused["address"] == ORDERS
    applied.step(promoted, {})
    applied.destroy()
    assert client.get_mirror_topic("orders") is None


def test_a_failover_by_an_operator_is_drift_and_its_status_ends_it(
    applied: Terraform, engine: Engine, client: EngineClient
) -> None:
    client.stop_mirror_topic("orders", "from-primary", v1.MIRROR_TOPIC_STOP_FAILOVER, seconds=30)
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    assert "Apply will refuse" in planned.diagnostics("warning")[0]["detail"]
    refused = applied.apply(check=False)
    assert refused.code == 1
    assert refused.error("stopped for good", "Terraform never makes it a mirror topic again")["address"] == ORDERS
    assert applied.plan().code == 2  # still a warning: the configuration has not changed
    applied.write(link(engine) + mirror('status = "PAUSED"'))
    assert applied.plan().error("stopped for good", "cannot become PAUSED")["address"] == ORDERS
    applied.step(link(engine) + mirror('status = "FAILED_OVER"'), {})


def test_a_mirror_topic_cannot_begin_as_a_stopped_one(terraform: Terraform, engine: Engine) -> None:
    engine.create_source_topic("orders")
    terraform.write(link(engine) + mirror('status = "FAILED_OVER"'))
    planned = terraform.plan()
    assert planned.code == 1
    assert planned.error("Nothing to stop yet", "ACTIVE or PAUSED")
