"""Compiles the engine's record code when the engine is built or installed, if there is a C compiler; else it goes without.

It needs nothing but a compiler and Python's headers, and is one file: it is compiled as Python itself was, by the command that
Python remembers. $CC and $CFLAGS are heeded as everywhere. Run as a program it compiles only:

    python hatch_build.py TARGET [FLAG ...]
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WIRE = Path(__file__).resolve().parent / "src/clusterlink_engine/wire"
SOURCE = _WIRE / "_cutting.c"
TARGET = _WIRE / "_cutting.abi3.so"

# What the stable ABI means in the name of a wheel: this Python, and all that come after it.
_LEAST_PYTHON = "cp311"


class CannotCompileError(Exception):
    """Why there is no compiled code; the text has one line."""


def compile_to(target: Path, *flags: str) -> None:
    """Compiles the record code.

    Raises:
        CannotCompileError: There is no compiler, no Python.h, or none that fits.
    """
    if os.name != "posix" or sys.implementation.name != "cpython":
        raise CannotCompileError("this is not CPython on a POSIX system")
    linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    if "CC" in os.environ:
        linker[:1] = shlex.split(os.environ["CC"])
    headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    command = [
        *linker,
        *("-std=c11", "-O2", "-fPIC", "-fvisibility=hidden", *(f"-I{path}" for path in sorted(headers))),
        *shlex.split(os.environ.get("CFLAGS", "")),
        *flags,
        *(str(SOURCE), "-o", str(target)),
    ]
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - as Python was
    except OSError as error:
        raise CannotCompileError(f"{command[0]}: {error.strerror}") from error
    if result.returncode:
        lines = result.stderr.splitlines()
        raise CannotCompileError(next((line for line in lines if "error" in line), f"{command[0]} failed"))


class CustomBuildHook(BuildHookInterface[Any]):
    """Makes the wheel one for this platform where the code could be compiled, and leaves it for all where not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        """Compiles beside the source, where an editable installation looks for it."""
        TARGET.unlink(missing_ok=True)
        try:
            compile_to(TARGET)
        except CannotCompileError as error:
            self.app.display_warning(f"No compiled record code, it will be Python: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"{_LEAST_PYTHON}-abi3-{platform}"
        build_data["artifacts"].append(TARGET.relative_to(self.root).as_posix())


if __name__ == "__main__":
    try:
        compile_to(Path(sys.argv[1]), *sys.argv[2:])
    except CannotCompileError as error:
        sys.exit(str(error))
