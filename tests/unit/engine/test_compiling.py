"""The compiled record code: how it is built, that the engine is there without it, and what sanitizers say of it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_COMPILER = shutil.which((sysconfig.get_config_var("LDSHARED") or "cc").split()[0])

needs_compiler = pytest.mark.skipif(
    _COMPILER is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="there is no C compiler, or no Python.h",
)

# In place of the module that is installed.
_WITH_ANOTHER = """
import importlib.util, sys
import pytest
name = "clusterlink_engine.wire._cutting"
spec = importlib.util.spec_from_file_location(name, sys.argv[1])
sys.modules[name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from clusterlink_engine.wire import cutting
assert cutting._compiled is module
sys.exit(pytest.main(sys.argv[2:]))
"""


def _compile(target: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_ROOT / "engine/hatch_build.py"), str(target), *flags]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})


@needs_compiler
def test_the_compiler_has_nothing_to_say(tmp_path: Path) -> None:
    result = _compile(tmp_path / "made.so", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror")
    assert result.returncode == 0, result.stderr
    assert not result.stdout + result.stderr
    assert (tmp_path / "made.so").exists()


def test_a_compiler_that_is_not_there_is_named() -> None:
    result = _compile(Path(os.devnull), CC="/nowhere/cc -shared")
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["/nowhere/cc: No such file or directory"]


@needs_compiler
def test_what_does_not_compile_is_said_in_one_line(tmp_path: Path) -> None:
    result = _compile(tmp_path / "made.so", "-DPyInit__cutting=1")
    assert result.returncode == 1
    assert "error" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def _wheel(tmp_path: Path, **environment: str) -> Path:
    """Builds the engine's wheel as an image does, from a copy: the working copy has compiled code of its own."""
    engine = tmp_path / "engine"
    shutil.copytree(_ROOT / "engine", engine, ignore=shutil.ignore_patterns("__pycache__", "*.so", "dist"))
    shutil.copy(_ROOT / ".gitignore", tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    command += ["--wheel-dir", str(tmp_path / "wheels"), str(engine)]
    subprocess.run(command, check=True, env={**os.environ, **environment})
    (wheel,) = (tmp_path / "wheels").iterdir()
    return wheel


@needs_compiler
def test_a_wheel_with_compiled_code_is_for_this_platform(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path)
    assert "-cp311-abi3-" in wheel.name
    assert sysconfig.get_platform().split("-")[0] in wheel.name
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")] == [
        "clusterlink_engine/wire/_cutting.abi3.so"
    ]


def test_a_wheel_without_a_compiler_is_for_all(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, CC="/nowhere/cc")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]


def _runtime(name: str) -> str:
    """Where the compiler has a library; empty if it has none."""
    assert _COMPILER is not None
    answer = subprocess.run([_COMPILER, f"-print-file-name={name}"], check=False, capture_output=True, text=True)
    return answer.stdout.strip() if Path(answer.stdout.strip()).is_absolute() else ""


@needs_compiler
@pytest.mark.slow
def test_what_the_sanitizers_say(tmp_path: Path) -> None:
    """Every comparison with the Python code once more, each byte that is touched watched."""
    runtimes = [_runtime("libasan.so"), _runtime("libubsan.so")]
    if not all(runtimes):
        pytest.skip("the compiler has no sanitizers")
    target = tmp_path / "made.so"
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    result = _compile(target, *flags)
    assert result.returncode == 0, result.stderr
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaves some
        "PYTHONMALLOC": "malloc",  # else all memory of Python's is one piece for the sanitizer
    }
    command = [sys.executable, "-c", _WITH_ANOTHER, str(target), "-n", "0", "-q", "tests/property/test_cutting.py"]
    found = subprocess.run(command, check=False, cwd=_ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "passed" in found.stdout
    assert "skipped" not in found.stdout
