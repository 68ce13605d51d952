"""What must be so before the direction of a mirror topic can be turned."""

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.errors import FailedPreconditionError
from clusterlink_engine.model.resources import Direction, LinkMode, MirrorTopic
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.markers import may_write_markers


async def prepare_turning(state: State, plane: Plane, mirror: MirrorTopic, *, validate_only: bool) -> None:
    """Sees to it that the link can write the topic that would become the mirror.

    Args:
        state: What is stored; gets the producer id that the link needs on the remote cluster.
        plane: Of the process that leads.
        mirror: As it is now.
        validate_only: Whether to change nothing.

    Raises:
        FailedPreconditionError: The link is not BIDIRECTIONAL, or the remote cluster does not allow what is needed.
        KafkaError: The remote cluster does not answer.
    """
    link = state.links[mirror.link]
    if link.mode is not LinkMode.BIDIRECTIONAL:
        raise FailedPreconditionError(
            f'The link "{link.name}" goes one way: only a BIDIRECTIONAL link can turn its mirror topics.',
            field="name",
            reason="LINK_NOT_BIDIRECTIONAL",
        )
    if mirror.direction is Direction.LOCAL_TO_REMOTE:
        return  # the local cluster has been written to before
    remote = plane.way(mirror).source
    if not await may_write_markers(remote.cluster, mirror.source_topic):
        raise FailedPreconditionError(
            "The remote cluster does not allow the link to fill gaps there: mirror topics on it need ALTER on the cluster, and "
            f'DESCRIBE, READ, WRITE, DELETE, ALTER, ALTER_CONFIGS and DESCRIBE_CONFIGS on the topic "{mirror.source_topic}".',
            field="name",
            reason="CLUSTER_AUTHORIZATION_FAILED",
        )
    if link.remote_producer_id < 0 and not validate_only:
        producer_id = await logs.init_producer_id(remote.cluster)
        await state.change(
            state.links,
            link.name,
            lambda stored: (
                stored.model_copy(update={"remote_producer_id": producer_id}) if stored.remote_producer_id < 0 else None
            ),
        )
