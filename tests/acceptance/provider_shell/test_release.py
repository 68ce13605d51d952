"""The release of the provider, built by its one command and installed from the zip as from a registry."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.provider_shell.test_faults import CONFIG, LINK
from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine

_ROOT = Path(__file__).resolve().parent.parent.parent.parent


def _build(output: Path) -> dict[str, str]:
    subprocess.run(
        ["make", "release", f"ARGS=--output {output}"], cwd=_ROOT, check=True, capture_output=True, timeout=900
    )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.iterdir())}


@pytest.mark.slow
def test_release_is_reproducible_and_installs_from_its_zip(tmp_path: Path, fake_engine: FakeEngine) -> None:
    first = _build(tmp_path / "first")
    assert _build(tmp_path / "second") == first
    (archive,) = (tmp_path / "first").glob("*.zip")
    sums = (tmp_path / "first" / "terraform-provider-clusterlink_0.1.0_SHA256SUMS").read_text()
    assert f"{first[archive.name]}  {archive.name}\n" in sums
    # The packed layout of a mirror: the zips as they are.
    mirror = tmp_path / "mirror"
    place = mirror / "registry.terraform.io/clusterlink/clusterlink"
    place.mkdir(parents=True)
    archive.rename(place / archive.name)
    terraform = Terraform(tmp_path / "work", mirror, fake_engine.endpoint)
    terraform.step(CONFIG % "1m", {LINK: "create"})
    terraform.destroy()
    assert fake_engine.links == {}
    # Errors need classes that are imported at run time only.
    fake_engine.links.clear()
    terraform.write(CONFIG.replace("timeouts", 'config = { "no.such" = "1" }\n  timeouts') % "1m")
    assert terraform.plan().error("There is no property no.such", "UNKNOWN_PROPERTY")
