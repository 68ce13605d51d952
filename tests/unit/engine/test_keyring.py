"""Secrets in records: encrypted for their place, read with any of the keys, refused when changed or moved; and the keys."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from clusterlink_engine.cli import main
from clusterlink_engine.control.orders import Order
from clusterlink_engine.errors import StateError, StateTooNewError
from clusterlink_engine.model.resources import Link, RemoteCluster
from clusterlink_engine.model.secret_fields import SECRET_FIELDS, secrets_of
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.settings import Settings, SettingsError, State
from clusterlink_engine.store import records
from clusterlink_engine.store.keyring import Keyring, load_keyring, new_key

SECRET = "a hidden word ä"  # noqa: S105 - of these tests
OLD, NEW = b"o" * 32, b"n" * 32
KEYS = Keyring([OLD])


def link(secret: str = SECRET) -> Link:
    sasl = Sasl(mechanism="PLAIN", username="u", password=secret)
    remote = RemoteCluster(bootstrap_servers=("a:1",), cluster_id="c", security_protocol="SASL_PLAINTEXT", sasl=sasl)
    return Link(name="eu", link_id="id", remote=remote, producer_id=1)


def encrypted(data: bytes) -> Any:
    return json.loads(data)["value"]["remote"]["sasl"]["password"]


def with_password(data: bytes, password: Any) -> bytes:
    content = json.loads(data)
    content["value"]["remote"]["sasl"]["password"] = password
    return json.dumps(content).encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_encrypted_comes_back(secret: str) -> None:
    data = records.encode("link/eu", link(secret), KEYS)
    assert records.decode("link/eu", data, KEYS) == link(secret)
    assert encrypted(data).keys() == {"key_id", "nonce", "ciphertext"}


def test_a_record_shows_nothing_of_its_secret_and_is_another_one_each_time() -> None:
    first, second = (records.encode("link/eu", link(), KEYS) for _ in range(2))
    for data in (first, second):
        assert b"hidden" not in data
        assert b'"username": "u"' in data
    assert encrypted(first)["nonce"] != encrypted(second)["nonce"]
    assert encrypted(first)["ciphertext"] != encrypted(second)["ciphertext"]
    assert len(b64decode(encrypted(first)["nonce"])) == 12
    assert len(b64decode(encrypted(first)["ciphertext"])) == len(SECRET.encode()) + 16


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    both = Keyring([NEW, OLD])
    with_old = records.encode("link/eu", link(), KEYS)
    with_new = records.encode("link/eu", link(), both)
    assert records.decode("link/eu", with_old, both) == records.decode("link/eu", with_new, both) == link()
    assert (both.current, both.older) == (Keyring([NEW]).current, [KEYS.current])
    assert records.key_ids("link/eu", with_old) == {KEYS.current}
    assert records.key_ids("link/eu", with_new) == {both.current}
    assert records.decode("link/eu", with_new, Keyring([NEW])) == link()


@pytest.mark.parametrize("keyring", [Keyring(), Keyring([NEW])], ids=["none", "another"])
def test_a_key_that_is_missing_is_named_with_its_setting(keyring: Keyring) -> None:
    data = records.encode("link/eu", link(), KEYS)
    with pytest.raises(SettingsError) as caught:
        records.decode("link/eu", data, keyring)
    assert str(caught.value) == (
        f'state.key_file: the key "{KEYS.current}" is needed for the secret remote.sasl.password of the state record '
        '"link/eu", and is neither in that file nor in CLUSTERLINK_STATE__KEY'
    )


def _changed() -> Iterator[Any]:
    whole = encrypted(records.encode("link/eu", link(), KEYS))
    for name in ("nonce", "ciphertext"):
        data = b64decode(whole[name])
        for place in range(len(data)):
            flipped = bytes(byte ^ (number == place) for number, byte in enumerate(data))
            yield {**whole, name: b64encode(flipped).decode()}
        for length in range(len(data)):
            yield {**whole, name: b64encode(data[:length]).decode()}
        yield {**whole, name: whole[name][:-1]}
        yield {**whole, name: whole[name] + "!"}
        yield {**whole, name: None}
        yield {key: value for key, value in whole.items() if key != name}
    yield {**whole, "more": "x"}
    yield {"x": "y"}


def test_a_torn_or_changed_secret_is_refused_and_named() -> None:
    data = records.encode("link/eu", link(), KEYS)
    for password in _changed():
        with pytest.raises(
            StateError, match=r'remote\.sasl\.password of the state record "link/eu" cannot be decrypted'
        ):
            records.decode("link/eu", with_password(data, password), KEYS)


def test_a_secret_of_another_link_is_refused() -> None:
    data = records.encode("link/eu", link(), KEYS)
    with pytest.raises(StateError, match='record "link/us" cannot be decrypted: it was changed, or belongs to another'):
        records.decode("link/us", data, KEYS)


def test_a_secret_of_another_field_is_refused() -> None:
    moved = KEYS.encrypt(SECRET, 'the secret remote.tls.key of the state record "link/eu"')
    data = records.encode("link/eu", link(), KEYS)
    with pytest.raises(StateError, match="belongs to another place"):
        records.decode("link/eu", with_password(data, moved), KEYS)


def test_a_newer_record_is_told_as_such_whatever_its_secrets_look_like() -> None:
    content = json.loads(records.encode("link/eu", link(), KEYS))
    with pytest.raises(StateTooNewError):
        records.decode("link/eu", json.dumps({**content, "version": 99}).encode(), Keyring())


@pytest.mark.parametrize("version", range(1, records.VERSION + 1))
@pytest.mark.parametrize("keyring", [Keyring(), KEYS], ids=["without a key", "with one"])
def test_a_secret_that_is_stored_as_it_is_can_be_read(version: int, keyring: Keyring) -> None:
    content = {**json.loads(records.encode("link/eu", link())), "version": version}
    data = json.dumps(content).encode()
    assert encrypted(data) == SECRET
    assert records.decode("link/eu", data, keyring) == link()
    assert records.key_ids("link/eu", data) == {""}


def test_a_record_without_secrets_needs_no_key() -> None:
    plain = Link(
        name="l", link_id="id", remote=RemoteCluster(bootstrap_servers=("a:1",), cluster_id="c"), producer_id=1
    )
    data = records.encode("link/l", plain, KEYS)
    assert data == records.encode("link/l", plain)
    assert records.key_ids("link/l", data) == set()
    assert secrets_of(plain) == {}


def _hidden(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Paths of the fields of a model that are not shown in its repr."""
    for name, field in model.model_fields.items():
        if not field.repr:
            yield path + name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _hidden(kind, f"{path}{name}.")


def test_what_is_never_printed_is_encrypted_and_the_other_way_round() -> None:
    for model in records.KINDS.values():
        assert list(_hidden(model)) == [field.path for field in SECRET_FIELDS.get(model, ())]
    assert list(secrets_of(link()).values()) == [SECRET]


# Keys.


@pytest.mark.parametrize("text", ["{0}", "{0}\n", "\n{0}\n\n{1}\n", "{0} {1}", "  {0}\r\n{1}"])
def test_keys_come_from_a_file_or_from_a_text(tmp_path: Path, text: str) -> None:
    text = text.format(*(b64encode(key).decode() for key in (NEW, OLD)))
    (tmp_path / "keys").write_bytes(text.encode())
    for state in (State(key_file=tmp_path / "keys"), State(key=text)):
        assert load_keyring(state).current == Keyring([NEW]).current
    assert load_keyring(State()).current == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no key; `clusterlink state-key new`"),
        (" \n", "there is no key"),
        (b64encode(b"k" * 31).decode(), "key 1 is not 32 bytes in base64; `clusterlink state-key new`"),
        (b64encode(NEW).decode() + "\n" + "hidden-and-wrong", "key 2 is not 32 bytes in base64"),
        ("\xff\xfe", "key 1 is not"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    for name, state in (("key_file", State(key_file=tmp_path / "keys")), ("key", State(key=text))):
        with pytest.raises(SettingsError) as caught:
            load_keyring(state)
        assert str(caught.value).startswith(f"state.{name}: {said}")
        assert "hidden" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_of_keys_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"state\.key_file: .*none cannot be read: No such file"):
        load_keyring(State(key_file=tmp_path / "none"))


def test_a_new_key_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["state-key", "new"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert load_keyring(State(key=printed)).current
    assert new_key() != new_key()


# What is shown.


def test_no_repr_shows_a_secret() -> None:
    key = b64encode(NEW).decode()
    settings = Settings.model_validate(
        {"local_cluster": {"bootstrap_servers": ["a:1"], **link().remote.security.model_dump()}, "state": {"key": key}}
    )
    order = Order(records={"link/eu": records.encode("link/eu", link()).decode()})
    field = next(iter(secrets_of(link())))
    for shown in (settings, settings.state, link(), link().remote, KEYS, order, field, load_keyring(settings.state)):
        for text in (repr(shown), str(shown)):
            assert "hidden" not in text
            assert key not in text
    assert "a:1" in repr(settings)
    assert "'u'" in repr(link())


def test_no_error_of_a_model_shows_a_secret() -> None:
    content = link().model_dump()
    wrong: list[tuple[type[BaseModel], dict[str, Any]]] = [
        (Link, {**content, "colour": "red"}),
        (Link, {**content, "remote": {"sasl": SECRET}}),
        (Settings, {"local_cluster": content["remote"], "state": {"key": SECRET, "key_file": "x"}}),
    ]
    for model, values in wrong:
        with pytest.raises(ValidationError) as caught:
            model.model_validate(values)
        assert "hidden" not in str(caught.value)
    with pytest.raises(StateError) as refused:
        records.decode("link/eu", json.dumps({"version": 4, "value": content, "x": 1}).encode()[:-1])
    assert "hidden" not in f"{refused.value} {refused.value.__cause__}"
