"""The composition root: builds the engine, keeps it running, and stops it in stages."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import uuid4

from clusterlink_engine import __version__
from clusterlink_engine.api.meeting import Meeting
from clusterlink_engine.api.peers import Following, Peers
from clusterlink_engine.api.server import Engine, Server
from clusterlink_engine.control.allocation import NAME as ALLOCATION
from clusterlink_engine.control.finishing import Finishing
from clusterlink_engine.control.links import Links
from clusterlink_engine.control.membership import Member, Membership, Standing
from clusterlink_engine.control.mirrors import MirrorTopics
from clusterlink_engine.control.orders import Report
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.preflight import Preflight, Surroundings
from clusterlink_engine.control.progress import ProgressKeeper
from clusterlink_engine.control.restoring import Restores
from clusterlink_engine.control.runtime import DRAIN_SECONDS, LinkRuntime, Listeners, Local
from clusterlink_engine.control.shards import SHARDS
from clusterlink_engine.control.state import State
from clusterlink_engine.control.state_home import StateHome
from clusterlink_engine.control.states import StateWatch
from clusterlink_engine.control.stops import Stops
from clusterlink_engine.control.topics import Topics
from clusterlink_engine.control.watch import Watch
from clusterlink_engine.control.way import End
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.control.write_guard import WriteGuard
from clusterlink_engine.errors import ClusterlinkError, NotLeadingError, Side, is_retriable
from clusterlink_engine.http.exposition import render
from clusterlink_engine.http.listener import Listener, listen_when_free
from clusterlink_engine.http.metrics import describe
from clusterlink_engine.model.acls import Acl
from clusterlink_engine.model.resources import Allocation, Direction, Link, MirrorTopic, PartitionProgress, SyncedAcls
from clusterlink_engine.model.specs import MirrorTopicSpec
from clusterlink_engine.processes import identity, is_dead
from clusterlink_engine.replication.buffers import Budget
from clusterlink_engine.replication.cursor import Watcher
from clusterlink_engine.replication.destination import Destination
from clusterlink_engine.replication.gap_filling import GapFilling
from clusterlink_engine.replication.tenure import Lease
from clusterlink_engine.replication.throttle import Bucket
from clusterlink_engine.settings import Settings
from clusterlink_engine.store.records import CLAIM_KEY, Claim
from clusterlink_engine.store.state_topic import Records, StateTopic
from clusterlink_engine.supervised import Supervised
from clusterlink_engine.tasks import Backoff, Tasks
from clusterlink_engine.wire.cluster import Cluster, Metadata
from clusterlink_engine.wire.cutting import cut_compiled, cutter
from clusterlink_engine.wire.topic_admin import TopicAdmin

log = logging.getLogger(__name__)

# How long the local cluster may be away when the engine starts; a supervisor starts it again after.
_LOCAL_CLUSTER_SECONDS = 60.0

# How long the state topic may take to be read and claimed. Longer than a transaction that a dead process left open.
_STATE_SECONDS = 90.0

# How long calls under way may take to finish when the engine stops.
_API_GRACE_SECONDS = 5.0

# How long storing may take that everything was given back, besides the draining.
_GIVE_BACK_SECONDS = 2.0


async def serve(settings: Settings, supervised: Supervised | None = None) -> None:
    """Runs the engine until SIGTERM or SIGINT.

    Args:
        settings: Of the engine.
        supervised: Of a process that is one of several workers, and ends with its supervisor too.

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
    if supervised is not None:
        supervised.end_with(end)
    starting = asyncio.create_task(_Running.start(settings, end, supervised), name="start")
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

    def __init__(self, settings: Settings, end: Callable[[BaseException], None], supervised: Supervised | None) -> None:
        """Builds what every process has; nothing is contacted before `start`."""
        self._settings = settings
        self._end = end
        self._supervised = supervised
        self._session_seconds = settings.replication.session_ms / 1000
        timeout = settings.replication.request_timeout_ms / 1000
        local = settings.local_cluster
        self._cluster = Cluster(Side.LOCAL, local.bootstrap_servers, local, timeout=timeout)
        self._store = StateTopic(local, settings.state, end)
        self._tasks = Tasks(end)
        self._members = Tasks(end)
        self._membership: Membership
        self._workforce: Workforce | None = None
        self._mirror_topics: MirrorTopics | None = None
        self._states: StateWatch | None = None
        self._leads_now = asyncio.Event()
        self._leaving = False
        self._peers = Peers()
        self._meeting = Meeting(settings.api.peer_directory, settings.peers)
        self._server = Server(settings.api, self._meeting, self._peers, self._leader)

        admin = TopicAdmin(self._cluster)
        self._topics = Topics(self._cluster, admin, settings.state.topic)
        self._home = StateHome(self._topics, admin, settings.state)
        gaps = GapFilling(
            self._cluster,
            settings.replication,
            self._tasks,
            state_topic=settings.state.topic,
            on_claimed=self._claimed,
        )
        self._local = Local(
            end=End(self._cluster, admin, self._topics),
            destination=Destination(self._cluster, settings.replication, self._tasks, gaps, self._local_seen),
            gaps=gaps,
            budget=Budget(settings.replication.buffer_bytes),
            limit=Bucket(),
            cutter=cutter(compiled=settings.replication.record_code == "auto"),
            settings=settings.replication,
        )
        self._lease = Lease()
        self._http = Listener(settings.http.listen, self._metrics, self._is_ready)
        self._plane = Plane(self._make_runtime, self._lease, gaps, self._limit, self._tasks)
        self._watch = Watch(self._plane, self._tasks)
        self._progress = ProgressKeeper(lambda: self._plane.view, self._store_progress, self._tasks)
        self._following = Following(self._plane, self._meeting.open, self._about, lambda: self._leaving)

    @classmethod
    async def start(
        cls, settings: Settings, end: Callable[[BaseException], None], supervised: Supervised | None
    ) -> "_Running":
        """Starts; returns when this process leads, or follows the one that does."""
        running = cls(settings, end, supervised)
        try:
            await running._begin()
        except BaseException:
            await running._close()
            raise
        return running

    async def _begin(self) -> None:
        settings = self._settings
        await _reach(self._home)
        await self._server.start()
        self._membership = Membership(
            self._cluster,
            f"clusterlink-{settings.state.topic}",
            Member(socket.gethostname(), os.getpid(), self._meeting.socket, self._meeting.address),
            self._session_seconds,
            self._end,
            lease=self._lease,
            has_work=lambda: self._plane.has_grants,
        )
        await _bury(await self._store.read(_STATE_SECONDS), self._membership)
        self._members.start("membership", self._membership.run())
        standing = await self._membership.change(self._membership.standing)
        self._local.destination.start()
        self._tasks.start("gap filling", self._plane.gaps.run())
        if self._supervised is None and settings.http.listen:
            self._tasks.start("listen for http", listen_when_free(self._http.start))
        if self._supervised is not None:
            self._tasks.start("listen", self._listen_when_told(self._supervised))
        elif self._membership.leads:
            await self._listen()
        else:
            self._tasks.start("listen", listen_when_free(self._listen))
        if self._membership.leads:
            await self._lead()
        else:
            self._tasks.start("follow", self._follow(standing))
        code = "compiled" if self._local.cutter is cut_compiled else "Python"
        log.info("engine %s of cluster %s works; record code: %s", __version__, self._cluster.cluster_id, code)
        if self._supervised is not None:
            answers = {"leads": self._leads, "metrics": self._metrics, "ready": self._is_ready}
            self._tasks.start("supervisor", self._supervised.run(answers))

    async def _listen_when_told(self, supervised: Supervised) -> None:
        """One of the workers listens; the others take its place when it ends."""
        await supervised.may_listen.wait()
        await listen_when_free(self._listen)

    async def _listen(self) -> None:
        await self._server.listen()
        log.info("the API listens on %s", self._server.address)

    async def _metrics(self) -> str:
        worker = self._supervised.number if self._supervised is not None else 0
        return await asyncio.to_thread(render, list(describe(self._plane, self._local, self._states)), worker)

    async def _is_ready(self) -> bool:
        return self._plane.has_grants

    async def _leads(self) -> bool:
        return self._leads_now.is_set()

    async def _follow(self, standing: Standing) -> None:
        """Works for whoever leads, until this process does."""
        backoff = Backoff(0.1, 1.0)
        said = ""
        while not self._membership.leads:
            address = self._leader()
            if not address:
                self._tell_of_a_leader_out_of_reach(standing)
                standing = await self._membership.change(standing)
                continue
            following = asyncio.ensure_future(self._following.follow(address))
            moving = asyncio.ensure_future(self._membership.change(standing))
            try:
                await asyncio.wait([following, moving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                following.cancel()
                moving.cancel()
                ended, moved = await asyncio.gather(following, moving, return_exceptions=True)
            if isinstance(moved, Standing):
                standing = moved
            if isinstance(ended, NotLeadingError):
                log.log(logging.DEBUG if said == str(ended) else logging.INFO, "%s", ended)
                said = str(ended)
            elif isinstance(ended, Exception):
                raise ended
            await backoff.wait()
        await self._lead()

    @staticmethod
    def _tell_of_a_leader_out_of_reach(standing: Standing) -> None:
        leader = standing.members.get(standing.leader)
        if leader is not None:
            log.warning(
                "the engine process that leads, on %s, cannot be reached from here: this one stands by. On one machine "
                "processes need the same api.peer_directory, on several `peers` on both sides.",
                leader.host,
            )

    async def _lead(self) -> None:
        """Claims the state, and leads from now on."""
        claim = Claim(
            instance_id=uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            process=identity(),
            member_id=self._membership.member_id,
        )
        kept_in = await _reach(self._home)  # before it is read: what becomes of it later is noticed
        state = State(self._store, self._home, await self._store.open(claim, _STATE_SECONDS), kept_in, self._end)
        # An engine of an earlier version had everything, and may have left something behind.
        last = self._store.former_claim
        was_left = last is not None and not last.released
        self._plane.use(state, leads=True)
        self._watch.state = state
        workforce = self._workforce = Workforce(
            state,
            self._plane,
            self._membership,
            self._cluster,
            about=self._about(),
            session_seconds=self._session_seconds,
            state_topic=self._settings.state.topic,
            initial=Allocation(
                name=ALLOCATION,
                generation=self._store.claim_offset + 1,
                unsettled=tuple(range(SHARDS)) if was_left else (),
            ),
        )
        self._peers.workforce = workforce
        limits = self._settings.limits
        guard = WriteGuard(
            state,
            self._cluster,
            self._settings.state.topic,
            is_on=self._settings.replication.write_guard == "auto",
            may_write=self._lease.holds,
        )
        surroundings = Surroundings(
            self._settings.local_cluster.bootstrap_servers,
            self._settings.local_cluster,
            self._settings.state.topic,
            gap_filling=self._settings.replication.gap_filling,
            write_guard=lambda: guard.way,
        )
        links = Links(state, self._plane, workforce, self._cluster, limits, Preflight(surroundings))
        finishing = Finishing(state, self._plane, workforce, self._tasks)
        mirror_topics = self._mirror_topics = MirrorTopics(state, self._plane, workforce, self._topics, finishing)
        stops = Stops(state, self._plane, workforce, guard, self._tasks)
        restores = Restores(state, self._plane, workforce, finishing, self._tasks)
        states = self._states = StateWatch(state, self._plane, workforce)
        cluster_id = self._cluster.cluster_id
        self._server.lead(
            Engine(
                links,
                mirror_topics,
                stops,
                restores,
                guard,
                state,
                self._plane,
                workforce,
                states,
                limits,
                cluster_id,
                claim.instance_id,
            )
        )
        finishing.go_on()
        stops.go_on()
        restores.go_on()
        self._tasks.start("share the work", workforce.run())
        self._tasks.start("states", states.run())
        self._tasks.start("state topic", state.keep())
        self._tasks.start("write guard", guard.run())
        self._leads_now.set()
        log.info("this engine process leads")

    def _make_runtime(self, link: Link) -> LinkRuntime:
        listeners = Listeners(
            source_seen=self._watch.source_seen,
            mirror_seen=self._watch.mirror_seen,
            retired=self._plane.retired,
            store_desired=self._store_desired,
            store_acls=self._store_acls,
            create=self._create_mirror,
            log_ends=self._log_ends,
            may_write=self._lease.holds,
            watcher=Watcher(
                failed=self._progress.failed,
                epochs_changed=self._progress.epochs_changed,
                overtaken=self._progress.overtaken,
            ),
        )
        return LinkRuntime(link, lambda: self._plane.view, self._local, listeners, on_fatal=self._end)

    async def _store_progress(self, records: Sequence[PartitionProgress]) -> None:
        if self._workforce is not None:
            await self._workforce.store(self._membership.member_id, records)
        else:
            await self._following.store(records)

    async def _create_mirror(self, link: str, source_topic: str) -> None:
        if self._mirror_topics is not None:
            spec = MirrorTopicSpec(link, source_topic, automatic=True)
            await self._mirror_topics.create(spec, uuid4().hex, validate_only=False)

    async def _store_acls(self, link: str, acls: Collection[Acl]) -> None:
        state = self._watch.state
        if state is not None:
            await state.write(SyncedAcls(name=link, acls=tuple(sorted(acls, key=Acl.key))))

    def _log_ends(self, topic: str) -> dict[int, int]:
        if self._workforce is None:
            return {}
        return {index: status.log_end for index, status in self._workforce.statuses(topic).items()}

    async def _store_desired(self, mirror: MirrorTopic, desired: Mapping[str, str]) -> None:
        state = self._watch.state
        if state is not None:
            await state.change(
                state.mirrors, mirror.name, lambda stored: stored.model_copy(update={"desired": dict(desired)})
            )

    def _local_seen(self, metadata: Metadata) -> None:
        self._watch.mirror_seen(None, Direction.REMOTE_TO_LOCAL, metadata)

    def _limit(self, part: float) -> None:
        rate = self._settings.replication.max_bytes_per_second * part
        self._local.limit.set_rate(rate, asyncio.get_running_loop().time())

    def _claimed(self) -> None:
        self._plane.on_change()

    def _about(self) -> Report:
        return Report(self._membership.member_id, socket.gethostname(), os.getpid(), identity())

    def _leader(self) -> str:
        """Answers the place of another process that leads; empty if that is not known, or not to be reached from here."""
        standing = self._membership.standing
        leader = standing.members.get(standing.leader)
        return self._meeting.place_of(leader) if leader is not None and not self._membership.leads else ""

    async def stop(self) -> None:
        """Stops in an order in which nothing is cut off that could still be finished."""
        log.info("stopping")
        await self._server.refuse(_API_GRACE_SECONDS)  # first: nobody asks for anything new
        if self._lease.holds():
            # Then what was fetched is written or dropped, what was written is answered, and that is stored.
            await self._give_back(DRAIN_SECONDS + _GIVE_BACK_SECONDS)
        await self._plane.stop(DRAIN_SECONDS if self._lease.holds() else 0.0)
        await self._close()
        log.info("stopped")

    async def _give_back(self, timeout: float) -> None:
        self._leaving = True
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        if self._workforce is None and self._plane.has_grants:
            # The process that leads takes it back; or ends itself meanwhile, and this one leads.
            waiting = [asyncio.ensure_future(event.wait()) for event in (self._plane.said_goodbye, self._leads_now)]
            done, pending = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for late in pending:
                late.cancel()
            if not done:
                log.info("no engine that leads has taken back what this one had; the next one will wait a moment")
        if self._workforce is not None:
            await self._workforce.leave(deadline - clock())

    async def _close(self) -> None:
        await self._tasks.cancel()  # a failure that is not stored yet is found again by the next process
        await self._members.cancel()
        if hasattr(self, "_membership"):
            await self._membership.leave()  # now others may begin
        await self._server.stop()
        await self._http.stop()
        await self._store.close()  # last: what came before had something to store
        self._cluster.close()


async def _bury(records: Records, membership: Membership) -> None:
    """Takes processes out of the group that ran on this machine and are dead: nobody needs to wait for their sessions."""
    dead = {
        name
        for stored in records.values()
        if isinstance(stored, Allocation)
        for name, worker in stored.workers.items()
        if is_dead(worker.process)
    }
    claim = records.get(CLAIM_KEY)
    if isinstance(claim, Claim) and not claim.released and is_dead(claim.process):
        dead.add(claim.member_id)
    for member_id in dead - {""}:
        try:
            await membership.remove(member_id)
        except ClusterlinkError as error:
            log.info("the dead engine process %s stays in the group until its session ends: %s", member_id, error)


async def _reach(home: StateHome) -> str:
    """Waits for the local cluster, and answers the id of the state topic, which is there then.

    Raises:
        ClusterlinkError: The cluster is away for too long, or something that waiting does not mend.
    """
    backoff = Backoff(0.1, 2.0)
    deadline = asyncio.get_running_loop().time() + _LOCAL_CLUSTER_SECONDS
    while True:
        try:
            return await home.ensure()
        except ClusterlinkError as error:
            if not is_retriable(error) or asyncio.get_running_loop().time() > deadline:
                raise
            log.warning("waiting for the local cluster: %s", error)
            await backoff.wait()
