"""Paths of attributes, such as `remote_cluster.bootstrap_servers` or `config["retention.ms"]`."""

import re
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Key:
    """A step to an element of a map (by name) or of a list (by number)."""

    value: str | int


Step: TypeAlias = str | Key
Path: TypeAlias = tuple[Step, ...]

_STEP = re.compile(r"""\.?([A-Za-z_][A-Za-z0-9_]*)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]""")


def parse(text: str) -> Path:
    """Reads a path as people write it; it ends at what cannot be read: no message is lost for its path."""
    steps: list[Step] = []
    position = 0
    while position < len(text) and (match := _STEP.match(text, position)):
        name, key, index = match.groups()
        if name is not None:
            steps.append(name)
        elif key is not None:
            steps.append(Key(re.sub(r"\\(.)", r"\1", key)))
        else:
            steps.append(Key(int(index)))
        position = match.end()
    return tuple(steps)


def show(path: Path) -> str:
    """Writes the path as people write it in a configuration."""
    text = ""
    for step in path:
        if isinstance(step, str):
            text += f".{step}" if text else step
        elif isinstance(step.value, int):
            text += f"[{step.value}]"
        else:
            escaped = step.value.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text
