"""The locks: everything with hashes, in step with what the distributions ask for, and used wherever something is installed."""

import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
_LOCK = runpy.run_path(str(ROOT / "requirements/lock.py"))
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)")


def _entries(lock: str) -> list[str]:
    """The requirements of a lock, each with its hashes in one line."""
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _asked(inputs: list[str]) -> Iterator[Requirement]:
    """What the inputs of a lock ask for, as `requirements/lock.py` gives them to the resolver."""
    groups: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    for before, given in zip(["", *inputs], inputs, strict=False):
        if before == "--group":
            yield from map(Requirement, groups[given])
        elif given.endswith("pyproject.toml"):
            project = tomllib.loads((ROOT / given).read_text())["project"]
            extras = project.get("optional-dependencies", {})
            more = extras.get("demo", []) if "--extra" in inputs else []
            yield from map(Requirement, [*project["dependencies"], *more])


@pytest.mark.parametrize("lock", _LOCK["LOCKS"])
def test_everything_is_pinned_and_has_hashes(lock: str) -> None:
    entries = _entries(lock)
    assert entries
    for entry in entries:
        assert _PINNED.match(entry), f"{lock}: not pinned: {entry[:80]}"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"{lock}: no hash: {entry[:80]}"
        assert "://" not in entry, f"{lock}: an address: {entry[:80]}"


@pytest.mark.parametrize("lock", _LOCK["LOCKS"])
def test_a_lock_is_in_step_with_what_it_is_made_from(lock: str) -> None:
    """Whoever changes a dependency runs `make lock`."""
    pinned = {
        canonicalize_name(match[1]): match[2].rstrip(";")
        for match in map(_PINNED.match, _entries(lock))
        if match is not None
    }
    asked = [one for one in _asked(_LOCK["LOCKS"][lock]) if one.name not in _LOCK["OWN"]]
    assert asked
    for one in asked:
        version = pinned.get(canonicalize_name(one.name))
        assert version is not None, f"{lock} lacks {one.name}; run make lock"
        assert one.specifier.contains(version, prereleases=True), (
            f"{lock} has {one.name} {version}, not {one.specifier}"
        )


def test_every_lock_is_made_by_the_script() -> None:
    assert {path.name for path in (ROOT / "requirements").glob("*.txt")} == set(_LOCK["LOCKS"])


def test_nothing_is_installed_without_hashes() -> None:
    """Our own distributions are, from the checkout, and without what they depend on."""
    places = [ROOT / "Makefile", ROOT / ".ci/run", *(ROOT / "examples").rglob("*.yml")]
    found = [(path, line.strip()) for path in places for line in path.read_text().splitlines() if "pip install" in line]
    assert len(found) >= 3
    for path, line in found:
        is_own = "--no-deps" in line and "--no-build-isolation" in line
        assert "--require-hashes" in line or is_own, f"{path.relative_to(ROOT)}: {line}"
