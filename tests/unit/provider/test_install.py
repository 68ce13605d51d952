"""The installer, and the launcher that must be the same bytes everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterlink_provider import __version__
from clusterlink_provider.install import cli, doctor, environment, launcher


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of its own, with nothing in it."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    monkeypatch.delenv(launcher.PYTHON_VARIABLE, raising=False)
    return place


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file())


def test_install_with_a_directory(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "mirror"
    assert cli.run(["install", "--dir", str(root)]) == 0
    platform = environment.terraform_platform()
    assert _files(root) == [
        f".clusterlink-{__version__}",
        *(
            f"{host}/clusterlink/clusterlink/{__version__}/{platform}/{launcher.EXECUTABLE}"
            for host in sorted(launcher.HOSTS)
        ),
    ]
    assert list(home.iterdir()) == []
    output = capsys.readouterr().out
    assert 'source  = "clusterlink/clusterlink"' in output
    assert str(root) in output
    assert cli.run(["doctor", "--dir", str(root)]) == 0
    assert cli.run(["uninstall", "--dir", str(root)]) == 0
    assert list(root.iterdir()) == []


def test_install_for_the_user(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".terraformrc").write_text("provider_installation {\n  direct {}\n}\n")
    assert cli.run(["install"]) == 0
    assert "has a provider_installation block" in capsys.readouterr().out
    assert (home / ".terraform.d/plugins/registry.opentofu.org").is_dir()
    assert environment.user_link().is_symlink()
    # A second time is no harm.
    assert cli.run(["install"]) == 0
    assert cli.run(["uninstall"]) == 0
    assert [name for name in _files(home) if name != ".terraformrc"] == []


def _kinds(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.startswith(("ok ", "note ", "problem "))]


def test_doctor_starts_the_plugin(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "mirror"
    cli.run(["install", "--dir", str(root)])
    capsys.readouterr()
    assert cli.run(["doctor", "--dir", str(root)]) == 0
    output = capsys.readouterr().out
    assert "the plugin starts and speaks protocol 6" in output
    assert "byte code is compiled" in output
    assert "all is well" in output
    assert "problem" not in _kinds(output)


def test_doctor_names_what_is_wrong(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "mirror"
    assert cli.run(["doctor", "--dir", str(root)]) == 1
    assert "is missing: run install" in capsys.readouterr().out
    cli.run(["install", "--dir", str(root)])
    first, second = sorted(root.glob(f"*/*/*/*/*/{launcher.EXECUTABLE}"))
    first.write_text("#!/bin/sh\n")
    second.chmod(0o644)
    (root / launcher.LINK).unlink()
    (root / launcher.LINK).symlink_to(tmp_path / "gone")
    capsys.readouterr()
    assert cli.run(["doctor", "--dir", str(root)]) == 1
    output = capsys.readouterr().out
    assert "was changed: run install" in output
    assert "is not executable: run install" in output
    assert "No such file or directory: run install" in output
    assert "3 to be mended" in output


def test_doctor_shows_why_the_plugin_does_not_start(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mirror"
    cli.run(["install", "--dir", str(root)])
    # An interpreter with the provider, but one that cannot import all of it any more.
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *-m*) echo "cannot start"; exit 1;; esac\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setenv(launcher.PYTHON_VARIABLE, str(python))
    capsys.readouterr()
    assert cli.run(["doctor", "--dir", str(root)]) == 1
    assert "the plugin does not start: cannot start" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ('{"terraform_version": "1.11.4"}', "ok", "1.11.4"),
        ('{"terraform_version": "1.5.7"}', "note", "write-only passwords need 1.11"),
        ('{"terraform_version": "0.14.0"}', "problem", "1.0 or newer is needed"),
        ("Terraform v0.12", "note", "does not tell its version"),
    ],
)
def test_doctor_looks_at_terraform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: str, text: str
) -> None:
    program = tmp_path / "terraform"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = [item for item in doctor.examine(tmp_path, is_usual_place=False) if str(program) in item.text]
    assert [(item.kind, text in item.text) for item in found] == [(kind, True)]


def test_doctor_without_terraform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert any("neither terraform nor tofu" in item.text for item in doctor.examine(tmp_path, is_usual_place=False))


@pytest.mark.parametrize(
    ("block", "kinds"),
    [
        ("disable_checkpoint = true\n", []),
        ("# provider_installation {}\n", []),
        ("provider_installation {\n  direct {}\n}\n", ["problem"]),
        ('provider_installation {\n  filesystem_mirror {\n    path = "ROOT"\n  }\n}\n', ["ok"]),
        ('provider_installation {\n  filesystem_mirror {\n    path = "~/.terraform.d/plugins"\n  }\n}\n', ["ok"]),
        (
            'provider_installation {\n  dev_overrides {\n    "clusterlink/clusterlink" = "/x"\n  }\n  direct {}\n}\n',
            ["note", "problem"],
        ),
    ],
    ids=["none", "in a comment", "other", "absolute", "home", "dev_overrides"],
)
def test_doctor_reads_the_cli_configuration(home: Path, block: str, kinds: list[str]) -> None:
    root = environment.default_root()
    path = home / ".terraformrc"
    path.write_text(block.replace("ROOT", str(root)))
    assert [found.kind for found in doctor.configurations(root)] == kinds
    assert path.read_text() == block.replace("ROOT", str(root))


def test_missing_byte_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text("")
    monkeypatch.setattr(environment, "_PACKAGES", ("p",))
    monkeypatch.setattr(environment, "_places", lambda _: [str(tmp_path)])
    assert environment.without_byte_code() == ["p"]
    assert environment.compile_byte_code() == []
    assert environment.without_byte_code() == []
    os.utime(tmp_path / "module.py", (1, 1))
    assert environment.without_byte_code() == ["p"]


def test_launcher_has_no_bytes_of_this_machine() -> None:
    for place in (sys.prefix, str(Path.home()), str(Path(cli.__file__).parent)):
        assert place not in launcher.LAUNCHER
    assert launcher.LAUNCHER.count(__version__) == 4


def _start(script: Path, home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {"PATH": os.environ["PATH"], "HOME": str(home)}
    # By a relative path and through a link, as Terraform does.
    link = home / "package"
    link.symlink_to(script.parent)
    return subprocess.run(
        [f"package/{script.name}", "--version"],
        cwd=home,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_launcher_finds_the_link_beside_it(home: Path, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    cli.run(["install", "--dir", str(root)])
    script = next(root.glob(f"*/*/*/*/*/{launcher.EXECUTABLE}"))
    result = _start(script, home)
    assert (result.returncode, result.stdout.strip()) == (0, __version__)


def test_launcher_takes_the_python_it_is_told(home: Path, tmp_path: Path) -> None:
    (script,) = [path for path in launcher.write(tmp_path, "any") if "terraform.io" in str(path)]
    result = _start(script, home, CLUSTERLINK_TERRAFORM_PYTHON=sys.executable)
    assert (result.returncode, result.stdout.strip()) == (0, __version__)


def test_launcher_finds_the_link_of_the_user(home: Path, tmp_path: Path) -> None:
    environment.set_link(environment.user_link())
    (script,) = [path for path in launcher.write(tmp_path, "any") if "terraform.io" in str(path)]
    assert _start(script, home).stdout.strip() == __version__


def test_launcher_alone_says_what_to_run(home: Path, tmp_path: Path) -> None:
    (script,) = [path for path in launcher.write(tmp_path, "any") if "terraform.io" in str(path)]
    result = _start(script, home)
    assert result.returncode == 1
    assert result.stdout == (
        f"clusterlink provider {__version__} is not set up on this machine; run: {launcher.EXECUTABLE} install\n"
    )


def test_byte_code_is_compiled_whatever_the_environment_says(tmp_path: Path) -> None:
    package = tmp_path / "clusterlink_provider"
    package.mkdir()
    (package / "__init__.py").write_text("")
    code = (
        "import importlib.util, compileall, sys\n"
        "from clusterlink_provider.install import environment\n"
        f"environment._places = lambda name: [{str(package)!r}]\n"
        "assert environment.compile_byte_code() == []\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, timeout=60
    )
    assert list(package.glob("__pycache__/*.pyc"))


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run([])
    assert caught.value.code == 2
    assert "install" in capsys.readouterr().err
