"""Identities: the few values that tell an object from all others, kept by Terraform beside its state (protocol 6.9)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Type
from clusterlink_provider.framework.schema import Upgrader


@dataclass(frozen=True, slots=True)
class IdentityAttribute:
    """One value of an identity, a text.

    Attributes:
        description: What it is; shown by editors.
        required: An import must give it; else the provider fills it in.
    """

    description: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a type of resource. It never changes while an object lives.

    Attributes:
        attributes: By name.
        upgraders: One for each version before this one, as those of a `Schema`.
    """

    attributes: Mapping[str, IdentityAttribute]
    upgraders: tuple[Upgrader, ...] = ()
    type: Type = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", cty.object_of(dict.fromkeys(self.attributes, cty.STRING)))

    @property
    def version(self) -> int:
        """The version of identities that are written now."""
        return len(self.upgraders)
