"""Every rule at its attribute while all else is unknown, and the same rule from the engine itself."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient, EngineError
from tests.acceptance.engine import RealEngine
from tests.acceptance.terraform import Terraform, blamed
from tests.support import topics

UNKNOWN = """
variable "name" { type = string }
variable "servers" { type = set(string) }
variable "interval" { type = number }
variable "include" { type = set(string) }
variable "prefix" { type = string }
variable "text" { type = string }
variable "flag" { type = bool }
"""
LINK = """
resource "clusterlink_link" "%s" {
  name           = var.name
  remote_cluster = { bootstrap_servers = var.servers }
  %s
}
"""
_INTERNAL = '{ name = "_x", pattern_type = "LITERAL", filter_type = "INCLUDE" }'
_EXCLUDE = '{ name = "x", pattern_type = "LITERAL", filter_type = "EXCLUDE" }'


def _filter(name: str, filter_type: str) -> v1.Filter:
    return v1.Filter(name=name, pattern_type="LITERAL", filter_type=filter_type)


@dataclass(frozen=True)
class Rule:
    """What is wrong with a link: as a configuration in lines, of which the last but the brace is blamed, and as a message."""

    lines: str
    blamed: str
    words: str
    link: v1.Link
    field: str


def _interval(name: str) -> Rule:
    link = v1.Link()
    getattr(link, name).interval_ms = 999
    return Rule(f"{name} = {{\n    interval_ms = 999\n  }}", "interval_ms = 999", "at least 1000", link, name)


RULES = {
    "interval of settings": _interval("topic_config_sync"),
    "interval of offsets": _interval("consumer_offset_sync"),
    "interval of ACLs": _interval("acl_sync"),
    "group prefix without topic prefix": Rule(
        "consumer_offset_sync = {\n    enable = var.flag\n    group_prefix = true\n  }",
        "group_prefix = true",
        "Set topic_prefix",
        v1.Link(consumer_offset_sync=v1.ConsumerOffsetSync(group_prefix=True)),
        "consumer_offset_sync",
    ),
    "ACLs with a prefix": Rule(
        'topic_prefix = "p."\n  acl_sync = {\n    interval_ms = var.interval\n    enable = true\n    filters = []\n  }',
        "enable = true",
        "Leave acl_sync or topic_prefix out",
        v1.Link(topic_prefix="p.", acl_sync=v1.AclSync(enable=True)),
        "acl_sync",
    ),
    "offsets of nobody": Rule(
        f"consumer_offset_sync = {{\n    interval_ms = var.interval\n    enable = true\n    group_filters = [{_EXCLUDE}]\n  }}",
        f"group_filters = [{_EXCLUDE}]",
        "no filter includes",
        v1.Link(consumer_offset_sync=v1.ConsumerOffsetSync(enable=True, group_filters=[_filter("x", "EXCLUDE")])),
        "consumer_offset_sync",
    ),
    "ACLs of nothing": Rule(
        "acl_sync = {\n    enable = true\n    interval_ms = var.interval\n  }",
        "acl_sync = {",
        "no filters",
        v1.Link(acl_sync=v1.AclSync(enable=True)),
        "acl_sync",
    ),
    "automatic mirrors of nothing": Rule(
        "auto_create_mirror_topics = {\n    enable = true\n  }",
        "auto_create_mirror_topics = {",
        "no filter includes",
        v1.Link(auto_create_mirror_topics=v1.AutoCreateMirrorTopics(enable=True)),
        "auto_create_mirror_topics",
    ),
    "internal topics": Rule(
        f"auto_create_mirror_topics = {{\n    enable = var.flag\n    filters = [{_INTERNAL}]\n  }}",
        f"filters = [{_INTERNAL}]",
        'begin with "_"',
        v1.Link(auto_create_mirror_topics=v1.AutoCreateMirrorTopics(filters=[_filter("_x", "INCLUDE")])),
        "auto_create_mirror_topics",
    ),
    "prefix with both directions": Rule(
        'paused = var.flag\n  topic_prefix = "a."\n  mode = "BIDIRECTIONAL"',
        'topic_prefix = "a."',
        "Leave topic_prefix out",
        v1.Link(mode=v1.LINK_MODE_BIDIRECTIONAL, topic_prefix="a."),
        "topic_prefix",
    ),
    "no place to begin": Rule(
        'paused = var.flag\n  mirror_start_offset = "2026"',
        'mirror_start_offset = "2026"',
        "RFC 3339",
        v1.Link(mirror_start_offset="2026"),
        "mirror_start_offset",
    ),
}


def test_validate_finds_each_at_its_line_while_all_else_is_unknown(terraform: Terraform) -> None:
    config = "".join(LINK % (f"x{number}", rule.lines) for number, rule in enumerate(RULES.values()))
    terraform.write(UNKNOWN + config)
    found = [(blamed(error), error["detail"]) for error in terraform.validate()]
    for name, rule in RULES.items():
        hits = [detail for line, detail in found if line == rule.blamed and rule.words in detail]
        assert hits, (name, found)
    # And nothing else: what is not known is not wrong. The empty set of filters is.
    assert len(found) == len(RULES) + 1


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_engine_refuses_the_same(engine: RealEngine, client: EngineClient, rule: Rule) -> None:
    link = v1.Link(name="a")
    link.CopyFrom(rule.link)
    link.name = "a"
    link.remote_cluster.bootstrap_servers.append(engine.remote_bootstrap)
    with pytest.raises(EngineError) as refused:
        client.create_link(link, token="", seconds=10)
    (item,) = refused.value.diagnostics
    assert item.path[0] == rule.field
    assert list(client.list_links()) == []


# What only the engine knows is found by plan, as far as its own values are known.

LATE = """
resource "terraform_data" "servers" { input = "%s" }
resource "terraform_data" "text" { input = "1" }
"""


@pytest.fixture
def taken(terraform: Terraform, engine: RealEngine, client: EngineClient) -> RealEngine:
    """An engine with a link with a prefix, and topics in the way."""
    link = v1.Link(name="theirs", topic_prefix="p.")
    link.remote_cluster.bootstrap_servers.append(engine.remote_bootstrap)
    client.create_link(link, token="", seconds=30)
    for name in ("orders", "payments"):
        engine.create_source_topic(name)
    return engine


def _late_link(lines: str) -> str:
    return f"""
resource "clusterlink_link" "x" {{
  {lines}
  remote_cluster = {{ bootstrap_servers = [terraform_data.servers.output] }}
  config         = {{ "availability.check.ms" = "100${{terraform_data.text.output}}" }}
}}
"""


def test_plan_finds_what_the_engine_knows_while_all_else_is_unknown(
    terraform: Terraform, taken: RealEngine, client: EngineClient
) -> None:
    late = LATE % taken.remote_bootstrap
    for lines, words, line in (
        ('name = "theirs"', ("Link exists already", "import"), 'name = "theirs"'),
        ('name = "b"\n  topic_prefix = "p."', ("Prefix in use", "theirs"), 'topic_prefix = "p."'),
    ):
        terraform.write(late + _late_link(lines))
        planned = terraform.plan()
        assert planned.code == 1
        assert blamed(planned.error(*words)) == line
    # Unknown names and prefixes are nothing to complain of; apply finds out when it plans once more, with all that is known.
    terraform.write(
        late + _late_link('name = "b"\n  topic_prefix = "${terraform_data.text.output}." == "1." ? "p." : "q."')
    )
    assert terraform.plan().code == 2
    refused = terraform.apply(check=False)
    assert refused.error("Prefix in use", "theirs")["address"] == "clusterlink_link.x"
    assert [link.name for link in client.list_links()] == ["theirs"]


def test_mirror_topics_are_refused_at_plan_and_by_the_engine(
    terraform: Terraform, taken: RealEngine, client: EngineClient
) -> None:
    topics.create(taken.local_bootstrap, "p.payments")  # somebody's
    late = LATE % taken.remote_bootstrap
    cases: list[tuple[v1.MirrorTopic, str, str]] = [
        (v1.MirrorTopic(source_topic="missing"), "does not exist", 'source_topic = "missing"'),
        (v1.MirrorTopic(source_topic="payments"), "not a detached mirror", 'source_topic = "payments"'),
        (v1.MirrorTopic(source_topic="x" * 248), "250 characters", f'source_topic = "{"x" * 248}"'),
        (v1.MirrorTopic(source_topic="orders", name="q.orders"), "p.orders", 'name = "q.orders"'),
        (v1.MirrorTopic(source_topic="a b"), "", 'source_topic = "a b"'),
    ]
    for wanted, words, line in cases:
        name = f'\n  name = "{wanted.name}"' if wanted.name else ""
        terraform.write(
            late
            + f'resource "clusterlink_mirror_topic" "o" {{\n  link = "theirs"\n  source_topic = "{wanted.source_topic}"{name}\n'
            "  timeouts = { create = terraform_data.text.output }\n}\n"
        )
        planned = terraform.plan()
        assert planned.code == 1
        (error,) = planned.diagnostics()
        assert (blamed(error), words in error["detail"]) == (line, True), error
        wanted.link = "theirs"
        with pytest.raises(EngineError) as refused:
            client.create_mirror_topic(wanted, token="", seconds=30)
        (item,) = refused.value.diagnostics
        assert item.path[-1] == line.partition(" ")[0]
    assert list(client.list_mirror_topics()) == []
    topics.delete(taken.local_bootstrap, "p.payments")


def test_transitions_that_there_are_not_are_refused_by_the_engine_too(taken: RealEngine, client: EngineClient) -> None:
    client.create_mirror_topic(v1.MirrorTopic(link="theirs", source_topic="orders"), token="", seconds=30)
    client.stop_mirror_topic("p.orders", "theirs", v1.MIRROR_TOPIC_STOP_FAILOVER, seconds=30)
    verbs: list[Callable[[], object]] = [
        lambda: client.set_mirror_topic_paused("p.orders", "theirs", True, seconds=10),
        lambda: client.set_mirror_topic_paused("p.orders", "theirs", False, seconds=10),
        lambda: client.stop_mirror_topic("p.orders", "theirs", v1.MIRROR_TOPIC_STOP_PROMOTE, seconds=10),
        lambda: client.rebuild_mirror_topic("p.orders", "theirs", seconds=10),
    ]
    for verb in verbs:
        with pytest.raises(EngineError):
            verb()
