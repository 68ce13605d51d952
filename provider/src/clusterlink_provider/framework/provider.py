"""What the framework asks of a provider: its resources and data sources, as small interfaces with one context per call.

A context carries what the call brought and collects what it answers. Logic changes `context.state` as soon as the
world has
changed: whatever happens afterwards (an error, an exception, a deadline), that state is what Terraform stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.identity import Identity
from clusterlink_provider.framework.paths import Path
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.schema import Schema

# What ConfigureProvider makes and the other calls of the walk share. None: the provider's configuration is not known
# yet.
S = TypeVar("S")


@dataclass(slots=True)
class Context(Generic[S]):
    """What every call has: the session, and the messages for the user."""

    session: S | None
    diagnostics: Diagnostics = field(default_factory=Diagnostics)


@dataclass(slots=True)
class StateContext(Context[S]):
    """Reading a resource: `state` comes as stored and leaves as found; None when the object is gone."""

    state: Object | None = None
    private: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class PlanContext(Context[S]):
    """Planning a resource: the framework has filled `planned` and `replace`; the resource may change both.

    `prior` is None for a create, `planned` is None for a destroy.
    """

    prior: Object | None = None
    config: Object = field(default_factory=dict)
    planned: Object | None = None
    replace: set[Path] = field(default_factory=set)
    private: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ApplyContext(Context[S]):
    """Applying: `state` starts as the prior state and is kept true by the resource at every step."""

    prior: Object | None = None
    planned: Object = field(default_factory=dict)
    config: Object = field(default_factory=dict)
    state: Object | None = None
    private: dict[str, Any] = field(default_factory=dict)


class Resource(Protocol[S]):
    """One type of resource."""

    type_name: str
    schema: Schema
    identity: Identity

    def validate(self, config: Object, diagnostics: Diagnostics) -> None:
        """Checks what concerns several attributes; parts of the configuration may be unknown."""

    def seen(self, session: S, state: Object) -> None:
        """Learns that an object is in Terraform's state, before it is read or planned."""

    def read(self, context: StateContext[S]) -> None:
        """Brings the state up to date."""

    def plan(self, context: PlanContext[S]) -> None:
        """Adds the resource's own rules to a plan."""

    def create(self, context: ApplyContext[S]) -> None:
        """Makes the object."""

    def update(self, context: ApplyContext[S]) -> None:
        """Changes the object in place."""

    def delete(self, context: ApplyContext[S]) -> None:
        """Removes the object; one that is gone already is a success."""

    def import_state(self, identifier: str, diagnostics: Diagnostics) -> Object:
        """Turns the identifier of an import into the least state that `read` can go on with."""

    def import_identity(self, session: S, identity: Object, diagnostics: Diagnostics) -> Object:
        """Turns the identity of an import into the least state that `read` can go on with."""

    def identify(self, session: S, state: Object) -> Object:
        """Gives the identity of an object; parts may be unknown or null as they are in its state."""


class DataSource(Protocol[S]):
    """One type of data source."""

    type_name: str
    schema: Schema

    def read(self, context: Context[S], config: Object) -> Object:
        """Gives the data for a configuration that is wholly known."""


class Provider(Protocol[S]):
    """A provider: its own configuration, and what it offers."""

    schema: Schema
    resources: Mapping[str, Resource[S]]
    data_sources: Mapping[str, DataSource[S]]

    def configure(self, config: Object, diagnostics: Diagnostics) -> S | None:
        """Starts a session; None with no error if the configuration is not known yet."""

    def stop(self, session: S) -> None:
        """Tells the session that the user wants to stop: no new attempts, answer soon."""
