"""The command `terraform-provider-clusterlink`: install, uninstall, doctor."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clusterlink_provider import __version__
from clusterlink_provider.install import doctor, environment, launcher

_BLOCK = f"""terraform {{
  required_providers {{
    clusterlink = {{
      source  = "{"/".join(launcher.ADDRESS)}"
      version = "{__version__}"
    }}
  }}
}}"""


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
    if getattr(sys, "frozen", False):
        print(
            "This is the package of a registry, which Terraform installs by itself; nothing is to be done.",
            file=sys.stderr,
        )
        return 2
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
    if directory is not None:
        print(f"\nTell Terraform about this directory in its CLI configuration:\n\n{doctor.mirror_block(root)}")
    for found in doctor.configurations(root) if directory is None else ():
        print(f"{found.kind:<8} {found.text}")
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
    findings = list(doctor.examine(root, is_usual_place=directory is None))
    for found in findings:
        print(f"{found.kind:<8} {found.text}")
    problems = sum(found.kind == "problem" for found in findings)
    print(f"\nversion {__version__}: " + (f"{problems} to be mended" if problems else "all is well"))
    return 1 if problems else 0


def _root(directory: Path | None) -> Path:
    return environment.default_root() if directory is None else directory.expanduser().resolve()
