"""ACL sync: what filters select of the source's ACLs is on the local cluster too.

Only what this link created is ever deleted, and only when the source has it no longer: what it created is stored before it
is created. An ACL that was there before, or that somebody else made, is never touched. The guard of a mirror topic is never
copied: it would keep its topic closed on the local cluster when that is no mirror any more.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from clusterlink_engine.errors import BrokerRefusedError
from clusterlink_engine.model.acls import Acl, AclFilter, denial
from clusterlink_engine.model.resources import Link
from clusterlink_engine.sync.task import SECURITY_DISABLED_ERROR, SyncTask, TaskError, task_error
from clusterlink_engine.wire.acls import chunks, create_acls, delete_acls, describe_acls
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import Code, refused


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, each in order.

    Attributes:
        create: Is selected, and not on the local cluster.
        delete: Was created by this link, and the source has it no longer. Also if it was not seen on the local cluster: a
            broker learns of an ACL a moment after it was created (KRaft), so only an answer to a deletion proves that it
            is gone.
    """

    create: tuple[Acl, ...]
    delete: tuple[Acl, ...]


def plan(
    source: Collection[Acl], present: Collection[Acl], created: Collection[Acl], filters: Collection[AclFilter]
) -> Plan:
    """Compares the ACLs of both clusters.

    Args:
        source: All ACLs of the source.
        present: All of the local cluster.
        created: Those that the link has created, or may have.
        filters: Of the link.
    """
    selected = {
        acl for acl in source if any(entry.matches(acl) for entry in filters) and acl != denial(acl.resource_name)
    }
    return Plan(_ordered(selected - set(present)), _ordered(set(created) - set(source)))


class AclSync(SyncTask):
    """The sync of one link."""

    name = "AclSync"

    def __init__(
        self,
        remote: Cluster,
        local: Cluster,
        link: Callable[[], Link],
        created: Callable[[], Collection[Acl]],
        store: Callable[[str, Collection[Acl]], Awaitable[None]],
        may_write: Callable[[], bool],
    ) -> None:
        """Makes the task.

        Args:
            remote: The source.
            local: The destination.
            link: Answers the link as it is now.
            created: Answers the ACLs that the link has created, or may have.
            store: Stores them for a link.
            may_write: Whether this process still leads, as far as it can know.
        """
        super().__init__(link)
        self._remote = remote
        self._local = local
        self._created = created
        self._store = store
        self._may_write = may_write

    @property
    def is_enabled(self) -> bool:
        """See SyncTask."""
        return self._link().acl_sync.enable

    @property
    def interval_ms(self) -> int:
        """See SyncTask."""
        return self._link().acl_sync.interval_ms

    async def work(self) -> list[TaskError]:
        """See SyncTask."""
        link = self._link()
        try:
            source, present = await describe_acls(self._remote), await describe_acls(self._local)
        except BrokerRefusedError as error:
            if error.code == Code.SECURITY_DISABLED:
                return [TaskError(SECURITY_DISABLED_ERROR, f"{error} ACLs need an authorizer on both clusters.")]
            raise
        created = set(self._created())
        todo = plan(source, present, created, link.acl_sync.filters)
        errors: list[TaskError] = []
        for some in chunks(todo.create):
            await self._store(link.name, created | set(some))  # before: nothing that was created is ever forgotten
            created |= set(some)
            if not self._may_write():
                return errors
            results = await create_acls(self._local, some)
            refusals = {acl: result for acl, result in zip(some, results, strict=True) if result[0]}
            errors.extend(self._told("Creating", refusals))
            created -= refusals.keys()
        deleted: set[Acl] = set()
        for some in chunks(todo.delete):
            if not self._may_write():
                return errors
            results = await delete_acls(self._local, some)
            refusals = {acl: result for acl, result in zip(some, results, strict=True) if result[0]}
            errors.extend(self._told("Deleting", refusals))
            deleted |= set(some) - refusals.keys()
        if created - deleted != set(self._created()):
            await self._store(link.name, created - deleted)
        return errors

    def _told(self, what: str, refusals: dict[Acl, tuple[int, str]]) -> list[TaskError]:
        return [
            task_error(refused(code, f"{what} the ACL {acl}", self._local.side, text))
            for acl, (code, text) in refusals.items()
        ]


def _ordered(acls: Collection[Acl]) -> tuple[Acl, ...]:
    return tuple(sorted(acls, key=Acl.key))
