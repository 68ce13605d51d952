"""One broker process."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from clusterlink_engine.devkit.settings import Address

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class KafkaNode:
    """A broker that can be killed, suspended and started again, on the same port and the same data.

    Attributes:
        node_id: Its id in the cluster.
        port: Where clients reach it.
        ports: Where they reach it by its further listeners, by name.
        log_file: What it logs, over all its lives.
    """

    def __init__(self, command: Sequence[str], address: Address, directory: Path, log_file: Path) -> None:
        self.node_id = address.node_id
        self.port = address.port
        self.ports = dict(address.ports)
        self.log_file = log_file
        self._command = list(command)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process is not None and self.running else "down"
        return f"<KafkaNode {self.node_id} at {self.address}, {state}>"

    @property
    def address(self) -> str:
        """Returns host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Returns whether the process is there, suspended or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Returns the pid of the process.

        Raises:
            RuntimeError: The node is down.
        """
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self!r} has no process")
        return self._process.pid

    def launch(self) -> None:
        """Starts the process and does not wait for it; does nothing if it runs."""
        if self.running:
            return
        with self.log_file.open("ab") as log:
            # A session of its own: a Ctrl-C in the terminal is for whoever started us, who then stops it in order.
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, brokers: int = 1, deadline_seconds: float = _START_SECONDS) -> None:
        """Waits until the node answers a Metadata request with itself and at least this many brokers in it.

        Raises:
            RuntimeError: The process ended, or the deadline passed; with the end of its log.
        """
        deadline = time.monotonic() + deadline_seconds
        while not (self._listens() and self._answers(brokers)):
            if not self.running:
                raise RuntimeError(f"{self!r} ended while starting; its log ends:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self!r} is not ready after {deadline_seconds:.0f} s:\n{self._log_tail()}")
            time.sleep(0.05)

    def start(self) -> None:
        """Starts the process and waits until it serves."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """Stops in order (SIGTERM), as an operator would; kills it if it takes too long."""
        process = self._process
        if process is None:
            return
        self.resume()
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def restart(self) -> None:
        """Stops in order and starts again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kills the process (SIGKILL) and waits for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """Stops the process where it stands (SIGSTOP): its connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a suspended process go on (SIGCONT)."""
        if self.running:
            os.kill(self.pid, signal.SIGCONT)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _answers(self, brokers: int) -> bool:
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        with suppress(KafkaException):
            known = admin.list_topics(timeout=2).brokers
            return self.node_id in known and len(known) >= brokers
        return False

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(lines[-30:])
