"""The reference is what the code says."""

import importlib.util
from pathlib import Path

_DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def test_the_reference_is_up_to_date() -> None:
    """`make docs` would change nothing."""
    spec = importlib.util.spec_from_file_location("generate_docs", _DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (_DOCS / "reference.md").read_text(encoding="utf-8") == module.render()
