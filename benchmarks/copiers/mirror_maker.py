"""MirrorMaker 2 in dedicated mode: one flow, topics under their own names (IdentityReplicationPolicy).

It emits no heartbeats and syncs no ACLs; all the rest is Kafka's default, or what `TUNED` says.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.copiers import Copier
from benchmarks.pair import Places, Topics
from clusterlink_engine.devkit import jars, java, kafka
from clusterlink_engine.devkit.settings import Value, render

LOG = "mirror-maker.log"

_MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"

# The heap that Kafka's own script gives it, and the collector of all of Kafka's scripts.
_JAVA = ("-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")

_INTERNAL_TOPICS = (
    "replication.factor",
    "checkpoints.topic.replication.factor",
    "heartbeats.topic.replication.factor",
    "offset-syncs.topic.replication.factor",
    "offset.storage.replication.factor",
    "status.storage.replication.factor",
    "config.storage.replication.factor",
)

TUNED: Mapping[str, Value] = {
    "tasks.max": 2,
    "consumer.fetch.min.bytes": 64 << 10,
    "consumer.fetch.max.wait.ms": 100,
    "consumer.fetch.max.bytes": 64 << 20,
    "consumer.max.partition.fetch.bytes": 8 << 20,
    "consumer.max.poll.records": 5000,
    "consumer.check.crcs": False,
    "producer.batch.size": 512 << 10,
    "producer.linger.ms": 50,
    "producer.buffer.memory": 128 << 20,
    "producer.max.request.size": 8 << 20,
}
"""Settings of the flow's consumer and producer that carry the most over a fast network."""


def mirror_maker(settings: Mapping[str, Value] | None = None, version: str = kafka.DEFAULT_VERSION) -> Copier:
    """Returns a copier.

    Args:
        settings: `tasks.max`, and settings of the consumer and the producer with their prefixes; none: all defaults.
        version: Of Kafka.
    """

    @contextmanager
    def copy(places: Places, topics: Topics, directory: Path) -> Iterator[int]:
        file = directory / "mirror-maker.properties"
        file.write_text(render(properties(places, topics, directory.name, settings or {})))
        runtime = java.find()
        command = [str(runtime.command), *_JAVA, "-cp", jars.class_path(version, jars.MIRROR_MAKER), _MAIN, str(file)]
        with (directory / LOG).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process.pid
        finally:
            if process.poll() is not None:
                print(f"MirrorMaker ended; its log ends:\n{_tail(directory)}", file=sys.stderr)
            process.kill()  # nothing of it is used again
            process.wait()

    return copy


def properties(places: Places, topics: Topics, name: str, settings: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the settings file of a run.

    Args:
        places: The clusters.
        topics: What is copied.
        name: Of the run: the aliases of the clusters have it, and so all that it remembers in topics and groups is its own.
        settings: See `mirror_maker`.
    """
    source, destination = f"source-{name}", f"destination-{name}"
    flow = f"{source}->{destination}"
    common: dict[str, Value] = {
        "clusters": f"{source},{destination}",
        f"{source}.bootstrap.servers": places.source,
        f"{destination}.bootstrap.servers": places.destination,
        f"{flow}.enabled": True,
        f"{destination}->{source}.enabled": False,
        f"{flow}.topics": ",".join(topics),
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "emit.heartbeats.enabled": False,
        "sync.topic.acls.enabled": False,  # there is no authorizer
        **dict.fromkeys(_INTERNAL_TOPICS, 1),
    }
    if places.ca_pem:
        for cluster in (source, destination):
            common[f"{cluster}.security.protocol"] = "SSL"
            common[f"{cluster}.ssl.truststore.type"] = "PEM"
            common[f"{cluster}.ssl.truststore.certificates"] = places.ca_pem
    # The consumer belongs to the flow's connector, the producer to the worker, which is configured as its cluster is.
    return common | {
        f"{destination}.{key}" if key.startswith("producer.") else f"{flow}.{key}": value
        for key, value in settings.items()
    }


def _tail(directory: Path) -> str:
    return "\n".join((directory / LOG).read_text(errors="replace").splitlines()[-30:])
