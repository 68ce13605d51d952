"""What goes into a release: the same bytes from the same files, and versions that agree."""

import hashlib
import importlib.util
import json
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import clusterlink_engine
import clusterlink_provider
from clusterlink_provider.install import launcher

_ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.fixture
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", _ROOT / "provider/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _folder(place: Path, names: list[str]) -> Path:
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(0o755 if name == "program" else 0o600)
    return place


def test_zips_are_the_same_bytes(release: ModuleType, tmp_path: Path) -> None:
    names = ["program", "_internal/b.so", "_internal/a/c.txt"]
    archives = []
    for number, order in enumerate((names, names[::-1])):
        archive = tmp_path / f"{number}.zip"
        release.write_zip(_folder(tmp_path / f"folder-{number}", order), archive)
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "0.zip") as opened:
        assert opened.namelist() == ["_internal/a/c.txt", "_internal/b.so", "program"]
        assert [entry.external_attr >> 16 for entry in opened.infolist()] == [0o100644, 0o100644, 0o100755]


def test_sums_are_over_all_platforms_and_the_manifest(release: ModuleType, tmp_path: Path) -> None:
    start = f"{release.NAME}_{clusterlink_provider.__version__}"
    for platform in ("linux_arm64", "darwin_arm64"):
        (tmp_path / f"{start}_{platform}.zip").write_bytes(platform.encode())
    (tmp_path / f"{release.NAME}_0.0.1_linux_arm64.zip").write_bytes(b"of another version")
    lines = release.write_sums(tmp_path).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        f"{start}_darwin_arm64.zip",
        f"{start}_linux_arm64.zip",
        f"{start}_manifest.json",
    ]
    assert lines[1].split()[0] == hashlib.sha256(b"linux_arm64").hexdigest()
    manifest = json.loads((tmp_path / f"{start}_manifest.json").read_text())
    assert manifest == {"version": 1, "metadata": {"protocol_versions": ["6.0"]}}


def test_all_distributions_have_one_version() -> None:
    version = clusterlink_provider.__version__
    assert clusterlink_engine.__version__ == version
    for name in ("proto", "engine", "provider"):
        project = tomllib.loads((_ROOT / name / "pyproject.toml").read_text())["project"]
        # The provider's is read from the package.
        assert project.get("version", version) == version
        assert all(
            entry == f"clusterlink-proto=={version}" for entry in project["dependencies"] if "clusterlink" in entry
        )
    assert f"provider {version}:" in launcher.LAUNCHER
    assert (_ROOT / "docs/changelog.md").read_text().count(f"\n## {version}") == 1
