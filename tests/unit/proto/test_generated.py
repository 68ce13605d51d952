"""The generated message classes belong to the .proto files beside them."""

import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_PYTHON = _ROOT / ".venv-proto/bin/python"


@pytest.mark.skipif(not _PYTHON.exists(), reason="the generator is set up by `make setup`")
def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    subprocess.run([_PYTHON, _ROOT / "proto/generate.py", tmp_path], check=True, timeout=120)
    checked_in = _ROOT / "proto/src/clusterlink_proto/generated"
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    assert fresh
    for path, text in fresh.items():
        assert (checked_in / path).read_text() == text, f"{path} is old: run `make proto`"
