"""Random configurations with the real terraform and a real engine: the same actions as in the model of the property tests.

So the model of Terraform's checks (`tests.support.terraform_core`) and the engine in memory are shown to be right where the
property tests rely on them. What is not known at plan comes from a resource that is made by the same apply.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from clusterlink_provider.framework.cty import SetValue, Unknown, Value
from clusterlink_provider.resources.provider import ClusterlinkProvider
from tests.acceptance.engine import Engine
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform
from tests.support import sequences
from tests.support.fake_engine import FakeEngine
from tests.support.provider_calls import ProviderCalls
from tests.support.terraform_core import Object, Stored, TerraformCore

_ADDRESS = "clusterlink_link.x"
_CORE = TerraformCore(ProviderCalls(ClusterlinkProvider({})), "clusterlink_link", "")


def _for_real_clusters(config: Object, bootstrap_servers: str) -> Object:
    """Leaves out what needs other clusters, and automatic mirror topics: the clusters have topics of other tests."""
    servers = SetValue([bootstrap_servers])
    remote = {"bootstrap_servers": servers, "cluster_id": None, "security_protocol": None, "sasl": None, "tls": None}
    return sequences.mend_link({**config, "auto_create_mirror_topics": None}) | {
        "remote_cluster": {**config["remote_cluster"], **remote}
    }


def _spelled(value: Value, path: str, unknown: Any, later: dict[str, Any]) -> Any:
    """Writes a value as JSON; parts that are not known at plan go to `later` and are referred to."""
    if isinstance(unknown, Unknown):
        later[path] = _spelled(value, path, None, {})
        return f"${{terraform_data.later.output.{path}}}"
    if isinstance(value, dict):
        parts = unknown if isinstance(unknown, dict) else {}
        return {key: _spelled(item, f"{path}_{key}", parts.get(key), later) for key, item in value.items()}
    if isinstance(value, SetValue):
        return [_spelled(item, path, None, later) for item in value]
    return value


def _nameable(value: Value) -> Value:
    """Makes known what has no name of its own: elements of sets and maps."""
    if isinstance(value, dict):
        return {key: _nameable(item) for key, item in value.items() if key.isidentifier()}
    return None if isinstance(value, SetValue) else value


def _document(config: Object, seen: Object, number: int) -> str:
    later: dict[str, Any] = {}
    resource = _spelled(config, "v", _nameable(seen), later)
    text = json.dumps(
        {"resource": {"clusterlink_link": {"x": resource}, "terraform_data": {"later": {"input": later}}}}
    )
    # Another name in each step, so that it is made anew and its output is not known.
    return text.replace("terraform_data.later.", f"terraform_data.later{number}.").replace(
        '"later": {', f'"later{number}": {{'
    )


@pytest.fixture
def fake_engine() -> Iterator[FakeEngine]:
    fake = FakeEngine().start()
    yield fake
    fake.stop()


def test_links(tmp_path: Path, engine: Engine, resident: ResidentProvider, fake_engine: FakeEngine) -> None:
    done: list[str] = []
    mend = partial(_for_real_clusters, bootstrap_servers=engine.remote_bootstrap)
    _CORE._endpoint = fake_engine.endpoint

    @settings(
        max_examples=5,
        deadline=None,
        phases=[Phase.generate],  # making a failure smaller would take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences.sequences(_CORE, mend))
    def run(steps: list[tuple[Object, Object]]) -> None:
        terraform = Terraform(
            tmp_path / f"work-{len(done)}", tmp_path / "no-plugins", engine.endpoint, resident.reattach
        )
        terraform.write("")
        fake_engine.links.clear()
        stored = Stored()
        for number, (config, seen) in enumerate(steps):
            (terraform.directory / "resources.tf.json").write_text(_document(config, seen, number))
            plan = _CORE.plan(stored, seen)
            planned = terraform.plan()
            action = "error" if planned.code == 1 else planned.actions.get(_ADDRESS, "no-op")
            done.append(action)
            assert action == plan.action, planned.output
            if action != "error":
                stored, diagnostics = _CORE.apply(plan, config)
                assert not diagnostics
                terraform.apply()
                terraform.expect_no_changes()
        terraform.destroy()

    run()
    assert {"create", "update", "replace"} <= set(done), done
