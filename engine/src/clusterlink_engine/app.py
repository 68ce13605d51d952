"""The composition root: builds the engine, keeps it running, and stops it in stages."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from uuid import uuid4

from clusterlink_engine import __version__
from clusterlink_engine.admin.topics import ConfluentTopicAdmin
from clusterlink_engine.api.server import Engine, Server
from clusterlink_engine.control.links import Links
from clusterlink_engine.control.membership import Member, Membership
from clusterlink_engine.control.mirrors import MirrorTopics
from clusterlink_engine.control.progress import ProgressKeeper
from clusterlink_engine.control.runtime import DRAIN_SECONDS, LinkRuntime, Local, Runtimes
from clusterlink_engine.control.state import State
from clusterlink_engine.control.states import StateWatch
from clusterlink_engine.control.topics import LocalTopics
from clusterlink_engine.control.watch import Watch
from clusterlink_engine.errors import BrokerRefusedError, ClusterlinkError, Side, is_retriable
from clusterlink_engine.model.resources import Link
from clusterlink_engine.processes import identity, is_dead
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Watcher
from clusterlink_engine.replication.local import LocalSide
from clusterlink_engine.replication.tenure import Tenure
from clusterlink_engine.settings import Settings
from clusterlink_engine.store.records import Claim
from clusterlink_engine.store.state_topic import StateTopic
from clusterlink_engine.tasks import Backoff, Tasks
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code

log = logging.getLogger(__name__)

# How long the local cluster may be away when the engine starts; a supervisor starts it again after.
_LOCAL_CLUSTER_SECONDS = 60.0

# How long the state topic may take to be read and claimed. Longer than a transaction that a dead process left open.
_STATE_SECONDS = 90.0

# How long calls under way may take to finish when the engine stops.
_API_GRACE_SECONDS = 5.0

_STATE_TOPIC_SETTINGS = {"cleanup.policy": "compact", "min.compaction.lag.ms": "0", "compression.type": "producer"}


async def serve(settings: Settings) -> None:
    """Runs the engine until SIGTERM or SIGINT.

    Raises:
        ClusterlinkError: It cannot start, or must not go on; the text says why.
    """
    stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(error: BaseException | None = None) -> None:
        if stop.done():
            return
        if error is None:
            stop.set_result(None)
        else:
            stop.set_exception(error)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    starting = asyncio.create_task(_Running.start(settings, end), name="start")
    stop.add_done_callback(lambda _: starting.cancel())  # nothing once it has started
    try:
        running = await starting
    except asyncio.CancelledError:
        return stop.result()
    try:
        await stop
    finally:
        await running.stop()


class _Running:
    """A started engine, and how to stop it."""

    def __init__(
        self,
        server: Server,
        runtimes: Runtimes,
        tasks: Tasks,
        store: StateTopic,
        membership: Membership,
        members: Tasks,
        tenure: Tenure,
    ) -> None:
        self._server = server
        self._runtimes = runtimes
        self._tasks = tasks
        self._store = store
        self._membership = membership
        self._members = members
        self._tenure = tenure

    @classmethod
    async def start(cls, settings: Settings, end: Callable[[BaseException], None]) -> "_Running":
        """Starts; returns when this process is the one that works."""
        timeout = settings.replication.request_timeout_ms / 1000
        cluster = Cluster(Side.LOCAL, settings.local_cluster.bootstrap_servers, settings.local_cluster, timeout=timeout)
        await _reach(cluster)
        await _ensure_state_topic(cluster, settings)
        store = StateTopic(settings.local_cluster, settings.state.topic, end)
        members = Tasks(end)
        membership = Membership(
            cluster,
            f"clusterlink-{settings.state.topic}",
            Member(socket.gethostname(), os.getpid()),
            settings.replication.session_ms / 1000,
            end,
        )
        try:
            await _bury(await store.last_claim(_STATE_SECONDS), membership)
            members.start("membership", membership.run())
            await membership.owned.wait()
            # What the last owner said, it said before its lease ended; so this is read after.
            last = await store.last_claim(_STATE_SECONDS)
            claim = Claim(
                instance_id=uuid4().hex,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=__version__,
                process=identity(),
                member_id=membership.member_id,
            )
            state = State(store, await store.open(claim, _STATE_SECONDS), end)
            tenure = Tenure(membership.lease, store.claim_offset + 1, settled=last is None or last.released)
            running = await cls._build(settings, membership, members, store, state, claim.instance_id, tenure, end)
        except BaseException:
            await members.cancel()
            await membership.leave()
            await store.close()
            cluster.close()
            raise
        return running

    @classmethod
    async def _build(
        cls,
        settings: Settings,
        membership: Membership,
        members: Tasks,
        store: StateTopic,
        state: State,
        instance_id: str,
        tenure: Tenure,
        end: Callable[[BaseException], None],
    ) -> "_Running":
        tasks = Tasks(end)
        cluster = membership.cluster
        timeout = settings.replication.request_timeout_ms / 1000
        admin = ConfluentTopicAdmin(
            Side.LOCAL, settings.local_cluster.bootstrap_servers, settings.local_cluster, timeout
        )
        topics = LocalTopics(cluster, admin, settings.state.topic)

        def make(link: Link) -> LinkRuntime:
            watcher = Watcher(failed=watch.failed, epochs_changed=progress.epochs_changed, overtaken=progress.overtaken)
            return LinkRuntime(link, state, local, on_fatal=end, on_metadata=watch.remote_seen, watcher=watcher)

        runtimes = Runtimes(make)
        watch = Watch(state, runtimes, topics, admin, tasks)
        progress = ProgressKeeper(state, tasks)
        side = LocalSide(
            cluster, settings.replication, tasks, state_topic=settings.state.topic, on_metadata=watch.local_seen
        )
        local = Local(cluster, admin, side, Budget(settings.replication.buffer_bytes), tenure)
        mirror_topics = MirrorTopics(state, runtimes, local, topics, tasks)
        links = Links(state, runtimes, cluster, settings.limits)
        states = StateWatch(state, runtimes)
        engine = Engine(links, mirror_topics, runtimes, states, settings.limits, cluster.cluster_id, instance_id)
        server = Server(engine, settings.api.listen)
        await server.start()
        side.start()
        for link in links.list():
            runtimes.start(link)
        mirror_topics.go_on()
        tasks.start("states", states.run())
        log.info("engine %s of cluster %s listens on %s", __version__, cluster.cluster_id, server.address)
        return cls(server, runtimes, tasks, store, membership, members, tenure)

    async def stop(self) -> None:
        """Stops in an order in which nothing is cut off that could still be finished."""
        log.info("stopping")
        await self._server.stop(_API_GRACE_SECONDS)  # first: nobody asks for anything new
        timeout = DRAIN_SECONDS if self._tenure.holds() else 0.0
        stopping = [self._runtimes.stop(link, timeout) for link in self._runtimes.names()]
        await asyncio.gather(*stopping)  # then what was fetched is written or dropped, and what was written is answered
        await self._tasks.cancel()  # a failure that is not stored yet is found again by the next process
        if self._tenure.is_drained and self._tenure.holds():
            await _release(self._store)
        await self._members.cancel()
        await self._membership.leave()  # now another process may begin
        await self._store.close()  # last: what came before had something to store
        self._membership.cluster.close()
        log.info("stopped")


async def _bury(last: Claim | None, membership: Membership) -> None:
    """Takes the last owner out of the group if it ran on this machine and is dead: nobody needs to wait for its session."""
    if last is None or last.released or not last.member_id or not is_dead(last.process):
        return
    try:
        await membership.remove(last.member_id)
    except ClusterlinkError as error:
        log.info("the dead engine with pid %d stays in the group until its session ends: %s", last.pid, error)


async def _release(store: StateTopic) -> None:
    try:
        await store.release()
    except ClusterlinkError as error:
        log.info("the state is not released, the next process will wait a moment: %s", error)


async def _reach(cluster: Cluster) -> None:
    """Waits for the local cluster.

    Raises:
        ClusterlinkError: It is away for too long, or something that waiting does not mend.
    """
    backoff = Backoff(0.1, 2.0)
    deadline = asyncio.get_running_loop().time() + _LOCAL_CLUSTER_SECONDS
    while True:
        try:
            await cluster.metadata([])
        except ClusterlinkError as error:
            if not is_retriable(error) or asyncio.get_running_loop().time() > deadline:
                raise
            log.warning("waiting for the local cluster: %s", error)
            await backoff.wait()
        else:
            return


async def _ensure_state_topic(cluster: Cluster, settings: Settings) -> None:
    """Creates the state topic if it is not there, with three replicas where there are brokers for them."""
    metadata = await cluster.metadata([settings.state.topic])
    topic = metadata.topics.get(settings.state.topic)
    if topic is not None and not topic.error:
        return
    replicas = settings.state.replication_factor
    if replicas < 1:
        replicas = min(3, len(metadata.brokers))
    topic_settings = {**_STATE_TOPIC_SETTINGS, "min.insync.replicas": "2" if replicas >= 3 else "1"}
    try:
        await logs.create_topic(
            cluster, settings.state.topic, partitions=1, replication_factor=replicas, settings=topic_settings
        )
    except BrokerRefusedError as error:
        if error.code != Code.TOPIC_ALREADY_EXISTS:  # another process was quicker
            raise
