"""What a new link lacks at the two clusters, told at plan.

As warnings: users, rights and brokers may be made by the same run. A wrong cluster is an error: it stays one.
"""

import logging
from collections.abc import Sequence

import grpc

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineError
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources.session import Session

_log = logging.getLogger(__name__)

# A plan does not wait longer for a source that is away.
_SECONDS = 3
_ANSWER_SECONDS = 2.0

_BROKERS = ("remote_cluster", "bootstrap_servers")
# The check whose failure no other resource mends.
_IDENTITY = "cluster id"


def plan(context: PlanContext[Session], session: Session, link: v1.Link) -> None:
    """Has the engine look at what a link needs that is to be created; who may not create it is not told."""
    try:
        checks = session.client.check_new_link(link, seconds=_SECONDS, answer_seconds=_ANSWER_SECONDS)
    except EngineError as error:
        if error.code not in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED):
            context.diagnostics.warning(
                "Link not checked", f"What the link {link.name} needs is not known: {error.message}"
            )
        _log.info("the link %s was not checked: %s", link.name, error.message)
        return
    tell(context.diagnostics, link.name, [check for check in checks if check.status == v1.CHECK_STATUS_MISSING])


def tell(diagnostics: Diagnostics, name: str, missing: Sequence[v1.LinkCheck]) -> None:
    """Tells what is missing: at first what the link cannot be created without."""
    for check in missing:
        if check.check == _IDENTITY:
            diagnostics.error(
                "Wrong remote cluster", f"The remote cluster of the link {name}: {check.detail}.", _BROKERS
            )
    required = [check for check in missing if check.required and check.check != _IDENTITY]
    others = [check for check in missing if not check.required]
    if required:
        diagnostics.warning(
            "Link cannot be created yet",
            f"Unless this changes until then, the engine will refuse to create the link {name}:\n\n{_rows(required)}",
            _BROKERS,
        )
    if others:
        diagnostics.warning(
            "Link lacks something",
            f"The link {name} will be created, and what needs these will not work until they are given "
            f"(`clusterlink link check {name}`):\n\n{_rows(others)}",
            _BROKERS,
        )


def _rows(checks: Sequence[v1.LinkCheck]) -> str:
    return "\n".join(_row(check) for check in checks)


def _row(check: v1.LinkCheck) -> str:
    side = "remote" if check.side == v1.LINK_SIDE_REMOTE else "local"
    row = f"* {check.check} ({side} cluster), needed by {check.needed_by}"
    row += f": {check.detail}" if check.detail else ""
    return row + (f"\n    {check.command}" if check.command else "")
