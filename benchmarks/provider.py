"""Measures what the provider adds to a user's waiting: the start of its process, and plans in which nothing has changed.

Prints the table "The Terraform provider" of docs/benchmarks.md. Run as `python -m benchmarks.provider`, with terraform on the
PATH. The engine is the one in memory of the tests, which answers at once, so that the time is Terraform's and the provider's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clusterlink_provider.__main__ import COOKIE
from clusterlink_provider.install import launcher
from clusterlink_provider.plugin.tls import make_identity
from tests.acceptance.terraform import Terraform, install_provider
from tests.support.fake_engine import FakeEngine

_LINKS = """
resource "clusterlink_link" "x" {
  count          = %d
  name           = "link-${count.index}"
  remote_cluster = { bootstrap_servers = ["127.0.0.1:29092"] }
}
"""
_MIRROR_TOPICS = """
resource "clusterlink_link" "one" {
  name           = "one"
  remote_cluster = { bootstrap_servers = ["127.0.0.1:29092"] }
}
resource "clusterlink_mirror_topic" "x" {
  count        = %d
  link         = clusterlink_link.one.name
  source_topic = "topic-${count.index}"
}
"""
_COUNTS = (1, 300, 1000)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="runs of each measurement; they are interleaved")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="clusterlink-bench-") as place:
        measured = _measure(Path(place), runs)
    print("| | s |\n|---|---|")
    for name, seconds in measured.items():
        print(f"| {name} | {statistics.median(seconds):.2f} [{min(seconds):.2f}-{max(seconds):.2f}] |")
    for kind in ("links", "mirror topics"):
        one, many, most = (statistics.median(measured[_plan_name(count, kind)]) for count in _COUNTS)
        print(
            f"{kind}: {(many - one) / 299 * 1000:.1f} ms each up to 300, {(most - many) / 700 * 1000:.1f} ms each up to 1,000"
        )


def _plan_name(count: int, kind: str) -> str:
    return f"plan without changes, {count:,} {kind}"


def _measure(place: Path, runs: int) -> dict[str, list[float]]:
    mirror = place / "mirror"
    install_provider(mirror)
    script = next(mirror.glob(f"registry.terraform.io/*/*/*/*/{launcher.EXECUTABLE}"))
    work: dict[str, Callable[[], float]] = {
        "Python alone, `python -I -c pass`": lambda: _time([sys.executable, "-I", "-c", "pass"]),
        "Python and gRPC, `import grpc`": lambda: _time([sys.executable, "-I", "-c", "import grpc"]),
        "start of the plugin, to its handshake line": lambda: _start(script),
    }
    engines = []
    for kind, config in (("links", _LINKS), ("mirror topics", _MIRROR_TOPICS)):
        for count in _COUNTS:
            engine = FakeEngine(max_links=2000).start()
            engine.source_topics.update({f"topic-{number}": 1 for number in range(count)})
            terraform = Terraform(place / f"{kind[:4]}-{count}", mirror, engine.endpoint)
            terraform.write(config % count)
            terraform.apply()
            engines.append(engine)
            work[_plan_name(count, kind)] = lambda terraform=terraform: _plan(terraform)  # type: ignore[misc]
    empty = Terraform(place / "empty", mirror, "127.0.0.1:1")
    (empty.directory / "main.tf").write_text('output "x" {\n  value = 1\n}\n')
    empty.run("apply", "-auto-approve")
    work = {"plan without any provider": lambda: _plan(empty), **work}
    measured: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, once in work.items():
            measured[name].append(once())
    for engine in engines:
        engine.stop()
    return measured


def _time(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - started


def _start(script: Path) -> float:
    """Starts the plugin as Terraform does, with TLS, and waits for its one line."""
    asked = {
        COOKIE[0]: COOKIE[1],
        "PLUGIN_PROTOCOL_VERSIONS": "6",
        "PLUGIN_CLIENT_CERT": make_identity().certificate_pem.decode(),
    }
    started = time.monotonic()
    with subprocess.Popen([script], env={**os.environ, **asked}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.monotonic() - started
        process.terminate()
    assert line.startswith("1|6|unix|")
    return seconds


def _plan(terraform: Terraform) -> float:
    started = time.monotonic()
    result = terraform.run("plan", "-detailed-exitcode", "-input=false")
    assert result.code == 0
    return time.monotonic() - started


if __name__ == "__main__":
    main()
