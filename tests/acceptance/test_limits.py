"""What is refused before anything is touched: limits, intervals, names, and bad input, each at its attribute."""

import time

from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import Engine
from tests.acceptance.terraform import Terraform, blamed


def links(engine: Engine, names: list[str], extra: str = "") -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"""
resource "clusterlink_link" "many" {{
  for_each       = toset([{listed}])
  name           = each.key
  remote_cluster = {{ bootstrap_servers = ["{engine.remote_bootstrap}"] }}
  {extra}
}}
"""


def test_ten_links_and_no_eleventh(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    names = [f"link-{number}" for number in range(11)]
    terraform.write(links(engine, names))
    planned = terraform.plan()
    assert planned.code == 1
    error = planned.error("Too many cluster links", "11 links", "allows 10")
    assert blamed(error).startswith("name")
    assert list(client.list_links()) == []

    terraform.step(links(engine, names[:10]), {f'clusterlink_link.many["{name}"]': "create" for name in names[:10]})
    terraform.write(links(engine, names))
    assert terraform.plan().error("Too many cluster links", "11 links")
    # One of ten is replaced: under its name, and (a new key here) under another.
    assert (
        terraform.apply('-replace=clusterlink_link.many["link-3"]', '-target=clusterlink_link.many["link-3"]').code == 0
    )
    assert len(client.list_links()) == 10


def test_one_of_ten_may_be_renamed(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    nine = [f"link-{number}" for number in range(9)]

    def config(name: str) -> str:
        return links(engine, nine) + (
            f'resource "clusterlink_link" "tenth" {{\n  name = "{name}"\n'
            f'  remote_cluster = {{ bootstrap_servers = ["{engine.remote_bootstrap}"] }}\n}}\n'
        )

    terraform.write(config("before"))
    terraform.apply()
    terraform.step(config("after"), {"clusterlink_link.tenth": "replace"})
    assert {link.name for link in client.list_links()} == {*nine, "after"}


def test_interval_is_checked_with_everything_else_unknown(terraform: Terraform) -> None:
    terraform.write("""
variable "name" { type = string }
variable "servers" { type = set(string) }
variable "include" { type = set(string) }
resource "clusterlink_link" "x" {
  name           = var.name
  remote_cluster = { bootstrap_servers = var.servers }
  topic_config_sync = {
    include     = var.include
    interval_ms = 999
  }
}
""")
    (error,) = terraform.validate()
    assert "at least 1000" in error["detail"]
    assert blamed(error) == "interval_ms = 999"


def test_validate_points_to_each_line(terraform: Terraform, engine: Engine) -> None:
    internal = '{ name = "_x", pattern_type = "LITERAL", filter_type = "INCLUDE" }'
    unknown = '{ name = "x", pattern_type = "ANY", filter_type = "INCLUDE" }'
    wrong = {
        'mode = "SOURCE"': "does not have",
        'mode = "NONE"': "Expected",
        'topic_prefix = "a/b"': "not legal",
        'on_destroy = "FORGET"': "FAILOVER",
        'timeouts = { create = "soon" }': "not a duration",
        "topic_config_sync = { include = [] }": "at least one",
        'config = { "a" = null }': "null",
        "consumer_offset_sync = { enable = true }": "no filter includes",
        "consumer_offset_sync = { group_prefix = true }": "topic_prefix",
        "consumer_offset_sync = { interval_ms = 999 }": "at least 1000",
        "auto_create_mirror_topics = { enable = true }": "no filter includes",
        "acl_sync = { enable = true }": "no filters",
        "acl_sync = { interval_ms = 999 }": "at least 1000",
        f"auto_create_mirror_topics = {{ filters = [{internal}] }}": "begin with",
        f"auto_create_mirror_topics = {{ filters = [{unknown}] }}": "PREFIXED",
    }
    config = "".join(
        links(engine, ["a"], line).replace('"many"', f'"many{number}"') for number, line in enumerate(wrong)
    )
    mirror = """
variable "x" { type = string }
resource "clusterlink_mirror_topic" "x" {
  link         = var.x
  source_topic = "a b"
  status       = "STOPPED"
}
"""
    terraform.write(config + mirror)
    found = {blamed(error): error["detail"] for error in terraform.validate()}
    for line, words in {**wrong, 'source_topic = "a b"': "not legal", 'status       = "STOPPED"': "PROMOTED"}.items():
        assert words in found.pop(line)
    assert found == {}


def test_validate_of_the_provider(terraform: Terraform, engine: Engine) -> None:
    terraform.write(links(engine, ["a"]), provider='provider "clusterlink" {\n  endpoint = "http://localhost"\n}\n')
    (error,) = terraform.validate()
    assert blamed(error) == 'endpoint = "http://localhost"'


def test_unknown_property(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    terraform.write(links(engine, ["a"], 'config = { "no.such.property" = "1" }'))
    planned = terraform.plan()
    assert planned.code == 1
    assert "no.such.property" in blamed(planned.error("no.such.property"))
    assert list(client.list_links()) == []


def test_invalid_name(terraform: Terraform, engine: Engine) -> None:
    terraform.write(links(engine, ["a b"]))
    assert blamed(terraform.plan().error("Invalid name", '"a b"')).startswith("name")


def test_name_that_exists_says_how_to_import(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    engine.create_source_topic("orders")
    mirror = """
resource "clusterlink_mirror_topic" "o" {
  link         = "a"
  source_topic = "orders"
  depends_on   = [clusterlink_link.many]
}
"""
    terraform.write(links(engine, ["a"]) + mirror)
    terraform.apply()
    terraform.run("state", "rm", "clusterlink_mirror_topic.o")
    planned = terraform.plan()
    assert planned.code == 1
    assert planned.error("Mirror topic exists already", "a/orders")
    terraform.run("state", "rm", "clusterlink_link.many")
    assert terraform.plan().error("Link exists already", "terraform import ADDRESS a")


def test_prefix_clash(terraform: Terraform, engine: Engine) -> None:
    terraform.write(links(engine, ["a", "b"], 'topic_prefix = "p."'))
    planned = terraform.plan()
    assert planned.code == 1
    assert blamed(planned.error("Prefix in use")) == 'topic_prefix = "p."'


def test_mirror_topic_checks(terraform: Terraform, engine: Engine) -> None:
    terraform.write(links(engine, ["a"], 'topic_prefix = "p."'))
    terraform.apply()
    long = "x" * 248

    def mirror(extra: str) -> str:
        return f'resource "clusterlink_mirror_topic" "o" {{\n  link = "a"\n  {extra}\n}}\n'

    config = links(engine, ["a"], 'topic_prefix = "p."')
    for extra, words, line in (
        ('source_topic = "missing"', ("missing",), 'source_topic = "missing"'),
        (f'source_topic = "{long}"', ("Name too long", "250"), f'source_topic = "{long}"'),
        ('source_topic = "o"\n  name = "q.o"', ("Name does not fit", '"p.o"'), 'name = "q.o"'),
    ):
        terraform.write(config + mirror(extra))
        planned = terraform.plan()
        assert planned.code == 1
        assert blamed(planned.error(*words)) == line


def test_unknown_values_do_not_stop_a_plan(terraform: Terraform, engine: Engine) -> None:
    engine.create_source_topic("orders")
    terraform.step(
        f"""
resource "terraform_data" "name" {{ input = "late" }}
resource "clusterlink_link" "x" {{
  name           = "l-${{terraform_data.name.output}}"
  remote_cluster = {{ bootstrap_servers = [terraform_data.servers.output] }}
  topic_prefix   = "${{terraform_data.name.output}}."
}}
resource "terraform_data" "servers" {{ input = "{engine.remote_bootstrap}" }}
resource "clusterlink_mirror_topic" "x" {{
  link         = clusterlink_link.x.name
  source_topic = "orders"
}}
""",
        {
            "terraform_data.name": "create",
            "terraform_data.servers": "create",
            "clusterlink_link.x": "create",
            "clusterlink_mirror_topic.x": "create",
        },
    )
    assert terraform.state["clusterlink_mirror_topic.x"]["id"] == "l-late/late.orders"


def test_unknown_endpoint_does_not_stop_a_plan(terraform: Terraform, engine: Engine) -> None:
    late = f'resource "terraform_data" "late" {{ input = "{engine.endpoint}" }}\n'
    provider = 'provider "clusterlink" {\n  endpoint = terraform_data.late.output\n}\n'
    terraform.write(late + links(engine, ["a"]), provider=provider)
    assert terraform.plan().code == 2
    terraform.apply()
    terraform.expect_no_changes()


def test_endpoint_from_the_environment(shell_terraform: Terraform, engine: Engine) -> None:
    shell_terraform.environment["CLUSTERLINK_ENDPOINT"] = engine.endpoint
    shell_terraform.write(links(engine, ["a"]), provider="")
    assert shell_terraform.plan().code == 2


def test_engine_down(terraform: Terraform, engine: Engine) -> None:
    terraform.write(links(engine, ["a"]))
    terraform.apply()
    before = terraform.state
    terraform.write(links(engine, ["a"]), provider='provider "clusterlink" {\n  endpoint = "127.0.0.1:1"\n}\n')
    started = time.monotonic()
    planned = terraform.plan()
    assert planned.code == 1
    assert planned.error("Engine not reachable", "127.0.0.1:1")
    assert len(planned.diagnostics()) == 1
    assert time.monotonic() - started < 60
    assert terraform.state == before
