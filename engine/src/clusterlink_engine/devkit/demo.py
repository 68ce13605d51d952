"""The demo: two Kafka clusters, the engine, `terraform apply`, and a mirror that is verified offset by offset."""

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from clusterlink_engine.devkit import guard, kafka, prepared, records, terraform
from clusterlink_engine.devkit.console import Console
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_engine.devkit.terraform import Outcome, Terraform
from clusterlink_engine.verify.comparing import Options, compare
from clusterlink_engine.verify.reading import Topic
from clusterlink_proto import v1

_TOPIC = "orders"
_PARTITIONS = 4
_RECORDS = 100_000
_CATCH_UP_SECONDS = 60.0

_EXAMPLE = Path(__file__).parents[4] / "examples" / "terraform" / "quickstart"

_INTERRUPTED = 130

_TOO_MANY = """# Ten more links make eleven.
resource "clusterlink_link" "more" {
  count        = 10
  name         = "more-${count.index}"
  topic_prefix = "more-${count.index}."

  remote_cluster = {
    bootstrap_servers = var.source_bootstrap_servers
  }
}
"""


class DemoError(RuntimeError):
    """Something did not go as it should; the message is for the user."""


def run(keep: bool) -> int:
    """Runs the demo and returns the exit code.

    Args:
        keep: Leave everything running at the end, until Ctrl-C.
    """
    program = terraform.find()
    if program is None:
        print("clusterlink: the demo needs terraform (or tofu) on the PATH", file=sys.stderr)
        return 1
    if not _EXAMPLE.is_dir():
        print(f"clusterlink: the demo runs from a checkout; there is no {_EXAMPLE}", file=sys.stderr)
        return 1
    console = Console()
    # Ctrl-C too: a process that a script starts in the background ignores it otherwise.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            _Demo(console, program, stack).play(keep)
    except KeyboardInterrupt:
        print(f"\nStopped; everything is removed ({console.seconds:.0f} s).")
        return 0 if keep else _INTERRUPTED
    except RuntimeError as error:
        print(f"\nclusterlink: {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {console.seconds:.0f} s; everything is stopped and removed.")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Demo:
    """The scenes of the demo, in their order; what they start is ended by the stack."""

    def __init__(self, console: Console, program: str, stack: ExitStack) -> None:
        self._console = console
        self._stack = stack
        self._directory = stack.enter_context(_scratch_directory())
        self._source = kafka.KafkaCluster(name="source", log_directory=self._directory)
        self._destination = kafka.KafkaCluster(name="destination", log_directory=self._directory)
        self._terraform = Terraform(program, self._directory, _EXAMPLE)
        self._name = Path(program).name

    def play(self, keep: bool) -> None:
        """Plays all scenes."""
        console = self._console
        with console.step("Two Kafka clusters"):
            self._start_clusters()
        with console.step("The engine, beside the destination"):
            engine = self._start_engine()
        api = self._stack.enter_context(EngineApi(engine.endpoint))
        with console.step(f"A link and a mirror topic ({_EXAMPLE.relative_to(_EXAMPLE.parents[2])})"):
            self._apply(engine)
        with console.step(f'{_RECORDS:,} records to "{_TOPIC}" at the source, mirrored as they come'):
            self._write_and_follow(api)
        with console.step("Source and mirror, compared record by record"):
            self._compare()
        with console.step("Somebody pauses the mirror behind Terraform's back"):
            self._drift(api)
        with console.step("One link too many: eleven, ten are allowed"):
            self._too_many()
        if keep:
            self._stay(engine)

    def _start_clusters(self) -> None:
        if not prepared.is_prepared(kafka.DEFAULT_VERSION):
            self._console.say(f"Kafka {kafka.DEFAULT_VERSION} is downloaded; once, it takes about a minute ...")
        self._stack.enter_context(kafka.running(self._source, self._destination))
        for cluster in (self._source, self._destination):
            self._console.say(f"{cluster.name:12} Kafka {cluster.version} at {cluster.bootstrap_servers}")
        admin = AdminClient({"bootstrap.servers": self._source.bootstrap_servers, "log_level": 0})
        admin.create_topics([NewTopic(_TOPIC, num_partitions=_PARTITIONS)])[_TOPIC].result(30)
        self._console.say(f'topic "{_TOPIC}" with {_PARTITIONS} partitions at the source, none at the destination')

    def _start_engine(self) -> EngineProcess:
        engine = EngineProcess(self._destination.bootstrap_servers, self._directory)
        self._console.command("clusterlink serve --config clusterlink.toml")
        self._stack.enter_context(engine)
        self._console.say(f"API at {engine.endpoint}")
        return engine

    def _apply(self, engine: EngineProcess) -> None:
        variables = self._terraform.configuration / "terraform.tfvars"
        servers = ", ".join(f'"{address}"' for address in self._source.bootstrap_servers.split(","))
        variables.write_text(
            f'engine_endpoint          = "{engine.endpoint}"\nsource_bootstrap_servers = [{servers}]\n'
            f'source_topic             = "{_TOPIC}"\n'
        )
        self._console.command("terraform-provider-clusterlink install --dir ./plugins")
        self._terraform.install_provider()
        self._run("init")
        self._console.say(_summary(self._run("apply", "-auto-approve"), "Apply complete!"))

    def _write_and_follow(self, api: EngineApi) -> None:
        def follow(_: int) -> None:
            self._console.progress("mirrored", min(self._mirrored(api), _RECORDS - 1), _RECORDS)

        self._console.say(f"codecs {', '.join(records.CODECS)}; keys, headers, nulls; timestamps from 1970 to now")
        records.write(self._source.bootstrap_servers, _TOPIC, _PARTITIONS, _RECORDS, follow)
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while (mirrored := self._mirrored(api)) < _RECORDS:
            self._console.progress("mirrored", mirrored, _RECORDS)
            if time.monotonic() > deadline:
                raise DemoError(f"the mirror has only {mirrored:,} records after {_CATCH_UP_SECONDS:.0f} s")
            time.sleep(0.1)
        self._console.progress("mirrored", mirrored, _RECORDS)

    def _compare(self) -> None:
        source, mirror = (
            Topic(side, _TOPIC, {"bootstrap.servers": cluster.bootstrap_servers})
            for side, cluster in (("source", self._source), ("mirror", self._destination))
        )
        options = Options(at_rest=True)
        found = [
            compare(source, mirror, number, 0, compacted=False, options=options, progress=lambda *_: None)
            for number in range(_PARTITIONS)
        ]
        # Each record is compared with what both isolation levels show of the mirror.
        rows = [(one.partition, one.source.start, one.source.end, one.records // 2, one.count) for one in found]
        cells = [[f"{number:,}" for number in row] for row in rows]
        records_compared, differences = sum(row[3] for row in rows), sum(row[4] for row in rows)
        total = ["all", "", "", f"{records_compared:,}", f"{differences:,}"]
        head = ["partition", "log start", "log end", "records compared", "differences"]
        self._console.table(head, [*cells, total])
        if differences or records_compared != _RECORDS:
            raise DemoError("the mirror differs from its source")
        self._console.say("offset, key, value, headers and timestamp of each record are equal")

    def _drift(self, api: EngineApi) -> None:
        api.mirror_topics.PauseMirrorTopic(v1.PauseMirrorTopicRequest(name=_TOPIC), timeout=30)
        plan = self._run("plan", "-detailed-exitcode", expected=2)
        self._console.say("\n".join(plan.changes()))
        self._console.say("exit code 2: drift. Terraform puts it right:")
        self._console.say(_summary(self._run("apply", "-auto-approve"), "Apply complete!"))
        self._console.say(_summary(self._run("plan", "-detailed-exitcode"), "No changes"))

    def _too_many(self) -> None:
        variant = self._terraform.configuration / "too_many.tf"
        variant.write_text(_TOO_MANY)
        try:
            plan = self._run("plan", expected=1)
        finally:
            variant.unlink()
        self._console.say("\n".join(plan.errors()))
        self._console.say("exit code 1, at plan: nothing was touched")

    def _stay(self, engine: EngineProcess) -> None:
        settings = self._directory / "environment.sh"
        settings.write_text("".join(f"export {k}={shlex.quote(v)}\n" for k, v in self._terraform.settings.items()))
        print("\nEverything runs until Ctrl-C:\n")
        for name, value in (
            ("source", self._source.bootstrap_servers),
            ("destination", self._destination.bootstrap_servers),
            ("engine", f"{engine.endpoint} (gRPC), log {engine.log_file}"),
            ("terraform", f"cd {self._terraform.configuration} && . ../{settings.name} && {self._name} plan"),
        ):
            print(f"   {name:12} {value}")
        print(flush=True)
        signal.pause()

    def _mirrored(self, api: EngineApi) -> int:
        try:
            topic = api.mirror_topics.GetMirrorTopic(v1.GetMirrorTopicRequest(name=_TOPIC), timeout=30)
        except grpc.RpcError as error:
            raise DemoError(f"the engine does not answer: {error}") from error
        if topic.state == v1.MIRROR_TOPIC_STATE_FAILED:
            raise DemoError(f"the mirror topic failed: {topic.error}: {topic.error_message}")
        return sum(max(0, int(p.log_end_offset)) for p in topic.partitions)

    def _run(self, *arguments: str, expected: int = 0) -> Outcome:
        self._console.command(" ".join([self._name, *arguments]))
        outcome = self._terraform.run(*arguments)
        if outcome.code != expected:
            raise DemoError(
                f"{self._name} {arguments[0]} ended with {outcome.code}, not {expected}:\n{outcome.output.strip()}"
            )
        return outcome


def _summary(outcome: Outcome, beginning: str) -> str:
    return next((line for line in outcome.output.splitlines() if line.startswith(beginning)), "")


@contextmanager
def _scratch_directory() -> Iterator[Path]:
    directory = guard.scratch_directory("demo")
    try:
        yield directory
    finally:
        guard.discard(directory)
