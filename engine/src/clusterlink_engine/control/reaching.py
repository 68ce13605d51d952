"""Connections to each address of a cluster: those that somebody was told, and those that its brokers advertise."""

import asyncio
from collections.abc import Collection

from clusterlink_engine.errors import FailedPreconditionError, KafkaError
from clusterlink_engine.wire.cluster import Cluster, Metadata

Address = tuple[str, int]

# So many connections are tried at once, whatever a cluster says of itself.
_MOST = 200

HOW_TO_ADVERTISE = (
    "a broker tells its clients to connect to its advertised.listeners, so those names and ports must lead to it from where "
    "the engine runs"
)


async def reach_all(cluster: Cluster, addresses: Collection[Address]) -> dict[Address, KafkaError | None]:
    """Connects to all addresses at once, and authenticates; answers what went wrong at each, None if nothing."""

    async def reach(address: Address) -> KafkaError | None:
        try:
            await cluster.reach(*address)
        except KafkaError as error:
            return error
        return None

    wanted = list(dict.fromkeys(addresses))
    return dict(zip(wanted, await asyncio.gather(*map(reach, wanted)), strict=True))


def advertised(metadata: Metadata) -> dict[Address, int]:
    """Answers where the brokers of a cluster say that they are; the first ones if there are very many."""
    return {address: node for node, address in sorted(metadata.brokers.items())[:_MOST]}


def unreached(metadata: Metadata, results: dict[Address, KafkaError | None]) -> str:
    """Answers which advertised addresses were not reached, and why, for people; empty if all were."""
    nodes = advertised(metadata)
    failures = [
        f"broker {nodes[address]} is advertised at {address[0]}:{address[1]}: {error}"
        for address, error in results.items()
        if error is not None
    ]
    return " ".join(failures)


async def require_a_broker(cluster: Cluster, metadata: Metadata, field: str) -> None:
    """Sees to it that at least one broker can be reached where it says that it is; does not wait for the others.

    Raises:
        FailedPreconditionError: None can; `field` of the request is to blame.
    """
    results: dict[Address, KafkaError | None] = {}

    async def reach(address: Address) -> bool:
        results.update(await reach_all(cluster, [address]))
        return results[address] is None

    tasks = [asyncio.ensure_future(reach(address)) for address in advertised(metadata)]
    try:
        for done in asyncio.as_completed(tasks):
            if await done:
                return
    finally:
        for task in tasks:
            task.cancel()
    raise FailedPreconditionError(
        f"The {cluster.side} cluster answers, but none of its brokers can be reached where they say they are: "
        f"{unreached(metadata, results)} Correct that: {HOW_TO_ADVERTISE}.",
        field=field,
        reason="ADVERTISED_LISTENER_UNREACHABLE",
    )
