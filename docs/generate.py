"""Writes docs/reference.md from the engine's models: every setting and property has one place, the code."""

from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clusterlink_engine.model import topic_settings
from clusterlink_engine.model.properties import ATTRIBUTES, PROPERTIES
from clusterlink_engine.model.rights import RIGHTS
from clusterlink_engine.settings import Settings

PAGE = Path(__file__).resolve().parent / "reference.md"


def render() -> str:
    """Answers the page's text."""
    lines = ["# Reference", "", "Made by `make docs` from the code; do not edit.", "", "## Settings of the engine", ""]
    plain: list[str] = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [f"`[{name}]`: {_text(section.__doc__)}", "", *_table()]
            lines += [row for key, entry in section.model_fields.items() for row in _rows(key, entry)] + [""]
        else:
            plain.append(_row(name, field))
    lines += ["At the top of the file:", "", *_table(), *plain, ""]
    lines += [
        "## Properties of a link (`config`)",
        "",
        "| property | default | allowed | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{entry.name}` | {entry.default} | {entry.least} to {entry.most} | {entry.meaning} |"
        for entry in PROPERTIES.values()
    ]
    lines += [
        "",
        "## Properties of a link that are attributes",
        "",
        "By name on the command line, except `sasl.jaas.config` and the secrets; by attribute in Terraform and the API:",
        "",
    ]
    lines += ["| property | attribute |", "|---|---|", *(f"| `{k}` | `{v}` |" for k, v in sorted(ATTRIBUTES.items()))]
    lines += ["", "## Settings of mirror topics", "", "Always the source's:", "", _names(topic_settings.ALWAYS), ""]
    lines += ["The source's if `topic_config_sync.include` names them, or if it names none:", ""]
    lines += [_names(topic_settings.CONFIGURABLE), "", "While mirroring, whatever the source has:", ""]
    lines += ["| setting | value |", "|---|---|", *(f"| `{k}` | `{v}` |" for k, v in topic_settings.FORCED.items()), ""]
    return "\n".join([*lines, *_rights()])


def _rights() -> list[str]:
    """Answers the table of the rights that links need."""
    lines = [
        "## Rights",
        "",
        "What each does, how they are given and how they are checked: [security.md](security.md#least-rights).",
    ]
    lines += ["", "| cluster | on | operations | needed by |", "|---|---|---|---|"]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for right in RIGHTS:
        text = f"`{right.operation.name}`" + (f" ({right.why})" if right.why else "")
        rows.setdefault((right.side, right.scope, right.feature), []).append(text)
    lines += [
        f"| {side} | {scope} | {', '.join(rights)} | {feature} |" for (side, scope, feature), rights in rows.items()
    ]
    return [*lines, ""]


def _table() -> list[str]:
    return ["| key | default | meaning |", "|---|---|---|"]


def _rows(name: str, field: FieldInfo) -> list[str]:
    """Answers the row of a key, and those of the keys below it."""
    rows = [_row(name, field)]
    for kind in get_args(field.annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += [row for key, entry in kind.model_fields.items() for row in _rows(f"{name}.{key}", entry)]
    return rows


def _row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else "none" if field.default is None else f"`{field.default}`"
    return f"| `{name}` | {default} | {_text(field.description)} |"


def _text(docstring: str | None) -> str:
    return " ".join((docstring or "").split())


def _names(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
