"""Finds out why Terraform does not find or start the provider: each thing is looked at by itself, and says what to do."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusterlink_provider.install import environment, launcher

# With such a block of the user's own, Terraform no longer searches its usual directories.
_CONFIGURATIONS: Final = (".terraformrc", ".tofurc")
_OLDEST_TERRAFORM: Final = (1, 0)
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing: `ok`, `note` (works, but worth knowing) or `problem`."""

    kind: str
    text: str


def examine(root: Path, *, is_usual_place: bool) -> Iterator[Finding]:
    """Looks at all that has to be right for Terraform to start the provider.

    Args:
        root: Root of the mirror that install has written.
        is_usual_place: It is the directory that Terraform searches by itself.
    """
    scripts = _scripts(root)
    launchers = [_launcher(script) for script in scripts]
    yield from launchers
    python = _python(root)
    wrong = environment.check_python(python)
    yield Finding("problem", f"{wrong}: run install") if wrong else Finding("ok", f"interpreter {python}")
    if wrong is None:
        yield _byte_code()
        yield from (_start(script) for script, found in zip(scripts[:1], launchers, strict=False) if found.kind == "ok")
    yield _terraform()
    if is_usual_place:
        yield from configurations(root)


def configurations(root: Path) -> Iterator[Finding]:
    """Looks for a block in the user's CLI configuration that decides where Terraform searches."""
    named = os.environ.get("TF_CLI_CONFIG_FILE")
    for path in [Path(named)] if named else [Path.home() / name for name in _CONFIGURATIONS]:
        if not path.is_file():
            continue
        text = re.sub(r"(?m)(#|//).*$", "", path.read_text(encoding="utf-8", errors="replace"))
        if re.search(rf'dev_overrides\s*\{{[^}}]*"({"|".join(launcher.HOSTS)})?/?{"/".join(launcher.ADDRESS)}"', text):
            yield Finding("note", f"{path} has dev_overrides for this provider: they are used, not what is installed")
        if "provider_installation" not in text:
            continue
        if str(root) in text or (root.is_relative_to(Path.home()) and f"~/{root.relative_to(Path.home())}" in text):
            yield Finding("ok", f"the provider_installation block in {path} names {root}")
        else:
            yield Finding(
                "problem",
                f"{path} has a provider_installation block, so {root} is not searched. Add this to the block (and the "
                f"exclude to its direct part), or remove the block:\n\n{mirror_block(root)}\n",
            )


def mirror_block(root: Path) -> str:
    """Writes the block that makes Terraform search a directory."""
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


def _scripts(root: Path) -> list[Path]:
    platform = environment.terraform_platform()
    return [launcher.package_directory(root, host, platform) / launcher.EXECUTABLE for host in launcher.HOSTS]


def _launcher(script: Path) -> Finding:
    if not script.is_file():
        return Finding("problem", f"{script} is missing: run install")
    if script.read_bytes() != launcher.LAUNCHER.encode():
        return Finding("problem", f"{script} was changed: run install")
    if not os.access(script, os.X_OK):
        return Finding("problem", f"{script} is not executable: run install")
    return Finding("ok", f"launcher {script}")


def _python(root: Path) -> Path:
    chosen = os.environ.get(launcher.PYTHON_VARIABLE)
    return Path(chosen) if chosen else root / launcher.LINK / "bin/python3"


def _byte_code() -> Finding:
    missing = environment.without_byte_code()
    if missing:
        return Finding("note", f"no byte code of {', '.join(missing)}, so each start takes longer: run install")
    return Finding("ok", "byte code is compiled")


def _start(script: Path) -> Finding:
    """Starts the plugin as Terraform does, and reads its first line."""
    from clusterlink_provider.__main__ import COOKIE

    asked = {**os.environ, COOKIE[0]: COOKIE[1], "PLUGIN_PROTOCOL_VERSIONS": "6"}
    try:
        with subprocess.Popen(
            [script], env=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            line = process.stdout.readline().strip()
            process.terminate()
    except OSError as error:
        return Finding("problem", f"{script} cannot be started: {error.strerror}")
    if re.match(r"1\|6\|unix\|", line):
        return Finding("ok", "the plugin starts and speaks protocol 6")
    return Finding("problem", f"the plugin does not start: {line or 'it printed nothing'}")


def _terraform() -> Finding:
    for name in ("terraform", "tofu"):
        program = shutil.which(name)
        if program is None:
            continue
        try:
            answer = subprocess.run(
                [program, "version", "-json"], capture_output=True, text=True, check=False, timeout=_SECONDS
            )
            version = str(json.loads(answer.stdout)["terraform_version"])
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
            return Finding("note", f"{program} does not tell its version; 1.0 or newer is needed")
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if numbers < _OLDEST_TERRAFORM:
            return Finding("problem", f"{program} has version {version}; 1.0 or newer is needed")
        if numbers < (1, 11):
            return Finding("note", f"{program} has version {version}; write-only passwords need 1.11")
        return Finding("ok", f"{program} has version {version}")
    return Finding("problem", "neither terraform nor tofu is on the PATH: install one of them")
