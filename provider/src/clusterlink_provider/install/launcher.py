"""The package that Terraform installs: one small shell script, the same bytes on every machine.

Terraform's lock file holds a hash of the package. So nothing of a machine may be in it: where the interpreter is
stands in a link beside the packages, and the script changes only with the version. The hash covers the script, not
the Python code.
"""

from pathlib import Path
from typing import Final

from clusterlink_provider import __version__

# OpenTofu resolves the same source address to a host of its own.
HOSTS: Final = ("registry.terraform.io", "registry.opentofu.org")
ADDRESS: Final = ("clusterlink", "clusterlink")
EXECUTABLE: Final = "terraform-provider-clusterlink"
PYTHON_VARIABLE: Final = "CLUSTERLINK_TERRAFORM_PYTHON"
LINK: Final = f".clusterlink-{__version__}"

# The package lies five directories below the one that holds the link: host, namespace, type, version, platform.
# Terraform starts it through a link of its own, hence `-P`. A copied package (plugin cache, zip) finds the link of
# the user instead.
LAUNCHER: Final = f"""#!/bin/sh
# clusterlink provider {__version__}: starts the Python code that `{EXECUTABLE} install` linked.
here=$(CDPATH= cd -P -- "${{0%/*}}" && pwd -P)
for python in "${PYTHON_VARIABLE}" \\
  "$here/../../../../../{LINK}/bin/python3" \\
  "${{XDG_DATA_HOME:-$HOME/.local/share}}/clusterlink/terraform/{LINK}/bin/python3"
do
  if [ -x "$python" ]; then exec "$python" -I -m clusterlink_provider "$@"; fi
done
echo "clusterlink provider {__version__} is not set up on this machine; run: {EXECUTABLE} install"
exit 1
"""


def package_directory(root: Path, host: str, platform: str) -> Path:
    """Gives the directory of the package below the root of a mirror."""
    return root.joinpath(host, *ADDRESS, __version__, platform)


def write(root: Path, platform: str) -> list[Path]:
    """Writes the packages for all hosts below the root of a mirror; gives the scripts."""
    scripts = []
    for host in HOSTS:
        directory = package_directory(root, host, platform)
        directory.mkdir(parents=True, exist_ok=True)
        script = directory / EXECUTABLE
        script.write_text(LAUNCHER)
        script.chmod(0o755)
        scripts.append(script)
    return scripts


def remove(root: Path) -> list[Path]:
    """Removes the packages of this version for all platforms; gives the directories removed."""
    removed = []
    for host in HOSTS:
        version = root.joinpath(host, *ADDRESS, __version__)
        for script in version.glob(f"*/{EXECUTABLE}"):
            script.unlink()
            _remove_empty(script.parent, root)
            removed.append(script.parent)
    return removed


def _remove_empty(directory: Path, root: Path) -> None:
    while directory != root and not any(directory.iterdir()):
        directory.rmdir()
        directory = directory.parent
