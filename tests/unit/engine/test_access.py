"""Who may call what, and how often: the table, tokens, certificates; on a clock of the tests."""

import itertools
from typing import Any

import pytest

from clusterlink_engine.api.access import (
    FOR_EVERYBODY,
    METHODS,
    Access,
    Caller,
    Rates,
    Slots,
    authorize,
    hash_of,
    role_for,
)
from clusterlink_engine.errors import PermissionDeniedError, TooManyCallsError, UnauthenticatedError
from clusterlink_engine.settings import Api, Role
from clusterlink_proto import v1

_READ = {"GetEngine", "GetLink", "ListLinks", "CheckLink", "GetMirrorTopic", "ListMirrorTopics"}
_OPERATE = {
    *(
        "PauseLink",
        "ResumeLink",
        "PauseMirrorTopic",
        "ResumeMirrorTopic",
        "PromoteMirrorTopic",
        "CancelPromoteMirrorTopic",
    ),
    *("FailoverMirrorTopic", "ReverseMirrorTopic", "TruncateAndRestoreMirrorTopic"),
}


def _token(name: str, role: str, text: str) -> dict[str, str]:
    return {"name": name, "role": role, "sha256": hash_of(text)}


def _api(**settings: Any) -> Api:
    return Api.model_validate(settings)


def test_the_table_has_every_method_of_every_service() -> None:
    methods = {
        f"/{service.full_name}/{method}"
        for service in v1.DESCRIPTOR.services_by_name.values()
        for method in service.methods_by_name
    }
    assert METHODS.keys() == methods


def test_roles_are_as_they_are_documented() -> None:
    own = {name.rpartition("/")[2]: role for name, role in METHODS.items()}
    assert {name for name, role in own.items() if role is Role.VIEWER} == _READ
    assert {name for name, role in own.items() if role is Role.OPERATOR} == _OPERATE
    assert {name for name, role in own.items() if role is Role.ADMIN} == own.keys() - _READ - _OPERATE
    assert {name.split("/")[1] for name in FOR_EVERYBODY} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_a_method_in_no_table_is_for_admins() -> None:
    assert role_for("/clusterlink.v1.LinkService/BurnLink") is Role.ADMIN


@pytest.mark.parametrize("method", [*METHODS, "/clusterlink.v1.LinkService/BurnLink"])
def test_who_only_checks_needs_to_be_a_viewer(method: str) -> None:
    assert role_for(method, only_checks=True) is Role.VIEWER


@pytest.mark.parametrize(("has", "needed"), list(itertools.product(Role, Role)))
def test_a_role_includes_those_before_it(has: Role, needed: Role) -> None:
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    if order.index(has) >= order.index(needed):
        authorize(Caller("a", has), "/s/PauseLink", needed)
        return
    with pytest.raises(
        PermissionDeniedError, match=f"PauseLink needs the role {needed}; a has the role {has}"
    ) as caught:
        authorize(Caller("a", has), "/s/PauseLink", needed)
    assert caught.value.metadata == {"needed_role": needed, "role": has}


def test_a_token_is_known_by_its_hash() -> None:
    access = Access(_api(tokens=[_token("ci", "operator", "one"), _token("eye", "viewer", "two")]))
    assert access.identify("Bearer one", [], "h") == ('the token "ci"', Role.OPERATOR)
    assert access.identify("bearer two", [], "h") == ('the token "eye"', Role.VIEWER)


@pytest.mark.parametrize("given", ["Bearer three", "Bearer ", "", "Basic one", "one", f"Bearer {hash_of('one')}"])
def test_what_is_no_token_is_refused_and_not_repeated(given: str) -> None:
    access = Access(_api(tokens=[_token("ci", "operator", "one")]))
    with pytest.raises(UnauthenticatedError) as caught:
        access.identify(given, [], "h")
    assert str(caught.value) == "This engine does not know the token."


def test_who_shows_nothing_is_refused_as_soon_as_anybody_is_known() -> None:
    with pytest.raises(UnauthenticatedError, match="wants to know who calls"):
        Access(_api(tokens=[_token("ci", "operator", "one")])).identify(None, [], "h")
    assert Access(_api()).identify(None, [], "h") == ("h", Role.ADMIN)


def test_a_certificate_has_the_greatest_role_of_its_names_and_a_token_goes_before_it() -> None:
    tls = {"certificate_file": "a", "key_file": "b", "client_ca_file": "c"}
    certificates = [{"name": "a", "role": "viewer"}, {"name": "b.example", "role": "admin"}]
    access = Access(_api(tls=tls, certificates=certificates, tokens=[_token("ci", "operator", "one")]))
    assert access.identify(None, ["a"], "h") == ('the certificate "a"', Role.VIEWER)
    assert access.identify(None, ["a", "b.example"], "h") == ('the certificate "b.example"', Role.ADMIN)
    assert access.identify("Bearer one", ["b.example"], "h").role is Role.OPERATOR
    with pytest.raises(UnauthenticatedError, match="does not know the certificate"):
        access.identify(None, ["c"], "h")
    with pytest.raises(UnauthenticatedError, match="does not know the token"):
        access.identify("Bearer two", ["b.example"], "h")


def test_a_second_s_worth_of_calls_may_come_at_once_and_fills_up_again() -> None:
    now = [0.0]
    rates = Rates(3, lambda: now[0])
    for _ in range(3):
        rates.take("a")
    rates.take("b")
    with pytest.raises(TooManyCallsError):
        rates.take("a")
    now[0] += 0.5
    rates.take("a")
    with pytest.raises(TooManyCallsError):
        rates.take("a")
    now[0] += 60
    for _ in range(3):
        rates.take("a")
    with pytest.raises(TooManyCallsError):
        rates.take("a")


def test_rates_of_any_number_of_callers_take_bounded_memory() -> None:
    rates = Rates(1, lambda: 0.0)
    for number in range(5000):
        rates.take(str(number))
    assert len(rates._buckets) <= 1024
    with pytest.raises(TooManyCallsError):
        rates.take("4999")


def test_a_slot_is_free_again_after_a_call_whatever_became_of_it() -> None:
    slots = Slots(1)

    def call(outcome: type[Exception]) -> None:
        with slots.taken():
            with pytest.raises(TooManyCallsError), slots.taken():
                pass
            raise outcome

    for _ in range(2):
        with pytest.raises(KeyError):
            call(KeyError)


def test_settings_show_no_hash() -> None:
    api = _api(tokens=[_token("ci", "operator", "one")])
    assert hash_of("one") not in repr(api)
    assert "ci" in repr(api)
