"""The engines that Terraform is tested with: a real one on real clusters, and what the tests use of any engine."""

from dataclasses import dataclass, field
from typing import Protocol

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.support import produce, topics
from tests.support.waiting import wait_until


class Engine(Protocol):
    """An engine with at most ten links, of which the test may use all."""

    @property
    def endpoint(self) -> str:
        """Address of the API."""

    @property
    def remote_bootstrap(self) -> str:
        """Address of the remote cluster."""

    def create_source_topic(self, name: str, partitions: int = 1) -> None:
        """Makes a topic on the remote cluster."""

    def fail_mirror_topic(self, name: str) -> None:
        """Makes a mirror topic fail: somebody else writes a record into it."""


@dataclass
class RealEngine:
    """An engine process between two real clusters. Tests share the clusters, so its topics go when the test has ended."""

    endpoint: str
    local_bootstrap: str
    remote_bootstrap: str
    source_topics: list[str] = field(default_factory=list)

    def create_source_topic(self, name: str, partitions: int = 1) -> None:
        """Makes a topic on the remote cluster."""
        topics.create(self.remote_bootstrap, name, partitions)
        self.source_topics.append(name)

    def fail_mirror_topic(self, name: str) -> None:
        """Writes a record into a mirror topic and waits until the engine has noticed."""
        produce.write(self.local_bootstrap, name, [produce.Record(b"key", b"foreign")])
        client = EngineClient(self.endpoint)

        def failed() -> bool:
            topic = client.get_mirror_topic(name)
            return topic is not None and topic.error == "FOREIGN_WRITE"

        wait_until(failed, 30, f"{name} to fail")

    def clean_up(self) -> None:
        """Removes what the test has made, on the engine and on both clusters."""
        client = EngineClient(self.endpoint)
        for link in client.list_links():
            for topic in client.list_mirror_topics(link.name):
                disposal = v1.TOPIC_DISPOSAL_DELETE_TOPIC
                if topic.stop:  # its topic is deleted below
                    disposal = v1.TOPIC_DISPOSAL_KEEP_TOPIC
                    wait_until(lambda name=topic.name: _is_stopped(client, name), 30, f"{topic.name} to be STOPPED")  # type: ignore[misc]
                client.delete_mirror_topic(topic.name, link.name, disposal, seconds=60)
            client.delete_link(link.name, seconds=60)
        local = topics.admin(self.local_bootstrap).list_topics(timeout=30).topics
        for name in self.source_topics:
            if topics.exists(self.remote_bootstrap, name):
                topics.delete(self.remote_bootstrap, name)
            for kept in local:
                if kept.endswith(name):
                    topics.delete(self.local_bootstrap, kept)
        self.source_topics.clear()


def _is_stopped(client: EngineClient, name: str) -> bool:
    topic = client.get_mirror_topic(name)
    return topic is not None and topic.state == v1.MIRROR_TOPIC_STATE_STOPPED
