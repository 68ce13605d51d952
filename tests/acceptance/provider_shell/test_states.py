"""What Terraform keeps of objects: states of an earlier version, moves, identities, and configurations made from imports."""

import json
import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest

from clusterlink_proto import rpc, v1
from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.engine_client import EngineClient
from clusterlink_provider.framework import convert
from clusterlink_provider.framework.identity import Identity
from clusterlink_provider.resources import identities, link_schema
from clusterlink_provider.resources.provider import ClusterlinkProvider
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine

_STATES = Path(__file__).parent.parent / "states"
LINK, ORDERS = "clusterlink_link.primary", "clusterlink_mirror_topic.orders"
CONFIG = """
resource "clusterlink_link" "primary" {
  name              = "from-primary"
  remote_cluster    = { bootstrap_servers = ["127.0.0.1:29092"] }
  topic_prefix      = "primary."
  topic_config_sync = { interval_ms = 7000 }
  config            = { "replica.fetch.max.bytes" = "5242880" }
  timeouts          = { create = "3m" }
}

resource "clusterlink_mirror_topic" "orders" {
  link         = clusterlink_link.primary.name
  source_topic = "orders"
  status       = "PAUSED"
  config       = { "min.insync.replicas" = "1" }
  on_destroy   = "DELETE_TOPIC"
}
"""


@pytest.fixture
def made(fake_engine: FakeEngine) -> EngineClient:
    """An engine with the objects of this configuration."""
    fake_engine.create_source_topic("orders", 3)
    client = EngineClient(fake_engine.endpoint)
    link = v1.Link(name="from-primary", topic_prefix="primary.", config={"replica.fetch.max.bytes": "5242880"})
    link.remote_cluster.bootstrap_servers.append("127.0.0.1:29092")
    link.mode = v1.LINK_MODE_DESTINATION
    link.topic_config_sync.interval_ms = 7000
    client.create_link(link, token="", seconds=5)
    topic = v1.MirrorTopic(link="from-primary", source_topic="orders", paused=True, config={"min.insync.replicas": "1"})
    client.create_mirror_topic(topic, token="", seconds=5)
    return client


def test_the_state_of_version_0_plans_clean_and_becomes_today_s(terraform: Terraform, made: EngineClient) -> None:
    """As the first version of the provider has written it, before there were the attributes that have come since."""
    shutil.copy(_STATES / "version_0.tfstate", terraform.directory / "terraform.tfstate")
    terraform.write(CONFIG)
    assert terraform.plan("-refresh=false").code == 0
    terraform.expect_no_changes()
    terraform.run("apply", "-refresh-only", "-auto-approve")
    assert terraform.state[LINK]["acl_sync"] == {"enable": False, "filters": None, "interval_ms": 5000}
    assert terraform.state[ORDERS]["direction"] == "REMOTE_TO_LOCAL"
    stored = json.loads((terraform.directory / "terraform.tfstate").read_text())
    assert {resource["instances"][0]["schema_version"] for resource in stored["resources"]} == {1}
    terraform.expect_no_changes()


def test_the_state_of_a_newer_provider_is_refused(terraform: Terraform, made: EngineClient) -> None:
    text = (_STATES / "version_0.tfstate").read_text().replace('"schema_version": 0', '"schema_version": 99')
    terraform.write(CONFIG)
    (terraform.directory / "terraform.tfstate").write_text(text)
    planned = terraform.plan()
    assert planned.code == 1
    assert "newer" in planned.output
    assert (terraform.directory / "terraform.tfstate").read_text() == text


def test_a_move_within_a_type_changes_nothing(terraform: Terraform, made: EngineClient) -> None:
    shutil.copy(_STATES / "version_0.tfstate", terraform.directory / "terraform.tfstate")
    terraform.write(CONFIG)
    terraform.apply()
    moved = CONFIG.replace('"primary" {', '"main" {').replace("link.primary", "link.main")
    moved = moved.replace('"orders" {', '"all" {\n  for_each     = toset(["orders"])')
    moved += f"""
moved {{
  from = {LINK}
  to   = clusterlink_link.main
}}
moved {{
  from = {ORDERS}
  to   = clusterlink_mirror_topic.all["orders"]
}}
"""
    before = terraform.state[LINK]["link_id"]
    terraform.write(moved)
    assert terraform.plan().actions == {
        "clusterlink_link.main": "move",
        'clusterlink_mirror_topic.all["orders"]': "move",
    }
    terraform.apply()
    assert terraform.state["clusterlink_link.main"]["link_id"] == before
    terraform.expect_no_changes()


@pytest.mark.parametrize("source", ["terraform_data.other", "clusterlink_mirror_topic.orders"])
def test_a_move_from_another_type_is_refused(terraform: Terraform, made: EngineClient, source: str) -> None:
    shutil.copy(_STATES / "version_0.tfstate", terraform.directory / "terraform.tfstate")
    terraform.write(CONFIG + 'resource "terraform_data" "other" {}\n')
    terraform.apply()
    before = terraform.state
    removed, *_ = CONFIG.partition('\nresource "clusterlink_mirror_topic"')
    link = removed.replace('"primary"', '"moved"').replace("from-primary", "another")
    terraform.write(
        (CONFIG if source.startswith("terraform") else removed)
        + link
        + f"""
moved {{
  from = {source}
  to   = clusterlink_link.moved
}}
"""
    )
    planned = terraform.plan()
    assert planned.code == 1
    assert planned.error("Cannot move between types", source.partition(".")[0], "import")
    assert terraform.state == before


# On the wire: the terraform of these tests is too old to ask for identities.


class Wire:
    """Terraform's side of the protocol, as far as it is about identities."""

    def __init__(self, socket: Path, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._stub = rpc.Stub(self._channel, pb.DESCRIPTOR, "Provider")
        config = dict.fromkeys(ClusterlinkProvider.schema.attributes) | {"endpoint": endpoint}
        self.call("ConfigureProvider", config=convert.value_to_pb(ClusterlinkProvider.schema.type, config))

    def call(self, name: str, **fields: Any) -> Any:
        return getattr(self._stub, name)(getattr(pb, name).Request(**fields), timeout=30)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def wire(resident: ResidentProvider, made: EngineClient) -> Any:
    """A client of the provider, which is configured."""
    wire = Wire(resident.socket, made.endpoint)
    yield wire
    wire.close()


def _identity(kind: Identity, **values: str | None) -> pb.ResourceIdentityData:
    return convert.identity_to_pb(kind, dict.fromkeys(kind.attributes) | values)


FULL = {
    "clusterlink_link": _identity(identities.LINK, cluster_id="local-cluster", name="from-primary"),
    "clusterlink_mirror_topic": _identity(
        identities.MIRROR_TOPIC, cluster_id="local-cluster", link="from-primary", name="primary.orders"
    ),
}
SHORT = {
    "clusterlink_link": _identity(identities.LINK, name="from-primary"),
    "clusterlink_mirror_topic": _identity(identities.MIRROR_TOPIC, link="from-primary", name="primary.orders"),
}


@pytest.mark.parametrize("given", [FULL, SHORT], ids=["with cluster", "without"])
@pytest.mark.parametrize("type_name", FULL)
def test_import_by_identity_on_the_wire(wire: Wire, type_name: str, given: dict[str, pb.ResourceIdentityData]) -> None:
    imported = wire.call("ImportResourceState", type_name=type_name, identity=given[type_name])
    assert not imported.diagnostics
    (found,) = imported.imported_resources
    assert found.identity == FULL[type_name]
    read = wire.call("ReadResource", type_name=type_name, current_state=found.state, current_identity=found.identity)
    assert not read.diagnostics
    assert read.new_identity == FULL[type_name]
    by_id = {"clusterlink_link": "from-primary", "clusterlink_mirror_topic": "from-primary/primary.orders"}
    again = wire.call("ImportResourceState", type_name=type_name, id=by_id[type_name]).imported_resources[0]
    assert (again.state, again.identity) == (found.state, found.identity)


def test_identities_of_another_cluster_are_refused(wire: Wire) -> None:
    """At an import, and at a refresh: what another engine has must not be looked for here, and not found."""
    other = _identity(identities.LINK, cluster_id="other", name="from-primary")
    imported = wire.call("ImportResourceState", type_name="clusterlink_link", identity=other)
    assert [item.summary for item in imported.diagnostics] == ["Identity of another cluster"]
    state = (
        wire.call("ImportResourceState", type_name="clusterlink_link", id="from-primary").imported_resources[0].state
    )
    read = wire.call("ReadResource", type_name="clusterlink_link", current_state=state, current_identity=other)
    assert [item.summary for item in read.diagnostics] == ["Object of another place"]
    assert read.new_state == state


def test_plan_and_apply_tell_the_identity(wire: Wire) -> None:
    schema = link_schema.SCHEMA
    remote = dict.fromkeys(schema.attributes["remote_cluster"].nested or {}) | {
        "bootstrap_servers": ["127.0.0.1:29092"]
    }
    config = dict.fromkeys(schema.attributes) | {"name": "new", "remote_cluster": remote}
    encoded = convert.value_to_pb(schema.type, config)
    planned = wire.call("PlanResourceChange", type_name="clusterlink_link", proposed_new_state=encoded, config=encoded)
    expected = _identity(identities.LINK, cluster_id="local-cluster", name="new")
    assert not planned.diagnostics
    assert planned.planned_identity == expected
    applied = wire.call(
        "ApplyResourceChange",
        type_name="clusterlink_link",
        planned_state=planned.planned_state,
        config=encoded,
        planned_private=planned.planned_private,
        planned_identity=planned.planned_identity,
    )
    assert not applied.diagnostics
    assert applied.new_identity == expected
    schemas = wire.call("GetResourceIdentitySchemas").identity_schemas
    assert sorted(schemas) == sorted(FULL)
