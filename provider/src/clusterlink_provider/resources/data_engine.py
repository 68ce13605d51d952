"""The data source `clusterlink_engine`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.schema import Attribute, Schema
from clusterlink_provider.resources.session import Session, require


class EngineDataSource:
    """What the engine is, and what it allows."""

    type_name = "clusterlink_engine"
    schema = Schema(
        description="The engine that the provider talks to.",
        attributes={
            "version": Attribute(description="Version of the engine, as `0.1.0`.", type=cty.STRING, computed=True),
            "local_cluster_id": Attribute(
                description="Id of the local cluster, where the mirror topics live.", type=cty.STRING, computed=True
            ),
            "max_links": Attribute(
                description="Links that the local cluster may have.", type=cty.NUMBER, computed=True
            ),
            "min_sync_interval_ms": Attribute(
                description="Shortest interval of any sync, in milliseconds.", type=cty.NUMBER, computed=True
            ),
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
