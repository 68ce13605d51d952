"""Each message of plan and apply as it is printed, compared with the file that a reviewer reads."""

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import clusterlink_provider
from clusterlink_proto import v1
from clusterlink_provider import engine_client
from clusterlink_provider.resources import provider as provider_module
from tests.acceptance import printed
from tests.acceptance.printed import Scene
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform
from tests.support.certificates import Authority
from tests.support.fake_engine import FakeEngine, Fault
from tests.support.points import in_part

_REWRITE = os.environ.get("CLUSTERLINK_TEST_REWRITE_MESSAGES")

# What no run of this provider prints, and why.
NOT_PRINTED = {
    "Write-only attribute not possible": "Terraform 1.10 and older; in test_server.py",
    "Incomplete result": "a bug; in test_server.py",
    "Unexpected error in the provider": "a bug; in test_server.py",
    "Value does not fit the schema": "Terraform sends none; in test_server.py",
    "Cannot move between types": "Terraform 1.11 refuses it in its own words; in test_server.py",
    " of a newer provider": "Terraform 1.11 refuses it in its own words; in test_server.py",
    "Object of another place": "Terraform 1.11 has no identities; in test_server.py",
    "Identity of another cluster": "Terraform 1.11 has no identities; in test_server.py",
    "import by identity": "Terraform 1.11 has no identities; in test_server.py",
    "Unknown resource type": "Terraform asks for types of the schema only",
    "Unknown data source type": "Terraform asks for types of the schema only",
}


def link(extra: str = "", *, label: str = "x", name: str = "from-primary", remote: str = "") -> str:
    return f"""
resource "clusterlink_link" "{label}" {{
  name = "{name}"
  remote_cluster = {{
    bootstrap_servers = ["broker-1:9092"]
    {remote}
  }}
  {extra}
}}
"""


def mirror(extra: str = "", *, label: str = "orders", link_name: str = '"from-primary"', topic: str = "orders") -> str:
    return f"""
resource "clusterlink_mirror_topic" "{label}" {{
  link         = {link_name}
  source_topic = "{topic}"
  {extra}
}}
"""


def links(*extras: str) -> str:
    return "".join(link(extra, label=f"x{number}") for number, extra in enumerate(extras))


_SCENES: dict[str, Callable[[Scene], None]] = {}


def scene(title: str) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    def register(work: Callable[[Scene], None]) -> Callable[[Scene], None]:
        _SCENES[title] = work
        return work

    return register


@scene("A link that cannot be")
def _(s: Scene) -> None:
    s.write(
        link(name="", label="a")
        + link(name="from primary", label="b")
        + link(name="x" * 250, label="c")
        + links(
            'mode = "SOURCE"',
            'mode = "SINK"',
            'topic_prefix = ""',
            'mirror_start_offset = "yesterday"',
            'mirror_start_offset = "1969-01-01T00:00:00Z"',
            "topic_config_sync = { interval_ms = 10 }",
            "topic_config_sync = { interval_ms = 1000.5 }",
            "topic_config_sync = { include = [] }",
            'config = { "replica.fetch.max.bytes" = null }',
            'on_destroy = "DELETE"',
            'timeouts = { create = "soon" }',
        )
        + 'resource "clusterlink_link" "address" {\n  name = "a"\n  remote_cluster = { bootstrap_servers = ["broker"] }\n}\n'
    )
    s.show("validate")


@scene("Security of a link")
def _(s: Scene) -> None:
    sasl = 'mechanism = "SCRAM-SHA-512", username = "u"'
    remotes = [
        'security_protocol = "SASL_SSL"',
        f'sasl = {{ {sasl}, password = "p" }}',
        f'security_protocol = "SASL_SSL"\n    sasl = {{ {sasl} }}',
        f'security_protocol = "SASL_SSL"\n    sasl = {{ {sasl}, password = "" }}',
        f'security_protocol = "SASL_SSL"\n    sasl = {{ {sasl}, password = "p", password_wo = "p" }}',
        f'security_protocol = "SASL_SSL"\n    sasl = {{ {sasl}, password_wo = "p" }}',
        f'security_protocol = "SASL_SSL"\n    sasl = {{ {sasl}, password = "p", password_wo_version = 1 }}',
        'security_protocol = "SASL_SSL"\n    sasl = { mechanism = "GSSAPI", username = "u", password = "p" }',
        'security_protocol = "SASL_SSL"\n    sasl = { mechanism = "OAUTHBEARER", username = "u", password = "p" }',
        'security_protocol = "SASL_SSL"\n    sasl = { mechanism = "AWS_MSK_IAM", username = "u", password = "p" }',
        "tls = {}",
        'security_protocol = "SSL"\n    tls = { certificate_pem = "c" }',
        'security_protocol = "SSL"\n    tls = { key_pem = "k" }',
    ]
    s.write("".join(link(label=f"x{number}", remote=remote) for number, remote in enumerate(remotes)))
    s.show("validate")
    s.write(
        link(remote=f'security_protocol = "SASL_PLAINTEXT"\n    sasl = {{ {sasl}, password = "p" }}').replace(
            "SCRAM-SHA-512", "PLAIN"
        )
    )
    s.show("plan")


@scene("Syncs of a link")
def _(s: Scene) -> None:
    name = '{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }'
    prefixed = f"consumer_offset_sync = {{ enable = true, group_prefix = true, group_filters = [{name}] }}"
    s.write(
        links(
            'mode = "BIDIRECTIONAL"\n  topic_prefix = "p."',
            f'mode = "BIDIRECTIONAL"\n  {prefixed}',
            prefixed,
            "consumer_offset_sync = { enable = true }",
            "acl_sync = { enable = true }",
            'topic_prefix = "p."\n  acl_sync = { enable = true, filters = [{ resource_type = "ANY", resource_name = "", '
            'pattern_type = "ANY", principal = "", host = "", operation = "ANY", permission_type = "ANY" }] }',
            'acl_sync = { filters = [{ resource_type = "topic", resource_name = "", '
            'pattern_type = "ANY", principal = "", host = "", operation = "ANY", permission_type = "ANY" }] }',
            'auto_create_mirror_topics = { filters = [{ name = "_x", pattern_type = "LITERAL", filter_type = "INCLUDE" }] }',
            'auto_create_mirror_topics = { filters = [{ name = "", pattern_type = "LITERAL", filter_type = "INCLUDE" }] }',
            'auto_create_mirror_topics = { filters = [{ name = "x", pattern_type = "ANY", filter_type = "INCLUDE" }] }',
        )
    )
    s.show("validate")


@scene("A mirror topic that cannot be")
def _(s: Scene) -> None:
    s.write(mirror('status = "GONE"', label="a") + mirror("replication_factor = 0", label="b"))
    s.show("validate")
    s.engine.links["from-primary"] = v1.Link(name="from-primary", topic_prefix="p.", mode=v1.LINK_MODE_DESTINATION)
    s.engine.create_source_topic("taken")
    s.engine.topics["p.taken"] = v1.MirrorTopic(name="p.taken", link="from-primary", source_topic="taken")
    s.write(
        mirror('name = "orders"', label="a")
        + mirror(label="b", topic="x" * 248)
        + mirror('status = "PROMOTED"', label="c")
        + mirror(label="d", topic="taken")
        + mirror(label="e", topic="not-there")
    )
    s.show("plan")
    s.engine.source_reachable = False
    s.write(mirror(label="e", topic="new"))
    s.show("plan")


@scene("Limits and names on the engine")
def _(s: Scene) -> None:
    s.engine.max_links = 2
    s.engine.min_sync_interval_ms = 2000
    s.engine.links["there"] = v1.Link(name="there", topic_prefix="there.", mode=v1.LINK_MODE_DESTINATION)
    s.write(link(name="there") + link('topic_prefix = "there."', label="y", name="new"))
    s.show("plan")
    s.write(link("topic_config_sync = { interval_ms = 1000 }"))
    s.show("plan")
    s.write(link('config = { "no.such" = "1" }'))
    s.show("plan")
    s.engine.max_links = 1
    s.write(link())
    s.show("plan")


@scene("A link with mirror topics is replaced or destroyed")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    s.make(link() + mirror(link_name="clusterlink_link.x.name"))
    s.engine.topics["other"] = v1.MirrorTopic(name="other", link="from-primary", source_topic="other")
    s.write(link('mirror_start_offset = "latest"') + mirror(link_name="clusterlink_link.x.name"))
    s.show("plan")
    s.write("")
    s.show("plan")
    s.show("apply")


@scene("A link that somebody else changes during apply")
def _(s: Scene) -> None:
    s.make(link())
    s.write(link("paused = true"))
    s.terraform.run("plan", "-out=gone.tfplan", "-input=false")
    s.engine.inject("GetLink", Fault(grpc.StatusCode.NOT_FOUND))
    s.show("apply", "gone.tfplan")
    s.make(link("paused = true"))
    s.engine.always["GetLink"] = Fault(
        change=lambda answer: v1.Link.FromString(answer.SerializeToString() + _paused(False))
    )
    s.write(link("topic_config_sync = { interval_ms = 9000 }\n  paused = true"))
    s.show("apply")


def _paused(value: bool) -> bytes:
    number = v1.Link.DESCRIPTOR.fields_by_name["paused"].number
    return bytes([number << 3, value])


@scene("Another remote cluster than the configuration says")
def _(s: Scene) -> None:
    s.write(link(remote='cluster_id = "another"'))
    s.show("apply")


@scene("What a link lacks that is to be created")
def _(s: Scene) -> None:
    def missing(check: str, detail: str, *, required: bool = False) -> v1.LinkCheck:
        return v1.LinkCheck(
            check=check,
            side=v1.LINK_SIDE_REMOTE,
            needed_by="mirroring",
            status=v1.CHECK_STATUS_MISSING,
            detail=detail,
            command=""
            if required
            else "kafka-acls.sh --add --allow-principal User:mirror --operation READ --topic '*'",
            required=required,
        )

    s.write(link())
    s.engine.checks = [
        missing("advertised brokers", "broker 1 cannot be reached at broker-1:9092", required=True),
        missing("READ on source topics", ""),
    ]
    s.show("plan")
    s.engine.checks = [missing("cluster id", "it has the id a, not b", required=True)]
    s.show("plan")
    s.engine.inject("CheckNewLink", Fault(grpc.StatusCode.INTERNAL, message="The check was broken off"))
    s.show("plan")


@scene("Errors of the engine")
def _(s: Scene) -> None:
    for fault in (
        Fault(grpc.StatusCode.DEADLINE_EXCEEDED),
        Fault(grpc.StatusCode.INTERNAL, reason="STATE_LOST", message="The state cannot be written."),
        Fault(change=lambda _: v1.Link(name="other", mode=v1.LINK_MODE_DESTINATION)),
    ):
        s.engine.inject("CreateLink", fault)
        s.write(link('timeouts = { create = "3s" }'))
        s.show("apply")
        s.engine.links.clear()
        s.terraform.destroy()


@scene("The way to the engine")
def _(s: Scene) -> None:
    s.write(link(), provider='provider "clusterlink" {\n  endpoint = "http://engine"\n}\n')
    s.show("validate")
    s.engine.version = "0.0.9"
    s.write(link())
    s.show("plan")
    elsewhere = 'provider "clusterlink" {\n  endpoint = "engine.example.com:7171"\n  token = "t"\n}\n'
    s.write(link(), provider=elsewhere)
    s.show("plan")
    s.engine.token = "secret"  # noqa: S105
    s.write(link())
    s.show("plan")
    s.engine.stop()
    s.show("plan")
    s.engine.certificate = Authority("authority").issue("api", "127.0.0.1")
    s.engine.start()
    tls = f'provider "clusterlink" {{\n  endpoint = "{s.engine.endpoint}"\n  tls = {{}}\n}}\n'
    s.write(link(), provider=tls)
    s.show("plan")


@scene("A provider that is configured by what is not known yet")
def _(s: Scene) -> None:
    s.make(
        'resource "terraform_data" "endpoint" {\n  input = "127.0.0.1:7171"\n}\n'
        + 'data "clusterlink_links" "all" {}\n'
    )
    unknown = 'provider "clusterlink" {\n  endpoint = terraform_data.endpoint.output\n}\n'
    s.write(
        'resource "terraform_data" "endpoint" {\n  input = "127.0.0.1:7172"\n}\ndata "clusterlink_links" "all" {}\n',
        provider=unknown,
    )
    s.show("plan")


@scene("Import, data sources, states")
def _(s: Scene) -> None:
    s.write(link() + mirror())
    s.show("import", "clusterlink_link.x", "a/b")
    s.show("import", "clusterlink_mirror_topic.orders", "orders")
    s.write('data "clusterlink_link" "a" {\n  name = "a"\n}\n')
    s.show("plan")
    s.write('data "clusterlink_mirror_topic" "a" {\n  link = "a"\n  name = "b"\n}\n')
    s.show("plan")
    s.make(link())
    state = s.terraform.directory / "terraform.tfstate"
    healthy = state.read_text()
    s.write(link())
    for before, after in (
        ('"paused": false', '"paused": "no"'),
        ('"attributes": {', '"attributes_flat": {"id": "x"}, "unused": {'),
    ):
        assert before in healthy
        state.write_text(healthy.replace(before, after))
        s.show("plan")


@scene("A mirror topic that has failed")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    s.make(link() + mirror(link_name="clusterlink_link.x.name"))
    s.engine.fail_mirror_topic("orders")
    s.show("plan")
    s.show("apply")


@scene("A mirror topic that has failed, and is rebuilt or cannot be promoted")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    name = "clusterlink_link.x.name"
    s.make(link() + mirror(link_name=name))
    s.engine.fail_mirror_topic("orders")
    s.write(link() + mirror('status = "PROMOTED"', link_name=name))
    s.show("plan")
    s.write(link() + mirror('on_failed = "REBUILD"', link_name=name))
    s.show("plan")


@scene("A mirror topic that an operator has failed over")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    s.make(link() + mirror(link_name="clusterlink_link.x.name"))
    topic = s.engine.topics["orders"]
    topic.state, topic.stop = v1.MIRROR_TOPIC_STATE_STOPPED, v1.MIRROR_TOPIC_STOP_FAILOVER
    s.show("plan")


@scene("A topic that is deleted with its data, or is the user's")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    name = "clusterlink_link.x.name"
    for disposal in ("DELETE_TOPIC_WITH_DATA", "DELETE_TOPIC"):
        stopped = f'status = "FAILED_OVER"\n  on_destroy = "{disposal}"'
        s.make(link() + mirror(link_name=name))
        s.make(link() + mirror(stopped, link_name=name))
        s.write(link())
        s.show("plan")
        if disposal == "DELETE_TOPIC_WITH_DATA":
            s.terraform.apply()


@scene("A topic that is deleted with its mirror, since it is not finished")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    s.make(link() + mirror(link_name="clusterlink_link.x.name"))
    s.engine.topics["orders"].state = v1.MIRROR_TOPIC_STATE_SEEDING
    s.write(link())
    s.show("plan")


@scene("A link whose mirror topics are failed over when it is destroyed")
def _(s: Scene) -> None:
    s.make(link('on_destroy = "FAILOVER"\n  timeouts = { delete = "1s" }'))
    s.engine.topics["other"] = v1.MirrorTopic(
        name="other", link="from-primary", source_topic="other", state=v1.MIRROR_TOPIC_STATE_ACTIVE
    )
    s.engine.waits_for = "For the last offset of partition 0."
    s.write("")
    s.show("plan")
    s.show("apply")


@scene("A mirror topic that is promoted or failed over")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    config = link('mode = "BIDIRECTIONAL"')
    name = "clusterlink_link.x.name"
    s.make(config + mirror(link_name=name))
    s.engine.waits_for = "For the records up to offset 7 of partition 0."
    s.write(config + mirror('status = "PROMOTED"\n  timeouts = { update = "1s" }', link_name=name))
    s.show("apply")
    s.engine.waits_for = ""
    s.terraform.apply()
    s.write(config + mirror(link_name=name))
    s.show("plan")
    s.show("apply")


@scene("A mirror topic that was reversed or restored")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    config = link('mode = "BIDIRECTIONAL"')
    name = "clusterlink_link.x.name"
    s.make(config + mirror(link_name=name))
    s.write(config + mirror('config = { "segment.bytes" = "1048576" }', link_name=name))
    s.terraform.run("plan", "-out=turned.tfplan", "-input=false")
    topic = s.engine.topics["orders"]
    topic.direction = v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE
    s.show("apply", "turned.tfplan")
    s.write(config + mirror('status = "FAILED_OVER"', link_name=name))
    s.show("apply")
    topic.state, topic.stop = v1.MIRROR_TOPIC_STATE_ACTIVE, v1.MIRROR_TOPIC_STOP_UNSPECIFIED
    s.show("plan")
    s.show("apply")
    s.write(config + mirror('on_destroy = "DELETE_TOPIC"', link_name=name))
    s.show("plan")
    s.terraform.apply()
    s.write(config)
    s.show("plan")


@scene("A mirror topic that somebody else deletes during apply")
def _(s: Scene) -> None:
    s.engine.create_source_topic("orders")
    s.make(link() + mirror(link_name="clusterlink_link.x.name"))
    s.write(link() + mirror('status = "PAUSED"', link_name="clusterlink_link.x.name"))
    s.terraform.run("plan", "-out=gone.tfplan", "-input=false")
    s.engine.topics.clear()
    s.show("apply", "gone.tfplan")


@pytest.fixture(scope="module")
def impatient() -> Iterator[ResidentProvider]:
    """A provider that waits less than usual for an engine that is not there."""
    with pytest.MonkeyPatch.context() as patch, ResidentProvider() as resident:
        patch.setattr(provider_module, "_CONNECT_SECONDS", 0.5)
        patch.setattr(engine_client, "READ_SECONDS", 3.0)
        yield resident


# Shown to terraform in every run; of the others only the words are compared, in the last test here.
_DEFAULT = ("A link that cannot be", "Security of a link", "A mirror topic that cannot be")


@pytest.mark.parametrize("title", in_part(list(_SCENES), *_DEFAULT))
def test_printed_as_in_the_file(
    title: str, tmp_path: Path, impatient: ResidentProvider, fake_engine: FakeEngine
) -> None:
    terraform = Terraform(tmp_path / "work", tmp_path / "no-plugins", fake_engine.endpoint, impatient.reattach)
    found = Scene(terraform, fake_engine)
    _SCENES[title](found)
    for word in ("Traceback", "bug in the provider"):
        assert word not in found.text
    before = printed.sections()
    if _REWRITE:
        everything = before | {title: found.text}
        printed.write({name: everything[name] for name in _SCENES if name in everything})
    else:
        assert found.text.strip() == before[title].strip()


def test_nothing_is_left_in_the_file() -> None:
    assert list(printed.sections()) == list(_SCENES)


def _sites() -> Iterator[tuple[str, str, str]]:
    """Finds the messages in the source: place, summary and detail, as patterns."""
    for path in sorted(Path(clusterlink_provider.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or len(node.args) < 2:
                continue
            is_message = node.func.attr in {"error", "warning", "of"} and ast.unparse(node.func.value) != "_log"
            if is_message and path.name != "diagnostics.py":
                yield f"{path.name}:{node.lineno}", _pattern(node.args[0]), _pattern(node.args[1])


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return re.escape(_joined(str(node.value)))
    if isinstance(node, ast.JoinedStr):
        parts = [_joined(str(part.value)) if isinstance(part, ast.Constant) else None for part in node.values]
        return "".join(".+?" if part is None else re.escape(part) for part in parts)
    return ".+?"


def _joined(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_every_message_of_the_source_is_in_the_file() -> None:
    text = "".join(printed.sections().values())
    there = [_joined(message).strip() for message in re.findall(r"```text\n(.*?)```", text, re.DOTALL)]
    missing = [
        f"{place}: {summary}"
        for place, summary, detail in _sites()
        if not any(re.match(f"(Error|Warning): {summary} .*{detail}", message) for message in there)
        and not any(re.escape(name) in f"{summary} {detail}" for name in NOT_PRINTED)
    ]
    assert missing == []
