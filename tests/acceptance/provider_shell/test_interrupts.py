"""Somebody ends terraform while the engine is at work: nothing is lost, and what was begun is found again."""

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from clusterlink_proto import v1
from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine, Fault
from tests.support.waiting import wait_until

LINK, ORDERS = "clusterlink_link.x", "clusterlink_mirror_topic.o"
CONFIG = """
resource "clusterlink_link" "x" {
  name           = "a"
  remote_cluster = { bootstrap_servers = ["127.0.0.1:29092"] }
}
"""
MIRROR = """
resource "clusterlink_mirror_topic" "o" {
  link         = clusterlink_link.x.name
  source_topic = "orders"
  status       = "%s"
}
"""
APPLY = ("apply", "-auto-approve", "-input=false", "-no-color")


def _is_called(engine: FakeEngine, call: str) -> None:
    wait_until(lambda: call in engine.calls, 60, f"the call {call}")


def _interrupt_twice(process: int) -> None:
    os.killpg(process, signal.SIGINT)
    os.killpg(process, signal.SIGINT)


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "call"),
    [
        pytest.param(_interrupt_twice, "CreateMirrorTopic", id="a second Ctrl-C"),
        pytest.param(_kill, "CreateLink", id="SIGKILL", marks=pytest.mark.slow),
        pytest.param(_interrupt_twice, "CreateLink", id="a second Ctrl-C, of a link", marks=pytest.mark.slow),
        pytest.param(_kill, "CreateMirrorTopic", id="SIGKILL, of a mirror topic", marks=pytest.mark.slow),
    ],
)
def test_what_nobody_waited_for_is_imported(
    shell_terraform: Terraform, fake_engine: FakeEngine, end: Callable[[int], None], call: str
) -> None:
    """The engine finishes what it was asked for. The state does not have it; the next plan says so, and how to go on."""
    terraform = shell_terraform
    fake_engine.create_source_topic("orders")
    fake_engine.inject(call, Fault(delay=4))
    terraform.write(CONFIG + MIRROR % "ACTIVE")
    process = terraform.start(*APPLY)
    _is_called(fake_engine, call)
    plugins = psutil.Process(process.pid).children(recursive=True)
    end(process.pid)
    assert terraform.finish(process).code != 0
    _, alive = psutil.wait_procs(plugins, timeout=30)
    assert alive == []
    made = fake_engine.links if call == "CreateLink" else fake_engine.topics
    wait_until(lambda: bool(made), 30, "the engine to finish")
    address, identifier = (LINK, "a") if call == "CreateLink" else (ORDERS, "a/orders")
    if address not in terraform.state:
        planned = terraform.plan()
        assert planned.code == 1
        assert planned.error("exists already", f"terraform import ADDRESS {identifier}")
        terraform.run("import", "-input=false", address, identifier)
    terraform.apply()
    terraform.expect_no_changes()
    assert (len(fake_engine.links), len(fake_engine.topics)) == (1, 1)


def test_an_interrupt_keeps_a_slow_mirror_topic(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.create_source_topic("orders")
    fake_engine.inject("CreateMirrorTopic", Fault(delay=3))
    shell_terraform.write(CONFIG + MIRROR % "ACTIVE")
    process = shell_terraform.start(*APPLY)
    _is_called(fake_engine, "CreateMirrorTopic")
    os.killpg(process.pid, signal.SIGINT)
    shell_terraform.finish(process)
    assert shell_terraform.state[ORDERS]["id"] == "a/orders"
    assert "tainted" not in shell_terraform.state[ORDERS]
    shell_terraform.expect_no_changes()


def test_an_interrupt_ends_the_waiting_for_a_promote(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    """Soon, with what is waited for; the engine goes on, and so does the next apply."""
    fake_engine.create_source_topic("orders")
    shell_terraform.write(CONFIG + MIRROR % "ACTIVE")
    shell_terraform.apply()
    fake_engine.waits_for = "a record that does not come"
    shell_terraform.write(CONFIG + MIRROR % "PROMOTED")
    process = shell_terraform.start(*APPLY)
    _is_called(fake_engine, "PromoteMirrorTopic")
    os.killpg(process.pid, signal.SIGINT)
    output = " ".join(shell_terraform.finish(process).output.replace("\u2502", "").split())
    assert "was not PROMOTED when apply was interrupted. It waits: a record that does not come." in output
    assert shell_terraform.state[ORDERS]["status"] == "ACTIVE"
    fake_engine.waits_for = ""
    shell_terraform.apply()
    shell_terraform.expect_no_changes()
    assert fake_engine.topics["orders"].stop == v1.MIRROR_TOPIC_STOP_PROMOTE
    assert fake_engine.calls.count("PromoteMirrorTopic") == 1


def test_an_interrupt_while_a_link_is_failed_over_keeps_the_link(
    shell_terraform: Terraform, fake_engine: FakeEngine
) -> None:
    fake_engine.create_source_topic("orders")
    failing_over = CONFIG.replace("  name ", '  on_destroy     = "FAILOVER"\n  name ')
    shell_terraform.write(failing_over + MIRROR % "ACTIVE")
    shell_terraform.apply()
    shell_terraform.run("state", "rm", ORDERS)
    fake_engine.waits_for = "the last offset"
    shell_terraform.write("")
    process = shell_terraform.start(*APPLY)
    _is_called(fake_engine, "FailoverMirrorTopic")
    os.killpg(process.pid, signal.SIGINT)
    output = " ".join(shell_terraform.finish(process).output.replace("\u2502", "").split())
    assert 'a/orders is still being failed over (on_destroy = "FAILOVER"). It waits: the last offset' in output
    assert LINK in shell_terraform.state
    fake_engine.waits_for = ""
    shell_terraform.apply()
    assert shell_terraform.state == {}
    assert fake_engine.links == {}
    assert fake_engine.calls.count("FailoverMirrorTopic") == 1
