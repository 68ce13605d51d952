"""The engine as a process of its own, as a user would run it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from clusterlink_engine.devkit import ports
from clusterlink_proto import v1
from clusterlink_proto.channel import Tls, open_channel
from clusterlink_proto.rpc import Stub

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0


class EngineProcess:
    """A `clusterlink serve` that can be stopped, killed and started again on the same address.

    Attributes:
        endpoint: Address of its API.
        config_file: Its settings.
        log_file: What it prints, over all its lives.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        directory: Path,
        *,
        settings: Mapping[str, Mapping[str, object]] | None = None,
        log_file: Path | None = None,
        token: str = "",
        tls: Tls | None = None,
    ) -> None:
        """Describes an engine; nothing is started before `start`.

        Args:
            bootstrap_servers: Of the local cluster, separated by commas.
            directory: Where the settings file goes; it must exist.
            settings: Further settings by section, put on top of ours.
            log_file: Where the log goes; beside the settings if left out.
            token: What its API wants to see; empty: nothing.
            tls: How its API is called; None: nothing is encrypted.
        """
        self.endpoint = f"127.0.0.1:{ports.free_port()}"
        self.config_file = directory / "clusterlink.toml"
        self.log_file = log_file or directory / "engine.log"
        self._token, self._tls = token, tls
        self._process: subprocess.Popen[bytes] | None = None
        sections: dict[str, dict[str, object]] = {
            "local_cluster": {"bootstrap_servers": bootstrap_servers.split(",")},
            "api": {"listen": self.endpoint},
            "http": {"listen": "127.0.0.1:0"},
        }
        for name, section in (settings or {}).items():
            sections.setdefault(name, {}).update(section)
        self.config_file.write_text(_toml(sections))

    @property
    def command(self) -> list[str]:
        """Returns the command line."""
        return [sys.executable, "-m", "clusterlink_engine", "serve", "--config", str(self.config_file)]

    @property
    def running(self) -> bool:
        """Returns whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Returns the pid of the process.

        Raises:
            RuntimeError: The engine is down.
        """
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the engine is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts the process and waits until its API answers.

        Raises:
            RuntimeError: The process ended, or does not answer in time; with the end of its log.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Starts the process without waiting for it."""
        # Variables of the user's own engine would be settings of this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLUSTERLINK_")}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Waits until the API answers.

        Raises:
            RuntimeError: The process ended, or does not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self.running:
                raise RuntimeError(f"the engine ended while starting; its log ends:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the engine does not answer after {_START_SECONDS:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Stops in order (SIGTERM), kills it if it takes too long, and returns the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process = None
        return code

    def kill(self) -> None:
        """Kills the process (SIGKILL) and waits for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait(self, deadline: float) -> int:
        """Waits until the process has ended by itself, at most `deadline` seconds, and returns the exit code."""
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process.wait(deadline)

    def log_tail(self, lines: int = 20) -> str:
        """Returns the end of the log."""
        text = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def api(self) -> "EngineApi":
        """Its services on a channel of their own."""
        return EngineApi(self.endpoint, token=self._token, tls=self._tls)

    def _answers(self) -> bool:
        with self.api() as api:
            try:
                api.engine.GetEngine(v1.GetEngineRequest(), timeout=2)
            except grpc.RpcError:
                return False
            return True

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class EngineApi:
    """The three services of an engine on one channel; a context manager."""

    def __init__(self, endpoint: str, *, token: str = "", tls: Tls | None = None) -> None:
        """Opens the channel, as `open_channel` does."""
        self._channel = open_channel(endpoint, token=token, tls=tls, options=[("grpc.max_reconnect_backoff_ms", 500)])
        self.engine: Any = Stub(self._channel, v1.DESCRIPTOR, "EngineService")
        self.links: Any = Stub(self._channel, v1.DESCRIPTOR, "LinkService")
        self.mirror_topics: Any = Stub(self._channel, v1.DESCRIPTOR, "MirrorTopicService")

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    lines: list[str] = []
    for name, section in sections.items():
        lines.append(f"[{name}]")
        lines.extend(f"{key} = {_toml_value(value)}" for key, value in section.items())
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} = {_toml_value(item)}' for name, item in value.items())}}}"
    return str(value) if isinstance(value, int | float) else json.dumps(str(value))  # JSON strings are TOML ones
