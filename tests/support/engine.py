"""The engine as a process of its own, and its API."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from clusterlink_proto import rpc, v1
from tests.support.waiting import wait_until

_ROOT = Path(__file__).resolve().parent.parent.parent
_START_SECONDS = 60.0
_CALL_SECONDS = 60.0


class EngineProcess:
    """An engine that can be started, killed and started again on the same state.

    Attributes:
        endpoint: Address of the API; the same after each start.
        state_topic: Of this engine alone, so that tests share a cluster.
        log_file: What the process prints, of all its lives.
    """

    def __init__(
        self,
        local_bootstrap: str,
        port: int,
        directory: Path,
        *,
        state_topic: str = "",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.endpoint = f"127.0.0.1:{port}"
        self.state_topic = state_topic or f"_state-{secrets.token_hex(4)}"
        name = f"engine-{port}-{secrets.token_hex(2)}"
        self.log_file = directory / f"{name}.log"
        self._config = directory / f"{name}.toml"
        sections: dict[str, dict[str, Any]] = {
            "local_cluster": {"bootstrap_servers": local_bootstrap.split(",")},
            "api": {"listen": self.endpoint},
            "state": {"topic": self.state_topic},
            "replication": {"watch_interval_ms": 200, "grace_ms": 300},
        }
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        self._config.write_text("\n".join(_section(name, values) for name, values in sections.items()))
        self._process: subprocess.Popen[bytes] | None = None
        self._channel = grpc.insecure_channel(
            self.endpoint,
            options=[("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 500)],
        )
        self.links = rpc.Stub(self._channel, v1.DESCRIPTOR, "LinkService")
        self.mirror_topics = rpc.Stub(self._channel, v1.DESCRIPTOR, "MirrorTopicService")
        self._engine = rpc.Stub(self._channel, v1.DESCRIPTOR, "EngineService")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def launch(self, crash_at: str = "") -> "EngineProcess":
        """Starts the process without waiting for it; see `crashing_engine` for where it can be made to crash."""
        program = ["tests.support.crashing_engine", crash_at] if crash_at else ["clusterlink_engine"]
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *program, "serve", "--config", str(self._config)],
                cwd=_ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )
        return self

    def start(self, crash_at: str = "") -> "EngineProcess":
        """Starts the process and waits until it answers."""
        self.launch(crash_at)
        wait_until(self._answers, _START_SECONDS, f"the engine at {self.endpoint} ({self.log_file.name})")
        return self

    def get(self) -> v1.Engine:
        """What it says of itself."""
        answer: v1.Engine = self._engine.GetEngine(v1.GetEngineRequest(), timeout=_CALL_SECONDS)
        return answer

    def kill(self) -> None:
        """Ends it without a warning."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to end, and answers its exit code."""
        return self._signal(signal.SIGTERM)

    def wait(self, deadline: float) -> int:
        """Waits until it has ended by itself, and answers its exit code."""
        assert self._process is not None
        return self._process.wait(deadline)

    def close(self) -> None:
        """Leaves nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._channel.close()

    def log(self) -> str:
        """What it has printed."""
        return self.log_file.read_text()

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

    def delete_mirror(self, name: str, *, keep: bool = False) -> None:
        """Detaches or deletes a mirror topic."""
        disposal = v1.TOPIC_DISPOSAL_KEEP_TOPIC if keep else v1.TOPIC_DISPOSAL_DELETE_TOPIC
        self.mirror_topics.DeleteMirrorTopic(
            v1.DeleteMirrorTopicRequest(name=name, topic_disposal=disposal), timeout=_CALL_SECONDS
        )

    def _answers(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise SystemError(f"the engine ended with {code}: {self.log()[-2000:]}")
        return bool(self._engine.GetEngine(v1.GetEngineRequest(), timeout=1).version)

    def _signal(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(60)


def _section(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"[{name}]"]
    for key, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"
