"""What a new link lacks, at plan: an engine in memory says what there is."""

import grpc
import pytest

from clusterlink_proto import v1
from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine, Fault

LINK = "clusterlink_link.x"
CONFIG = """
resource "clusterlink_link" "x" {
  name           = "a"
  remote_cluster = { bootstrap_servers = ["127.0.0.1:29092"] }
}
"""


def missing(check: str, *, required: bool = False) -> v1.LinkCheck:
    return v1.LinkCheck(
        check=check,
        side=v1.LINK_SIDE_REMOTE,
        needed_by="mirroring",
        status=v1.CHECK_STATUS_MISSING,
        detail="why-not",
        command="kafka-acls.sh --add",
        required=required,
    )


def test_what_may_still_be_made_is_a_warning(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.checks = [missing("advertised brokers", required=True), missing("READ on source topics")]
    terraform.write(CONFIG)
    planned = terraform.plan()
    assert planned.actions == {LINK: "create"}
    for words in (
        "Link cannot be created yet",
        "advertised brokers",
        "why-not",
        "Link lacks something",
        "kafka-acls.sh --add",
    ):
        assert words in planned.output
    terraform.apply()
    asked = fake_engine.calls.count("CheckNewLink")
    terraform.expect_no_changes()
    assert fake_engine.calls.count("CheckNewLink") == asked  # of a link that is there nobody asks at plan


def test_a_wrong_cluster_is_an_error(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.checks = [missing("cluster id", required=True)]
    terraform.write(CONFIG)
    assert terraform.plan().error("Wrong remote cluster", "why-not")


@pytest.mark.parametrize(
    ("code", "is_told"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, False),
        (grpc.StatusCode.UNIMPLEMENTED, False),
        (grpc.StatusCode.UNAVAILABLE, True),
    ],
)
def test_a_link_that_cannot_be_checked_is_planned(
    terraform: Terraform, fake_engine: FakeEngine, code: grpc.StatusCode, is_told: bool
) -> None:
    fake_engine.inject("CheckNewLink", Fault(code))
    terraform.write(CONFIG)
    planned = terraform.plan()
    assert planned.actions == {LINK: "create"}
    assert ("Link not checked" in planned.output) is is_told
