"""Faults of the engine's API, which only the engine in memory can show: Terraform's state must stay true in all of them."""

import os
import signal
import sys

import grpc

from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine, Fault
from tests.support.waiting import wait_until

LINK = "clusterlink_link.x"
CONFIG = """
resource "clusterlink_link" "x" {
  name           = "a"
  remote_cluster = { bootstrap_servers = ["127.0.0.1:29092"] }
  timeouts       = { create = "%s" }
}
"""


def test_lost_answer_is_asked_for_again(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.inject("CreateLink", Fault(grpc.StatusCode.UNAVAILABLE, after=True))
    terraform.step(CONFIG % "1m", {LINK: "create"})
    assert fake_engine.calls.count("CreateLink") == 2


def test_short_absence_is_waited_for(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.inject("CreateLink", *[Fault(grpc.StatusCode.UNAVAILABLE)] * 3)
    fake_engine.inject("ListLinks", *[Fault(grpc.StatusCode.UNAVAILABLE)] * 2)
    terraform.step(CONFIG % "1m", {LINK: "create"})


def test_create_that_takes_too_long_is_kept(terraform: Terraform, fake_engine: FakeEngine) -> None:
    # The link is made, but the answer does not come in time.
    fake_engine.inject("CreateLink", Fault(grpc.StatusCode.DEADLINE_EXCEEDED, after=True))
    terraform.write(CONFIG % "3s")
    result = terraform.apply(check=False)
    assert result.code == 1
    assert result.error("Timeout", "create the link a", "3 s")
    assert terraform.state[LINK]["tainted"]
    assert terraform.state[LINK]["link_id"] == fake_engine.links["a"].link_id
    assert terraform.plan().actions == {LINK: "replace"}
    terraform.apply()
    terraform.expect_no_changes()


def test_create_that_never_was_leaves_nothing(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.inject("CreateLink", Fault(grpc.StatusCode.DEADLINE_EXCEEDED))
    terraform.write(CONFIG % "3s")
    assert terraform.apply(check=False).error("Timeout")
    assert terraform.state == {}
    assert terraform.plan().actions == {LINK: "create"}


def test_failed_update_keeps_what_is(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.write(CONFIG % "1m")
    terraform.apply()
    fake_engine.inject("PauseLink", Fault(grpc.StatusCode.INTERNAL))
    changed = CONFIG.replace("timeouts", "paused = true\n  topic_config_sync = { interval_ms = 8000 }\n  timeouts")
    terraform.write(changed % "1m")
    assert terraform.apply(check=False).error("Cannot pause the link a")
    state = terraform.state[LINK]
    assert (state["paused"], state["topic_config_sync"]["interval_ms"]) == (False, 8000)
    terraform.apply()
    terraform.expect_no_changes()


def test_engine_that_dies_during_refresh_loses_no_state(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.write(CONFIG % "1m")
    terraform.apply()
    before = terraform.state
    fake_engine.inject("ListLinks", Fault(grpc.StatusCode.INTERNAL))
    planned = terraform.plan()
    assert planned.code == 1
    assert planned.error("Cannot list the links")
    assert terraform.state == before


def test_older_engine(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.version = "0.0.9"
    terraform.write(CONFIG % "1m")
    planned = terraform.plan()
    assert planned.code == 1
    assert planned.error("Engine older than the provider", "0.0.9", "0.1.0", fake_engine.endpoint)


def test_stricter_engine(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.min_sync_interval_ms = 10_000
    terraform.write(CONFIG % "1m")
    assert terraform.plan().error("Sync interval too short", "10000 ms")


def test_unreachable_source_is_a_warning_at_plan(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.write(CONFIG % "1m")
    terraform.apply()
    fake_engine.source_reachable = False
    mirror = 'resource "clusterlink_mirror_topic" "o" {\n  link = "a"\n  source_topic = "orders"\n}\n'
    terraform.write(CONFIG % "1m" + mirror)
    planned = terraform.plan()
    assert planned.code == 2
    assert planned.diagnostics("warning")[0]["summary"] == "Source not checked"
    assert terraform.apply(check=False).error("does not answer")
    assert "clusterlink_mirror_topic.o" not in terraform.state


def test_interrupt_in_a_slow_create_keeps_the_object(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.inject("CreateLink", Fault(delay=4))
    shell_terraform.write(CONFIG % "1m")
    process = shell_terraform.start("apply", "-auto-approve", "-input=false", "-no-color")
    _wait_for(fake_engine, "CreateLink")
    # To the whole group, as a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    result = shell_terraform.finish(process)
    assert "nterrupt" in result.output
    assert "Plugin did not respond" not in result.output
    assert shell_terraform.state[LINK]["link_id"] == fake_engine.links["a"].link_id
    assert "tainted" not in shell_terraform.state[LINK]
    shell_terraform.expect_no_changes()


def test_one_list_call_per_walk(terraform: Terraform, fake_engine: FakeEngine) -> None:
    """The calls of a plan do not grow with the number of resources."""
    fake_engine.max_links = 300
    for number in range(300):
        fake_engine.create_source_topic(f"topic-{number}")
    terraform.write("""
resource "clusterlink_link" "x" {
  count          = 300
  name           = "l-${count.index}"
  remote_cluster = { bootstrap_servers = ["127.0.0.1:29092"] }
}
resource "clusterlink_mirror_topic" "x" {
  count        = 300
  link         = clusterlink_link.x[0].name
  source_topic = "topic-${count.index}"
}
""")
    terraform.apply()
    assert fake_engine.calls.count("ListLinks") == 2  # of its plan, and of the apply that plans each create once more
    fake_engine.calls.clear()
    terraform.expect_no_changes()
    assert sorted(fake_engine.calls) == ["GetEngine", "ListLinks", "ListMirrorTopics"]


def test_plugin_imports_nothing_heavy(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    """Looks at the modules of the very process that serves a plan."""
    script = shell_terraform.directory / "python3"
    listing = shell_terraform.directory / "modules"
    code = (
        "import os, sys, runpy\n"
        "original = os._exit\n"
        f"def leave(code):\n    open({str(listing)!r}, 'a').write('\\n'.join(sys.modules) + '\\n')\n    original(code)\n"
        "os._exit = leave\n"
        "sys.argv = ['clusterlink_provider']\n"
        "runpy.run_module('clusterlink_provider', run_name='__main__')\n"
    )
    (shell_terraform.directory / "start.py").write_text(code)
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{shell_terraform.directory}/start.py"\n')
    script.chmod(0o755)
    shell_terraform.environment["CLUSTERLINK_TERRAFORM_PYTHON"] = str(script)
    shell_terraform.write(CONFIG % "1m")
    assert shell_terraform.plan().code == 2
    modules = set(listing.read_text().split())
    assert "clusterlink_provider.engine_client" in modules
    assert not {name.split(".")[0] for name in modules} & {"pydantic", "confluent_kafka", "kafka", "clusterlink_engine"}
    assert not {"google.rpc", "cryptography.x509"} & modules


def _wait_for(engine: FakeEngine, call: str) -> None:
    wait_until(lambda: call in engine.calls, 60, f"the call {call}")
