"""The plugin as a process: installed, started by Terraform, and gone afterwards."""

import os
import signal
from pathlib import Path

import psutil

from tests.acceptance.provider_shell.test_faults import CONFIG, LINK
from tests.acceptance.terraform import Terraform
from tests.support.fake_engine import FakeEngine, Fault
from tests.support.waiting import wait_until


def test_whole_life_with_the_installed_provider(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    shell_terraform.step(CONFIG % "1m", {LINK: "create"})
    lock = (shell_terraform.directory / ".terraform.lock.hcl").read_text()
    assert 'provider "registry.terraform.io/clusterlink/clusterlink"' in lock
    shell_terraform.destroy()
    assert fake_engine.links == {}


def test_without_tls(shell_terraform: Terraform) -> None:
    shell_terraform.environment["TF_DISABLE_PLUGIN_TLS"] = "1"
    shell_terraform.write(CONFIG % "1m")
    assert shell_terraform.plan().code == 2


def test_modules_of_the_user_are_not_imported(shell_terraform: Terraform) -> None:
    shell_terraform.write(CONFIG % "1m")
    (shell_terraform.directory / "grpc.py").write_text("raise SystemExit('wrong module')")
    assert shell_terraform.plan().code == 2


def test_long_temporary_directory(shell_terraform: Terraform) -> None:
    place = shell_terraform.directory / ("x" * 100)
    place.mkdir()
    shell_terraform.environment["TMPDIR"] = str(place)
    shell_terraform.write(CONFIG % "1m")
    assert shell_terraform.plan().code == 2


def test_launcher_without_its_python_says_so(shell_terraform: Terraform, tmp_path: Path) -> None:
    # A copy of the package on a machine where nothing was installed.
    package = Path("registry.terraform.io/clusterlink/clusterlink/0.1.0")
    shell_terraform.write(CONFIG % "1m")
    platform = next((shell_terraform.directory / ".terraform/providers" / package).iterdir())
    launcher = (platform / "terraform-provider-clusterlink").read_bytes()
    platform.unlink()
    platform.mkdir()
    (platform / "terraform-provider-clusterlink").write_bytes(launcher)
    (platform / "terraform-provider-clusterlink").chmod(0o755)
    assert shell_terraform.plan().error("is not set up on this machine", "run: terraform-provider-clusterlink install")


def test_log_lines_are_sorted_by_level(shell_terraform: Terraform) -> None:
    shell_terraform.environment["TF_LOG_PROVIDER"] = "DEBUG"
    shell_terraform.write(CONFIG % "1m")
    output = shell_terraform.run("plan", "-input=false", "-no-color").output
    assert "[DEBUG] provider.terraform-provider-clusterlink: tfplugin6.PlanResourceChange.Response took" in output


def test_plugin_ends_when_terraform_is_killed(shell_terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.inject("CreateLink", Fault(delay=3))
    shell_terraform.write(CONFIG % "1m")
    process = shell_terraform.start("apply", "-auto-approve", "-input=false")
    wait_until(lambda: "CreateLink" in fake_engine.calls, 60, "the call CreateLink")
    plugins = psutil.Process(process.pid).children(recursive=True)
    assert plugins
    sockets = _sockets(plugins)
    assert sockets
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in sockets)
    os.kill(process.pid, signal.SIGKILL)
    shell_terraform.finish(process)
    _, alive = psutil.wait_procs(plugins, timeout=20)
    assert alive == []
    assert not any(path.exists() for path in sockets)


def _sockets(processes: list[psutil.Process]) -> list[Path]:
    connections = [item for process in processes for item in process.net_connections("unix")]
    return [Path(str(item.laddr)) for item in connections if str(item.laddr).endswith("plugin.sock")]
