"""Writes the pages that registries show (docs/index.md, docs/resources/, docs/data-sources/) from the provider's schemas.

Examples come from examples/provider, examples/resources and examples/data-sources, which a test validates with terraform. A
registry looks for these pages in docs/ of the repository and overlooks the others there.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from clusterlink_provider.framework.cty import Type
from clusterlink_provider.framework.identity import Identity
from clusterlink_provider.framework.schema import Attribute, Nesting, Schema
from clusterlink_provider.resources.provider import ClusterlinkProvider

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
FOLDERS = ("resources", "data-sources")

_MORE = (
    "What a plan checks, how failures and interrupts end, and how to install it: `docs/provider.md` in the repository."
)
_NAMES = {"string": "String", "number": "Number", "bool": "Boolean"}
_NESTED = {Nesting.SINGLE: "Attributes", Nesting.LIST: "Attributes List", Nesting.SET: "Attributes Set"}


def render() -> dict[str, str]:
    """Answers the text of each page, by its path below docs/."""
    provider = ClusterlinkProvider({})
    pages = {"index.md": _index(provider.schema)}
    for name, resource in provider.resources.items():
        pages[f"resources/{_short(name)}.md"] = _resource(name, resource.schema, resource.identity)
    for name, source in provider.data_sources.items():
        pages[f"data-sources/{_short(name)}.md"] = _data_source(name, source.schema)
    return pages


def _short(name: str) -> str:
    return name.removeprefix("clusterlink_")


def _index(schema: Schema) -> str:
    return _page(
        "clusterlink Provider",
        "clusterlink Provider",
        schema.description,
        [_MORE, "", *_example("provider/provider.tf"), *_schema(schema)],
    )


def _resource(name: str, schema: Schema, identity: Identity) -> str:
    return _page(
        f"{name} Resource - clusterlink",
        f"{name} (Resource)",
        schema.description,
        [*_example(f"resources/{name}/resource.tf"), *_schema(schema), *_import(name, identity)],
    )


def _data_source(name: str, schema: Schema) -> str:
    return _page(
        f"{name} Data Source - clusterlink",
        f"{name} (Data Source)",
        schema.description,
        [*_example(f"data-sources/{name}/data-source.tf"), *_schema(schema)],
    )


def _page(title: str, heading: str, description: str, lines: list[str]) -> str:
    head = ["---", f'page_title: "{title}"', 'subcategory: ""', "description: |-", f"  {description}", "---", ""]
    made = ["<!-- Made by `make docs` from the schema and the examples; do not edit. -->", ""]
    return "\n".join([*head, *made, f"# {heading}", "", description, "", *lines]).rstrip() + "\n"


def _example(path: str) -> list[str]:
    return ["## Example Usage", "", *_code("terraform", path)]


def _code(language: str, path: str) -> list[str]:
    return [f"```{language}", (EXAMPLES / path).read_text(encoding="utf-8").strip(), "```", ""]


def _import(name: str, identity: Identity) -> list[str]:
    place = f"resources/{name}"
    lines = ["## Import", "", "With a block (Terraform 1.5 or newer):", "", *_code("terraform", f"{place}/import.tf")]
    lines += ["By identity (Terraform 1.12 or newer):", "", *_code("terraform", f"{place}/import-by-identity.tf")]
    for key, attribute in identity.attributes.items():
        need = "Required" if attribute.required else "Optional"
        lines.append(f"- `{key}` (String, {need}) {attribute.description}")
    return [*lines, "", "With a command:", "", *_code("shell", f"{place}/import.sh")]


def _schema(schema: Schema) -> list[str]:
    lines = ["## Schema", "", *_groups(schema.attributes, (), "### ")]
    for path, attribute in _nested(schema.attributes, ()):
        name = ".".join(path)
        lines += [f'<a id="nestedatt--{"--".join(path)}"></a>', f"### Nested Schema for `{name}`", ""]
        lines += _groups(attribute.nested or {}, path, "")
    return lines


def _groups(attributes: Mapping[str, Attribute], path: tuple[str, ...], mark: str) -> list[str]:
    groups: dict[str, list[str]] = {"Required": [], "Optional": [], "Read-Only": []}
    for name, attribute in attributes.items():
        group = "Required" if attribute.required else "Optional" if attribute.optional else "Read-Only"
        groups[group].append(_line(name, attribute, (*path, name)))
    lines: list[str] = []
    for title, entries in groups.items():
        if entries:
            lines += [f"{mark}{title}" if mark else f"{title}:", "", *sorted(entries), ""]
    return lines


def _line(name: str, attribute: Attribute, path: tuple[str, ...]) -> str:
    kind = _NESTED[attribute.nesting] if attribute.nested is not None else _kind(attribute.cty_type())
    marks = [kind, *(["Sensitive"] if attribute.sensitive else []), *(["Write-only"] if attribute.write_only else [])]
    below = f" (see [below for nested schema](#nestedatt--{'--'.join(path)}))" if attribute.nested is not None else ""
    return f"- `{name}` ({', '.join(marks)}) {attribute.description}{below}"


def _kind(kind: Type) -> str:
    if kind.element is not None:
        return f"{kind.name.capitalize()} of {_kind(kind.element)}"
    return _NAMES[kind.name]


def _nested(attributes: Mapping[str, Attribute], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Attribute]]:
    for name, attribute in sorted(attributes.items()):
        if attribute.nested is not None:
            yield (*path, name), attribute
            yield from _nested(attribute.nested, (*path, name))


if __name__ == "__main__":
    for folder in FOLDERS:
        for old in (DOCS / folder).glob("*.md"):
            old.unlink()
    for path, text in render().items():
        (DOCS / path).parent.mkdir(exist_ok=True)
        (DOCS / path).write_text(text, encoding="utf-8")
