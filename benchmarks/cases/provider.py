"""What the provider adds to a user's waiting: the start of its process, and plans in which nothing has changed."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.results import Result
from benchmarks.running import Options, Rows, rounds
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


def provider(options: Options) -> Result:
    """Provider: what it adds to a user's waiting; needs terraform on the PATH."""
    what = "the engine is one in memory, which answers at once, so that the time is Terraform's and the provider's"
    result = options.result("provider", "The Terraform provider", what)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clusterlink-bench-")))
        jobs = _jobs(place, options.plans, stack)
        rounds(result, options.runs, {name: partial(_row, name, once) for name, once in jobs.items()})
    return result


def _row(name: str, once: Callable[[], float]) -> Rows:
    return {f"{name}, s": {"figure": once()}}


def _jobs(place: Path, counts: Sequence[int], stack: ExitStack) -> dict[str, Callable[[], float]]:
    """Sets everything up; answers what takes its time once, by name."""
    mirror = place / "mirror"
    install_provider(mirror)
    script = next(mirror.glob(f"registry.terraform.io/*/*/*/*/{launcher.EXECUTABLE}"))
    empty = Terraform(place / "empty", mirror, "127.0.0.1:1")
    (empty.directory / "main.tf").write_text('output "x" {\n  value = 1\n}\n')
    empty.run("apply", "-auto-approve")
    jobs: dict[str, Callable[[], float]] = {
        "plan without any provider": partial(_plan, empty),
        "Python alone, `python -I -c pass`": partial(_time, [sys.executable, "-I", "-c", "pass"]),
        "Python and gRPC, `import grpc`": partial(_time, [sys.executable, "-I", "-c", "import grpc"]),
        "start of the plugin, to its handshake line": partial(_start, script),
    }
    for kind, config in (("links", _LINKS), ("mirror topics", _MIRROR_TOPICS)):
        for count in counts:
            engine = FakeEngine(max_links=2 * max(counts)).start()
            stack.callback(engine.stop)
            engine.source_topics.update({f"topic-{number}": 1 for number in range(count)})
            terraform = Terraform(place / f"{kind[:4]}-{count}", mirror, engine.endpoint)
            terraform.write(config % count)
            terraform.apply()
            jobs[f"plan without changes, {count:,} {kind}"] = partial(_plan, terraform)
    return jobs


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
