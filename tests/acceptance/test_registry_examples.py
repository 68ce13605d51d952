"""The examples that stand on the pages of registries are valid configurations."""

import json
from pathlib import Path

import pytest

from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform

_EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
_RESOURCES = sorted(path.name for path in (_EXAMPLES / "resources").iterdir())
_SOURCES = sorted(path.name for path in (_EXAMPLES / "data-sources").iterdir())


@pytest.fixture
def example(tmp_path: Path, resident: ResidentProvider) -> Terraform:
    """A directory for an example. No engine is asked."""
    return Terraform(tmp_path / "work", tmp_path / "no-plugins", "127.0.0.1:1", resident.reattach)


def _validate(terraform: Terraform, text: str, *, is_whole: bool = False) -> None:
    terraform.write("" if is_whole else text, provider="")
    if is_whole:
        (terraform.directory / "main.tf").write_text(text)
    result = json.loads(terraform.run("validate", "-json", check=False).output)
    assert result["diagnostics"] == []
    terraform.run("fmt", "-check", str(_EXAMPLES))


def test_the_provider(example: Terraform) -> None:
    _validate(example, (_EXAMPLES / "provider/provider.tf").read_text(), is_whole=True)


@pytest.mark.parametrize("name", _RESOURCES)
def test_resources_and_their_import(example: Terraform, name: str) -> None:
    place = _EXAMPLES / "resources" / name
    _validate(example, (place / "resource.tf").read_text() + (place / "import.tf").read_text())


@pytest.mark.parametrize("name", _SOURCES)
def test_data_sources(example: Terraform, name: str) -> None:
    _validate(example, (_EXAMPLES / "data-sources" / name / "data-source.tf").read_text())
