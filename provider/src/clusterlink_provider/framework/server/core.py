"""What all families of calls share: the provider, the session of the walk, and the guard around every call."""

import functools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics
from clusterlink_provider.framework.provider import DataSource, Provider, Resource, S
from clusterlink_provider.framework.schema import Schema

_log = logging.getLogger(__name__)
# The secrets of the call under way, for what is written about an exception: it may have any of them in its text.
_secrets: ContextVar[Callable[[], list[str]]] = ContextVar("secrets", default=list)
_VALUES = ("config", "prior_state", "planned_state", "proposed_new_state", "current_state")
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class Core(Generic[S]):
    """The provider and the session. Calls come from many threads; the session is replaced as a whole, under a lock."""

    def __init__(self, provider: Provider[S]) -> None:
        self.provider = provider
        self._session: S | None = None
        self._lock = threading.Lock()

    @property
    def session(self) -> S | None:
        """The session of the walk; None before ConfigureProvider, or if the configuration was not known."""
        with self._lock:
            return self._session

    @session.setter
    def session(self, session: S | None) -> None:
        with self._lock:
            self._session = session

    def resource(self, type_name: str) -> Resource[S]:
        """Finds a resource by its type.

        Raises:
            DiagnosticError: There is none.
        """
        found = self.provider.resources.get(type_name)
        if found is None:
            raise DiagnosticError.of("Unknown resource type", f"This provider has no resource {type_name}.")
        return found

    def data_source(self, type_name: str) -> DataSource[S]:
        """Finds a data source by its type.

        Raises:
            DiagnosticError: There is none.
        """
        found = self.provider.data_sources.get(type_name)
        if found is None:
            raise DiagnosticError.of("Unknown data source type", f"This provider has no data source {type_name}.")
        return found

    def schema_for(self, request: Any) -> Schema | None:
        """Gives the schema that a request is about, for the paths of messages; None if it is about none."""
        name = getattr(request, "type_name", "")
        if name in self.provider.resources:
            return self.provider.resources[name].schema
        return self.provider.data_sources[name].schema if name in self.provider.data_sources else None


def collect(diagnostics: Diagnostics, work: Callable[[], None]) -> None:
    """Runs logic whose partial result counts; what it throws becomes messages beside that result."""
    try:
        work()
    except DiagnosticError as error:
        diagnostics.extend(error.diagnostics)
    except Exception as error:
        report_bug(diagnostics, error)


def report_bug(diagnostics: Diagnostics, error: Exception) -> None:
    """Adds one message about an exception that nobody expected; the traceback goes to the log only. No secret is in either."""
    secrets = _secrets.get()()
    _log.error("unexpected exception\n%s", _masked("".join(traceback.format_exception(error)), secrets))
    diagnostics.error(
        "Unexpected error in the provider",
        f"This is a bug in the provider: {type(error).__name__}: {_masked(str(error), secrets)}. Run again with TF_LOG=DEBUG "
        "and report it with the traceback from the log.",
    )


def _masked(text: str, secrets: list[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, repr(secret)[1:-1]):
            text = text.replace(form, "(sensitive value)")
    return text


def _secrets_of(core: Core[Any], request: Any) -> Iterator[str]:
    schema = core.schema_for(request) or core.provider.schema
    for name in _VALUES:
        # What cannot be read has no secrets that anybody could have got at.
        with suppress(Exception):
            yield from schema.secrets(convert.value_from_pb(schema.type, getattr(request, name)))


def guarded(core: Core[Any], answer: type[R], call: Callable[[Q], R]) -> Callable[[Q, Any], R]:
    """Wraps one call for gRPC: whatever it throws becomes an answer of its type with messages."""

    @functools.wraps(call)
    def handler(request: Q, _context: Any) -> R:
        started = time.monotonic()
        _secrets.set(lambda: list(_secrets_of(core, request)))
        try:
            return call(request)
        except DiagnosticError as error:
            diagnostics = error.diagnostics
        except Exception as error:
            diagnostics = Diagnostics()
            report_bug(diagnostics, error)
        finally:
            _log.debug("%s took %.1f ms", answer.DESCRIPTOR.full_name, (time.monotonic() - started) * 1000)
        response: Any = answer()
        if isinstance(request, pb.ApplyResourceChange.Request):
            # Nothing was done. An empty answer would make Terraform forget the object.
            response.new_state.CopyFrom(request.prior_state)
            response.private = request.planned_private
        response.diagnostics.extend(convert.diagnostics_to_pb(diagnostics, core.schema_for(request)))
        return response  # type: ignore[no-any-return]

    return handler
