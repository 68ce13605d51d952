"""Terraform in a scratch directory: the user's home, plugins and settings are neither read nor touched."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_FRAME = re.compile(r"^[╷│╵]\s?")


@dataclass(frozen=True)
class Outcome:
    """What one terraform command gave.

    Attributes:
        code: Exit code.
        output: Everything it printed, without colours.
    """

    code: int
    output: str

    def changes(self) -> list[str]:
        """Returns the lines of a plan that name what changes and from what to what, and its summary."""
        telling = re.compile(r"^\s*# \S+ (will|must) be |^\s*[~+-] .* -> |^Plan:")
        return [line.rstrip() for line in self.output.splitlines() if telling.match(line)]

    def errors(self) -> list[str]:
        """Returns the text from the first error on, without empty lines and the frame that a terminal gets."""
        lines = [_FRAME.sub("", line).rstrip() for line in self.output.splitlines()]
        first = next((i for i, line in enumerate(lines) if line.startswith("Error:")), len(lines))
        return [line for line in lines[first:] if line]


class Terraform:
    """A working directory with a configuration, its own CLI settings and the provider installed beside it."""

    def __init__(self, program: str, directory: Path, configuration: Path) -> None:
        """Copies the configuration; `install_provider` and `run` do the rest.

        Args:
            program: Path of the program.
            directory: Where everything goes.
            configuration: A directory with the configuration.
        """
        self.program = program
        self.configuration = directory / "terraform"
        self._plugins = directory / "plugins"
        self._settings = directory / "terraform.rc"
        self._home = directory / "home"
        self._home.mkdir()
        shutil.copytree(configuration, self.configuration, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        # No `direct` block: nothing is looked for in a registry.
        mirror = f'filesystem_mirror {{\n    path = "{self._plugins}"\n  }}'
        self._settings.write_text(f"disable_checkpoint = true\nprovider_installation {{\n  {mirror}\n}}\n")

    @property
    def settings(self) -> dict[str, str]:
        """Returns the environment variables that keep terraform inside of the directory."""
        return {
            "TF_CLI_CONFIG_FILE": str(self._settings),
            "TF_DATA_DIR": str(self.configuration / ".terraform"),
            "HOME": str(self._home),
        }

    def install_provider(self) -> None:
        """Installs the provider of this Python environment into the scratch directory.

        Raises:
            RuntimeError: It is not there, or cannot be installed.
        """
        command = [sys.executable, "-m", "clusterlink_provider", "install", "--dir", str(self._plugins)]
        answer = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"the provider cannot be installed:\n{answer.stdout}{answer.stderr}".rstrip())

    def run(self, *arguments: str) -> Outcome:
        """Runs a command that asks nothing."""
        answer = subprocess.run(
            [self.program, *arguments, "-no-color"],
            cwd=self.configuration,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Outcome(answer.returncode, answer.stdout)

    def _environment(self) -> dict[str, str]:
        foreign = ("TF_", "TERRAFORM_", "CLUSTERLINK_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return {**kept, **self.settings, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}


def find() -> str | None:
    """Returns the path of terraform, or of OpenTofu, or None."""
    return shutil.which("terraform") or shutil.which("tofu")
