"""Looks at one cluster of a link: can it be reached, what may be done there, what do its clock and its settings say.

Every look answers a row, whatever happens: what does not answer in time, or refuses, is UNKNOWN, with the reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import time

from clusterlink_engine.control.reaching import HOW_TO_ADVERTISE, Address, advertised, reach_all, unreached
from clusterlink_engine.control.subjects import Subject
from clusterlink_engine.errors import AuthenticationFailedError, BrokerRefusedError, KafkaError, Side
from clusterlink_engine.model.acls import AclFilter
from clusterlink_engine.model.checks import Check, Grantee, Status, row_of, some_of
from clusterlink_engine.model.rights import Feature, Right, Scope
from clusterlink_engine.security import Security
from clusterlink_engine.settings import parse_address
from clusterlink_engine.wire.acls import describe_acls
from clusterlink_engine.wire.attempts import attempt, cluster_operations, verdict
from clusterlink_engine.wire.brokers import broker_settings, controller_time, not_understood
from clusterlink_engine.wire.cluster import Cluster, Metadata
from clusterlink_engine.wire.codes import Code, name_of
from clusterlink_engine.wire.markers import may_write_markers

# A larger difference is told: times of records, of retention and of `mirror_start_offset` do not mean then what they seem to.
_CLOCK_SECONDS = 5.0

# Each step of a check may take so much of its time: what waits for an address that swallows everything ends well before it.
STEP = 0.2

# An ACL of a topic that need not exist is read, to see whether there is an authorizer.
_SOME_ACL = AclFilter(resource_type="TOPIC", resource_name="clusterlink-check")


class Inspection:
    """One cluster, for one check.

    Attributes:
        side: Which one.
        connection: What came of connecting: rows that are there after `connect`.
        cluster: To ask; None unless it was reached.
        metadata: What it says of itself; None unless it was reached.
    """

    def __init__(self, side: Side, bootstrap_servers: Sequence[str], security: Security, seconds: float) -> None:
        """Begins a check that has an answer within so many seconds; nothing is contacted yet."""
        self.side = side
        self.connection: list[Check] = []
        self.cluster: Cluster | None = None
        self.metadata: Metadata | None = None
        self._servers = bootstrap_servers
        self._security = security
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._grantee = Grantee.of(bootstrap_servers, security)

    async def connect(self) -> None:
        """Connects to the bootstrap servers, and to all brokers where they say that they are."""
        timeout = self._seconds * STEP
        probe = Cluster(self.side, self._servers, self._security, timeout=timeout)
        results = await reach_all(probe, [parse_address(server) for server in self._servers])
        self.connection += [self._bootstrap(results), self._authentication(results)]
        good = [f"{host}:{port}" for (host, port), error in results.items() if error is None]
        understood = self._row("Kafka version", Feature.RECORDS, is_required=True)
        brokers = self._row("advertised brokers", Feature.RECORDS, is_required=True)
        if good:
            # By those alone that answer: nothing waits for the others again.
            self.cluster = Cluster(self.side, good, self._security, timeout=timeout)
            self.connection.append(await self.bounded(understood, self._understood))
            self.connection.append(await self.bounded(brokers, self._advertised))
        else:
            self.connection += [self._not_reached(understood), self._not_reached(brokers)]

    def close(self) -> None:
        """Closes all connections."""
        if self.cluster is not None:
            self.cluster.close()

    async def bounded(self, row: Check, look: Callable[[Check], Awaitable[Check]]) -> Check:
        """Answers what a look finds; UNKNOWN if the cluster does not answer in time, refuses, or was not reached at all."""
        if self.cluster is None:
            return self._not_reached(row)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await look(row)
        except TimeoutError:
            return row.found(Status.UNKNOWN, f"no answer within {self._seconds:g} s")
        except KafkaError as error:
            return row.found(Status.UNKNOWN, str(error))

    # Rights.

    async def right(self, right: Right, subject: Subject) -> Check:
        """Tries a right on what it is needed on."""

        async def look(row: Check) -> Check:
            if right.scope is Scope.CLUSTER:
                return self._judged(row, right, *await self._cluster_right(right))
            if not subject.names:
                return row.found(Status.UNKNOWN, subject.note)
            codes = await attempt(self._connected, right.scope.resource_type, right.operation, subject.names)
            missing = [name for name in subject.names if verdict(codes.get(name, -1)) is False]
            unclear = [name for name in subject.names if verdict(codes.get(name, -1)) is None]
            if missing:
                return self._judged(row, right, False, some_of(missing), missing)
            if unclear:
                error = name_of(codes.get(unclear[0], -1))
                return row.found(Status.UNKNOWN, f"{some_of(unclear)}: the cluster answered {error}")
            detail = "; ".join(filter(None, [some_of(subject.names), subject.note]))
            return row.found(Status.PRESENT, detail)

        return await self.bounded(row_of(right), look)

    async def authorizer(self) -> Check:
        """Looks whether the cluster has ACLs at all."""

        async def look(row: Check) -> Check:
            try:
                await describe_acls(self._connected, _SOME_ACL)
            except BrokerRefusedError as error:
                if error.code == Code.SECURITY_DISABLED:
                    return row.found(
                        Status.MISSING, "the brokers have no authorizer, and so no ACLs (authorizer.class.name)"
                    )
                if error.code != Code.CLUSTER_AUTHORIZATION_FAILED:  # else there is one, and it has refused
                    raise
            return row.found(Status.PRESENT)

        return await self.bounded(self._row("an authorizer", Feature.ACLS), look)

    def _judged(self, row: Check, right: Right, allowed: bool, detail: str, names: Sequence[str] = ()) -> Check:
        if allowed:
            return row.found(Status.PRESENT, detail)
        text = "; ".join(filter(None, [detail, right.why]))
        status = Status.WARNING if right.has_substitute else Status.MISSING
        return row.found(status, text, self._grantee.command(right, names))

    async def _cluster_right(self, right: Right) -> tuple[bool, str]:
        if right.feature in (Feature.MARKERS, Feature.GOING_BACK):
            # CLUSTER_ACTION is enough for these, and so the attempt itself says more than what may be done.
            return await may_write_markers(self._connected, "clusterlink-check"), ""
        operations = await cluster_operations(self._connected)
        return operations is not None and right.operation in operations, ""

    # The clock, and settings.

    async def clock(self) -> Check:
        """Compares the controller's clock with the one of this machine."""

        async def look(row: Check) -> Check:
            before = time()
            try:
                told = await controller_time(self._connected) / 1000
            except BrokerRefusedError:
                return row.found(Status.UNKNOWN, "it is told to those only who may DESCRIBE the cluster")
            now = time()
            # As far as the answer was on its way, nobody knows when the clock was read.
            difference = max(told - now, before - told, 0.0)
            way = "ahead of" if told > now else "behind"
            if difference > _CLOCK_SECONDS:
                return row.found(Status.WARNING, f"the controller's clock is {difference:.0f} s {way} the engine's")
            return row.found(
                Status.PRESENT, f"the controller's and the engine's differ by less than {_CLOCK_SECONDS:g} s"
            )

        return await self.bounded(self._row("clock", Feature.RECORDS), look)

    async def setting(self, name: str, judge: Callable[[str], str], feature: Feature) -> Check:
        """Looks at a setting of a broker; `judge` says what is wrong with its value, empty if nothing."""

        async def look(row: Check) -> Check:
            assert self.metadata is not None  # noqa: S101 - read before there are other looks
            node = min(self.metadata.brokers)
            settings = await broker_settings(self._connected, node, [name])
            if settings is None:
                return row.found(
                    Status.UNKNOWN, "brokers tell their settings to those only with DESCRIBE_CONFIGS on the cluster"
                )
            value = settings.get(name)
            if value is None:
                return row.found(Status.UNKNOWN, f"broker {node} does not tell it")
            trouble = judge(value)
            return row.found(
                Status.WARNING if trouble else Status.PRESENT, f"{value}" + (f": {trouble}" if trouble else "")
            )

        return await self.bounded(self._row(name, feature), look)

    # Connecting.

    def _bootstrap(self, results: dict[Address, KafkaError | None]) -> Check:
        row = self._row("bootstrap servers", Feature.RECORDS, is_required=True)
        failures = [
            str(error)
            for error in results.values()
            if error is not None and not isinstance(error, AuthenticationFailedError)
        ]
        if not failures:
            return row.found(Status.PRESENT, ", ".join(self._servers))
        return row.found(Status.WARNING if len(failures) < len(results) else Status.MISSING, " ".join(failures))

    def _authentication(self, results: dict[Address, KafkaError | None]) -> Check:
        row = self._row("authentication", Feature.RECORDS, is_required=True)
        refusals = [error for error in results.values() if isinstance(error, AuthenticationFailedError)]
        if refusals:
            return row.found(Status.MISSING, str(refusals[0]))
        if all(results.values()):
            return self._not_reached(row)
        return row.found(Status.PRESENT, f"as {self._grantee.principal}")

    async def _understood(self, row: Check) -> Check:
        lacks = await not_understood(self._connected)
        return row.found(Status.MISSING if lacks else Status.PRESENT, lacks)

    async def _advertised(self, row: Check) -> Check:
        self.metadata = await self._connected.metadata([])
        addresses = advertised(self.metadata)
        results = await reach_all(self._connected, addresses)
        failures = unreached(self.metadata, results)
        if not failures:
            return row.found(Status.PRESENT, ", ".join(f"{host}:{port}" for host, port in sorted(addresses)))
        found = row.found(Status.MISSING, f"{failures} {HOW_TO_ADVERTISE[0].upper()}{HOW_TO_ADVERTISE[1:]}.")
        # While one can be reached, a link can begin.
        return found if all(results.values()) else found.optional()

    @property
    def _connected(self) -> Cluster:
        assert self.cluster is not None  # noqa: S101 - `bounded` looks
        return self.cluster

    def _row(self, name: str, feature: Feature, *, is_required: bool = False) -> Check:
        return Check(name, self.side, feature, is_required=is_required)

    def _not_reached(self, row: Check) -> Check:
        return row.found(Status.UNKNOWN, f"the {self.side} cluster was not reached")
