"""Every attribute of both resources: changed in place or by replacement, imported, written as a configuration.

The tables are compared with the schemas, so that none is forgotten.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from clusterlink_provider.engine_client import EngineClient
from clusterlink_provider.framework.schema import Attribute, Nesting
from clusterlink_provider.resources import link_convert, link_schema, mirror_topic_convert, mirror_topic_schema
from tests.acceptance.engine import Engine
from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine

Values = dict[str, Any]
LINK, ORDERS = "clusterlink_link.x", "clusterlink_mirror_topic.x"

_EVERY = {"name": "*", "pattern_type": "LITERAL", "filter_type": "INCLUDE"}
_SOME = {"name": "made-up-", "pattern_type": "PREFIXED", "filter_type": "INCLUDE"}
_ACL = {
    "resource_type": "TOPIC",
    "resource_name": "orders",
    "pattern_type": "ANY",
    "principal": "",
    "host": "*",
    "operation": "READ",
    "permission_type": "ANY",
}
# In this order: what is enabled needs filters before.
LINK_UPDATES: Values = {
    "paused": True,
    "topic_config_sync.interval_ms": 7000,
    "topic_config_sync.include": ["retention.ms"],
    "consumer_offset_sync.group_filters": [_EVERY],
    "consumer_offset_sync.enable": True,
    "consumer_offset_sync.interval_ms": 9000,
    "acl_sync.filters": [_ACL],
    "acl_sync.enable": True,
    "acl_sync.interval_ms": 6000,
    "auto_create_mirror_topics.filters": [_SOME],
    "auto_create_mirror_topics.enable": True,
    "config": {"replica.fetch.max.bytes": "5242880"},
    "on_destroy": "FAILOVER",
    "timeouts.create": "3m",
    "timeouts.update": "4m",
    "timeouts.delete": "5m",
}
# Its second address is found by the test; and what goes with `topic_prefix` only.
LINK_UPDATES_APART = ("remote_cluster.bootstrap_servers", "consumer_offset_sync.group_prefix")
# Whose meaning a cluster with users and certificates shows (test_security.py); here it is Terraform's part.
SECURITY_UPDATES: Values = {
    "remote_cluster.security_protocol": "SASL_SSL",
    "remote_cluster.sasl.mechanism": "AWS_MSK_IAM",
    "remote_cluster.sasl.aws_region": "eu-central-1",
    "remote_cluster.sasl.username": "other",
    "remote_cluster.sasl.password": "changed",
    "remote_cluster.tls.ca_pem": "ca",
    "remote_cluster.tls.certificate_pem": "certificate",
    "remote_cluster.tls.key_pem": "key",
    "remote_cluster.tls.accept_any_server_name": True,
}
# What goes with the next one.
_TOGETHER = ("remote_cluster.sasl.mechanism", "remote_cluster.tls.certificate_pem")
# Of the tokens, in this order: a map is not empty.
OAUTH_UPDATES: Values = {
    "remote_cluster.sasl.oauth.token_endpoint_url": "https://tokens.example.com/other",
    "remote_cluster.sasl.oauth.client_id": "other",
    "remote_cluster.sasl.oauth.client_secret": "changed",
    "remote_cluster.sasl.oauth.scope": "kafka",
    "remote_cluster.sasl.oauth.parameters": {"audience": "kafka"},
    "remote_cluster.sasl.oauth.extensions": {"logicalCluster": "lkc-1"},
    "remote_cluster.sasl.oauth.ca_pem": "ca",
}
# Kept nowhere, and seen by their version (test_secrets.py).
SECURITY_UPDATES_APART = {
    f"remote_cluster.{name}"
    for secret in ("sasl.password", "sasl.oauth.client_secret", "tls.key_pem")
    for name in (f"{secret}_wo", f"{secret}_wo_version")
}
MIRROR_UPDATES: Values = {
    "status": "PAUSED",
    "config": {"min.insync.replicas": "1"},
    "on_destroy": "DELETE_TOPIC",
    "on_failed": "REBUILD",
    "timeouts.create": "3m",
    "timeouts.update": "4m",
    "timeouts.delete": "6m",
}
LINK_REPLACEMENTS: Values = {
    "name": "y",
    "mode": "BIDIRECTIONAL",
    "topic_prefix": "p.",
    "mirror_start_offset": "latest",
    "remote_cluster.cluster_id": "another",
}
MIRROR_REPLACEMENTS = ("link", "source_topic", "name", "replication_factor")
# What only Terraform knows, and the engine does not tell.
NOT_IMPORTED = {"on_destroy", "on_failed", "timeouts"}


def _leaves(attributes: Mapping[str, Attribute], path: str = "") -> Iterator[tuple[str, Attribute]]:
    for name, attribute in attributes.items():
        if attribute.nested is not None and attribute.nesting is Nesting.SINGLE:
            yield from _leaves(attribute.nested, f"{path}{name}.")
        elif attribute.required or attribute.optional:
            yield path + name, attribute


def test_the_tables_have_every_attribute() -> None:
    link, mirror = dict(_leaves(link_schema.SCHEMA.attributes)), dict(_leaves(mirror_topic_schema.SCHEMA.attributes))
    updates = {*LINK_UPDATES, *LINK_UPDATES_APART, *SECURITY_UPDATES, *OAUTH_UPDATES, *SECURITY_UPDATES_APART}
    assert updates | set(LINK_REPLACEMENTS) == set(link)
    assert set(MIRROR_UPDATES) | set(MIRROR_REPLACEMENTS) == set(mirror)
    # Another cluster is found by the plan, which may not know its id yet.
    replacing = {path for path, attribute in link.items() if attribute.replace} | {"remote_cluster.cluster_id"}
    assert set(LINK_REPLACEMENTS) == replacing
    assert set(MIRROR_REPLACEMENTS) == {path for path, attribute in mirror.items() if attribute.replace}


def _put(values: Values, path: str, value: object) -> Values:
    """The values with another one at a path."""
    changed = copy.deepcopy(values)
    *groups, last = path.split(".")
    inner = changed
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[last] = value
    return changed


def _get(values: Any, path: str) -> Any:
    for step in path.split("."):
        values = (values or {}).get(step)
    return values


def _link(servers: str) -> Values:
    return {"name": "x", "remote_cluster": {"bootstrap_servers": servers.split(",")}}


def _mirror(**values: object) -> Values:
    return {"link": "${clusterlink_link.x.name}", "source_topic": "orders", **values}


def _write(terraform: Terraform, link: Values, mirror: Values | None = None, *, links: Values | None = None) -> None:
    """Writes a configuration in JSON."""
    resources = {"clusterlink_link": {"x": link, **(links or {})}}
    if mirror is not None:
        resources["clusterlink_mirror_topic"] = {"x": mirror}
    terraform.write("")
    (terraform.directory / "resources.tf.json").write_text(json.dumps({"resource": resources}))


def _step(terraform: Terraform, address: str, path: str, value: object, schema: Mapping[str, Attribute]) -> Values:
    """Applies what was written: that attribute changes in place, and no other that can be set."""
    before = terraform.state[address]
    applied = terraform.apply()
    assert applied.actions == {address: "update"}, (path, applied.output)
    after = terraform.state[address]
    changed = [leaf for leaf, _ in _leaves(schema) if _get(before, leaf) != _get(after, leaf)]
    assert changed == [path]
    assert _get(after, path) == value
    terraform.expect_no_changes()
    return after


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda items: [_plain(item) for item in items]))


def test_a_link_in_place_and_back_imported_and_written(
    terraform: Terraform, engine: Engine, client: EngineClient, tmp_path: Path
) -> None:
    base = _link(engine.remote_bootstrap)
    _write(terraform, base)
    terraform.apply()
    made = terraform.state[LINK]
    servers = [engine.remote_bootstrap, engine.remote_bootstrap.replace("127.0.0.1", "localhost")]
    values = base
    for path, value in {"remote_cluster.bootstrap_servers": servers, **LINK_UPDATES}.items():
        values = _put(values, path, value)
        _write(terraform, values)
        state = _step(terraform, LINK, path, value, link_schema.SCHEMA.attributes)
        link = client.get_link("x")
        assert link is not None
        assert _plain(_get(link_convert.from_message(link, state), path)) == value
        assert state["link_id"] == made["link_id"]

    # Everything that is taken out again goes back to its default.
    full = terraform.state[LINK]
    _write(terraform, base)
    assert terraform.apply().actions == {LINK: "update"}
    terraform.expect_no_changes()
    volatile = {"state", "error"}
    assert {name for name, value in terraform.state[LINK].items() if value != made[name]} <= volatile
    _write(terraform, values)
    terraform.apply()

    terraform.run("state", "rm", LINK)
    terraform.run("import", "-input=false", LINK, "x")
    imported = terraform.state[LINK]
    assert {name for name in full if full[name] != imported[name]} == {"on_destroy", "timeouts"} <= NOT_IMPORTED
    terraform.run("state", "rm", LINK)
    _expect_generated(terraform, tmp_path, {LINK: "x"})


def test_the_prefix_of_groups_in_place(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    values = {**_link(engine.remote_bootstrap), "topic_prefix": "p."}
    _write(terraform, values)
    terraform.apply()
    path = "consumer_offset_sync.group_prefix"
    _write(terraform, _put(values, path, True))
    _step(terraform, LINK, path, True, link_schema.SCHEMA.attributes)
    link = client.get_link("x")
    assert link is not None
    assert link.consumer_offset_sync.group_prefix


def test_a_mirror_topic_in_place_and_back_imported_and_written(
    terraform: Terraform, engine: Engine, client: EngineClient, tmp_path: Path
) -> None:
    engine.create_source_topic("orders", 2)
    link = {**_link(engine.remote_bootstrap), "topic_config_sync": {"include": ["retention.ms"]}}
    _write(terraform, link, _mirror())
    terraform.apply()
    made = terraform.state[ORDERS]
    values = _mirror()
    for path, value in MIRROR_UPDATES.items():
        values = _put(values, path, value)
        _write(terraform, link, values)
        state = _step(terraform, ORDERS, path, value, mirror_topic_schema.SCHEMA.attributes)
        topic = client.get_mirror_topic("orders")
        assert topic is not None
        assert _get(mirror_topic_convert.from_message(topic, state), path) == value

    full = terraform.state[ORDERS]
    terraform.run("state", "rm", ORDERS)
    terraform.run("import", "-input=false", ORDERS, "x/orders")
    imported = terraform.state[ORDERS]
    assert {name for name in full if full[name] != imported[name]} == NOT_IMPORTED
    _expect_generated(terraform, tmp_path, {LINK: "x", ORDERS: "x/orders"})

    _write(terraform, link, _mirror())
    assert terraform.apply().actions == {ORDERS: "update"}
    terraform.expect_no_changes()
    assert {name for name, value in terraform.state[ORDERS].items() if value != made[name]} == set()


def _expect_generated(terraform: Terraform, place: Path, ids: Mapping[str, str]) -> None:
    """Lets terraform write the configuration of what there is: it plans clean but for the imports."""
    fresh = Terraform(place / "fresh", Path(), terraform.endpoint)
    fresh.environment = terraform.environment
    fresh.write("".join(f'import {{\n  to = {address}\n  id = "{id_}"\n}}\n' for address, id_ in ids.items()))
    fresh.run("plan", "-input=false", "-generate-config-out=generated.tf")
    planned = fresh.plan()
    assert planned.actions == dict.fromkeys(ids, "import"), planned.output
    fresh.apply()
    fresh.expect_no_changes()


@pytest.mark.parametrize("path", LINK_REPLACEMENTS)
def test_what_replaces_a_link(terraform: Terraform, engine: Engine, client: EngineClient, path: str) -> None:
    base = _link(engine.remote_bootstrap)
    _write(terraform, base)
    terraform.apply()
    before = terraform.state[LINK]["link_id"]
    _write(terraform, _put(base, path, LINK_REPLACEMENTS[path]))
    assert terraform.replace_paths(LINK) == [path.split(".")]
    if path == "remote_cluster.cluster_id":
        return  # there is no such cluster
    assert terraform.apply().actions == {LINK: "replace"}
    terraform.expect_no_changes()
    assert terraform.state[LINK]["link_id"] != before
    assert _get(terraform.state[LINK], path) == LINK_REPLACEMENTS[path]
    assert len(client.list_links()) == 1


def test_what_replaces_a_mirror_topic(terraform: Terraform, engine: Engine) -> None:
    for name in ("orders", "payments"):
        engine.create_source_topic(name)
    link = _link(engine.remote_bootstrap)
    other = {"y": {**link, "name": "y"}}
    _write(terraform, link, _mirror(), links=other)
    terraform.apply()
    _write(terraform, link, _mirror(replication_factor=2), links=other)
    assert terraform.replace_paths(ORDERS) == [["replication_factor"]]
    _write(terraform, link, _mirror(source_topic="payments"), links=other)
    assert terraform.replace_paths(ORDERS) == [["name"], ["source_topic"]]
    assert terraform.apply().actions == {ORDERS: "replace"}
    terraform.expect_no_changes()
    _write(terraform, link, _mirror(source_topic="payments", link="${clusterlink_link.y.name}"), links=other)
    assert terraform.replace_paths(ORDERS) == [["link"]]
    assert terraform.apply().actions == {ORDERS: "replace"}
    terraform.expect_no_changes()
    assert terraform.state[ORDERS]["id"] == "y/payments"


def test_how_a_link_connects_in_place(fake_engine: FakeEngine, terraform_of_fake: Terraform) -> None:
    base = _link("127.0.0.1:29092")
    base["remote_cluster"] |= {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl": {"mechanism": "PLAIN", "username": "u", "password": "p"},
    }
    _security_in_place(terraform_of_fake, base, SECURITY_UPDATES)
    remote = fake_engine.links["x"].remote_cluster
    assert (remote.sasl.password, remote.tls.certificate_pem, remote.tls.key_pem) == ("changed", "certificate", "key")
    assert (remote.sasl.mechanism, remote.sasl.aws_region) == ("AWS_MSK_IAM", "eu-central-1")


def test_where_the_tokens_of_a_link_come_from_in_place(fake_engine: FakeEngine, terraform_of_fake: Terraform) -> None:
    base = _link("127.0.0.1:29092")
    oauth = {"token_endpoint_url": "https://tokens.example.com", "client_id": "mirror", "client_secret": "s"}
    base["remote_cluster"] |= {
        "security_protocol": "SASL_SSL",
        "sasl": {"mechanism": "OAUTHBEARER", "oauth": oauth},
    }
    _security_in_place(terraform_of_fake, base, OAUTH_UPDATES)
    found = fake_engine.links["x"].remote_cluster.sasl.oauth
    for path, value in OAUTH_UPDATES.items():
        told = getattr(found, path.rpartition(".")[2])
        assert (dict(told) if isinstance(value, dict) else told) == value


def _security_in_place(terraform: Terraform, base: Values, updates: Values) -> None:
    """Changes one part after the other: each is an update, after which nothing is left to do."""
    _write(terraform, base)
    terraform.apply()
    values = base
    for path, value in updates.items():
        values = _put(values, path, value)
        if path in _TOGETHER:
            continue
        _write(terraform, values)
        before = terraform.state[LINK]
        assert terraform.apply().actions == {LINK: "update"}, path
        terraform.expect_no_changes()
        after = terraform.state[LINK]
        assert _get(after, path) == value != _get(before, path)
