"""Stored objects of earlier versions of the provider: one step for each version."""

from collections.abc import Sequence
from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import InvalidValueError, Type
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.schema import Upgrader


def upgraded(
    what: str, type_name: str, version: int, raw: pb.RawState, kind: Type, upgraders: Sequence[Upgrader]
) -> Any:
    """Reads a stored object and takes it through the steps from its version to today's.

    Args:
        what: "state" or "identity".
        type_name: Of the resource.
        version: That wrote it.
        raw: As it is stored.
        kind: The type that it has today.
        upgraders: The step from each version to the next.

    Raises:
        DiagnosticError: It is of a newer provider, or cannot be read.
    """
    if version > len(upgraders):
        raise DiagnosticError.of(
            f"{what.capitalize()} of a newer provider",
            f"The {what} of this {type_name} has schema version {version}; this provider knows versions up to "
            f"{len(upgraders)}. Use the provider version that wrote it, or a newer one.",
        )
    if not raw.json:
        raise DiagnosticError.of(
            f"Unreadable {what}",
            f"The {what} of this {type_name} is in the form of Terraform before 0.12, or empty. Remove it with "
            "`terraform state rm` and import the object.",
        )
    try:
        loaded = cty.load_json(raw.json)
        for step in upgraders[version:] if isinstance(loaded, dict) else ():
            loaded = step(loaded)
        return cty.from_json(kind, loaded)
    except InvalidValueError as error:
        raise DiagnosticError.of(
            f"Unreadable {what}",
            f"The {what} of this {type_name} does not fit the schema: {error}. If it was edited by hand, go back to the "
            "copy from before (terraform.tfstate.backup), or remove it with `terraform state rm` and import the object.",
        ) from error
