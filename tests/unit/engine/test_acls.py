"""Which ACLs are created and deleted, and which are nobody's business."""

import pytest

from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.model.acls import Acl, AclFilter, denial, make_acl_filter
from clusterlink_engine.sync.acls import plan


def _acl(name: str, principal: str = "User:app", operation: str = "READ") -> Acl:
    return Acl(
        resource_type="TOPIC",
        resource_name=name,
        pattern_type="LITERAL",
        principal=principal,
        host="*",
        operation=operation,
        permission_type="ALLOW",
    )


A, B, C, D = (_acl(name) for name in "abcd")
EVERY = AclFilter()


@pytest.mark.parametrize(
    ("source", "present", "created", "create", "delete"),
    [
        ({A, B}, set(), set(), (A, B), ()),
        ({A}, {A}, set(), (), ()),  # was there before: not ours
        (set(), {A}, set(), (), ()),  # never ours
        (set(), {A}, {A}, (), (A,)),
        (set(), set(), {A}, (), (A,)),  # the broker that was asked may not know of it yet
        ({A}, set(), {A}, (A,), ()),  # somebody deleted it here
        ({D}, {D}, {D}, (), ()),
    ],
)
def test_plan(
    source: set[Acl],
    present: set[Acl],
    created: set[Acl],
    create: tuple[Acl, ...],
    delete: tuple[Acl, ...],
) -> None:
    found = plan(source, present, created, [EVERY])
    assert (found.create, found.delete) == (create, delete)


def test_what_is_selected_no_longer_but_is_at_the_source_stays() -> None:
    found = plan({A, B}, {A}, {A}, [AclFilter(resource_name="b")])
    assert (found.create, found.delete) == ((B,), ())


def test_the_guard_of_a_mirror_topic_is_not_copied() -> None:
    read_too, of_another = denial("a", "READ"), denial("a").model_copy(update={"principal": "User:app"})
    assert set(plan({denial("a"), read_too, of_another}, (), (), [EVERY]).create) == {read_too, of_another}


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        ({}, True),
        ({"resource_name": "a"}, True),
        ({"resource_name": "b"}, False),
        ({"resource_type": "GROUP"}, False),
        ({"principal": "User:app", "operation": "READ"}, True),
        ({"principal": "User:app", "operation": "WRITE"}, False),
        ({"host": "*", "pattern_type": "LITERAL", "permission_type": "ALLOW"}, True),
        ({"host": "10.0.0.1"}, False),
        ({"permission_type": "DENY"}, False),
        ({"pattern_type": "PREFIXED"}, False),
    ],
)
def test_filters(fields: dict[str, str], matches: bool) -> None:
    assert make_acl_filter(dict(fields), "at").matches(A) == matches


@pytest.mark.parametrize("field", ["resource_type", "pattern_type", "operation", "permission_type"])
def test_names_are_those_of_kafka(field: str) -> None:
    with pytest.raises(InvalidArgumentError, match=field):
        make_acl_filter({field: "NONE"}, "at")
