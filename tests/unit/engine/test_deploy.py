"""The systemd unit and the Containerfile: what they must not lose, and what the tools for them say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clusterlink_engine import app
from clusterlink_engine.cli import main
from clusterlink_engine.control.runtime import DRAIN_SECONDS
from clusterlink_engine.settings import load

_ROOT = Path(__file__).parents[3]
_UNIT = _ROOT / "engine/deploy/clusterlink@.service"
_CONTAINERFILE = _ROOT / "engine/deploy/Containerfile"

_HARDENED = {
    "AmbientCapabilities": "",
    "CapabilityBoundingSet": "",
    "DynamicUser": "yes",
    "LimitCORE": "0",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}

# Of 0 to 100, as `systemd-analyze security` counts: what a service on the network cannot do without is about 13.
_EXPOSURE = "20"


def _unit() -> dict[str, list[str]]:
    """The values of each key, in order."""
    found: dict[str, list[str]] = {}
    for line in _UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_is_hardened() -> None:
    unit = _unit()
    assert {key: unit[key] for key in _HARDENED} == {key: [value] for key, value in _HARDENED.items()}
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert unit["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"]
    # Nothing can be written to but the directory of the sockets; and nothing takes back what is said above.
    assert not {key for key in unit if key.startswith(("ReadWrite", "State", "Cache", "Logs", "BindPaths", "Exec"))} - {
        "ExecStart"
    }
    assert unit["RuntimeDirectoryMode"] == ["0700"]
    assert re.fullmatch(r"\d+G", unit["MemoryMax"][0])


def test_the_unit_starts_what_there_is_and_waits_until_it_has_stopped() -> None:
    unit = _unit()
    program, *arguments = unit["ExecStart"][0].split()
    assert Path(program).name == "clusterlink"
    options = main._parser().parse_args(arguments)
    assert (options.command, str(options.config)) == ("serve", "%d/clusterlink.toml")
    credentials = {value.partition(":")[0] for value in unit["LoadCredential"]}
    assert {"clusterlink.toml", "state.key"} <= credentials
    minimal = {"CLUSTERLINK_LOCAL_CLUSTER__BOOTSTRAP_SERVERS": '["a:1"]'}
    settings = load(None, {**minimal, **dict(value.split("=", 1) for value in unit["Environment"])})
    assert str(settings.state.key_file) == "%d/state.key"
    assert settings.api.peer_directory == f"%t/{unit['RuntimeDirectory'][0]}"
    longest = app._API_GRACE_SECONDS + DRAIN_SECONDS + app._GIVE_BACK_SECONDS
    assert float(unit["TimeoutStopSec"][0]) > longest + 5
    assert unit["RestartPreventExitStatus"] == [str(main.EXIT_BAD_SETTINGS)]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_what_systemd_says_of_the_unit(tmp_path: Path) -> None:
    """As if it were installed: it looks for the program, too."""
    unit = tmp_path / "clusterlink@1.service"
    unit.write_text(_UNIT.read_text().replace("/opt/clusterlink/bin/clusterlink", sys.executable))
    for command in (["verify"], ["security", "--offline=true", f"--threshold={_EXPOSURE}", "--no-pager"]):
        result = subprocess.run(["systemd-analyze", *command, str(unit)], check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        if command == ["verify"]:
            assert str(unit) not in result.stderr


def _instructions() -> list[tuple[str, str]]:
    """Instructions and what follows them, lines that go on joined."""
    text = "\n".join(line for line in _CONTAINERFILE.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def test_the_image_installs_what_is_locked_and_runs_as_nobody() -> None:
    found = _instructions()
    words = [word for word, _ in found]
    assert "ADD" not in words
    images = [rest for word, rest in found if word == "ARG"]
    assert images == [image for image in images if re.fullmatch(r"PYTHON=\S+:\d+\.\d+\S*", image)]
    assert [rest for word, rest in found if word == "FROM"] == ["${PYTHON} AS build", "${PYTHON}"]
    installs = [step for word, rest in found if word == "RUN" for step in rest.split("&&") if "pip " in step]
    assert len(installs) == 4
    assert all("--require-hashes --only-binary :all:" in step or "--no-index" in step for step in installs)
    final = found[len(words) - words[::-1].index("FROM") - 1 :]
    assert "RUN" not in [word for word, _ in final]
    assert [rest for word, rest in final if word == "USER"] == ["65532:65532"]
    # What is copied belongs to root: the user cannot write to it.
    assert all("--chown" not in rest for word, rest in final if word == "COPY")
    assert not any(
        word in ("ENV", "ARG") and re.search("password|token|key", rest, re.IGNORECASE) for word, rest in found
    )
    for name in re.findall(r"requirements/\S+\.txt", _CONTAINERFILE.read_text()):
        assert "--hash=sha256:" in (_ROOT / name).read_text()


def test_the_image_starts_what_there_is() -> None:
    found = dict(_instructions())
    command = [found["ENTRYPOINT"], found["CMD"], found["HEALTHCHECK"].partition("CMD ")[2]]
    program, arguments, health = ([part.strip('", []') for part in text.split(",")] for text in command)
    assert program == ["clusterlink"]
    assert main._parser().parse_args(arguments).command == "serve"
    assert main._parser().parse_args(health[1:]).command == "health"


def test_what_hadolint_says_of_the_image() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not for this platform")
    result = subprocess.run([linter, _CONTAINERFILE], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
