"""Settings: file, then environment, then flags; unknown keys and wrong values are refused by name, on one line."""

from pathlib import Path
from typing import Any

import pytest

from clusterlink_engine.settings import Settings, SettingsError, load, parse_address

_TOKEN = f"{{ name = 'ci', role = 'admin', sha256 = '{'0' * 64}' }}"
_TLS = "tls = { certificate_file = 'a', key_file = 'b' }"
_LOCAL = {"CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": '["a:1"]'}


def write(path: Path, text: str) -> Path:
    file = path / "clusterlink.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_need_nothing_but_the_local_cluster() -> None:
    settings = load(None, _LOCAL)
    assert settings == Settings.model_validate({"local_cluster": {"bootstrap_servers": ["a:1"]}})
    assert settings.api.listen == "127.0.0.1:7171"
    assert settings.replication.grace_ms == 2000


def test_the_environment_overrides_the_file_and_flags_override_both(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        log_level = "error"
        [local_cluster]
        bootstrap_servers = ["file:1", "file:2"]
        [api]
        listen = "127.0.0.1:1"
        [replication]
        grace_ms = 1
        produce_connections = 1
        watch_interval_ms = 100
        """,
    )
    environment = {
        "CLUSTERLINK_REPLICATION__GRACE_MS": "2",
        "CLUSTERLINK_REPLICATION__PRODUCE_CONNECTIONS": "2",
        "CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": '["environment:1"]',
    }
    settings = load(file, environment, {"replication": {"grace_ms": 3}, "log_level": "debug"})
    assert settings.replication.watch_interval_ms == 100
    assert settings.replication.produce_connections == 2
    assert settings.replication.grace_ms == 3
    assert settings.local_cluster.bootstrap_servers == ("environment:1",)
    assert settings.api.listen == "127.0.0.1:1"
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("api", "is_local"),
    [
        ("listen = '127.0.0.1:0'", True),
        ("listen = '[::1]:7171'", True),
        ("listen = 'unix:///run/clusterlink/api.sock'", True),
        (f"listen = '0.0.0.0:7171'\n{_TLS}\ntokens = [{_TOKEN}]", False),
        (
            "listen = 'a.example:7171'\ncertificates = [{ name = 'a', role = 'viewer' }]\n"
            "tls = { certificate_file = 'a', key_file = 'b', client_ca_file = 'c' }",
            False,
        ),
    ],
)
def test_the_api_listens_where_it_is_safe(tmp_path: Path, api: str, is_local: bool) -> None:
    assert load(write(tmp_path, f"[api]\n{api}"), _LOCAL).api.is_local is is_local


def test_the_socket_of_the_api(tmp_path: Path) -> None:
    for listen in ("unix:///run/api.sock", "unix:/run/api.sock"):
        assert load(write(tmp_path, f"[api]\nlisten = '{listen}'"), _LOCAL).api.socket == Path("/run/api.sock")
    assert load(None, _LOCAL).api.socket is None


def test_a_token_in_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, f"[api]\ntokens = [{_TOKEN.replace('0' * 64, 'a-secret')}]"), _LOCAL)
    assert "a-secret" not in str(caught.value)


def test_other_variables_are_none_of_the_engines_business() -> None:
    others = {
        "PATH": "/bin",
        "CLUSTERLINK_ENDPOINT": "x",
        "CLUSTERLINK_TOKEN": "x",
        "CLUSTERLINK_TERRAFORM_VERSION": "x",
        "CLUSTERLINK_TEST_SOURCE_VERSION": "x",
    }
    assert load(None, {**_LOCAL, **others}) == load(None, _LOCAL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "colour: unknown setting"),
        ("[replication]\nbufer_bytes = 1", "replication.bufer_bytes: unknown setting"),
        ("[somewhere]\nelse = 1", "somewhere: unknown setting"),
        ("[local_cluster]\npassword = 'x'", "local_cluster.password: unknown setting"),
        ("log_level = 'loud'", "log_level: "),
        ("[api]\nlisten = '0.0.0.0:7171'", "api.listen: 0.0.0.0:7171 is not a loopback address, and needs TLS"),
        (
            f"[api]\nlisten = '0.0.0.0:7171'\ntokens = [{_TOKEN}]",
            "api.listen: 0.0.0.0:7171 is not a loopback address, and",
        ),
        (f"[api]\nlisten = 'a:1'\n{_TLS}", "api.listen: a:1 is not a loopback address, and needs callers: api.tokens"),
        ("[api]\nlisten = 'unix:api.sock'", 'api.listen: "unix:api.sock" is not of the form unix:///path'),
        ("[http]\nlisten = '0.0.0.0:7171'", "http.listen: 0.0.0.0:7171 is not a loopback address"),
        (f"[api]\ntokens = [{_TOKEN.replace('ci', 'a b')}]", "api.tokens.0.name: "),
        (f"[api]\ntokens = [{_TOKEN.replace('admin', 'owner')}]", "api.tokens.0.role: "),
        (f"[api]\ntokens = [{_TOKEN.replace('0', 'z')}]", "api.tokens.0.sha256: "),
        (f"[api]\ntokens = [{_TOKEN}, {_TOKEN}]", "api.tokens: two tokens have the same name"),
        (f"[api]\ntokens = [{_TOKEN}, {_TOKEN.replace('ci', 'other')}]", "api.tokens: two tokens have the same sha256"),
        ("[api]\ntls = { certificate_file = 'a' }", "api.tls.key_file: is required"),
        (
            f"[api]\n{_TLS}\ncertificates = [{{ name = 'a', role = 'admin' }}]",
            "api.certificates: nothing says who signs",
        ),
        ("[api]\ncertificates = [{ name = 'a', role = 'admin' }]", "api.certificates: nothing says who signs"),
        ("[api]\nlisten = '127.0.0.1'", 'api.listen: "127.0.0.1" is not of the form host:port'),
        ("[limits]\nmax_links = -1", "limits.max_links: "),
        ("[limits]\nmax_links = 'many'", "limits.max_links: "),
        ("[state]\ntopic = 'no spaces'", "state.topic: "),
        ("[replication]\nproduce_connections = 17", "replication.produce_connections: "),
        ("[replication]\ngrace_ms = -1", "replication.grace_ms: "),
        ("api = 1", "api: "),
    ],
)
def test_a_wrong_file_is_refused_on_one_line_that_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text), _LOCAL)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "local_cluster: is required"),
        ({"CLUSTERLINK_LOCAL_CLUSTER__SECURITY_PROTOCOL": "PLAINTEXT"}, "local_cluster.bootstrap_servers: is required"),
        ({"CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": "[]"}, "local_cluster.bootstrap_servers: "),
        ({"CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": '["a"]'}, 'local_cluster.bootstrap_servers: "a" is not'),
        ({"CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": "a:1"}, "local_cluster.bootstrap_servers: "),
        ({"CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": "[a:1]"}, "local_cluster.bootstrap_servers: "),
        ({"CLUSTERLINK_LOCAL_CLUSTER__SECURITY_PROTOCOL": "TLS", **_LOCAL}, "local_cluster.security_protocol: "),
        (
            {"CLUSTERLINK_LOCAL_CLUSTER__TLS__CA_FILE": "/nowhere", **_LOCAL},
            "local_cluster.tls: ca_file: /nowhere cannot be",
        ),
        ({"CLUSTERLINK_LOCAL_CLUSTER__TLS__CA_PEM": "x", **_LOCAL}, "local_cluster.tls.ca_pem: there is no PEM block"),
        ({"CLUSTERLINK_NONSENSE": "1", **_LOCAL}, "nonsense: unknown setting"),
        ({"CLUSTERLINK_API__PORT": "1", **_LOCAL}, "api.port: unknown setting"),
    ],
)
def test_a_wrong_variable_is_refused_on_one_line_that_names_the_key(environment: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, environment)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_section_with_a_value_of_its_own_is_refused() -> None:
    with pytest.raises(SettingsError, match="api"):
        load(None, {**_LOCAL, "CLUSTERLINK_API": "x", "CLUSTERLINK_API__LISTEN": "127.0.0.1:1"})


@pytest.mark.parametrize(("content", "said"), [(b"a = [", "is not TOML"), (b"a = '\xff'", "is not TOML")])
def test_a_file_that_is_not_toml_is_refused_with_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "clusterlink.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(file, _LOCAL)
    assert str(caught.value).startswith(f"{file}: {said}")


def test_a_file_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", _LOCAL)


def test_settings_cannot_be_changed() -> None:
    settings: Any = load(None, _LOCAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.api.listen = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:9092", ("localhost", 9092)),
        ("[::1]:9092", ("::1", 9092)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
        ("a.b-c.example:65535", ("a.b-c.example", 65535)),
    ],
)
def test_addresses_are_split(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:b", "a:65536", "a:-1", "a: 1", "[]:1", "a:1.5"])
def test_what_is_no_address_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form host:port"):
        parse_address(text)
