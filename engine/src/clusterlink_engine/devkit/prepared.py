"""What a Kafka version needs once on a machine, so that a broker is up in two seconds instead of seven.

Two things are made by Kafka itself and kept in the user's cache: a formatted data directory, of which a new node copies
all but the ids (formatting costs a start of Java), and an archive of the loaded classes (half of the time of a start).
The second is a help, not a need: Java ignores an archive that does not fit.
"""

import base64
import hashlib
import logging
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from clusterlink_engine.devkit import cache, guard, jars, java, ports, settings
from clusterlink_engine.devkit.node import KafkaNode

_log = logging.getLogger(__name__)

# Part of the names in the cache: to be raised when what is kept there changes.
_EDITION = 1


@dataclass(frozen=True)
class Prepared:
    """A Kafka version that is ready to be run.

    Attributes:
        version: Of Kafka.
        formatted: A formatted data directory without ids.
        archive: Java's archive of classes; may be missing.
    """

    version: str
    formatted: Path
    archive: Path

    def command(self, properties: Path, options: tuple[str, ...]) -> list[str]:
        """Returns the command line of a broker with these settings and Java options."""
        usable = self.archive.exists() and self.archive.stat().st_size > 0
        archive = [f"-XX:SharedArchiveFile={self.archive}"] if usable else []
        return _command(self.version, [*archive, *options], "kafka.Kafka", str(properties))

    def format(self, data: Path, cluster_id: str, node_id: int) -> None:
        """Makes the data directory of a new node, as the storage tool would."""
        shutil.copytree(self.formatted, data)
        meta: dict[str, settings.Value] = {
            "version": 1,
            "cluster.id": cluster_id,
            "node.id": node_id,
            "directory.id": random_id(),
        }
        (data / "meta.properties").write_text(settings.render(meta))


def random_id() -> str:
    """Returns a new Kafka uuid."""
    # Kafka reserves some small ids; none starts with a letter.
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if text[0].isalpha():
            return text


def is_prepared(version: str) -> bool:
    """Returns whether a start of this version downloads nothing."""
    return any(cache.directory().glob(f"classes-{_EDITION}-{version}-*.jsa"))


def prepare(version: str) -> Prepared:
    """Makes what is missing; the first time on a machine it takes as long as the download, later nothing."""
    path = jars.class_path(version)
    runtime = java.find()
    mark = hashlib.sha256(f"{path}\n{runtime}".encode()).hexdigest()[:12]
    base = cache.directory()
    prepared = Prepared(
        version,
        base / f"formatted-{_EDITION}-{version}",
        base / f"classes-{_EDITION}-{version}-{mark}.jsa",
    )
    if not prepared.formatted.exists() or not prepared.archive.exists():
        with cache.locked(f"prepare-{version}"):
            _make(prepared)
    return prepared


def _make(prepared: Prepared) -> None:
    scratch = guard.scratch_directory(f"prepare-{prepared.version}")
    address = settings.Address(1, ports.free_port(), ports.free_port())
    data = scratch / "data"
    properties = scratch / "server.properties"
    properties.write_text(settings.render(settings.properties(address, [address], data, {})))
    try:
        if not prepared.formatted.exists():
            _format(prepared, properties, data)
        if not prepared.archive.exists():
            _archive(prepared, properties, data, address)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        guard.release(scratch)


def _format(prepared: Prepared, properties: Path, data: Path) -> None:
    arguments = ("format", "--cluster-id", random_id(), "--config", str(properties))
    command = _command(prepared.version, ["-XX:TieredStopAtLevel=1"], "kafka.tools.StorageTool", *arguments)
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"Kafka {prepared.version} cannot format its storage:\n{answer.stdout}{answer.stderr}")
    (data / "meta.properties").unlink()
    part = Path(tempfile.mkdtemp(dir=prepared.formatted.parent))
    # Moved into place whole, so that what is there is complete.
    shutil.copytree(data, part / "data")
    (part / "data").rename(prepared.formatted)
    part.rmdir()
    shutil.rmtree(data)


def _archive(prepared: Prepared, properties: Path, data: Path, address: settings.Address) -> None:
    """Runs a broker once to learn which classes it loads; Java writes the archive at an orderly end."""
    part = prepared.archive.with_suffix(".part")
    options = [f"-XX:ArchiveClassesAtExit={part}", "-XX:TieredStopAtLevel=1"]
    command = _command(prepared.version, options, "kafka.Kafka", str(properties))
    prepared.format(data, random_id(), address.node_id)
    node = KafkaNode(command, address, properties.parent, properties.parent / "broker.log")
    try:
        node.start()
        node.stop()
        part.rename(prepared.archive)
    except (RuntimeError, OSError) as error:
        _log.info("Kafka %s starts without an archive of its classes: %s", prepared.version, error)
        # Empty stands for "not to be had", so that it is not tried at every start.
        prepared.archive.touch()
    finally:
        node.kill()


def _command(version: str, options: list[str], main: str, *arguments: str) -> list[str]:
    runtime = java.find()
    quiet = [
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    ]
    return [str(runtime.command), *options, *quiet, "-cp", jars.class_path(version), main, *arguments]
