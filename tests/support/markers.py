"""Transaction markers, written one request at a time."""

from clusterlink_engine.wire import markers
from clusterlink_engine.wire.connection import Connection, choose_version
from clusterlink_engine.wire.markers import Marker


async def write_markers(connection: Connection, written: list[Marker]) -> dict[tuple[str, int], int]:
    """Has the leader of all partitions append markers, in their order; answers Kafka's error codes."""
    version = choose_version(connection, markers.API_KEY, markers.LOWEST, markers.HIGHEST)
    await connection.drain()
    answer = await connection.send(markers.API_KEY, version, [markers.encode(written)], flexible=True)
    return markers.decode(answer, [partition for marker in written for partition in marker.partitions])
