"""The real `terraform` binary in a directory of its own: no network, no user configuration, nothing left behind.

`step` is the cycle that proves a provider honest: plan, apply, and then a plan that must be empty.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 180
_HEADER = """
terraform {
  required_providers {
    clusterlink = {
      source  = "clusterlink/clusterlink"
      version = "0.1.0"
    }
  }
}
"""


def install_provider(root: Path) -> None:
    """Installs the provider into a filesystem mirror, as a user does with --dir."""
    command = [sys.executable, "-m", "clusterlink_provider", "install", "--dir", str(root)]
    home = root.parent / "untouched-home"
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=_TIMEOUT_SECONDS)
    assert not home.exists(), "install --dir touched the home directory"


@dataclass
class Run:
    """One command's result, read from Terraform's JSON lines."""

    command: Sequence[str]
    code: int
    output: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def diagnostics(self, severity: str = "error") -> list[dict[str, Any]]:
        found = [event["diagnostic"] for event in self.events if event.get("type") == "diagnostic"]
        return [item for item in found if item["severity"] == severity]

    def error(self, *words: str) -> dict[str, Any]:
        """The one error that has all the words."""
        errors = self.diagnostics()
        found = [item for item in errors if all(word in f"{item['summary']} {item.get('detail')}" for word in words)]
        assert len(found) == 1, f"expected one error with {words}, got {errors or self.output}"
        text = f"{found[0]['summary']} {found[0].get('detail')}"
        assert "Traceback" not in text
        assert "bug in the provider" not in text
        return found[0]

    @property
    def actions(self) -> dict[str, str]:
        """Planned actions by address, those that do something."""
        changes = [event["change"] for event in self.events if event.get("type") == "planned_change"]
        return {change["resource"]["addr"]: change["action"] for change in changes if change["action"] != "noop"}


def blamed(diagnostic: Mapping[str, Any]) -> str:
    """The line of the configuration that a diagnostic points to."""
    return str((diagnostic.get("snippet") or {}).get("code", "")).strip()


class Terraform:
    """A working directory with one configuration."""

    def __init__(self, directory: Path, plugins: Path, endpoint: str, reattach: str = "") -> None:
        self.directory = directory
        self.endpoint = endpoint
        home = directory / "home"
        home.mkdir(parents=True)
        settings = directory / "terraform.rc"
        settings.write_text(
            f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = "{plugins}"\n  }}\n}}\n'
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "CLUSTERLINK_"))}
        self.environment = {
            **kept,
            "HOME": str(home),
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            # A proxy must not get in the way of the loopback.
            "http_proxy": "http://127.0.0.1:9",
        }
        if reattach:
            self.environment["TF_REATTACH_PROVIDERS"] = reattach

    def write(self, config: str, *, provider: str | None = None) -> None:
        """Replaces the configuration."""
        block = f'provider "clusterlink" {{\n  endpoint = "{self.endpoint}"\n}}\n' if provider is None else provider
        (self.directory / "main.tf").write_text(_HEADER + block + config)
        if not (self.directory / ".terraform").exists():
            result = self.run("init", "-no-color", check=False)
            assert result.code == 0, result.output

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts terraform in a process group of its own."""
        return subprocess.Popen(
            ["terraform", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: "subprocess.Popen[str]", arguments: Sequence[str] = ()) -> Run:
        """Waits for terraform and reads what it printed."""
        try:
            output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"terraform {arguments} did not end: {output}") from None
        events = [json.loads(line) for line in output.splitlines() if line.startswith('{"@level"')]
        return Run(arguments, process.returncode, output, events)

    def run(self, *arguments: str, check: bool = True) -> Run:
        """Runs terraform to its end."""
        result = self.finish(self.start(*arguments), arguments)
        if check:
            assert result.code == 0, f"terraform {' '.join(arguments)} failed:\n{result.output}"
        return result

    def validate(self) -> list[dict[str, Any]]:
        """Checks the configuration; gives the errors."""
        output = self.run("validate", "-json", check=False).output
        return [item for item in json.loads(output)["diagnostics"] if item["severity"] == "error"]

    def plan(self, *arguments: str) -> Run:
        """Plans; the code is 0 for no changes, 2 for changes, 1 for an error."""
        return self.run("plan", "-json", "-detailed-exitcode", "-input=false", *arguments, check=False)

    def apply(self, *arguments: str, check: bool = True) -> Run:
        """Applies without asking."""
        return self.run("apply", "-json", "-auto-approve", "-input=false", *arguments, check=check)

    def step(self, config: str, expect: Mapping[str, str]) -> Run:
        """Applies a configuration: the plan must have these actions, and the plan afterwards none."""
        self.write(config)
        applied = self.apply()
        assert applied.actions == dict(expect), applied.output
        self.expect_no_changes()
        return applied

    def expect_no_changes(self) -> None:
        """Plans the way of CI: there must be nothing to do."""
        result = self.plan()
        assert result.code == 0, f"the second plan is not empty: {result.actions}\n{result.output}"

    def replace_paths(self, address: str) -> list[list[str]]:
        """The attributes that force a replacement in a fresh plan."""
        self.run("plan", "-out=check.tfplan", "-input=false")
        plan = json.loads(self.run("show", "-json", "check.tfplan").output)
        found = [change["change"] for change in plan["resource_changes"] if change["address"] == address]
        paths: list[list[str]] = found[0].get("replace_paths", [])
        return paths

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """The attributes of each resource in the state, by address."""
        path = self.directory / "terraform.tfstate"
        if not path.exists() or not path.stat().st_size:  # locked, and never written
            return {}
        found = {}
        for resource in json.loads(path.read_text())["resources"]:
            for instance in resource["instances"]:
                key = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                status = {"tainted": True} if instance.get("status") == "tainted" else {}
                mode = "data." if resource["mode"] == "data" else ""
                address = f"{mode}{resource['type']}.{resource['name']}{key}"
                found[address] = {**instance["attributes"], **status}
        return found

    def destroy(self) -> None:
        """Destroys everything; nothing may be left in the state."""
        self.run("destroy", "-json", "-auto-approve", "-input=false")
        assert self.state == {}


def available() -> bool:
    """Whether there is a terraform binary."""
    return shutil.which("terraform") is not None
