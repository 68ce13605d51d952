"""Messages as Terraform prints them, and the file that holds them all."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine

FILE = Path(__file__).with_name("messages.md")
_HEAD = """# Every message of the provider, as Terraform prints it

For reviewers: does each say what is wrong, where, and what to do? `test_messages.py` makes them anew and compares. After a
change run it with `CLUSTERLINK_TEST_REWRITE_MESSAGES=1` and read the difference. A message of the source that is not here
fails the test, unless no Terraform of today can be made to print it; those are listed there, with the reason.
"""
_START = re.compile(r"^(Error|Warning): ")
# What Terraform prints after a message, or between messages.
_OTHER = re.compile(
    r"^(─|Plan:|Apply |Terraform |Changes to |Success|No changes|Note: |\S+: [A-Z][a-z]+.*(\.\.\.|after|complete))"
)


def messages(output: str) -> list[str]:
    """Cuts the messages out of what a command printed, in an order that does not depend on who was first."""
    found: list[list[str]] = []
    inside = False
    for line in output.splitlines():
        if _START.match(line):
            inside = True
            found.append([])
        elif _OTHER.match(line):
            inside = False
        if inside:
            found[-1].append(line.rstrip())
    return sorted("\n".join(lines).strip() for lines in found)


@dataclass
class Scene:
    """One situation: an engine in memory, a configuration, and what Terraform says about it."""

    terraform: Terraform
    engine: FakeEngine
    text: str = ""

    def write(self, config: str, *, provider: str | None = None) -> None:
        """Replaces the configuration."""
        self.terraform.write(config, provider=provider)

    def make(self, config: str) -> None:
        """Applies a configuration without looking at what is printed."""
        self.write(config)
        self.terraform.apply()

    def show(self, *command: str) -> None:
        """Runs a command and keeps its messages."""
        options = ["-input=false"] if command[0] in {"plan", "apply", "destroy", "import"} else []
        options += (
            ["-auto-approve"] if command[0] in {"apply", "destroy"} and not command[-1].endswith(".tfplan") else []
        )
        output = self.terraform.run(command[0], "-no-color", *options, *command[1:], check=False).output
        printed = messages(output.replace(self.engine.endpoint, "127.0.0.1:7171"))
        assert printed, output
        self.text += "".join(f"```text\n{message}\n```\n\n" for message in printed)


def sections() -> dict[str, str]:
    """Reads the file: the text under each heading."""
    parts = FILE.read_text(encoding="utf-8").split("\n## ")[1:] if FILE.exists() else []
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() + "\n" for part in parts}


def write(found: dict[str, str]) -> None:
    """Writes the file."""
    text = "".join(f"\n## {title}\n\n{body.strip()}\n" for title, body in found.items())
    FILE.write_text(_HEAD + text, encoding="utf-8")
