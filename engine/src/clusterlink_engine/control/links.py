"""The life of links: create, update, pause, resume, delete."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.preflight import Preflight
from clusterlink_engine.control.reaching import require_a_broker
from clusterlink_engine.control.runtime import open_remote
from clusterlink_engine.control.state import State
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import (
    AlreadyExistsError,
    AuthenticationFailedError,
    BrokerRefusedError,
    CertificateRefusedError,
    FailedPreconditionError,
    InvalidArgumentError,
    KafkaError,
    LimitExceededError,
    NotFoundError,
    Side,
    WrongClusterError,
)
from clusterlink_engine.model.checks import Check, Status
from clusterlink_engine.model.resources import Link, Phase, RemoteCluster, TopicConfigSync
from clusterlink_engine.model.rights import Feature
from clusterlink_engine.model.secret_fields import secrets_of
from clusterlink_engine.model.specs import LinkSpec
from clusterlink_engine.settings import Limits
from clusterlink_engine.store.keyring import HOW_TO_MAKE_ONE
from clusterlink_engine.store.records import key_of
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.cluster import Cluster

log = logging.getLogger(__name__)

# How long create and update try to reach the remote cluster before they answer that it cannot be reached.
_CONNECT_SECONDS = 10.0

_BOOTSTRAP = "link.remote_cluster.bootstrap_servers"


class Links:
    """The links of the local cluster."""

    def __init__(
        self, state: State, plane: Plane, workforce: Workforce, local: Cluster, limits: Limits, preflight: Preflight
    ) -> None:
        self._preflight = preflight
        self._state = state
        self._plane = plane
        self._workforce = workforce
        self._local = local
        self._limits = limits

    def get(self, name: str) -> Link:
        """Answers a link.

        Raises:
            NotFoundError: There is none of that name.
        """
        link = self._state.links.get(name)
        if link is None:
            raise NotFoundError(f'There is no link "{name}".', field="name", reason="LINK_NOT_FOUND")
        return link

    def list(self) -> list[Link]:
        """Answers all links, by name."""
        return [link for _, link in sorted(self._state.links.items())]

    async def create(self, spec: LinkSpec, client_token: str, *, validate_only: bool) -> Link:
        """Creates a link, or only checks whether it could be created, without contacting a cluster.

        Raises:
            RequestError: The request is wrong, or a limit or a name does not allow it.
            KafkaError: A cluster could not be reached; nothing was stored.
        """
        spec.check(self._limits)
        async with self._state.locked("link", spec.name):
            existing = self._state.links.get(spec.name)
            if existing is not None and client_token and existing.client_token == client_token:
                return existing
            self._check_place(spec)
            wanted = _link(spec, _remote(spec))
            self._check_secrets(wanted)
            if validate_only:
                return wanted
            remote = await self._reach(spec, wanted.remote)
            link = _link(spec, remote, client_token=client_token, producer_id=await logs.init_producer_id(self._local))
            await self._state.write(link, guard=lambda: self._check_place(spec))
        log.info("link %s to cluster %s created", link.name, remote.cluster_id)
        return link

    async def check(self, name: str, topics: Collection[str], seconds: float) -> Sequence[Check]:
        """Looks at everything that a link needs, and changes nothing.

        Args:
            name: Of the link.
            topics: Source topics that shall be mirrored, besides those that are.
            seconds: Until when there is an answer.

        Raises:
            NotFoundError: There is no such link.
        """
        link = self.get(name)
        mirrored = {mirror.source_topic for mirror in self._state.mirrors_of(name) if mirror.phase is not Phase.STOPPED}
        return await self._preflight.check(link, mirrored | set(topics), seconds=seconds)

    async def check_new(self, spec: LinkSpec, topics: Collection[str], seconds: float) -> Sequence[Check]:
        """Does the same for a link that need not exist.

        Raises:
            InvalidArgumentError: A value is wrong by itself.
        """
        spec.check(self._limits)
        link = _link(spec, _remote(spec))
        found = await self._preflight.check(link, topics, seconds=seconds)
        if self._state.can_encrypt or not secrets_of(link):
            return found
        key = Check("key for the link's secrets", Side.LOCAL, Feature.STATE, Status.MISSING, is_required=True)
        return [*found, key.found(Status.MISSING, HOW_TO_MAKE_ONE)]

    async def update(self, spec: LinkSpec, fields: Collection[str], *, validate_only: bool) -> Link:
        """Changes the named fields of a link: the others of `spec` are not looked at.

        Args:
            spec: The new values, under the link's name.
            fields: Among "remote_cluster.bootstrap_servers", "remote_cluster.security_protocol", "remote_cluster.sasl",
                "remote_cluster.tls", "paused", "topic_config_sync", "consumer_offset_sync", "acl_sync",
                "auto_create_mirror_topics", "config".
            validate_only: Whether to change nothing.

        Raises:
            RequestError: The request is wrong.
            KafkaError: The remote cluster could not be reached at its new address; nothing was changed.
        """
        async with self._state.locked("link", spec.name):
            link = self.get(spec.name)
            spec = _merged(link, spec, fields)
            spec.check(self._limits)
            self._check_overrides(spec)
            wanted = _remote(spec)
            self._check_secrets(_link(spec, wanted), link)
            if validate_only:
                return link
            remote = await self._reach(spec, wanted) if wanted != link.remote else wanted
            changed = _link(
                spec,
                remote,
                client_token=link.client_token,
                producer_id=link.producer_id,
                remote_producer_id=link.remote_producer_id,
                link_id=link.link_id,
            )
            if changed == link:
                return link
            await self._state.write(changed)
            if changed.paused and not link.paused:
                for mirror in self._state.mirrors_of(link.name):
                    await self._workforce.stopped(mirror.name)
            self._plane[link.name].hurry()
        log.info("link %s updated", link.name)
        return changed

    async def pause(self, name: str) -> Link:
        """Stops all mirror topics of a link; paused already: nothing happens."""
        return await self._set_paused(name, paused=True)

    async def resume(self, name: str) -> Link:
        """Lets all mirror topics of a link go on; not paused: nothing happens."""
        return await self._set_paused(name, paused=False)

    async def delete(self, name: str) -> None:
        """Deletes a link that has no mirror topics.

        Raises:
            NotFoundError: There is none of that name.
            FailedPreconditionError: It has mirror topics.
        """
        async with self._state.locked("link", name):
            self.get(name)
            await self._state.transact(lambda: self._without(name))
        log.info("link %s deleted", name)

    def _without(self, name: str) -> Mapping[str, None]:
        """Answers what goes with a link that has no live mirror topics, by key: those that were, and what else is known of it.

        The ACLs that it has synced stay; that it was the one who made them is forgotten.
        """
        self._check_empty(name)
        mirrors = [key_of("mirror", mirror.name) for mirror in self._state.mirrors_of(name)]
        acls = [key_of("acls", name)] if name in self._state.acls else []
        return dict.fromkeys([*mirrors, *acls, key_of("link", name)])

    async def _set_paused(self, name: str, *, paused: bool) -> Link:
        link = self.get(name)
        spec = LinkSpec(name=name, bootstrap_servers=link.remote.bootstrap_servers, paused=paused)
        return await self.update(spec, ("paused",), validate_only=False)

    def _check_place(self, spec: LinkSpec) -> None:
        """Raises RequestError unless a link of that name and prefix may be added."""
        links = self._state.links
        if spec.name in links:
            raise AlreadyExistsError(
                f'A link "{spec.name}" exists already; import it, or choose another name.',
                field="link.name",
                reason="LINK_EXISTS",
            )
        if len(links) >= self._limits.max_links:
            raise LimitExceededError(
                f"The local cluster has {len(links)} links, and {self._limits.max_links} are allowed (limits.max_links).",
                field="link.name",
                reason="TOO_MANY_LINKS",
                metadata={"max_links": str(self._limits.max_links)},
            )
        for other in links.values():
            if spec.topic_prefix and other.topic_prefix == spec.topic_prefix:
                raise AlreadyExistsError(
                    f'The link "{other.name}" has the topic prefix "{spec.topic_prefix}" already; prefixes are unique.',
                    field="link.topic_prefix",
                    reason="PREFIX_EXISTS",
                )

    def _check_empty(self, name: str) -> None:
        mirrors = [mirror for mirror in self._state.mirrors_of(name) if mirror.phase is not Phase.STOPPED]
        if mirrors:
            first = ", ".join(mirror.name for mirror in mirrors[:5]) + (", ..." if len(mirrors) > 5 else "")
            raise FailedPreconditionError(
                f'The link "{name}" has {len(mirrors)} mirror topics ({first}); delete them first.',
                field="name",
                reason="LINK_HAS_MIRROR_TOPICS",
            )

    def _check_overrides(self, spec: LinkSpec) -> None:
        """Raises InvalidArgumentError if the link would sync what one of its mirror topics sets itself."""
        for mirror in self._state.mirrors_of(spec.name):
            synced = [name for name in mirror.config if name in spec.synced_names()]
            if synced:
                raise InvalidArgumentError(
                    f'The mirror topic "{mirror.name}" sets "{synced[0]}" itself; remove it there, or leave it out here.',
                    field="link.topic_config_sync.include",
                )

    def _check_secrets(self, link: Link, stored: Link | None = None) -> None:
        """Raises FailedPreconditionError if a secret is to be stored that cannot be encrypted.

        One that an older version has stored as it is may stay.
        """
        if self._state.can_encrypt:
            return
        known = secrets_of(stored) if stored is not None else {}
        for field, secret in secrets_of(link).items():
            if known.get(field) != secret:
                raise FailedPreconditionError(
                    f"The engine has no key to encrypt secrets with, and stores none without; {HOW_TO_MAKE_ONE}.",
                    field=field.request,
                    reason="NO_STATE_KEY",
                )

    async def _reach(self, spec: LinkSpec, remote: RemoteCluster) -> RemoteCluster:
        """Asks the remote cluster for its id; answers it with that.

        Raises:
            FailedPreconditionError: It is not the cluster that it should be.
            KafkaError: It cannot be reached; the reason is for the bootstrap servers' field.
        """
        cluster = open_remote(remote, spec.config, _CONNECT_SECONDS / 2)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                metadata = await cluster.metadata([])
                await require_a_broker(cluster, metadata, _BOOTSTRAP)
        except WrongClusterError as error:
            raise FailedPreconditionError(
                str(error), field="link.remote_cluster.cluster_id", reason="WRONG_CLUSTER"
            ) from error
        except TimeoutError as error:
            raise FailedPreconditionError(
                f"The remote cluster at {', '.join(remote.bootstrap_servers)} did not answer within {_CONNECT_SECONDS:g} s.",
                field=_BOOTSTRAP,
                reason="TIMEOUT_ERROR",
            ) from error
        except BrokerRefusedError:
            raise
        except AuthenticationFailedError as error:
            raise FailedPreconditionError(
                f"The remote cluster cannot be used: {error}",
                field=f"link.remote_cluster.{'tls' if isinstance(error, CertificateRefusedError) else 'sasl'}",
                reason=error.reason,
            ) from error
        except KafkaError as error:
            raise FailedPreconditionError(
                f"The remote cluster cannot be reached: {error}", field=_BOOTSTRAP, reason=error.reason
            ) from error
        finally:
            cluster.close()
        if metadata.cluster_id == self._local.cluster_id and not spec.topic_prefix:
            raise FailedPreconditionError(
                "The remote cluster is the local cluster itself; a mirror topic would have the name of its source.",
                field=_BOOTSTRAP,
                reason="SAME_CLUSTER",
            )
        return remote.model_copy(update={"cluster_id": metadata.cluster_id})


def _remote(spec: LinkSpec) -> RemoteCluster:
    return RemoteCluster(
        bootstrap_servers=tuple(sorted(spec.bootstrap_servers)),
        cluster_id=spec.cluster_id,
        security_protocol=spec.security_protocol,  # type: ignore[arg-type] # checked
        sasl=spec.sasl,
        tls=spec.tls,
    )


def _link(
    spec: LinkSpec,
    remote: RemoteCluster,
    *,
    client_token: str = "",
    producer_id: int = -1,
    remote_producer_id: int = -1,
    link_id: str = "",
) -> Link:
    return Link(
        name=spec.name,
        link_id=link_id or uuid4().hex,
        mode=spec.mode,
        remote=remote,
        topic_prefix=spec.topic_prefix,
        paused=spec.paused,
        mirror_start_offset=spec.mirror_start_offset,
        topic_config_sync=TopicConfigSync(
            interval_ms=spec.topic_config_sync_ms, include=tuple(sorted(spec.topic_config_include))
        ),
        consumer_offset_sync=spec.consumer_offset_sync,
        acl_sync=spec.acl_sync,
        auto_create_mirror_topics=spec.auto_create_mirror_topics,
        config=dict(sorted(spec.config.items())),
        client_token=client_token,
        producer_id=producer_id,
        remote_producer_id=remote_producer_id,
    )


def _merged(link: Link, spec: LinkSpec, fields: Collection[str]) -> LinkSpec:
    """Answers the link as a spec, with the named fields taken from `spec`."""
    values: dict[str, dict[str, object]] = {
        "remote_cluster.bootstrap_servers": {"bootstrap_servers": spec.bootstrap_servers},
        "remote_cluster.security_protocol": {"security_protocol": spec.security_protocol},
        "remote_cluster.sasl": {"sasl": spec.sasl},
        "remote_cluster.tls": {"tls": spec.tls},
        "paused": {"paused": spec.paused},
        "topic_config_sync": {
            "topic_config_sync_ms": spec.topic_config_sync_ms,
            "topic_config_include": spec.topic_config_include,
        },
        "consumer_offset_sync": {"consumer_offset_sync": spec.consumer_offset_sync},
        "acl_sync": {"acl_sync": spec.acl_sync},
        "auto_create_mirror_topics": {"auto_create_mirror_topics": spec.auto_create_mirror_topics},
        "config": {"config": spec.config},
    }
    present = LinkSpec(
        name=link.name,
        mode=link.mode,
        bootstrap_servers=link.remote.bootstrap_servers,
        cluster_id=link.remote.cluster_id,
        security_protocol=link.remote.security_protocol,
        sasl=link.remote.sasl,
        tls=link.remote.tls,
        topic_prefix=link.topic_prefix,
        paused=link.paused,
        mirror_start_offset=link.mirror_start_offset,
        topic_config_sync_ms=link.topic_config_sync.interval_ms,
        topic_config_include=link.topic_config_sync.include,
        consumer_offset_sync=link.consumer_offset_sync,
        acl_sync=link.acl_sync,
        auto_create_mirror_topics=link.auto_create_mirror_topics,
        config=link.config,
    )
    changes: dict[str, object] = {}
    for field in fields:
        if field not in values:
            raise InvalidArgumentError(
                f'The field "{field}" of a link cannot be changed; those that can: {", ".join(values)}.',
                field=f"link.{field}",
                reason="IMMUTABLE_FIELD",
            )
        changes.update(values[field])
    return replace(present, **changes)  # type: ignore[arg-type]
