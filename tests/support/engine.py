"""The engine as a process of its own, with the calls that most tests make."""

import io
import re
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
import psutil

from clusterlink_engine.cli import main
from clusterlink_engine.devkit import engine
from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from clusterlink_proto.channel import Tls
from tests.support import topics
from tests.support.waiting import wait_until

_CALL_SECONDS = 60.0
_LABELS = re.compile(r"\{([^}]*)\}")
STATE_KEY = "c3RhdGUga2V5IG9mIGFsbCBlbmdpbmVzIGluIHRlc3Q="
_CRASHING_ENGINE = Path(__file__).with_name("crashing_engine.py")


@dataclass(frozen=True)
class Printed:
    """What a command has printed."""

    stdout: str
    stderr: str


class EngineProcess(engine.EngineProcess):
    """An engine that can be started, killed and started again on the same state and address.

    Attributes:
        state_topic: Of this engine alone, so that tests share a cluster.
        key_file: Keys of its state, read at each start.
    """

    def __init__(
        self,
        local_bootstrap: str,
        directory: Path,
        *,
        state_topic: str = "",
        state_keys: Sequence[str] = (STATE_KEY,),
        settings: Mapping[str, Mapping[str, object]] | None = None,
        log_level: str = "info",
        workers: int = 1,
        token: str = "",
        tls: Tls | None = None,
    ) -> None:
        self.state_topic = state_topic or f"_state-{secrets.token_hex(4)}"
        place = directory / f"engine-{secrets.token_hex(4)}"
        place.mkdir()
        self.key_file = place / "state.key"
        self.key_file.write_text("\n".join(state_keys))
        own: dict[str, dict[str, object]] = {
            "state": {"topic": self.state_topic, **({"key_file": self.key_file} if state_keys else {})},
            "replication": {"watch_interval_ms": 200, "grace_ms": 300, "session_ms": 3000},
        }
        for section, values in (settings or {}).items():
            own.setdefault(section, {}).update(values)
        super().__init__(local_bootstrap, place, settings=own, token=token, tls=tls)
        self._crash_at = ""
        self._flags = ["--log-level", log_level, "--workers", str(workers)]
        api = self._api = self.api()
        self.links, self.mirror_topics = api.links, api.mirror_topics

    @property
    def command(self) -> list[str]:
        """The command line; with a place to crash at, if `crash_at` gave one."""
        if not self._crash_at:
            return [*super().command, *self._flags]
        serve = ["serve", "--config", str(self.config_file)]
        return [sys.executable, str(_CRASHING_ENGINE), self._crash_at, *serve]

    def crash_at(self, point: str) -> None:
        """Starts the engine anew, to crash at a point (see `crashing_engine`); the start after that is a usual one."""
        self.stop()
        self._crash_at = point
        try:
            self.start()
        finally:
            self._crash_at = ""

    def close(self) -> None:
        """Leaves nothing behind."""
        self.kill()
        self._api.close()

    def shards(self) -> dict[int, int]:
        """How many shards each process on the state has, by pid; nothing while none leads."""
        with self.api() as api:
            try:
                answer: v1.Engine = api.engine.GetEngine(v1.GetEngineRequest(), timeout=10)
            except grpc.RpcError:
                return {}
        return {process.pid: process.shards for process in answer.processes}

    def wait_for_shares(self, *others: "EngineProcess") -> None:
        """Waits until this process and the others, and nobody else, have an even share of the work."""
        everybody = {self.pid, *(other.pid for other in others)}

        def is_even() -> bool:
            shards = self.shards()
            is_shared = shards.keys() == everybody and sum(shards.values()) == 64
            return is_shared and max(shards.values()) <= 64 // len(shards) + 1

        wait_until(is_even, 40, "the processes to share the work")

    def workers(self) -> set[int]:
        """The pids of its workers, if it was started with several."""
        return {child.pid for child in psutil.Process(self.pid).children()}

    def http(self, path: str) -> tuple[int, str]:
        """What it answers over HTTP: the status, and the text."""
        address = re.findall(r"metrics are at (http://\S+)/metrics", self.log())[-1]
        try:
            with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:  # noqa: S310 - http, as it says itself
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> str:
        """What it answers at /metrics, sorted labels and all."""
        status, text = self.http("/metrics")
        assert status == 200, text
        return _LABELS.sub(lambda labels: "{" + ",".join(sorted(labels[1].split(","))) + "}", text)

    def log(self) -> str:
        """What it has printed."""
        return self.log_file.read_text()

    def run(self, *arguments: str, code: int = 0) -> Printed:
        """Runs a command of an operator against it, which must end with this code."""
        return _run(*arguments, "--engine", self.endpoint, code=code)

    def verify(self, link: str, *arguments: str, code: int = 0) -> Printed:
        """Compares the mirror topics of a link by the product's own means, which must end with this code."""
        return _run("verify", "--config", str(self.config_file), link, *arguments, code=code)

    # The calls that most tests make.

    def create_link(self, name: str, bootstrap: str, **fields: Any) -> v1.Link:
        """Creates a link to a cluster."""
        remote = v1.RemoteCluster(bootstrap_servers=bootstrap.split(","), cluster_id=fields.pop("cluster_id", ""))
        request = v1.CreateLinkRequest(link=v1.Link(name=name, remote_cluster=remote, **fields))
        answer: v1.Link = self.links.CreateLink(request, timeout=_CALL_SECONDS)
        return answer

    def create_mirror(self, link: str, source_topic: str, token: str = "", **fields: Any) -> v1.MirrorTopic:
        """Creates a mirror topic."""
        mirror = v1.MirrorTopic(link=link, source_topic=source_topic, **fields)
        request = v1.CreateMirrorTopicRequest(mirror_topic=mirror, client_token=token)
        answer: v1.MirrorTopic = self.mirror_topics.CreateMirrorTopic(request, timeout=_CALL_SECONDS)
        return answer

    def mirror(self, name: str) -> v1.MirrorTopic:
        """Reads a mirror topic with its partitions."""
        answer: v1.MirrorTopic = self.mirror_topics.GetMirrorTopic(
            v1.GetMirrorTopicRequest(name=name), timeout=_CALL_SECONDS
        )
        return answer

    def state(self, name: str) -> str:
        """The name of a mirror topic's state."""
        return v1.MirrorTopicState.Name(self.mirror(name).state).removeprefix("MIRROR_TOPIC_STATE_")

    def pause(self, name: str) -> None:
        """Pauses a mirror topic."""
        self.mirror_topics.PauseMirrorTopic(v1.PauseMirrorTopicRequest(name=name), timeout=_CALL_SECONDS)

    def resume(self, name: str) -> None:
        """Lets a paused mirror topic go on."""
        self.mirror_topics.ResumeMirrorTopic(v1.ResumeMirrorTopicRequest(name=name), timeout=_CALL_SECONDS)

    def wait_until_caught_up(self, name: str, source: KafkaCluster) -> None:
        """Waits until a mirror topic is ACTIVE and ends where its source ends."""
        wait_until(lambda: self.is_caught_up(name, source), _CALL_SECONDS, f"{name} to be mirrored")

    def start_again_if_dropped(self) -> None:
        """Starts it again, as a supervisor would, if its coordinator slept longer than its session; only that may end it."""
        if not self.running:
            assert self.wait(1) == 1
            assert "this one stops." in self.log()
            self.start()

    def is_caught_up(self, name: str, source: KafkaCluster) -> bool:
        """Whether a mirror topic is ACTIVE and ends where its source ends; asserts that nothing is wrong with it."""
        mirror = self.mirror(name)
        assert not mirror.error, f"{mirror.error}: {mirror.error_message}"
        ends = {partition.partition: partition.log_end_offset for partition in mirror.partitions}
        return self.state(name) == "ACTIVE" and ends == topics.log_ends(source.bootstrap_servers, mirror.source_topic)

    def promote(self, name: str) -> v1.MirrorTopic:
        """Begins to promote a mirror topic."""
        request = v1.PromoteMirrorTopicRequest(name=name)
        answer: v1.MirrorTopic = self.mirror_topics.PromoteMirrorTopic(request, timeout=_CALL_SECONDS)
        return answer

    def cancel_promote(self, name: str) -> v1.MirrorTopic:
        """Cancels a promote that waits."""
        request = v1.CancelPromoteMirrorTopicRequest(name=name)
        answer: v1.MirrorTopic = self.mirror_topics.CancelPromoteMirrorTopic(request, timeout=_CALL_SECONDS)
        return answer

    def failover(self, name: str, *, validate_only: bool = False) -> v1.MirrorTopic:
        """Begins to fail a mirror topic over."""
        request = v1.FailoverMirrorTopicRequest(name=name, validate_only=validate_only)
        answer: v1.MirrorTopic = self.mirror_topics.FailoverMirrorTopic(request, timeout=_CALL_SECONDS)
        return answer

    def reverse(self, name: str, *, paused: bool = False, validate_only: bool = False) -> v1.MirrorTopic:
        """Begins to reverse a mirror topic."""
        request = v1.ReverseMirrorTopicRequest(name=name, paused=paused, validate_only=validate_only)
        answer: v1.MirrorTopic = self.mirror_topics.ReverseMirrorTopic(request, timeout=_CALL_SECONDS)
        return answer

    def restore(self, name: str, **fields: Any) -> v1.TruncateAndRestoreMirrorTopicResponse:
        """Begins to make the former source of a stopped mirror topic its mirror."""
        request = v1.TruncateAndRestoreMirrorTopicRequest(name=name, **fields)
        answer: v1.TruncateAndRestoreMirrorTopicResponse = self.mirror_topics.TruncateAndRestoreMirrorTopic(
            request, timeout=_CALL_SECONDS
        )
        return answer

    def rebuild(self, name: str) -> v1.MirrorTopic:
        """Deletes a failed mirror topic and mirrors anew."""
        request = v1.RebuildMirrorTopicRequest(name=name)
        answer: v1.MirrorTopic = self.mirror_topics.RebuildMirrorTopic(request, timeout=_CALL_SECONDS)
        return answer

    def delete_mirror(self, name: str, *, keep: bool = False, with_data: bool = False) -> None:
        """Detaches or deletes a mirror topic; `with_data` one that is STOPPED, too."""
        disposal = v1.TOPIC_DISPOSAL_KEEP_TOPIC if keep else v1.TOPIC_DISPOSAL_DELETE_TOPIC
        if with_data:
            disposal = v1.TOPIC_DISPOSAL_DELETE_TOPIC_WITH_DATA
        self.mirror_topics.DeleteMirrorTopic(
            v1.DeleteMirrorTopicRequest(name=name, topic_disposal=disposal), timeout=_CALL_SECONDS
        )


def _run(*arguments: str, code: int) -> Printed:
    """Runs a command in this process, which is many times as fast as in one of its own."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "stdin", io.StringIO()):
        found = main.main(arguments)
    printed = Printed(out.getvalue(), err.getvalue())
    assert found == code, printed
    return printed
