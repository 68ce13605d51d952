"""Mirror topics that were reversed or restored behind Terraform's back: shown, and never stopped again by themselves."""

from collections.abc import Callable, Iterator

import pytest

from clusterlink_engine.devkit.engine import EngineApi
from clusterlink_proto import v1
from tests.acceptance.terraform import Run, Terraform, blamed
from tests.support.fake_engine import FakeEngine

LINK = "clusterlink_link.x"
ORDERS = "clusterlink_mirror_topic.o"


def config(status: str = "ACTIVE", extra: str = "") -> str:
    return f"""
resource "clusterlink_link" "x" {{
  name           = "a"
  mode           = "BIDIRECTIONAL"
  remote_cluster = {{ bootstrap_servers = ["127.0.0.1:29092"] }}
}}
resource "clusterlink_mirror_topic" "o" {{
  link         = clusterlink_link.x.name
  source_topic = "orders"
  status       = "{status}"
  {extra}
}}
"""


class Operator:
    """Who uses the API while Terraform looks away; each verb is waited for."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api

    def fail_over(self) -> None:
        self._api.mirror_topics.FailoverMirrorTopic(v1.FailoverMirrorTopicRequest(name="orders"))
        self._wait_until(lambda topic: topic.state == v1.MIRROR_TOPIC_STATE_STOPPED)

    def restore(self) -> None:
        self._api.mirror_topics.TruncateAndRestoreMirrorTopic(v1.TruncateAndRestoreMirrorTopicRequest(name="orders"))
        self._wait_until(lambda topic: topic.state == v1.MIRROR_TOPIC_STATE_ACTIVE)

    def reverse(self, *, paused: bool = False) -> None:
        self._api.mirror_topics.ReverseMirrorTopic(v1.ReverseMirrorTopicRequest(name="orders", paused=paused))
        self._wait_until(lambda topic: not topic.stop)

    def _wait_until(self, is_done: Callable[[v1.MirrorTopic], bool]) -> None:
        # Each reading takes a step.
        assert any(is_done(self._read()) for _ in range(5))

    def _read(self) -> v1.MirrorTopic:
        answer: v1.MirrorTopic = self._api.mirror_topics.GetMirrorTopic(v1.GetMirrorTopicRequest(name="orders"))
        return answer


@pytest.fixture
def operator(fake_engine: FakeEngine) -> Iterator[Operator]:
    with EngineApi(fake_engine.endpoint) as api:
        yield Operator(api)


@pytest.fixture
def applied(terraform: Terraform, fake_engine: FakeEngine) -> Terraform:
    """A link of both directions with a mirror topic, applied."""
    fake_engine.create_source_topic("orders")
    terraform.step(config(), {LINK: "create", ORDERS: "create"})
    assert terraform.state[ORDERS]["direction"] == "REMOTE_TO_LOCAL"
    return terraform


def refuses_to_stop(terraform: Terraform, engine: FakeEngine) -> None:
    """Plan names the drift, apply refuses with the same words, and the engine is asked for nothing."""
    calls = engine.calls.count("FailoverMirrorTopic")
    planned = terraform.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    (warning,) = planned.diagnostics("warning")
    assert warning["summary"] == "Mirror topic was reversed"
    assert 'Set status = "ACTIVE"' in warning["detail"]
    assert blamed(warning).startswith("status")
    refused = terraform.apply(check=False)
    assert refused.code == 1
    assert refused.error("Mirror topic was reversed")["detail"] == warning["detail"]
    assert engine.calls.count("FailoverMirrorTopic") == calls
    assert terraform.state[ORDERS]["status"] == "ACTIVE"


def warning_of(run: Run) -> str:
    (warning,) = run.diagnostics("warning")
    return f"{warning['summary']}: {warning['detail']}"


def test_a_status_from_before_the_way_back_stops_nothing_until_it_is_set_anew(
    applied: Terraform, fake_engine: FakeEngine, operator: Operator
) -> None:
    applied.step(config("FAILED_OVER"), {ORDERS: "update"})
    operator.restore()
    refuses_to_stop(applied, fake_engine)
    # Neither what was refused nor what was only looked at makes it a new wish.
    applied.run("apply", "-refresh-only", "-auto-approve")
    assert applied.state[ORDERS]["direction"] == "LOCAL_TO_REMOTE"
    refuses_to_stop(applied, fake_engine)
    operator.reverse()
    refuses_to_stop(applied, fake_engine)
    assert applied.state[ORDERS]["direction"] == "REMOTE_TO_LOCAL"

    applied.write(config())
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    assert "Apply takes note" in warning_of(planned)
    applied.apply()
    applied.expect_no_changes()
    applied.write(config("FAILED_OVER"))
    assert "This is final" in warning_of(applied.plan())
    applied.step(config("FAILED_OVER"), {ORDERS: "update"})
    assert fake_engine.topics["orders"].stop == v1.MIRROR_TOPIC_STOP_FAILOVER
    operator.restore()
    refuses_to_stop(applied, fake_engine)


def test_another_way_to_stop_is_a_new_wish(applied: Terraform, fake_engine: FakeEngine, operator: Operator) -> None:
    applied.step(config("FAILED_OVER"), {ORDERS: "update"})
    operator.restore()
    applied.write(config("PROMOTED"))
    assert "on the remote cluster becomes a topic like any other" in warning_of(applied.plan())
    applied.step(config("PROMOTED"), {ORDERS: "update"})
    assert fake_engine.topics["orders"].stop == v1.MIRROR_TOPIC_STOP_PROMOTE


def test_what_an_operator_stopped_and_the_configuration_agreed_to_is_nothing_new(
    applied: Terraform, fake_engine: FakeEngine, operator: Operator
) -> None:
    operator.fail_over()
    applied.step(config("FAILED_OVER"), {})
    operator.restore()
    refuses_to_stop(applied, fake_engine)


def test_a_cancelled_promote_is_asked_for_again(applied: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.waits_for = "1 offset is missing in 1 partition"
    applied.write(config("PROMOTED", 'timeouts = { update = "1s" }'))
    assert fake_engine.waits_for in applied.apply(check=False).error("not stopped yet")["detail"]
    applied.run("apply", "-refresh-only", "-auto-approve")
    with EngineApi(fake_engine.endpoint) as api:
        api.mirror_topics.CancelPromoteMirrorTopic(v1.CancelPromoteMirrorTopicRequest(name="orders"))
    fake_engine.waits_for = ""
    applied.step(config("PROMOTED"), {ORDERS: "update"})
    assert fake_engine.topics["orders"].stop == v1.MIRROR_TOPIC_STOP_PROMOTE


def test_a_replaced_mirror_topic_has_nothing_to_be_remembered(applied: Terraform, operator: Operator) -> None:
    operator.fail_over()
    applied.apply("-refresh-only")
    operator.restore()
    applied.apply(f"-replace={ORDERS}")
    applied.expect_no_changes()


def test_a_turned_direction_is_shown_and_plans_nothing(
    applied: Terraform, fake_engine: FakeEngine, operator: Operator
) -> None:
    applied.step(config(extra="replication_factor = 1"), {})
    operator.reverse()
    # The topic on the other cluster has its own.
    fake_engine.topics["orders"].replication_factor = 3
    fake_engine.topics["orders"].source_topic_id = "another"
    applied.expect_no_changes()
    shown = applied.run("plan", "-refresh-only", "-no-color").output
    assert '~ direction          = "REMOTE_TO_LOCAL" -> "LOCAL_TO_REMOTE"' in shown
    applied.step(config("PAUSED", extra="replication_factor = 1"), {ORDERS: "update"})
    assert (applied.state[ORDERS]["status"], applied.state[ORDERS]["direction"]) == ("PAUSED", "LOCAL_TO_REMOTE")
    applied.step(config(extra="replication_factor = 1"), {ORDERS: "update"})
    # The configuration asks for it now, whichever of the topics is the mirror.
    applied.write(config("FAILED_OVER", extra="replication_factor = 1"))
    assert "the topic orders on the remote cluster" in warning_of(applied.plan())
    applied.step(config("FAILED_OVER", extra="replication_factor = 1"), {ORDERS: "update"})


def test_a_reverse_that_pauses_is_drift(applied: Terraform, operator: Operator) -> None:
    operator.reverse(paused=True)
    planned = applied.plan()
    assert (planned.code, planned.actions) == (2, {ORDERS: "update"})
    applied.step(config("PAUSED"), {})


def test_nothing_is_stopped_by_a_plan_from_before_the_direction_was_turned(
    applied: Terraform, fake_engine: FakeEngine, operator: Operator
) -> None:
    applied.write(config("FAILED_OVER"))
    applied.run("plan", "-out=early.tfplan", "-input=false")
    operator.reverse()
    refused = applied.run("apply", "-json", "-input=false", "early.tfplan", check=False)
    assert refused.code == 1
    assert "Plan again" in refused.error("Mirror topic was reversed")["detail"]
    assert "FailoverMirrorTopic" not in fake_engine.calls
    assert applied.state[ORDERS]["direction"] == "LOCAL_TO_REMOTE"


def test_destroying_a_reversed_mirror_topic_keeps_both_topics(
    applied: Terraform, fake_engine: FakeEngine, operator: Operator
) -> None:
    operator.reverse()
    warnings = applied.plan("-destroy").diagnostics("warning")
    assert [item for item in warnings if item["address"] == ORDERS] == []
    applied.run("destroy", "-auto-approve", f"-target={ORDERS}")
    assert fake_engine.disposals == {"orders": v1.TOPIC_DISPOSAL_KEEP_TOPIC}


def test_destroying_a_reversed_mirror_topic_with_its_topic_names_the_one_on_the_remote_cluster(
    applied: Terraform, fake_engine: FakeEngine, operator: Operator
) -> None:
    operator.reverse()
    applied.step(config(extra='on_destroy = "DELETE_TOPIC"'), {ORDERS: "update"})
    planned = applied.plan("-destroy")
    (warning,) = [item for item in planned.diagnostics("warning") if item["address"] == ORDERS]
    assert warning["summary"] == "A topic of the remote cluster is deleted"
    assert "the topic orders on the remote cluster of the link a" in warning["detail"]
    applied.destroy()
    assert fake_engine.disposals == {"orders": v1.TOPIC_DISPOSAL_DELETE_TOPIC}


def test_both_directions_and_a_prefix_are_refused_whatever_is_unknown(terraform: Terraform) -> None:
    terraform.write("""
variable "name" { type = string }
resource "clusterlink_link" "x" {
  name                 = var.name
  mode                 = "BIDIRECTIONAL"
  remote_cluster       = { bootstrap_servers = [var.name] }
  topic_prefix         = "p."
  consumer_offset_sync = { group_prefix = true }
}
""")
    found = {error["summary"]: blamed(error) for error in terraform.validate()}
    assert found == {
        "Topic prefix with both directions": 'topic_prefix         = "p."',
        "Group prefix with both directions": "consumer_offset_sync = { group_prefix = true }",
    }


def test_another_mode_replaces_the_link(applied: Terraform) -> None:
    applied.write(config().replace("BIDIRECTIONAL", "DESTINATION"))
    assert applied.replace_paths(LINK) == [["mode"]]


def test_data_sources_tell_of_everything_while_the_remote_cluster_is_away(
    terraform: Terraform, fake_engine: FakeEngine
) -> None:
    remote = v1.RemoteCluster(bootstrap_servers=["b:1"], cluster_id="remote", security_protocol="SASL_PLAINTEXT")
    remote.sasl.CopyFrom(v1.Sasl(mechanism="PLAIN", username="u"))
    away = v1.Link(name="a", link_id="1", mode=v1.LINK_MODE_BIDIRECTIONAL, remote_cluster=remote)
    away.state, away.error = v1.LINK_STATE_UNAVAILABLE, "TIMEOUT_ERROR"
    away.tasks.add(name="AclSync", state=v1.TASK_STATE_IN_ERROR).errors.add(code="AUTHORIZATION_ERROR", message="No.")
    other = v1.Link(name="b", link_id="2", mode=v1.LINK_MODE_DESTINATION, state=v1.LINK_STATE_ACTIVE)
    fake_engine.links |= {"b": other, "a": away}
    for name, link in (("zoo", "a"), ("made", "b"), ("orders", "a")):
        topic = v1.MirrorTopic(link=link, name=name, source_topic=name, state=v1.MIRROR_TOPIC_STATE_SOURCE_UNAVAILABLE)
        topic.error, topic.error_message, topic.automatic = "TIMEOUT_ERROR", "No answer.", name == "made"
        topic.direction = v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE if name == "orders" else topic.direction
        fake_engine.topics[name] = topic
    fake_engine.source_reachable = False
    terraform.write("""
data "clusterlink_mirror_topics" "all" {}
data "clusterlink_mirror_topics" "b" { link = "b" }
data "clusterlink_links" "all" {}
data "clusterlink_link" "a" { name = "a" }
""")
    terraform.apply()
    state = terraform.state
    listed = state["data.clusterlink_mirror_topics.all"]["mirror_topics"]
    assert [(topic["id"], topic["direction"]) for topic in listed] == [
        ("a/orders", "LOCAL_TO_REMOTE"),
        ("a/zoo", "REMOTE_TO_LOCAL"),
        ("b/made", "REMOTE_TO_LOCAL"),
    ]
    assert state["data.clusterlink_mirror_topics.b"]["mirror_topics"] == [
        {
            "id": "b/made",
            "name": "made",
            "link": "b",
            "source_topic": "made",
            "status": "ACTIVE",
            "observed_status": "SOURCE_UNAVAILABLE",
            "direction": "REMOTE_TO_LOCAL",
            "error": "TIMEOUT_ERROR: No answer.",
            "automatic": True,
        }
    ]
    links = state["data.clusterlink_links.all"]["links"]
    assert [(link["name"], link["remote_cluster_id"], link["state"]) for link in links] == [
        ("a", "remote", "UNAVAILABLE"),
        ("b", None, "ACTIVE"),
    ]
    one = state["data.clusterlink_link.a"]
    assert (one["mode"], one["error"], one["mirror_topic_count"]) == ("BIDIRECTIONAL", "TIMEOUT_ERROR", 2)
    user = {"mechanism": "PLAIN", "username": "u", "oauth": None, "aws_region": None}
    assert one["remote_cluster"]["sasl"] == user
    assert one["tasks"] == [
        {"name": "AclSync", "state": "IN_ERROR", "errors": [{"code": "AUTHORIZATION_ERROR", "message": "No."}]}
    ]


def test_a_link_that_is_not_there(terraform: Terraform) -> None:
    terraform.write('data "clusterlink_link" "a" {\n  name = "nothing"\n}\n')
    planned = terraform.plan()
    assert planned.code == 1
    assert blamed(planned.error("No such link", "nothing")) == 'name = "nothing"'
