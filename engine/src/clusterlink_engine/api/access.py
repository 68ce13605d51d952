"""Who may call what: the one table of methods, who a caller is, and how often one may call. No I/O."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from clusterlink_engine.errors import PermissionDeniedError, TooManyCallsError, UnauthenticatedError
from clusterlink_engine.settings import Api, Role

_ROLES: Mapping[str, Mapping[str, Role]] = {
    "EngineService": {"GetEngine": Role.VIEWER},
    "LinkService": {
        "CreateLink": Role.ADMIN,
        "GetLink": Role.VIEWER,
        "ListLinks": Role.VIEWER,
        "UpdateLink": Role.ADMIN,
        "DeleteLink": Role.ADMIN,
        "PauseLink": Role.OPERATOR,
        "ResumeLink": Role.OPERATOR,
        "CheckLink": Role.VIEWER,
        "CheckNewLink": Role.ADMIN,  # who calls says where the engine connects to
    },
    "MirrorTopicService": {
        "CreateMirrorTopic": Role.ADMIN,
        "GetMirrorTopic": Role.VIEWER,
        "ListMirrorTopics": Role.VIEWER,
        "UpdateMirrorTopic": Role.ADMIN,
        "DeleteMirrorTopic": Role.ADMIN,
        "PauseMirrorTopic": Role.OPERATOR,
        "ResumeMirrorTopic": Role.OPERATOR,
        "PromoteMirrorTopic": Role.OPERATOR,
        "CancelPromoteMirrorTopic": Role.OPERATOR,
        "FailoverMirrorTopic": Role.OPERATOR,
        "ReverseMirrorTopic": Role.OPERATOR,
        "TruncateAndRestoreMirrorTopic": Role.OPERATOR,
    },
}

# The least role for each method, by its full name.
METHODS: Mapping[str, Role] = {
    f"/clusterlink.v1.{service}/{name}": role for service, names in _ROLES.items() for name, role in names.items()
}

# Nobody is asked for a name here. Reflection is offered only where nobody is remote.
FOR_EVERYBODY = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)

_BEARER = "bearer "
_MOST_RATES = 1024


def hash_of(token: str) -> str:
    """Answers what the settings have of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Caller(NamedTuple):
    """Somebody who calls: what to name them by, and their role."""

    name: str
    role: Role


class Access:
    """Who is known, by the settings."""

    def __init__(self, api: Api) -> None:
        """Takes over tokens and certificates. Without any, everybody is an admin."""
        self._tokens = [(token.sha256, Caller(f'the token "{token.name}"', token.role)) for token in api.tokens]
        self._certificates = {
            entry.name: Caller(f'the certificate "{entry.name}"', entry.role) for entry in api.certificates
        }
        self.is_open = not self._tokens and not self._certificates

    def identify(self, authorization: str | None, names: Iterable[str], host: str) -> Caller:
        """Answers who calls.

        Args:
            authorization: The header of that name; None if there is none. It goes before a certificate.
            names: Of the client's certificate.
            host: Where the call comes from.

        Raises:
            UnauthenticatedError: Nobody who is known.
        """
        if self.is_open:
            return Caller(host, Role.ADMIN)
        if authorization is not None:
            return self._by_token(authorization)
        shown = list(names)
        known = [self._certificates[name] for name in shown if name in self._certificates]
        if not known:
            why = "does not know the certificate" if shown else "wants to know who calls"
            raise UnauthenticatedError(f"This engine {why}, and there is no token.")
        return max(known, key=lambda caller: list(Role).index(caller.role))

    def _by_token(self, authorization: str) -> Caller:
        scheme, token = authorization[: len(_BEARER)], authorization[len(_BEARER) :]
        found = None
        if scheme.lower() == _BEARER:
            hashed = hash_of(token)
            for expected, caller in self._tokens:  # all of them: how long it takes says nothing
                if hmac.compare_digest(hashed, expected):
                    found = caller
        if found is None:
            raise UnauthenticatedError("This engine does not know the token.")
        return found


def role_for(method: str, *, only_checks: bool = False) -> Role:
    """Answers the least role for a call of a method that is not for everybody. What is in no table is for admins.

    Args:
        method: Its full name.
        only_checks: Whether the request has `validate_only`: then nothing is changed, and a viewer can plan.
    """
    return Role.VIEWER if only_checks else METHODS.get(method, Role.ADMIN)


def authorize(caller: Caller, method: str, needed: Role) -> None:
    """Lets a caller pass who has the role that a call needs.

    Raises:
        PermissionDeniedError: The role is too small.
    """
    if not caller.role.includes(needed):
        raise PermissionDeniedError(
            f"{method.rpartition('/')[2]} needs the role {needed}; {caller.name} has the role {caller.role}.",
            metadata={"needed_role": needed.value, "role": caller.role.value},
        )


class Slots:
    """Room for calls at the same time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Takes one for the time of a call.

        Raises:
            TooManyCallsError: There is none.
        """
        if self._taken >= self._most:
            raise TooManyCallsError(f"The engine answers {self._most} calls at a time; try again.")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Rates:
    """How often callers call: each has a bucket that holds a second's worth of calls and fills up steadily."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        """Prepares; `clock` answers seconds."""
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and as of when

    def take(self, caller: str) -> None:
        """Counts a call.

        Raises:
            TooManyCallsError: The bucket is empty.
        """
        now = self._clock()
        left, before = self._buckets.pop(caller, (float(self._per_second), now))
        left = min(left + (now - before) * self._per_second, self._per_second)
        allowed = left >= 1
        self._buckets[caller] = (left - 1 if allowed else left, now)
        if len(self._buckets) > _MOST_RATES:
            self._buckets.popitem(last=False)  # whoever was silent longest: its bucket is the fullest
        if not allowed:
            raise TooManyCallsError(f"More than {self._per_second} calls in a second; try again a little later.")


def names_of(certificate: Mapping[str, Iterable[bytes]]) -> Iterator[str]:
    """Answers the common name and the alternative names of what gRPC tells of a client's certificate."""
    for key in ("x509_common_name", "x509_subject_alternative_name"):
        for name in certificate.get(key, ()):
            yield name.decode(errors="replace")
