"""The engine, with its own defaults, and a link and mirror topics as a user would create them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.pair import TIMEOUT, Places, Topics
from clusterlink_engine.devkit.engine import EngineApi, EngineProcess
from clusterlink_proto import v1

LINK = "benchmark"


@contextmanager
def engine(
    places: Places, topics: Topics, directory: Path, settings: Mapping[str, Mapping[str, object]] | None = None
) -> Iterator[int]:
    """See `Copier`; the settings are further ones, by section."""
    process = describe(places, directory, settings=settings)
    with process, process.api() as api:
        mirror(api, places, topics)
        yield process.pid


def describe(
    places: Places, directory: Path, state: str = "", settings: Mapping[str, Mapping[str, object]] | None = None
) -> EngineProcess:
    """Describes an engine.

    Args:
        places: The clusters.
        directory: For its files.
        state: Name of its state topic; empty: one of the directory's name, which no other engine has.
        settings: Further ones, by section.
    """
    local: dict[str, object] = {}
    if places.ca_pem:
        local = {"security_protocol": "SSL", "tls": {"ca_pem": places.ca_pem}}
    sections: dict[str, Mapping[str, object]] = {
        "local_cluster": local,
        "state": {"topic": state or f"_state-{directory.name}"},
        **(settings or {}),
    }
    return EngineProcess(places.destination, directory, settings=sections)


def mirror(api: EngineApi, places: Places, topics: Topics) -> None:
    """Creates a link to the source, and mirror topics."""
    remote = v1.RemoteCluster(bootstrap_servers=places.source.split(","))
    if places.ca_pem:
        remote.security_protocol = "SSL"
        remote.tls.ca_pem = places.ca_pem
    link = v1.Link(name=LINK, mode=v1.LINK_MODE_DESTINATION, remote_cluster=remote)
    api.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=TIMEOUT)
    for topic in topics:
        wanted = v1.MirrorTopic(link=LINK, source_topic=topic)
        api.mirror_topics.CreateMirrorTopic(v1.CreateMirrorTopicRequest(mirror_topic=wanted), timeout=TIMEOUT)
