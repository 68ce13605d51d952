"""The identities of links and mirror topics: the local cluster, and the names there."""

from typing import Final

from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.identity import Identity, IdentityAttribute
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.resources.session import Session

_CLUSTER: Final = IdentityAttribute(
    "Id of the engine's local cluster, where mirror topics live. Default: that of the provider's engine.",
    required=False,
)
LINK: Final = Identity(attributes={"cluster_id": _CLUSTER, "name": IdentityAttribute("Name of the link.")})
MIRROR_TOPIC: Final = Identity(
    attributes={
        "cluster_id": _CLUSTER,
        "link": IdentityAttribute("Name of the link."),
        "name": IdentityAttribute("Name of the mirror topic."),
    }
)


def identify(identity: Identity, session: Session, state: Object) -> Object:
    """Gives the identity of a link or a mirror topic."""
    return {**{name: state.get(name) for name in identity.attributes}, "cluster_id": session.engine.local_cluster_id}


def check_cluster(session: Session, identity: Object, diagnostics: Diagnostics) -> None:
    """Reports the identity of an object that is on another cluster than the engine."""
    wanted, found = identity["cluster_id"], session.engine.local_cluster_id
    if wanted not in (None, found):
        diagnostics.error(
            "Identity of another cluster",
            f"The identity names the cluster {wanted}; the engine at {session.client.endpoint} belongs to {found}. Use the "
            "provider configuration of that cluster's engine, or leave cluster_id out.",
        )
