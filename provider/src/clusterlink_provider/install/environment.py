"""The interpreter behind the launcher: the link to it, its byte code, and this machine's platform."""

import compileall
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from clusterlink_provider import __version__
from clusterlink_provider.install.launcher import LINK

# What the plugin imports. Without byte code each start would compile these anew if their directory cannot be written:
# about a second, three times per plan.
_PACKAGES: Final = ("clusterlink_provider", "clusterlink_proto", "grpc", "google.protobuf", "msgpack", "cryptography")
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i686": "386"}


def terraform_platform() -> str:
    """Gives this machine's platform as Terraform spells it, for example `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"


def default_root() -> Path:
    """Gives the directory that Terraform and OpenTofu search without any configuration."""
    return Path.home() / ".terraform.d/plugins"


def user_link() -> Path:
    """Gives the user's own link, for packages that were copied away from the one beside them."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / "clusterlink/terraform" / LINK


def set_link(link: Path) -> None:
    """Points a link to this Python environment, in one step: a plan under way finds the old one or the new one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f"{link.name}.{os.getpid()}")
    fresh.symlink_to(sys.prefix)
    fresh.replace(link)


def compile_byte_code() -> list[str]:
    """Compiles what the plugin imports; gives the names of packages where that was not possible."""
    return [name for name in _PACKAGES if not all(compileall.compile_dir(place, quiet=2) for place in _places(name))]


def without_byte_code() -> list[str]:
    """Gives the names of packages with a module that no valid byte code was kept of."""
    return [
        name
        for name in _PACKAGES
        if any(not _is_compiled(source) for place in _places(name) for source in Path(place).rglob("*.py"))
    ]


def _is_compiled(source: Path) -> bool:
    try:
        written = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:16]
        moment = int(source.stat().st_mtime) & 0xFFFFFFFF
    except OSError:
        return False
    # The second word tells of byte code that is checked by a hash (1 and 3), not by the time that the third one holds.
    return written[4:8] != b"\0\0\0\0" or int.from_bytes(written[8:12], "little") == moment


def _places(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return list(spec.submodule_search_locations or []) if spec else []


def check_python(python: Path) -> str | None:
    """Tells what is wrong with an interpreter for the plugin; None if it will do."""
    code = "import clusterlink_provider, grpc, msgpack, cryptography; print(clusterlink_provider.__version__)"
    try:
        # -I as in the launcher: neither the environment nor the current directory may matter.
        result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        return f"{python}: {error.strerror}"
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        return f"{python}: {last[0]}"
    found = result.stdout.strip()
    return None if found == __version__ else f"{python} has version {found} of the provider, not {__version__}"
