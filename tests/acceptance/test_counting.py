"""How many links there may be: counted by name, whatever way Terraform takes through the plan, and by the engine at the end."""

import grpc
import pytest

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient, EngineError
from tests.acceptance.engine import Engine
from tests.acceptance.terraform import Terraform
from tests.acceptance.test_limits import links

NAMES = [f"link-{number}" for number in range(11)]


def _one(engine: Engine, name: str, extra: str = "", *, label: str = "one") -> str:
    return f"""
resource "clusterlink_link" "{label}" {{
  name           = "{name}"
  remote_cluster = {{ bootstrap_servers = ["{engine.remote_bootstrap}"] }}
  {extra}
}}
"""


def _make(client: EngineClient, engine: Engine, name: str) -> None:
    link = v1.Link(name=name)
    link.remote_cluster.bootstrap_servers.append(engine.remote_bootstrap)
    client.create_link(link, token="", seconds=30)


def _names(client: EngineClient) -> set[str]:
    return {link.name for link in client.list_links()}


def test_at_the_limit(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    """Ten of ten: any way to an eleventh is refused at plan, and everything that needs no place works."""
    nine = links(engine, NAMES[:9])
    terraform.write(nine + _one(engine, "tenth"))
    terraform.apply()

    terraform.write(links(engine, NAMES[:10]) + _one(engine, "tenth"))
    for arguments in (
        ("-parallelism=1",),
        ("-parallelism=10",),
        ("-refresh=false",),
        ('-target=clusterlink_link.many["link-9"]',),
    ):
        planned = terraform.plan(*arguments)
        assert planned.code == 1
        assert planned.error("Too many cluster links", "11 links", "allows 10")
    # A destroy elsewhere in the same plan frees no place.
    terraform.write(links(engine, NAMES[:8] + NAMES[9:10]) + _one(engine, "tenth"))
    assert terraform.plan().error("Too many cluster links", "11 links", "free no place")

    terraform.write(nine + _one(engine, "tenth"))
    terraform.run("taint", "clusterlink_link.one")
    assert terraform.plan("-parallelism=1").actions == {"clusterlink_link.one": "replace"}
    terraform.apply()
    terraform.expect_no_changes()
    assert _names(client) == {*NAMES[:9], "tenth"}

    # Made before the old one goes: by name no place is missing, but for a moment one is. Apply plans each create once more.
    first = "lifecycle {\n    create_before_destroy = true\n  }"
    terraform.write(nine + _one(engine, "tenth", first))
    terraform.apply()
    before = terraform.state["clusterlink_link.one"]
    terraform.write(nine + _one(engine, "renamed", first))
    assert terraform.plan().code == 2
    refused = terraform.apply(check=False)
    assert refused.error("Too many cluster links", "create_before_destroy")["address"] == "clusterlink_link.one"
    assert _names(client) == {*NAMES[:9], "tenth"}
    # The old one is there, and in the state as deposed: nothing is lost, and the next destroy takes it along.
    assert terraform.state["clusterlink_link.one"] == before
    terraform.write(nine)
    terraform.apply()
    terraform.expect_no_changes()
    terraform.write(nine + _one(engine, "renamed", first))
    terraform.apply()
    terraform.expect_no_changes()
    assert _names(client) == {*NAMES[:9], "renamed"}
    # Below the limit it is a matter of course.
    terraform.write(links(engine, NAMES[:8]) + _one(engine, "renamed", first))
    terraform.apply()
    terraform.step(links(engine, NAMES[:8]) + _one(engine, "again", first), {"clusterlink_link.one": "replace"})

    # The rule of the engine itself.
    _make(client, engine, "last")
    with pytest.raises(EngineError) as found:
        _make(client, engine, "one-more")
    assert found.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert found.value.reason == "TOO_MANY_LINKS"


def test_a_plan_file_that_is_applied_when_places_are_gone(
    terraform: Terraform, engine: Engine, client: EngineClient
) -> None:
    terraform.write(links(engine, NAMES[:3]))
    terraform.run("plan", "-out=later.tfplan", "-input=false")
    for number in range(8):
        _make(client, engine, f"theirs-{number}")
    refused = terraform.run("apply", "-json", "later.tfplan", check=False)
    assert refused.code == 1
    assert refused.error("Too many cluster links", "11 links")
    assert len(client.list_links()) == 10
    assert len(terraform.state) == 2  # what was made is not lost
    assert terraform.plan().error("Too many cluster links", "11 links")
    client.delete_link("theirs-0", seconds=30)
    terraform.apply()
    terraform.expect_no_changes()


def test_count_counts_as_for_each_does(terraform: Terraform, engine: Engine, client: EngineClient) -> None:
    config = links(engine, ["x"]).replace('toset(["x"])', "11").replace("for_each", "count   ")
    terraform.write(config.replace("each.key", '"c-${count.index}"'))
    for arguments in (("-parallelism=1",), ()):
        assert terraform.plan(*arguments).error("Too many cluster links", "11 links")
    assert _names(client) == set()


@pytest.mark.slow
def test_two_provider_configurations_for_one_engine(
    shell_terraform: Terraform, engine: Engine, client: EngineClient
) -> None:
    """Each counts its own links; the engine counts all, and refuses what is too many. What was made is in the state."""
    half = links(engine, NAMES[:6])
    other = (
        half.replace('"many"', '"other"')
        .replace("link-", "other-")
        .replace("{\n", "{\n  provider = clusterlink.b\n", 1)
    )
    provider = "".join(
        f'provider "clusterlink" {{\n  endpoint = "{engine.endpoint}"\n{alias}}}\n' for alias in ("", '  alias = "b"\n')
    )
    shell_terraform.write(half + other, provider=provider)
    assert shell_terraform.plan().code == 2
    refused = shell_terraform.apply(check=False)
    assert refused.code == 1
    found = refused.diagnostics()
    assert len(found) == 2
    assert all("10 are allowed" in item["detail"] for item in found)
    assert len(client.list_links()) == len(shell_terraform.state) == 10
    assert not any(state.get("tainted") for state in shell_terraform.state.values())
