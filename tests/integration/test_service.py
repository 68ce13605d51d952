"""The command of the systemd unit, with the unit's environment, by a user that owns nothing and can write nowhere."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import namespace, produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal

_ROOT = Path(__file__).parents[2]
# Hidden by an empty one for this process alone; the names of sockets have little room.
_RUNTIME = Path("/media")
_UNIT = _ROOT / "engine/deploy/clusterlink@.service"


class Service(EngineProcess):
    """An engine as systemd would run it."""

    def __init__(self, local_bootstrap: str, directory: Path, place: Path) -> None:
        """Describes it; `place` is where systemd would put credentials."""
        super().__init__(local_bootstrap, directory)
        self._place = place
        self._credentials = place / "credentials"
        for made in (place, self._credentials):
            made.mkdir(mode=0o755)
        # The unit says where the key is, so the settings do not.
        settings = re.sub(r"(?m)^key_file = .*\n", "", self.config_file.read_text())
        for name, text in (("clusterlink.toml", settings), ("state.key", self.key_file.read_text())):
            (self._credentials / name).write_text(text)
            os.chown(self._credentials / name, namespace.UID, namespace.UID)
            (self._credentials / name).chmod(0o400)
        os.chown(self._credentials, namespace.UID, namespace.UID)
        self._credentials.chmod(0o500)

    @property
    def command(self) -> list[str]:
        """The unit's command, as nobody."""
        lines = [line.partition("=") for line in _UNIT.read_text().splitlines()]
        start = next(self._filled(value) for key, _, value in lines if key == "ExecStart")
        variables = [self._filled(value) for key, _, value in lines if key == "Environment"]
        program, *arguments = start.split()
        installed = str(_ROOT / ".venv/bin" / Path(program).name)
        environment = {**dict(variable.split("=", 1) for variable in variables), "TMPDIR": str(_RUNTIME)}
        return namespace.command([installed, *arguments], environment, writable=_RUNTIME, needs=[_ROOT, self._place])

    def _filled(self, value: str) -> str:
        return value.replace("%d", str(self._credentials)).replace("%t/clusterlink", str(_RUNTIME))


@pytest.fixture
def service(destination_cluster: KafkaCluster, log_directory: Path, tmp_path: Path) -> Iterator[Service]:
    """An engine of nobody."""
    if not namespace.is_possible():
        pytest.skip("only root can take rights away from others, and not in every container")
    running = Service(destination_cluster.bootstrap_servers, log_directory, tmp_path / "place")
    yield running
    running.close()


def test_it_needs_neither_root_nor_a_place_to_write(
    service: Service, source_cluster: KafkaCluster, destination_cluster: KafkaCluster, topic_name: str
) -> None:
    service.start()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{service.pid}/status").read_text().splitlines())
    assert status["Uid"].split() == [str(namespace.UID)] * 4
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    mounts = Path(f"/proc/{service.pid}/mounts").read_text()
    assert re.search(r"^\S+ / \S+ ro,", mounts, re.MULTILINE)
    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100))
    service.create_link("link", source_cluster.bootstrap_servers)
    service.create_mirror("link", topic_name)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert service.run("health").stdout == "SERVING\n"
    assert service.stop() == 0
    assert service.run("health", code=1).stdout == ""
