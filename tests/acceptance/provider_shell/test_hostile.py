"""An engine that answers wrongly, and the installed plugin in its own process; all faults are in test_hostile_engine.py."""

from typing import Any

import grpc
import pytest

from clusterlink_proto import v1
from tests.acceptance.provider_shell.test_faults import CONFIG, LINK
from tests.acceptance.terraform import Run, Terraform
from tests.support.fake_engine import FakeEngine, Fault, RawAnswer


def _newer(answer: Any) -> Any:
    for link in getattr(answer, "links", [answer]):
        link.mode = 7
    return answer


_FAULTS = {
    "not protobuf": Fault(change=lambda _: RawAnswer(b"\xff" * 20)),
    "of a newer version": Fault(change=_newer),
    "nothing": Fault(
        change=lambda answer: (
            type(answer)() if isinstance(answer, v1.Link) else v1.ListLinksResponse(links=[v1.Link(name="a")])
        )
    ),
    "an error with details that are none": Fault(grpc.StatusCode.INTERNAL, details=b"\xff\xff"),
}


def _is_clear(result: Run) -> bool:
    for word in ("Plugin did not respond", "Traceback", "bug in the provider", "produced an", "inconsistent", "crash"):
        assert word not in result.output, result.output
    return bool(result.diagnostics())


@pytest.mark.parametrize("fault", _FAULTS.values(), ids=_FAULTS.keys())
def test_state_survives_wrong_answers(shell_terraform: Terraform, fake_engine: FakeEngine, fault: Fault) -> None:
    shell_terraform.write(CONFIG % "1m")
    shell_terraform.apply()
    before = shell_terraform.state
    fake_engine.always = dict.fromkeys(("GetLink", "ListLinks", "UpdateLink", "PauseLink", "DeleteLink"), fault)
    shell_terraform.write(CONFIG.replace("timeouts", "paused = true\n  timeouts") % "1m")
    refreshed = shell_terraform.plan()
    assert _is_clear(refreshed)
    assert refreshed.code == 1
    applied = shell_terraform.apply("-refresh=false", check=False)
    assert _is_clear(applied)
    assert applied.code == 1
    assert shell_terraform.state[LINK]["link_id"] == before[LINK]["link_id"]
    # And once the engine is itself again, all goes on.
    fake_engine.always.clear()
    shell_terraform.apply()
    shell_terraform.expect_no_changes()


def test_create_whose_answer_is_not_understood_is_not_lost(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.always = dict.fromkeys(("CreateLink", "GetLink"), _FAULTS["of a newer version"])
    shell_terraform.write(CONFIG % "1m")
    applied = shell_terraform.apply(check=False)
    assert _is_clear(applied)
    assert applied.error("Answer of the engine not understood", "upgrade the provider")
    assert shell_terraform.state[LINK]["tainted"]
    fake_engine.always.clear()
    assert shell_terraform.plan().actions == {LINK: "replace"}
    shell_terraform.apply()
    shell_terraform.expect_no_changes()
