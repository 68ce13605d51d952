"""A link whose cluster lets nobody come near: at plan that is a warning, at apply a refusal, with the same address."""

from collections.abc import Callable

from clusterlink_engine.devkit import ports
from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.devkit.settings import Listener
from tests.acceptance.terraform import Terraform, blamed

LINK = "clusterlink_link.x"
CONFIG = """
resource "clusterlink_link" "x" {
  name           = "a"
  remote_cluster = {
    bootstrap_servers = ["%s"]
  }
}
"""


def test_brokers_that_advertise_what_leads_nowhere(
    terraform: Terraform, start_cluster: Callable[..., KafkaCluster]
) -> None:
    nowhere = f"127.0.0.1:{ports.free_port()}"
    cluster = start_cluster(listeners={"FAR": Listener("PLAINTEXT", advertised=nowhere)})
    terraform.write(CONFIG % cluster.servers("FAR"))
    planned = terraform.plan()
    assert planned.actions == {LINK: "create"}
    [warning] = planned.diagnostics("warning")
    assert warning["summary"] == "Link cannot be created yet"
    assert f"broker 1 is advertised at {nowhere}" in warning["detail"]
    assert blamed(warning).startswith("bootstrap_servers")
    refused = terraform.apply(check=False)
    assert refused.error("Cannot create the link a", f"broker 1 is advertised at {nowhere}", "advertised.listeners")
    assert terraform.state == {}
    terraform.step(CONFIG % cluster.bootstrap_servers, {LINK: "create"})


def test_the_local_cluster_is_no_remote_one_and_a_source_that_is_away_is_waited_for_by_nobody(
    terraform: Terraform, destination_cluster: KafkaCluster
) -> None:
    terraform.write(CONFIG % destination_cluster.bootstrap_servers)
    refused = terraform.plan().error("Wrong remote cluster", "is the local cluster itself")
    assert blamed(refused).startswith("bootstrap_servers")
    terraform.write(CONFIG % f"127.0.0.1:{ports.free_port()}")
    planned = terraform.plan()
    assert planned.actions == {LINK: "create"}
    assert [warning["summary"] for warning in planned.diagnostics("warning")] == ["Link cannot be created yet"]
