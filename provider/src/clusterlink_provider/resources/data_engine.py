"""The data source `clusterlink_engine`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Schema, computed
from clusterlink_provider.resources.session import Session, require


class EngineDataSource:
    """What the engine is, and what it allows."""

    type_name = "clusterlink_engine"
    schema = Schema(
        description="The engine that the provider talks to.",
        attributes={
            "version": computed("Version of the engine, as `0.1.0`.", cty.STRING),
            "local_cluster_id": computed("Id of the local cluster, where the mirror topics live.", cty.STRING),
            "max_links": computed("Links that the local cluster may have.", cty.NUMBER),
            "min_sync_interval_ms": computed("Shortest interval of any sync, in milliseconds.", cty.NUMBER),
        },
    )

    def read(self, context: Context[Session], config: Object) -> Object:  # noqa: ARG002 - it has no arguments
        """Gives what was asked when the provider was configured."""
        engine = require(context).engine
        return {
            "version": engine.version,
            "local_cluster_id": engine.local_cluster_id,
            "max_links": engine.limits.max_links,
            "min_sync_interval_ms": engine.limits.min_sync_interval_ms,
        }
