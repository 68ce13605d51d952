"""The command `terraform-provider-clusterlink`: install, uninstall, doctor."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from clusterlink_provider import __version__
from clusterlink_provider.install import environment, launcher

_BLOCK = f"""terraform {{
  required_providers {{
    clusterlink = {{
      source  = "{"/".join(launcher.ADDRESS)}"
      version = "{__version__}"
    }}
  }}
}}"""
# With such a block of the user's own, Terraform no longer searches its usual directories.
_CONFIGURATIONS = (".terraformrc", ".tofurc")


def run(arguments: Sequence[str]) -> int:
    """Runs the command; gives its exit code."""
    parser = argparse.ArgumentParser(
        prog=launcher.EXECUTABLE,
        description="The Terraform provider of clusterlink. Terraform starts it by itself once it is installed.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("install", "put the provider where Terraform and OpenTofu find it"),
        ("uninstall", "remove what install has put there"),
        ("doctor", "find out why Terraform does not find or start the provider"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.add_argument(
            "--dir",
            type=Path,
            metavar="D",
            help="root of a filesystem mirror instead of ~/.terraform.d/plugins; the home directory is not touched",
        )
    options = parser.parse_args(arguments)
    work = {"install": _install, "uninstall": _uninstall, "doctor": _doctor}[options.command]
    try:
        return work(options.dir)
    except OSError as error:
        print(f"{launcher.EXECUTABLE}: {error}", file=sys.stderr)
        return 1


def _install(directory: Path | None) -> int:
    root = _root(directory)
    python = Path(sys.prefix) / "bin/python3"
    if problem := environment.check_python(python):
        print(f"This Python cannot run the provider: {problem}", file=sys.stderr)
        print("Install clusterlink-provider into a virtual environment and run its command.", file=sys.stderr)
        return 1
    if failed := environment.compile_byte_code():
        print(f"Not compiled (each start will be slower): {', '.join(failed)}", file=sys.stderr)
    links = [root / launcher.LINK, *([] if directory else [environment.user_link()])]
    for link in links:
        environment.set_link(link)
        print(f"linked   {link} -> {sys.prefix}")
    for script in launcher.write(root, environment.terraform_platform()):
        print(f"wrote    {script}")
    if directory is None:
        _point_at_own_configuration(root)
    else:
        print(f"\nTell Terraform about this directory in its CLI configuration:\n\n{_mirror_block(root)}")
    print(f"\nIn your configuration:\n\n{_BLOCK}")
    return 0


def _uninstall(directory: Path | None) -> int:
    root = _root(directory)
    removed = launcher.remove(root) if root.is_dir() else []
    for link in (root / launcher.LINK, *([] if directory else [environment.user_link()])):
        if link.is_symlink():
            link.unlink()
            removed.append(link)
    for path in removed:
        print(f"removed  {path}")
    if not removed:
        print(f"Version {__version__} was not installed in {root}.")
    return 0


def _doctor(directory: Path | None) -> int:
    root = _root(directory)
    problems = []
    scripts = [
        launcher.package_directory(root, host, environment.terraform_platform()) / launcher.EXECUTABLE
        for host in launcher.HOSTS
    ]
    for script in scripts:
        if not script.is_file():
            problems.append(f"{script} is missing: run install")
        elif script.read_text() != launcher.LAUNCHER:
            problems.append(f"{script} was changed: run install")
        elif not os.access(script, os.X_OK):
            problems.append(f"{script} is not executable: run install")
    chosen = os.environ.get(launcher.PYTHON_VARIABLE)
    python = Path(chosen) if chosen else root / launcher.LINK / "bin/python3"
    if problem := environment.check_python(python):
        problems.append(problem)
    if not (shutil.which("terraform") or shutil.which("tofu")):
        problems.append("neither terraform nor tofu is on the PATH")
    for problem in problems:
        print(f"problem  {problem}")
    if directory is None:
        _point_at_own_configuration(root)
    if not problems:
        print(f"ok       version {__version__} in {root}, run by {python}")
    return 1 if problems else 0


def _root(directory: Path | None) -> Path:
    return environment.default_root() if directory is None else directory.expanduser().resolve()


def _point_at_own_configuration(root: Path) -> None:
    named = os.environ.get("TF_CLI_CONFIG_FILE")
    for path in [Path(named)] if named else [Path.home() / name for name in _CONFIGURATIONS]:
        if path.is_file() and "provider_installation" in path.read_text():
            print(f"note     {path} has a provider_installation block, so {root} is searched only if it says so:")
            print(_mirror_block(root))


def _mirror_block(root: Path) -> str:
    address = "/".join(launcher.ADDRESS)
    return f"""provider_installation {{
  filesystem_mirror {{
    path    = "{root}"
    include = ["{address}"]
  }}
  direct {{
    exclude = ["{address}"]
  }}
}}"""
