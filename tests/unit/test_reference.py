"""The generated pages are what the code says."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from clusterlink_provider.resources.provider import ClusterlinkProvider

_ROOT = Path(__file__).resolve().parent.parent.parent
_DOCS = _ROOT / "docs"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date() -> None:
    """`make docs` would change nothing."""
    assert (_DOCS / "reference.md").read_text(encoding="utf-8") == _load("generate").render()


def test_the_pages_of_registries_are_up_to_date() -> None:
    """`make docs` would change nothing, and leave none behind."""
    module = _load("generate_registry")
    there = [_DOCS / "index.md", *(path for folder in module.FOLDERS for path in (_DOCS / folder).glob("*"))]
    assert {str(path.relative_to(_DOCS)): path.read_text(encoding="utf-8") for path in there} == module.render()


@pytest.mark.parametrize("resource", ClusterlinkProvider({}).resources.values(), ids=lambda item: item.type_name)
def test_the_example_of_an_import_by_identity_names_its_parts(resource: object) -> None:
    """The terraform that validates the other examples may be too old for it."""
    name, identity = resource.type_name, resource.identity  # type: ignore[attr-defined]
    text = (_ROOT / "examples/resources" / name / "import-by-identity.tf").read_text()
    given = set(re.findall(r"^    (\w+)\s*=", text, re.MULTILINE))
    required = {key for key, part in identity.attributes.items() if part.required}
    assert required <= given <= set(identity.attributes)
