"""What one walk of Terraform knows: the engine, its links, and which names the walk has seen or planned so far.

Calls come from many threads; one lock guards the names. The lists of links and of mirror topics are fetched once per walk: a
plan of 300 resources asks the engine twice. Only what refreshes a state and what checks a plan may look at them: they are of
the walk's beginning, so whatever an apply has to know it asks for.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from clusterlink_provider.framework.cty import Unknown
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.provider import Context

T = TypeVar("T")


class _Once(Generic[T]):
    """A value that is fetched by the first who asks.

    A failed attempt is repeated by who asks later, and is the answer for all who waited for it: they would fail one after the
    other, each after the client's own retries.
    """

    def __init__(self, fetch: Callable[[], T]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._values: list[T] = []
        self._failures: list[DiagnosticError] = []

    def get(self) -> T:
        seen = len(self._failures)
        with self._lock:
            if not self._values:
                if len(self._failures) > seen:
                    raise self._failures[-1]
                try:
                    self._values.append(self._fetch())
                except DiagnosticError as error:
                    self._failures.append(error)
                    raise
            return self._values[0]


class Names:
    """Names of one type of object: those in Terraform's state, and those that go away in this walk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def saw(self, name: object) -> None:
        """Remembers that an object of this name is in the state."""
        if isinstance(name, str):
            with self._lock:
                self._seen.add(name)

    def has_seen(self, name: str) -> bool:
        """Tells whether an object of this name was in the state. A replaced object is planned as if it were new."""
        with self._lock:
            return name in self._seen


class Links:
    """The links of the engine, as this walk will have changed them."""

    def __init__(self, fetch: Callable[[], Iterable[v1.Link]]) -> None:
        self._existing: _Once[dict[str, v1.Link]] = _Once(lambda: {link.name: link for link in fetch()})
        self._lock = threading.Lock()
        # Prefix by name of the links that this walk creates; a prefix may still be unknown.
        self._planned: dict[str, str | Unknown] = {}
        self._leaving: set[str] = set()
        self._changing: set[str] = set()

    def existing(self) -> dict[str, v1.Link]:
        """Gives the links by name that the engine had when the walk first asked, without those deleted since."""
        links = self._existing.get()
        with self._lock:
            return {name: link for name, link in links.items() if name not in self._leaving}

    def get(self, name: str) -> v1.Link | None:
        """Gives one of the engine's links, also one that leaves in this walk."""
        return self._existing.get().get(name)

    def plan(self, name: str, prefix: str | Unknown) -> tuple[set[str], list[str]]:
        """Remembers a link to be created.

        Returns:
            The names of all links that there will be, and of those that had the prefix before this one: links are planned side
            by side, and of two with the same prefix one is to be blamed.
        """
        existing = self.existing()
        with self._lock:
            self._planned.pop(name, None)
            prefixes = {**{other: link.topic_prefix for other, link in existing.items()}, **self._planned}
            self._planned[name] = prefix
            others = [other for other, taken in prefixes.items() if prefix and taken == prefix and other != name]
            return existing.keys() | self._planned.keys(), sorted(others)

    def leave(self, name: str) -> None:
        """Remembers that a link goes away: it is replaced, or it has been deleted."""
        with self._lock:
            self._leaving.add(name)

    def change(self, name: str) -> None:
        """Remembers a link to be updated."""
        with self._lock:
            self._changing.add(name)

    def is_settled(self, name: str) -> bool:
        """Tells whether the engine has the link as it will be, so that checks against it mean something."""
        with self._lock:
            if name in self._planned or name in self._changing:
                return False
        return name in self.existing()

    def prefix_of(self, name: str) -> str | Unknown | None:
        """Gives the prefix that a link will have; None if there is no such link, as far as we know."""
        with self._lock:
            if name in self._planned:
                return self._planned[name]
        link = self.existing().get(name)
        return None if link is None else link.topic_prefix


class Session:
    """One configured provider, for one walk."""

    def __init__(self, client: EngineClient, engine: v1.Engine) -> None:
        self.client = client
        self.engine = engine
        self.links = Links(client.list_links)
        self.link_names = Names()
        self.mirror_names = Names()
        self._mirror_topics: _Once[dict[tuple[str, str], v1.MirrorTopic]] = _Once(
            lambda: {(topic.link, topic.name): topic for topic in client.list_mirror_topics()}
        )

    def read_link(self, name: str) -> v1.Link | None:
        """Reads a link to refresh a state, out of the one list of the walk; None if there is none of that name.

        What is not in the list is asked for by its name: only the engine's own word that it is gone makes Terraform forget it.
        """
        link = self.links.get(name)
        if link is None:
            return self.client.get_link(name)
        return self.client.checked_link(link, name, f"read the link {name}")

    def read_mirror_topic(self, name: str, link: str) -> v1.MirrorTopic | None:
        """Reads a mirror topic to refresh a state, in the same way."""
        topic = self._mirror_topics.get().get((link, name))
        if topic is None:
            return self.client.get_mirror_topic(name, link)
        return self.client.checked_mirror_topic(topic, name, link, f"read the mirror topic {name}")


def require(context: Context[Session]) -> Session:
    """Gives the session of a call that cannot do without.

    Raises:
        DiagnosticError: The provider's configuration is not known yet.
    """
    if context.session is None:
        raise DiagnosticError.of(
            "Provider not configured",
            "The provider's `endpoint`, `token` or `tls` is not known yet. Give them values that do not depend on other "
            "resources, or apply those first with -target.",
        )
    return context.session
